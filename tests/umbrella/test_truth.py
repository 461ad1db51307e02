"""`why` and `doctor` against the real packets' fate, where either has said otherwise."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.host import Host
from ipsectools.lab.ping import ping
from tests.traffic.scene import GCM, INNER, OUTER, sas, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.traffic
needs_ip = pytest.mark.skipif(shutil.which("ip") is None, reason="there is no ip(8) here")


def why(host: Host, *words: str) -> dict[str, Any]:
    result = host.run("ipsectools", "why", "--json", *words, check=False)
    assert not result.errors, result
    document: dict[str, Any] = json.loads(result.output)
    return document


def doctor(host: Host) -> list[str]:
    return host.run("ipsectools", "doctor", check=False, timeout=60).output.splitlines()


def leaves(host: Host, address: str) -> bool:
    """Whether an echo request to the inner address makes something on the cable other than neighbour discovery."""
    with Capture(host) as wire:
        ping(host, address, count=1, timeout=0.5)
        return bool(wire.esp())


def test_ipsecd_is_not_running(hosts: tuple[Host, Host]) -> None:
    """Neither starts it, and both say what that means."""
    a, b = hosts
    tunnel(a, b, GCM)
    assert why(a, *INNER["inet"])["outer"]
    a.run("ipsecd", "--stop")
    reason = "ipsec0: ipsecd is not running: what is routed into it goes nowhere"
    assert why(a, *INNER["inet"])["stopped"] == {"reason": reason, "fix": "ipsecd, and ask again", "drop": None}
    stopped = why(a, OUTER["inet"][0], OUTER["inet"][1])["stopped"]
    assert stopped["reason"] == "it leaves in clear text through em0, which is no ipsec interface"
    expected = "missing ipsecd is not running, so that nothing passes the ipsec interfaces; ipsecd"
    assert expected in doctor(a)
    assert not leaves(a, INNER["inet"][1])
    assert "not running" in a.run("ipsecd", "--status", check=False).output
    a.run("ipsecd")
    assert any(line.startswith("ok      ipsecd ") for line in doctor(a))
    assert why(a, *INNER["inet"])["outer"]
    assert ping(a, INNER["inet"][1])


@pytest.fixture
def alone() -> Iterator[Host]:
    """A host without a cable."""
    with Host("alone") as host:
        host.run("ifconfig", "lo0", "up")
        yield host


@needs_ip
def test_no_ethernet_interface(alone: Host) -> None:
    """The advice names no interface that there is not, and mends what it is for."""
    note = "note    no interface leads out of this host: packets flow inside it only"
    assert note in doctor(alone)
    alone.run("ifconfig", "ipsec0", "create", "reqid", "100")
    alone.run("ifconfig", "ipsec0", "inet", "tunnel", *OUTER["inet"])
    alone.run("ifconfig", "ipsec0", "inet", "172.16.0.3/16", "172.16.0.5")
    stopped = why(alone, *INNER["inet"])["stopped"]
    assert stopped["fix"] == "ifconfig lo0 inet 192.168.0.3/32 alias"
    alone.run(*stopped["fix"].split())
    alone.setkey(sas(100, GCM))
    stopped = why(alone, *INNER["inet"])["stopped"]
    assert (stopped["drop"], "em0" in stopped["fix"]) == ("out-no-route", False)
    alone.run("ip", "route", "add", "192.168.0.5", "dev", "ipsec0")
    stopped = why(alone, *INNER["inet"])["stopped"]
    assert stopped["drop"] == "out-loop"
    assert stopped["fix"] == "give this host an interface that leads to 192.168.0.5"


def drops(host: Host) -> dict[str, int]:
    found: dict[str, int] = json.loads(host.run("ipsectools", "stats", "--json").output)["drops"]
    return found


@pytest.mark.parametrize("core", ["compiled", pytest.param("python", marks=pytest.mark.long)])
def test_nested_tunnels(hosts: tuple[Host, Host], core: str) -> None:
    """The outer packets of one tunnel, routed into another: dropped, as on FreeBSD, and `why` says so."""
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    tunnel(a, b, GCM)
    a.run("ifconfig", "ipsec1", "create", "reqid", "300")
    a.run("ifconfig", "ipsec1", "inet", "tunnel", "172.16.0.3", "172.16.0.5")
    a.run("ifconfig", "ipsec1", "inet", "172.17.0.3/16", "172.17.0.5")
    a.setkey(f"add 172.16.0.3 172.16.0.5 esp 30000 -m tunnel -u 300 {GCM.options(30000)};")
    stopped = why(a, "172.17.0.3", "172.17.0.5")["stopped"]
    assert stopped["reason"] == "the outer packets of ipsec1 are routed into ipsec0, which is an ipsec interface, too"
    assert stopped["drop"] == "out-loop"
    before = drops(a).get("out-loop", 0)
    with Capture(a) as wire:
        assert not ping(a, "172.17.0.5", count=1, timeout=0.5)
        assert not wire.esp()
    assert drops(a)["out-loop"] > before


@pytest.mark.parametrize(
    "elsewhere", [False, pytest.param(True, marks=pytest.mark.long)], ids=["no other route", "default route elsewhere"]
)
@needs_ip
def test_reverse_path_filtering_with_a_tunnelfib(hosts: tuple[Host, Host], elsewhere: bool) -> None:
    """Whatever the two variables are: what is said of the answers is what becomes of them, and the advice helps."""
    a, b = hosts
    peer, inner = "203.0.113.5", INNER["inet"]
    b.run("ip", "address", "add", f"{peer}/32", "dev", "em0")
    for host, local, remote, side in ((a, "192.168.0.3", peer, 0), (b, peer, "192.168.0.3", 1)):
        host.run("ifconfig", "ipsec0", "create", "reqid", "100")
        host.run("ifconfig", "ipsec0", "inet", "tunnel", local, remote)
        host.run("ifconfig", "ipsec0", "inet", f"{inner[side]}/16", inner[1 - side])
        host.setkey(sas(100, GCM).replace("192.168.0.5", peer))
    a.run("sysctl", "net.fibs=16")
    a.run("ifconfig", "ipsec0", "tunnelfib", "1")
    a.run("ip", "route", "add", peer, "via", "192.168.0.5", "dev", "em0", "table", "1")
    if elsewhere:
        a.run("ip", "link", "add", "em1", "type", "veth", "peer", "name", "em2")
        for name in ("em1", "em2"):
            a.run("ip", "link", "set", name, "up")
        a.run("ip", "address", "add", "10.99.0.1/24", "dev", "em1")
        a.run("ip", "route", "add", "default", "via", "10.99.0.2")
    advice = f"ip rule add to {peer} lookup 1"
    for every, one in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 1)):
        a.set_kernel("net/ipv4/conf/all/rp_filter", every)
        a.set_kernel("net/ipv4/conf/em0/rp_filter", one)
        a.set_kernel("net/ipv4/conf/ipsec0/rp_filter", 0)
        level = max(every, one)
        passes = level == 0 or (level == 2 and elsewhere)
        steps = {step["step"]: step["text"] for step in why(a, *inner)["steps"]}
        said = [line for line in doctor(a) if advice in line]
        assert (bool(ping(a, inner[1], count=1, timeout=5 if passes else 0.5)), "answers" not in steps, not said) == (
            passes,
            passes,
            passes,
        ), (every, one, steps, said)
        if passes:
            continue
        name = "all" if every == level else "em0"
        way = "it leads through em1" if elsewhere else "there is none"
        text = (
            f"packets from {peer} that arrive on em0 are dropped: net.ipv4.conf.{name}.rp_filter is {level}, and the"
            f" way back is looked up without FIB 1: {way}"
        )
        assert steps["answers"] == f"{text}; to mend: {advice}"
        assert said == [f"missing {text}; {advice}"]
        a.run(*advice.split())
        assert ping(a, inner[1], count=1)
        assert not [line for line in doctor(a) if advice in line]
        a.run(*advice.replace(" add ", " del ").split())
