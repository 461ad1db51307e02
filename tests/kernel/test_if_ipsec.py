"""if_ipsec(4): endpoints, reqids, policies and their announcements, RUNNING."""

from __future__ import annotations

import pytest

from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENOBUFS, ENXIO
from ipsectools.pfkey.message import parse

from .driver import Client, Driver

RUNNING = 0x40
SPDADD, SPDDELETE = 14, 15


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.call("NEWADDR", name="em0", family="inet", address="192.168.0.3", prefixlen=24)
    driver.call("SIOCIFCREATE2", name="ipsec0")
    return driver


def tunnel(driver: Driver, name: str, src: str, dst: str) -> int:
    op = "SIOCSIFPHYADDR_IN6" if ":" in src else "SIOCSIFPHYADDR"
    return driver.errno(op, name=name, src=src, dst=dst)


def heard(client: Client) -> list[tuple[int, int, int, int]]:
    """(type, direction, id, interface index) of the SPD messages that came."""
    found = []
    for message in client.take():
        policy = parse(message).extensions[18]
        number, index = (int.from_bytes(policy[at : at + 4], "little") for at in (8, 12))
        found.append((message[1], policy[6], number, index))
    return found


def four(type: int, first: int, index: int = 3) -> list[tuple[int, int, int, int]]:
    """in, out (IPv4), in, out (IPv6). What is gone is told without its interface."""
    index = 0 if type == SPDDELETE else index
    return [(type, direction, first + at, index) for at, direction in enumerate((1, 2, 1, 2))]


def is_running(driver: Driver, name: str = "ipsec0") -> bool:
    return bool(driver.interface(name)["flags"] & RUNNING)


def test_policies(driver: Driver) -> None:
    client = driver.client()
    for op, args in (
        ("SIOCIFCREATE2", {"name": "ipsec1"}),
        ("IPSECSREQID", {"name": "ipsec0", "reqid": 100}),
        ("SIOCSIFFLAGS", {"name": "ipsec0", "set": 1, "clear": 0}),
        ("NEWADDR", {"name": "ipsec0", "family": "inet", "address": "10.0.0.1", "prefixlen": 30, "peer": "10.0.0.2"}),
    ):
        driver.call(op, **args)
        assert heard(client) == [], op
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5") == 0
    assert heard(client) == four(SPDADD, 1)
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5") == 0  # the same
    driver.call("IPSECSREQID", name="ipsec0", reqid=100)
    driver.call("SIOCSIFMTU", name="ipsec0", value=1300)
    assert heard(client) == []
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.6") == 0
    assert heard(client) == four(SPDADD, 5) + four(SPDDELETE, 1)
    assert tunnel(driver, "ipsec0", "2001:db8::3", "2001:db8::5") == 0
    assert heard(client) == four(SPDADD, 9) + four(SPDDELETE, 5)
    driver.call("IPSECSREQID", name="ipsec0", reqid=0)  # keeps its reqid, makes the policies anew
    assert heard(client) == four(SPDADD, 13) + four(SPDDELETE, 9)
    driver.call("IPSECSREQID", name="ipsec0", reqid=200)
    assert heard(client) == four(SPDADD, 17) + four(SPDDELETE, 13)
    driver.call("SIOCDIFPHYADDR", name="ipsec0")
    assert heard(client) == four(SPDDELETE, 17)
    driver.call("SIOCDIFPHYADDR", name="ipsec0")
    assert heard(client) == []
    assert driver.interface("ipsec0")["reqid"] == 200
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5") == 0
    client.take()
    driver.call("SIOCIFDESTROY", name="ipsec0")
    assert heard(client) == four(SPDDELETE, 21)


def test_no_room_for_an_answer(driver: Driver) -> None:
    client = driver.client()
    dump = bytes.fromhex("02120000020000000000000000000000")
    assert client.send(dump) == 0
    client.has_room = False
    assert client.send(bytes.fromhex("02090000020000000000000000000000")) == ENOBUFS  # FLUSH


