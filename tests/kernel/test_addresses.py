"""Inner and other addresses: FreeBSD's rules for IPv4 and IPv6, Neighbor Discovery's flags, lifetimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.errno import EADDRNOTAVAIL, EDESTADDRREQ, EINVAL, KernelError

from .driver import Driver

if TYPE_CHECKING:
    from pathlib import Path

UP = 1
IFDISABLED, AUTO_LINKLOCAL, NO_DAD, DEFAULTIF = 0x8, 0x20, 0x100, 0x8000


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.call("SIOCIFCREATE2", name="ipsec0")
    return driver


def add(driver: Driver, address: str, name: str = "ipsec0", **more: Any) -> int:
    """NEWADDR of `address/prefixlen`; its errno."""
    text, _, prefixlen = address.partition("/")
    family = "inet6" if ":" in text else "inet"
    return driver.errno("NEWADDR", name=name, family=family, address=text, prefixlen=int(prefixlen), **more)


def delete(driver: Driver, family: str, address: str | None = None, name: str = "ipsec0") -> int:
    return driver.errno("DELADDR", name=name, family=family, address=address)


def inet(driver: Driver, name: str = "ipsec0") -> list[str]:
    return [f"{each['address']}/{each['prefixlen']}" for each in driver.interface(name)["inet"]]


def inet6(driver: Driver, name: str = "ipsec0") -> list[str]:
    return [f"{each['address']}/{each['prefixlen']}" for each in driver.interface(name)["inet6"]]


def test_point_to_point(driver: Driver) -> None:
    with pytest.raises(KernelError) as caught:
        driver.call("NEWADDR", name="ipsec0", family="inet", address="10.0.0.1", prefixlen=30)
    assert (caught.value.errno, caught.value.detail) == (EINVAL, "Empty IFA_LOCAL/IFA_ADDRESS")
    assert add(driver, "10.0.0.1/30", peer="0.0.0.0") == EDESTADDRREQ
    assert add(driver, "10.0.0.1/30", peer="2001:db8::1") == EINVAL
    assert not driver.interface("ipsec0")["flags"] & UP
    assert add(driver, "10.0.0.1/30", peer="10.0.0.2") == 0
    interface = driver.interface("ipsec0")
    assert interface["flags"] & UP
    assert interface["inet"] == [{"address": "10.0.0.1", "peer": "10.0.0.2", "prefixlen": 30, "broadcast": None}]


def test_order_and_repetition(driver: Driver) -> None:
    for number in (1, 2, 3):
        assert add(driver, f"10.0.0.{number}/30", peer="10.9.9.9") == 0
    assert add(driver, "10.0.0.1/24", peer="10.9.9.8") == 0  # removed and added again: the last one now
    assert inet(driver) == ["10.0.0.2/30", "10.0.0.3/30", "10.0.0.1/24"]
    assert delete(driver, "inet") == 0  # the first
    assert inet(driver) == ["10.0.0.3/30", "10.0.0.1/24"]
    assert delete(driver, "inet", "10.0.0.2") == EADDRNOTAVAIL
    assert delete(driver, "inet", "10.0.0.1") == 0
    assert delete(driver, "inet") == 0
    assert delete(driver, "inet") == EADDRNOTAVAIL


def test_an_address_brings_up(driver: Driver) -> None:
    assert add(driver, "10.0.0.1/30", peer="10.0.0.2") == 0
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=UP)
    assert inet(driver) == ["10.0.0.1/30"]
    assert add(driver, "10.0.0.5/30", peer="10.0.0.6") == 0
    assert driver.interface("ipsec0")["flags"] & UP


@pytest.mark.parametrize(
    ("address", "more", "broadcast"),
    [
        ("192.0.2.1/24", {}, "192.0.2.255"),
        ("192.0.2.1/30", {}, "192.0.2.3"),
        ("192.0.2.1/31", {}, None),
        ("192.0.2.1/32", {}, None),
        ("192.0.2.1/0", {}, "255.255.255.255"),
        ("192.0.2.1/24", {"broadcast": "192.0.2.0"}, "192.0.2.0"),
        ("192.0.2.1/24", {"peer": "192.0.2.9"}, "192.0.2.255"),
    ],
)
def test_broadcast(driver: Driver, address: str, more: dict[str, Any], broadcast: str | None) -> None:
    assert add(driver, address, "em0", **more) == 0
    [found] = driver.interface("em0")["inet"]
    assert (found["peer"], found["broadcast"]) == (None, broadcast)


@pytest.mark.parametrize("address", ["192.0.2.1/33", "192.0.2.1/-1", "192.0.2/24", "192.0.2.1%em0/24"])
def test_no_inet_address(driver: Driver, address: str) -> None:
    assert add(driver, address, "em0") == EINVAL
    assert not driver.interface("em0")["flags"] & UP


# IPv6


def test_first_address(driver: Driver) -> None:
    assert add(driver, "2001:db8:1::1/64") == 0
    interface = driver.interface("ipsec0")
    assert interface["nd6"] == 0x21
    assert interface["flags"] & UP
    first, second = interface["inet6"]
    assert (first["address"], first["scopeid"], first["flags"]) == ("2001:db8:1::1", 0, [])
    # borrowed from em0; begun when detection was possible, which needs RUNNING
    assert (second["address"], second["scopeid"]) == ("fe80::5a9c:fcff:fe00:2", interface["index"])
    assert second["flags"] == ["tentative"]


def test_detection_needs_running(driver: Driver) -> None:
    add(driver, "2001:db8:1::1/64")
    add(driver, "2001:db8:1::2/64")
    assert [each["flags"] for each in driver.interface("ipsec0")["inet6"]] == [[], ["tentative"], ["tentative"]]
    driver.call("SIOCSIFPHYADDR", name="ipsec0", src="127.0.0.1", dst="192.0.2.1")
    assert [each["flags"] for each in driver.interface("ipsec0")["inet6"]] == [[], [], []]
    driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=IFDISABLED, clear=0)
    assert all(each["flags"] == ["tentative"] for each in driver.interface("ipsec0")["inet6"])
    driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=0, clear=IFDISABLED)
    assert [each["flags"] for each in driver.interface("ipsec0")["inet6"]] == [[], [], []]


@pytest.mark.parametrize("without", ["NO_DAD", "dad_count"])
def test_no_detection(driver: Driver, without: str) -> None:
    if without == "NO_DAD":
        driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=NO_DAD, clear=0)
    else:
        driver.call("SYSCTLSET", name="net.inet6.ip6.dad_count", value=0)
    add(driver, "2001:db8:1::1/64")
    add(driver, "2001:db8:1::2/64")
    assert [each["flags"] for each in driver.interface("ipsec0")["inet6"]] == [[], [], []]


def test_no_automatic_link_local(driver: Driver) -> None:
    driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=0, clear=AUTO_LINKLOCAL)
    add(driver, "2001:db8:1::1/64")
    assert inet6(driver) == ["2001:db8:1::1/64"]
    driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=AUTO_LINKLOCAL, clear=0)
    assert inet6(driver) == ["2001:db8:1::1/64", "fe80::5a9c:fcff:fe00:2/64"]


def test_link_local_when_up(driver: Driver) -> None:
    driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=0, clear=IFDISABLED)
    assert inet6(driver) == []
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=UP, clear=0)
    assert inet6(driver) == ["fe80::5a9c:fcff:fe00:2/64"]
    driver.call("SIOCIFCREATE2", name="lo1")
    driver.call("SIOCSIFFLAGS", name="lo1", set=UP, clear=0)
    assert inet6(driver, "lo1") == ["fe80::1/64"]
    driver.call("SIOCSIFFLAGS", name="em0", set=UP, clear=0)
    assert inet6(driver, "em0") == []  # disabled


def test_a_link_local_address_of_ones_own(driver: Driver) -> None:
    add(driver, "fe80::7/64")
    assert inet6(driver) == ["fe80::7/64"]


def test_nothing_is_replaced(driver: Driver) -> None:
    add(driver, "2001:db8:1::1/64")
    add(driver, "2001:db8:2::1/128")
    assert inet6(driver) == ["2001:db8:1::1/64", "fe80::5a9c:fcff:fe00:2/64", "2001:db8:2::1/128"]
    add(driver, "2001:db8:1::1/64")
    assert len(inet6(driver)) == 3
    assert delete(driver, "inet6", "::") == EADDRNOTAVAIL
    assert delete(driver, "inet6") == EADDRNOTAVAIL
    assert delete(driver, "inet6", "2001:db8:1::1") == 0
    assert delete(driver, "inet6", "2001:db8:1:0::1") == EADDRNOTAVAIL
    assert delete(driver, "inet6", "fe80::5a9c:fcff:fe00:2%em0") == 0  # a zone is the interface's own
    assert inet6(driver) == ["2001:db8:2::1/128"]


def test_later_address_does_not_bring_up(driver: Driver) -> None:
    add(driver, "2001:db8:1::1/64")
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=UP)
    add(driver, "2001:db8:1::2/64")
    assert not driver.interface("ipsec0")["flags"] & UP


@pytest.mark.parametrize(
    ("name", "address", "more", "number"),
    [
        ("ipsec0", "2001:db8::1/0", {}, EINVAL),
        ("ipsec0", "2001:db8::1/129", {}, EINVAL),
        ("ipsec0", "::/64", {}, EINVAL),
        ("ipsec0", "ff02::1/64", {}, EINVAL),
        ("ipsec0", "2001:db8::1/64", {"peer": "2001:db8::2"}, EINVAL),
        ("ipsec0", "2001:db8::1/128", {"peer": "2001:db8::2"}, 0),
        ("ipsec0", "2001:db8::1/64", {"peer": "2001:db8::1"}, 0),
        ("ipsec0", "2001:db8::1/128", {"peer": "10.0.0.1"}, EINVAL),
        ("em0", "2001:db8::1/128", {"peer": "2001:db8::2"}, EINVAL),
        ("ipsec0", "2001:db8::1/64", {"pltime": 10, "vltime": 9}, EINVAL),
        ("ipsec0", "2001:db8::1/64", {"vltime": 9}, EINVAL),
        ("ipsec0", "2001:db8::1/64", {"pltime": 9}, 0),
        ("ipsec0", "2001:db8::1/64", {"pltime": 0xFFFFFFFF, "vltime": 0xFFFFFFFF}, 0),
        ("ipsec0", "2001:db8::1/64", {"flags": ["anycast", "prefer_source"]}, 0),
        ("ipsec0", "2001:db8::1/64", {"flags": ["duplicated"]}, EINVAL),
    ],
)
def test_inet6_address(driver: Driver, name: str, address: str, more: dict[str, Any], number: int) -> None:
    assert add(driver, address, name, **more) == number
    assert bool(driver.interface(name)["inet6"]) == (not number)
    if number:
        assert driver.interface(name)["nd6"] & IFDISABLED


def test_changed_length(driver: Driver) -> None:
    add(driver, "2001:db8::1/64")
    assert add(driver, "2001:db8::1/65") == EINVAL
    assert inet6(driver)[0] == "2001:db8::1/64"


def test_valid_lifetime_zero(driver: Driver) -> None:
    assert add(driver, "2001:db8::1/64", pltime=0, vltime=0) == 0
    assert inet6(driver) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_lifetimes(tmp_path: Path, restarts: bool) -> None:
    driver = Driver(f"{tmp_path}/state.db")
    driver.call("SIOCIFCREATE2", name="ipsec0")
    add(driver, "2001:db8::1/64", pltime=10, vltime=20)
    add(driver, "2001:db8::2/64", flags=["deprecated"])

    def first() -> tuple[Any, ...]:
        found = driver.interface("ipsec0")["inet6"][0]
        return tuple(found[each] for each in ("address", "pltime", "vltime", "pltime_left", "vltime_left", "flags"))

    assert first() == ("2001:db8::1", 10, 20, 10, 20, [])
    driver.advance(9)
    if restarts:
        driver.restart(clean=False)
    assert first() == ("2001:db8::1", 10, 20, 1, 11, [])
    driver.advance(1)
    assert first() == ("2001:db8::1", 10, 20, 0, 10, ["deprecated"])
    add(driver, "2001:db8::1/64", pltime=100, vltime=200)
    assert first() == ("2001:db8::1", 100, 200, 100, 200, [])
    if restarts:
        driver.restart()
    driver.advance(201)
    assert "2001:db8::1/64" not in inet6(driver)
    [deprecated] = [each for each in driver.interface("ipsec0")["inet6"] if each["address"] == "2001:db8::2"]
    assert (deprecated["pltime"], deprecated["vltime"]) == (0, None)
    assert "deprecated" in deprecated["flags"]


def test_default_interface(driver: Driver) -> None:
    driver.call("SIOCSDEFIFACE_IN6", name="ipsec0")
    assert driver.interface("ipsec0")["nd6"] == 0x8029
    driver.call("SIOCSIFINFO_IN6", name="em0", set=DEFAULTIF, clear=0)
    assert driver.interface("em0")["nd6"] == 0x29
    driver.call("SIOCSDEFIFACE_IN6", name="em0")
    assert [driver.interface(name)["nd6"] for name in ("ipsec0", "em0")] == [0x29, 0x8029]
    driver.call("SIOCSDEFIFACE_IN6")
    assert driver.interface("em0")["nd6"] == 0x29


@pytest.mark.parametrize(
    ("name", "value", "nd6"),
    [("accept_rtadv", 1, 0x23), ("auto_linklocal", 0, 0x9), ("no_radr", 1, 0x69)],
)
def test_flags_of_new_interfaces(driver: Driver, name: str, value: int, nd6: int) -> None:
    driver.call("SYSCTLSET", name=f"net.inet6.ip6.{name}", value=value)
    driver.call("SIOCIFCREATE2", name="ipsec1")
    assert driver.interface("ipsec1")["nd6"] == nd6
