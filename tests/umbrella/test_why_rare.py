"""`ipsectools why`: reasons that a test cannot bring about at a real kernel, told by one that is made up."""

from __future__ import annotations

from typing import Any

import pytest

from ipsectools.commands.ipsectools import routes, why
from ipsectools.esp.drops import DROPS

SYSCTLS = {
    "net.inet.esp.esp_enable": 1,
    "net.inet.esp.ctr_compatibility": 1,
    "net.inet.ipsec.dfbit": 0,
    "net.inet.ipsec.min_pmtu": 576,
    "net.inet.ipsec.mark_fib": 0xFF0000,
    "net.inet.ipsec.mark_state": 0xF000000,
    "net.inet.ip.ttl": 64,
    "net.inet6.ip6.hlim": 64,
}


def interface(name: str, address: str, peer: str | None = None, **more: Any) -> dict[str, Any]:
    family = "inet6" if ":" in address else "inet"
    length = 64 if family == "inet6" else 24
    found = {
        "name": name,
        "flags": 0x41,
        "mtu": 1500,
        "iftype": "ether",
        "reqid": None,
        "tunnel": None,
        "tunnelfib": 0,
        "inet": [],
        "inet6": [],
    }
    return found | {family: [{"address": address, "prefixlen": length, "peer": peer}]} | more


def sa(**more: Any) -> dict[str, Any]:
    found = {
        "spi": 10000,
        "reqid": 100,
        "mode": "tunnel",
        "state": "mature",
        "usable": True,
        "src": "192.168.0.3",
        "dst": "192.168.0.5",
        "encrypt": 20,
        "auth": 11,
        "esn": False,
        "natt": None,
        "sequence": 7,
        "sequence_limit": 65536,
        "iv": 7,
        "iv_limit": 65536,
        "no_send_reason": "",
        "shared_key": None,
    }
    return found | more


class Door:
    """A kernel with one tunnel."""

    def __init__(self, sa: dict[str, Any], interfaces: list[dict[str, Any]]) -> None:
        self.sa = sa
        self.interfaces = interfaces

    def call(self, op: str, name: str = "") -> Any:
        if op == "LISTIF":
            return self.interfaces
        if op == "SYSCTLGET":
            return {"value": SYSCTLS[name]}
        if op == "STATISTICS":
            return {}
        assert op == "OUTBOUND"
        return {"policies": [2, 4], "sa": self.sa, "inbound": None, "others": []}

    def close(self) -> None:
        pass


OUTER = {"family": "inet", "src": "192.168.0.3", "dst": "192.168.0.5"}
OUTER6 = {"family": "inet6", "src": "2001:db8::3", "dst": "2001:db8::5"}


def walk(
    monkeypatch: pytest.MonkeyPatch, sa: dict[str, Any], *words: str, mtu: int = 1400, outer: dict[str, str] = OUTER
) -> why.Walk:
    tunnel = interface("ipsec0", "172.16.0.3", "172.16.0.5", mtu=mtu, reqid=100, tunnel=outer, iftype="tunnel")
    door = Door(sa, [interface("em0", outer["src"]), tunnel])
    monkeypatch.setattr(why.client, "open_control", lambda: door)
    monkeypatch.setattr(why, "_is_live", lambda: False)
    return why.Walk(why.parse(["172.16.0.3", "172.16.0.5", *words]))


@pytest.mark.parametrize(
    ("more", "drop"),
    [
        ({"sequence": 2**32 - 1}, "out-sequence-exhausted"),
        ({"sequence": 2**64 - 1, "esn": True}, "out-sequence-exhausted"),
        ({"iv": 2**64, "iv_limit": 2**64}, "out-sequence-exhausted"),
        ({"no_send_reason": "the ledger cannot be read"}, "out-ledger-unavailable"),
        ({"usable": False}, "out-no-transform"),
        ({"encrypt": 3}, "out-no-transform"),
        ({"encrypt": 23}, "out-no-transform"),
    ],
)
def test_an_sa_that_does_not_send(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], drop: str) -> None:
    with pytest.raises(why.Stopped) as stopped:
        walk(monkeypatch, sa(**more)).run()
    assert stopped.value.drop == drop
    assert drop in DROPS
    assert stopped.value.fix


def test_extended_numbers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walk(monkeypatch, sa(sequence=2**32 - 1, esn=True)).run()["sequence"] == 2**32


def test_nat_traversal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = walk(monkeypatch, sa()).run()
    found = walk(monkeypatch, sa(natt=[4500, 4501])).run()
    assert (found["protocol"], found["ports"], found["length"]) == ("udp", [4500, 4501], plain["length"] + 8)


def test_ipv6_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    found = walk(monkeypatch, sa(src="2001:db8::3", dst="2001:db8::5"), "--size", "3000", mtu=8192, outer=OUTER6).run()
    # 40 + 8 + 8 + 3004 + 16, of which a fragment carries 1448
    assert (found["length"], found["df"], found["ttl"], found["fragments"]) == (3076, None, 64, 3)


def test_a_tunnel_into_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    route = routes.Route("ipsec0", None, False, 1400)
    monkeypatch.setattr(routes, "find_simulated", lambda flow, interfaces: route)
    with pytest.raises(why.Stopped) as stopped:
        walk(monkeypatch, sa()).run()
    assert stopped.value.drop == "out-loop"


def test_a_packet_that_is_forwarded_and_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    following = walk(monkeypatch, sa(), "--size", "2000")
    following.packet.source = "10.0.0.1"
    assert following.run()["fragments"] == 1  # fragments enter the tunnel one by one
    names = [name for name, _ in following.steps]
    assert names[:2] == ["packet", "source"] and "fragments" in names