def test_observers_hear_before_sockets(driver: Driver) -> None:
    order: list[str] = []
    driver.kernel.open_pfkey(lambda _message: not order.append("message"))
    told = driver.recorder.told
    driver.recorder.take()
    tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5")
    assert order == ["message"] * 4
    assert ("interface_changed", "ipsec0") in driver.recorder.take()
    driver.kernel.open_pfkey(lambda _message: not order.append(str(len(told))))
    driver.recorder.told = told
    told.clear()
    order.clear()
    driver.call("SIOCIFDESTROY", name="ipsec0")
    assert driver.recorder.take() == [("interface_removed", 3)]
    assert "0" not in order


@pytest.mark.parametrize(
    ("op", "src", "dst", "number"),
    [
        ("SIOCSIFPHYADDR", "192.0.2.1", "2001:db8::1", EINVAL),
        ("SIOCSIFPHYADDR_IN6", "2001:db8::1", "192.0.2.1", EINVAL),
        ("SIOCSIFPHYADDR", "2001:db8::1", "2001:db8::2", EAFNOSUPPORT),
        ("SIOCSIFPHYADDR_IN6", "192.0.2.1", "192.0.2.2", EAFNOSUPPORT),
        ("SIOCSIFPHYADDR", "0.0.0.0", "192.0.2.2", EADDRNOTAVAIL),
        ("SIOCSIFPHYADDR", "192.0.2.1", "0.0.0.0", EADDRNOTAVAIL),
        ("SIOCSIFPHYADDR_IN6", "::", "2001:db8::2", EADDRNOTAVAIL),
        ("SIOCSIFPHYADDR_IN6", "fe80::1%nobody", "fe80::2%em0", ENXIO),
        ("SIOCSIFPHYADDR_IN6", "fe80::1%99", "fe80::2%99", ENXIO),
        ("SIOCSIFPHYADDR", "192.0.2.1%em0", "192.0.2.2", EINVAL),
        ("SIOCSIFPHYADDR", "192.0.2", "192.0.2.2", EINVAL),
        ("SIOCSIFPHYADDR", "", "", EINVAL),
        ("SIOCSIFPHYADDR", "192.0.2.1", "255.255.255.255", 0),
        ("SIOCSIFPHYADDR", "192.0.2.1", "224.0.0.1", 0),
        ("SIOCSIFPHYADDR", "127.0.0.1", "127.0.0.1", 0),
        ("SIOCSIFPHYADDR_IN6", "fe80::1%em0", "fe80::2%2", 0),
    ],
)
def test_endpoints(driver: Driver, op: str, src: str, dst: str, number: int) -> None:
    before = driver.interface("ipsec0")
    assert driver.errno(op, name="ipsec0", src=src, dst=dst) == number
    after = driver.interface("ipsec0")
    if number:
        assert after == before
    else:
        assert after["tunnel"] == {
            "family": "inet6" if op.endswith("6") else "inet",
            "src": src,
            "dst": dst.replace("%2", "%em0"),
        }
        assert after["reqid"] == 16385


def test_only_ipsec_interfaces_have_tunnels(driver: Driver) -> None:
    assert tunnel(driver, "em0", "192.168.0.3", "192.168.0.5") == EINVAL
    assert driver.errno("SIOCDIFPHYADDR", name="em0") == EINVAL
    assert driver.errno("IPSECSREQID", name="em0", reqid=1) == EINVAL


