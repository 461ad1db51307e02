"""Outer packets on a host where other people have marks, rules and tables, too."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.ping import ping
from tests.e2e.test_natt import natt_tunnel
from tests.traffic.scene import GCM, INNER, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = [
    pytest.mark.traffic,
    pytest.mark.skipif(
        not any(os.access(f"{folder}/ip", os.X_OK) for folder in os.environ["PATH"].split(":")),
        reason="no ip(8) to make other people's rules with",
    ),
]
Pair = tuple["Host", "Host"]


def ip(host: Host, words: str) -> str:
    return host.run("ip", *words.split()).output


def rules(host: Host, priority: int = 30000) -> list[str]:
    return sorted(
        line.partition(":")[2].strip() for line in ip(host, "rule").splitlines() if line.startswith(str(priority))
    )


@pytest.mark.parametrize(
    ("natt", "core"),
    [
        (False, "auto"),
        (True, "python"),
        pytest.param(True, "auto", marks=pytest.mark.long),
        pytest.param(False, "python", marks=pytest.mark.long),
    ],
)
def test_marks_of_ours_and_of_others(hosts: Pair, natt: bool, core: str) -> None:
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    others = [
        "5 fwmark 2 prohibit",
        "6 fwmark 0x20000 prohibit",
        "7 fwmark 0x2/0xff prohibit",
        "30000 fwmark 9 lookup 77",
    ]
    # What an earlier release left when it was killed.
    for words in (*others, "30000 fwmark 9 lookup 9", "30001 fwmark 9 unreachable"):
        ip(a, f"rule add pref {words}")
    if natt:
        natt_tunnel(hosts, "inet", (4500, 4500))
    else:
        tunnel(a, b, GCM)
    assert rules(a) == ["from all fwmark 0x9 lookup 77"] and not rules(a, 30001)
    assert_pings(a, b)

    a.run("sysctl", "net.fibs=300")
    a.run("ifconfig", "ipsec0", "tunnelfib", "2")
    assert "from all fwmark 0x20000/0xff0000 lookup 2" in rules(a)
    assert not ping(a, INNER["inet"][1], count=1, timeout=0.3)  # table 2 is empty
    ip(a, "route add 192.168.0.0/24 dev em0 table 2")
    assert_pings(a, b)

    # Both fields are on the packets: the state whatever the FIB.
    for fib in ("2", "0"):
        a.run("ifconfig", "ipsec0", "tunnelfib", fib)
        assert_pings(a, b)
        ip(a, "rule add pref 4 fwmark 0x1000000/0xf000000 prohibit")
        assert not ping(a, INNER["inet"][1], count=1, timeout=0.3)
        ip(a, "rule del pref 4")
        assert_pings(a, b)

    a.run("ifconfig", "ipsec0", "tunnelfib", "2")
    assert a.run("sysctl", "net.inet.ipsec.mark_fib=0xf000").output == "net.inet.ipsec.mark_fib: 16711680 -> 61440\n"
    assert a.run("sysctl", "net.inet.ipsec.mark_state=0xf0").status == 0
    assert rules(a) == ["from all fwmark 0x2000/0xf000 lookup 2", "from all fwmark 0x9 lookup 77"]
    assert_pings(a, b)
    ip(a, "rule add pref 4 fwmark 0x2010 prohibit")  # exactly
    assert not ping(a, INNER["inet"][1], count=1, timeout=0.3)
    ip(a, "rule del pref 4")

    for name, value, reason in (
        ("mark_fib", "0xf0f00", "adjacent bits"),
        ("mark_fib", "0x1f0", "overlap"),
        ("mark_fib", "0x1000", "FIB 2, which is in use"),
        ("mark_state", "0x70", "4 bits"),
    ):
        refused = a.run("sysctl", f"net.inet.ipsec.{name}={value}", check=False)
        assert refused.status == 1 and "Invalid argument" in refused.errors and reason in refused.errors
    assert rules(a) == ["from all fwmark 0x2000/0xf000 lookup 2", "from all fwmark 0x9 lookup 77"]
    warned = a.run("ifconfig", "ipsec0", "tunnelfib", "16", check=False)  # FreeBSD's does not fail, either
    assert warned.errors == "ifconfig: ioctl (SIOCSTUNFIB): Invalid argument\n"
    assert_pings(a, b)

    # A new ipsecd finds everything as it was.
    (pid,) = a.processes("ipsecd")
    a.kill(pid)
    while a.processes("ipsecd"):
        time.sleep(0.02)
    a.run("ifconfig", "ipsec0", "descr", "again")
    assert rules(a) == ["from all fwmark 0x2000/0xf000 lookup 2", "from all fwmark 0x9 lookup 77"]
    assert_pings(a, b)
    a.run("ifconfig", "ipsec0", "destroy")
    assert rules(a) == ["from all fwmark 0x9 lookup 77"] and not rules(a, 30001)
