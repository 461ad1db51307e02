"""Real answers of the control door against the types that their readers are checked with."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest

from ipsectools import answers
from ipsectools.kernel.interfaces.kinds import KINDS
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import EALG_AESGCM16, EXT_X_NAT_T_DPORT, EXT_X_NAT_T_SPORT, NAT_T_ESPINUDP
from tests.key.driver import A, B, add

from .driver import Driver
from .typed import differences


def test_what_differs_is_seen() -> None:
    tunnel = {"family": "inet", "src": "a", "dst": "b"}
    assert differences(tunnel, answers.Tunnel) == []
    assert differences(tunnel | {"dst": None}, answers.Tunnel) != []
    assert differences(tunnel | {"more": 1}, answers.Tunnel) != []
    assert differences([tunnel, {}], list[answers.Tunnel]) != []
    assert differences(True, int | None) != []
    assert differences({"a": {"b": "c"}}, dict[str, dict[str, int]]) != []


def through_json(value: Any) -> Any:
    """As it comes out of a socket."""
    return json.loads(json.dumps(value))


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_listif(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec0")
    driver.call("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
    driver.call("NEWADDR", name="ipsec0", family="inet", address="172.16.0.3", prefixlen=32, peer="172.16.0.5")
    driver.call("NEWADDR", name="ipsec0", family="inet6", address="2001:db8::3", prefixlen=64)
    driver.call("NEWADDR", name="ipsec0", family="inet6", address="2001:db8::4", prefixlen=64, pltime=60, vltime=90)
    driver.call("SIOCIFCREATE2", name="bridge0")
    listed = driver.call("LISTIF")
    assert {interface["name"] for interface in listed} >= {"lo0", "em0", "ipsec0", "bridge0"}
    assert differences(listed, list[answers.Interface]) == []
    of_kinds = {member for kind in KINDS.values() for member in kind.members}
    assert of_kinds == get_type_hints(answers.OfKinds).keys()


def test_statistics_and_leaves(driver: Driver) -> None:
    assert differences(driver.call("STATISTICS"), answers.Statistics) == []
    assert differences(driver.call("SYSCTLLIST"), list[answers.Leaf]) == []
    assert differences(driver.call("SYSCTLGET", name="net.inet.ipsec.debug"), answers.Leaf) == []


def test_outbound_and_shared_keys(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec0")
    assert differences(driver.call("OUTBOUND", name="ipsec0"), answers.Outbound) == []
    driver.call("IPSECSREQID", name="ipsec0", reqid=100)
    driver.call("SIOCSIFPHYADDR", name="ipsec0", src=A, dst=B)
    key = bytes(range(20))
    natt = ext.nat_t_type(NAT_T_ESPINUDP) + ext.nat_t_port(EXT_X_NAT_T_SPORT, 4500)
    natt += ext.nat_t_port(EXT_X_NAT_T_DPORT, 4501)
    client = driver.client()
    for message in (
        add(1000, A, B, key=key, encrypt=EALG_AESGCM16, extra=natt),
        add(1001, B, A, key=key, encrypt=EALG_AESGCM16),
        add(1002, A, B, reqid=7),
    ):
        assert client.send(message) == 0
    outbound = through_json(driver.call("OUTBOUND", name="ipsec0"))
    assert differences(outbound, answers.Outbound) == []
    assert outbound["sa"]["natt"] and outbound["sa"]["shared_key"] and outbound["inbound"] and outbound["others"]
    shared = driver.call("SHAREDKEYS")
    assert shared and differences(through_json(shared), list[answers.SharedKey]) == []