def test_reqids(driver: Driver) -> None:
    def reqid(name: str = "ipsec0") -> int:
        found = driver.interface(name)["reqid"]
        assert isinstance(found, int)
        return found

    driver.call("SIOCIFCREATE2", name="ipsec1")
    driver.call("IPSECSREQID", name="ipsec0", reqid=100)
    assert driver.errno("IPSECSREQID", name="ipsec1", reqid=100) == EEXIST
    assert driver.errno("IPSECSREQID", name="ipsec0", reqid=100) == 0
    driver.call("IPSECSREQID", name="ipsec0", reqid=0)
    assert reqid() == 100
    driver.call("IPSECSREQID", name="ipsec0", reqid=0xFFFFFFFF)
    assert driver.errno("IPSECSREQID", name="ipsec1", reqid=100) == 0  # the old one is free
    driver.call("SIOCIFCREATE2", name="ipsec2")
    driver.call("IPSECSREQID", name="ipsec2", reqid=0)
    assert reqid("ipsec2") == 16385
    driver.call("IPSECSREQID", name="ipsec1", reqid=16386)
    driver.call("SIOCIFCREATE2", name="ipsec3")
    tunnel(driver, "ipsec3", "192.168.0.3", "192.168.0.5")
    assert reqid("ipsec3") == 16387  # 16386 is taken
    driver.call("SIOCIFDESTROY", name="ipsec1")
    assert driver.errno("IPSECSREQID", name="ipsec2", reqid=16386) == 0


def test_no_reqid_to_be_had(driver: Driver) -> None:
    for number in range(63):
        driver.call("SIOCIFCREATE2", name=f"ipsec{100 + number}")
        driver.call("IPSECSREQID", name=f"ipsec{100 + number}", reqid=16385 + number)
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5") == EEXIST
    assert driver.interface("ipsec0")["tunnel"] is None
    driver.call("SIOCIFDESTROY", name="ipsec120")
    assert tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5") == 0
    assert driver.interface("ipsec0")["reqid"] == 16385 + 20


def test_two_interfaces_with_the_same_endpoints(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec1")
    for name in ("ipsec0", "ipsec1"):
        assert tunnel(driver, name, "192.168.0.3", "192.168.0.5") == 0
        assert is_running(driver, name)


def test_running(driver: Driver) -> None:
    assert not is_running(driver)
    tunnel(driver, "ipsec0", "192.168.0.7", "192.168.0.5")
    assert not is_running(driver)  # accepted, not local
    address = {"name": "em0", "family": "inet", "address": "192.168.0.7", "prefixlen": 24}
    driver.recorder.take()
    driver.call("NEWADDR", **address)
    assert ("interface_changed", "ipsec0") in driver.recorder.take()
    assert is_running(driver)
    driver.call("SIOCIFCREATE2", name="lo1")
    driver.call("NEWADDR", **(address | {"name": "lo1", "prefixlen": 32}))
    driver.call("DELADDR", name="em0", family="inet", address="192.168.0.7")
    assert is_running(driver)  # another interface has it
    driver.call("SIOCSIFFLAGS", name="lo1", set=0, clear=1)
    assert is_running(driver)  # up or not
    driver.recorder.take()
    driver.call("SIOCIFDESTROY", name="lo1")
    assert not is_running(driver)
    assert ("interface_changed", "ipsec0") in driver.recorder.take()
    driver.call("NEWADDR", **address)
    assert is_running(driver)
    driver.call("SIOCDIFPHYADDR", name="ipsec0")
    assert not is_running(driver)


def test_running_by_zone(driver: Driver) -> None:
    """A link-local source is local on its own interface only."""
    driver.call("SIOCIFCREATE2", name="epair0")
    link_local = {"family": "inet6", "address": "fe80::7", "prefixlen": 64}
    driver.call("NEWADDR", name="epair0a", **link_local)
    tunnel(driver, "ipsec0", "fe80::7%em0", "fe80::8%em0")
    assert not is_running(driver)
    driver.call("NEWADDR", name="em0", **link_local)
    assert is_running(driver)
    driver.call("SIOCSIFNAME", name="em0", new="wan")
    assert driver.interface("ipsec0")["tunnel"]["src"] == "fe80::7%wan"
    tunnel(driver, "ipsec0", "fe80::7%epair0b", "fe80::8%epair0b")
    assert not is_running(driver)


def test_up_is_independent(driver: Driver) -> None:
    tunnel(driver, "ipsec0", "192.168.0.3", "192.168.0.5")
    client = driver.client()
    for on, off in ((1, 0), (0, 1), (1, 0)):
        driver.call("SIOCSIFFLAGS", name="ipsec0", set=on, clear=off)
        assert is_running(driver)
    assert client.take() == []
