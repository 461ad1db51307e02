"""`why` and `doctor` say which core the running ipsecd has, not which one could be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.datapath import core_status
from tests.e2e.numbers import stop_ipsecd
from tests.traffic.scene import CBC_SHA256, INNER, configure

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

PLAIN = {"IPSECTOOLS_CORE": "python"}


def said(host: Host, environment: dict[str, str]) -> tuple[str, str]:
    """What why and doctor, in this environment, say of the data path."""
    why = host.run("ipsectools", "why", *INNER["inet"], check=False, environment=environment).output.splitlines()
    doctor = host.run("ipsectools", "doctor", check=False, environment=environment).output.splitlines()
    (one,) = [line for line in why if line.startswith("data path:")]
    (other,) = [line for line in doctor if "data path" in line]
    return one.removeprefix("data path:").strip(), other


@pytest.mark.traffic
def test_the_core_of_the_running_ipsecd(hosts: tuple[Host, Host]) -> None:
    core, reason = core_status()
    if core != "compiled":
        pytest.skip(reason)
    a = hosts[0]
    configure(a, 0, CBC_SHA256)
    assert said(a, PLAIN) == (
        "compiled core of the running ipsecd",
        f"ok      data path of the running ipsecd: {reason} (the next ipsecd has plain Python: IPSECTOOLS_CORE=python)",
    )
    stop_ipsecd(a)
    a.run("setkey", "-D", environment=PLAIN)
    assert said(a, {}) == (
        "plain Python core of the running ipsecd",
        "note    data path of the running ipsecd: plain Python, slower: IPSECTOOLS_CORE=python;"
        f" the next one has the {reason}: ipsecd --stop, no SA is lost",
    )
