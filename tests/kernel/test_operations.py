"""The operations of the control door: what they refuse, in FreeBSD's numbers, and what they change."""

from __future__ import annotations

from typing import Any

import pytest

from ipsectools import errno
from ipsectools.errno import EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENOSPC, ENXIO, EPERM, KernelError
from ipsectools.kernel.control import OPERATIONS

from .driver import Driver

UP, DEBUG, POINTOPOINT, RUNNING, MULTICAST, LOWER_UP = 0x1, 0x4, 0x10, 0x40, 0x8000, 0x1000000


@pytest.fixture
def driver() -> Driver:
    """em0 has an address, ipsec0 is there."""
    driver = Driver()
    driver.call("NEWADDR", name="em0", family="inet", address="192.168.0.3", prefixlen=24)
    driver.call("SIOCIFCREATE2", name="ipsec0")
    return driver


# creation


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ipsec0", EEXIST),
        ("ipsec32768", ENOSPC),
        ("ipsec2147483647", ENOSPC),
        ("ipsec2147483648", EINVAL),
        ("ipsec99999999999", EINVAL),
        ("ipsec01", EINVAL),
        ("ipsec00", EINVAL),
        ("ipsecx", EINVAL),
        ("ipsec0x", EINVAL),
        ("ipsec0 ", EINVAL),
        ("ipsec-1", EINVAL),
        ("ipsec\u0661", EINVAL),
        ("IPSEC1", EINVAL),
        ("foo0", EINVAL),
        ("", EINVAL),
        ("0", EINVAL),
        ("lo0", EEXIST),
        ("epair0a", EINVAL),
        ("ipsec32767", 0),
        ("lo7", 0),
        ("epair7", 0),
        ("bridge7", 0),
        ("tun7", 0),
    ],
)
def test_create(driver: Driver, name: str, number: int) -> None:
    before = driver.names()
    assert driver.errno("SIOCIFCREATE2", name=name) == number
    assert (driver.names() == before) == bool(number)


def test_units(driver: Driver) -> None:
    create = "SIOCIFCREATE2"
    assert driver.call(create, name="ipsec2") == "ipsec2"
    assert [driver.call(create, name="ipsec") for _ in range(3)] == ["ipsec1", "ipsec3", "ipsec4"]
    driver.call("SIOCIFDESTROY", name="ipsec1")
    driver.call("SIOCSIFNAME", name="ipsec0", new="vpn0")
    assert driver.errno(create, name="ipsec0") == EEXIST  # a renamed clone holds its unit
    assert driver.call(create, name="ipsec") == "ipsec1"
    driver.call("SIOCIFDESTROY", name="vpn0")
    driver.call("SIOCSIFNAME", name="ipsec3", new="ipsec0")
    assert driver.errno(create, name="ipsec0") == EEXIST  # a name in use, though the unit is free
    assert driver.call(create, name="ipsec") == "ipsec5"
    assert driver.names() == ["lo0", "em0", "ipsec2", "ipsec0", "ipsec4", "ipsec1", "ipsec5"]


def test_a_new_interface(driver: Driver) -> None:
    driver.call("SYSCTLSET", name="net.fibs", value=4)
    driver.call("SIOCIFCREATE2", name="ipsec1", fib=2)
    interface = driver.interface("ipsec1")
    assert interface == {
        "name": "ipsec1",
        "index": 4,
        "flags": POINTOPOINT | MULTICAST,
        "mtu": 1400,
        "metric": 0,
        "description": "",
        "options": 0,
        "capabilities": 0,
        "iftype": "tunnel",
        "lladdr": None,
        "groups": ["all", "ipsec"],
        "tunnel": None,
        "reqid": 0,
        "fib": 0,
        "tunnelfib": 2,
        "nd6": 0x29,
        "inet": [],
        "inet6": [],
        "media": None,
        "status": None,
        "drivername": "ipsec1",
        "statistics": dict.fromkeys(("ipackets", "ibytes", "ierrors", "opackets", "obytes", "oerrors"), 0),
        "cloner": "ipsec",
        "members": None,
        "trouble": None,
    }
    assert driver.errno("SIOCIFCREATE2", name="ipsec", fib=4) == EINVAL


@pytest.mark.parametrize(
    ("name", "flags", "mtu", "nd6", "options", "iftype"),
    [
        ("lo1", 0x8008, 16384, 0x21, 0x680003, "loop"),
        ("bridge0", 0x8802, 1500, 0x9, 0, "bridge"),
        ("epair0", 0x1008842, 1500, 0x29, 0x8, "ether"),
        ("tun0", 0x8010, 1500, 0x29, 0x80000, "tunnel"),
    ],
)
def test_other_cloners(driver: Driver, name: str, flags: int, mtu: int, nd6: int, options: int, iftype: str) -> None:
    given = driver.call("SIOCIFCREATE2", name=name)
    assert given == ("epair0a" if name == "epair0" else name)
    interface = driver.interface(given)
    found = tuple(interface[each] for each in ("flags", "mtu", "nd6", "options", "iftype"))
    assert found == (flags, mtu, nd6, options, iftype)
    assert interface["groups"] == ["all", name.rstrip("0123456789")]
    assert interface["reqid"] is None
    driver.call("SIOCIFDESTROY", name=given)
    assert driver.names() == ["lo0", "em0", "ipsec0"]


def test_epair(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="epair")
    assert driver.names()[3:] == ["epair0a", "epair0b"]
    assert driver.interface("epair0b")["media"] == "Ethernet 10Gbase-T (10Gbase-T <full-duplex>)"
    assert driver.errno("SIOCIFCREATE2", name="epair0") == EEXIST
    driver.call("SIOCSIFNAME", name="epair0a", new="left")
    driver.call("SIOCIFDESTROY", name="epair0b")
    assert driver.names() == ["lo0", "em0", "ipsec0"]


@pytest.mark.parametrize(("name", "number"), [("lo0", EINVAL), ("em0", EINVAL), ("ipsec1", ENXIO), ("ipsec0", 0)])
def test_destroy(driver: Driver, name: str, number: int) -> None:
    assert driver.errno("SIOCIFDESTROY", name=name) == number
    assert ("ipsec0" in driver.names()) == bool(number)


def test_cloners(driver: Driver) -> None:
    assert driver.call("SIOCIFGCLONERS") == ["ipsec", "tun", "epair", "bridge", "lo"]


# flags, MTU, names


def test_flags(driver: Driver) -> None:
    def flags() -> int:
        found = driver.interface("ipsec0")["flags"]
        assert isinstance(found, int)
        return found

    driver.call("SIOCSIFFLAGS", name="ipsec0", set=UP, clear=0)
    assert flags() == 0x1008011
    driver.call("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
    assert flags() == 0x1008051
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=DEBUG | 0x1000, clear=0)
    assert flags() == 0x1009055
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0x20000, clear=DEBUG | 0x1000)
    assert flags() == 0x1028151
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0x40000, clear=0x20000)
    assert flags() == 0x1048051
    driver.call(
        "SIOCSIFFLAGS", name="ipsec0", set=0xFF10FFFF & ~0xFF | 0x2, clear=0
    )  # what nobody may set is left alone
    assert flags() & 0x2 == 0
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=0xFFFFFFFF)
    assert flags() == 0x8050


@pytest.mark.parametrize("name", ["ipsec0", "em0", "lo0"])
@pytest.mark.parametrize("mtu", [-1, 0, 67, 71, 72, 1279, 1280, 1500, 8192, 8193, 65535, 65536, 70000])
def test_mtu(driver: Driver, name: str, mtu: int) -> None:
    most = {"ipsec0": 8192, "em0": 9216, "lo0": 65535}[name]
    accepted = (1280 if name == "ipsec0" else 72) <= mtu <= most
    assert driver.errno("SIOCSIFMTU", name=name, value=mtu) == (0 if accepted else EINVAL)
    assert (driver.interface(name)["mtu"] == mtu) == accepted


@pytest.mark.parametrize(
    ("new", "number"),
    [
        ("vpn0", 0),
        ("ipsec0", 0),
        ("", EINVAL),
        ("em0", EEXIST),
        ("a" * 15, 0),
        ("a" * 16, ENAMETOOLONG),
        ("\u00e4" * 8, ENAMETOOLONG),
        ("a/b", EINVAL),
        ("a b", EINVAL),
        ("a\nb", EINVAL),
        ("a:b", EINVAL),
        ("..", EINVAL),
        ("\udcff", EINVAL),
    ],
)
def test_rename(driver: Driver, new: str, number: int) -> None:
    assert driver.errno("SIOCSIFNAME", name="ipsec0", new=new) == number
    if not number:
        assert driver.names() == ["lo0", "em0", new]
        assert driver.interface(new)["drivername"] == "ipsec0"


@pytest.mark.parametrize(
    ("text", "number"), [("to B", 0), ("x" * 1023, 0), ("x" * 1024, ENAMETOOLONG), ("\udcff\u00e4\n", 0), ("", 0)]
)
def test_description(driver: Driver, text: str, number: int) -> None:
    driver.call("SIOCSIFDESCR", name="ipsec0", text="before")
    assert driver.errno("SIOCSIFDESCR", name="ipsec0", text=text) == number
    assert driver.interface("ipsec0")["description"] == ("before" if number else text)


@pytest.mark.parametrize(
    ("group", "number"),
    [
        ("vpn", 0),
        ("a" * 15, 0),
        ("a" * 16, EINVAL),
        ("vpn1", EINVAL),
        ("", EINVAL),
        ("ipsec", EEXIST),
        ("\udcff", EINVAL),
    ],
)
def test_join_group(driver: Driver, group: str, number: int) -> None:
    assert driver.errno("SIOCAIFGROUP", name="ipsec0", group=group) == number


def test_groups(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec1")
    for name in ("ipsec1", "em0", "ipsec0"):
        driver.call("SIOCAIFGROUP", name=name, group="vpn")
    assert driver.call("SIOCGIFGMEMB", group="vpn") == ["ipsec1", "em0", "ipsec0"]
    assert driver.call("SIOCGIFGMEMB", group="nobody") == []
    assert driver.errno("SIOCDIFGROUP", name="lo0", group="vpn") == ENOENT
    driver.call("SIOCDIFGROUP", name="ipsec0", group="ipsec")
    assert driver.interface("ipsec0")["groups"] == ["all", "vpn"]
    driver.call("SIOCIFDESTROY", name="ipsec1")
    assert driver.call("SIOCGIFGMEMB", group="vpn") == ["em0", "ipsec0"]
    assert driver.call("SIOCGIFGMEMB", group="all") == ["lo0", "em0", "ipsec0"]


def test_fibs(driver: Driver) -> None:
    assert driver.errno("SIOCSIFFIB", name="ipsec0", fib=1) == EINVAL
    assert driver.errno("SIOCSTUNFIB", name="ipsec0", fib=1) == EINVAL
    driver.call("SYSCTLSET", name="net.fibs", value=3)
    assert driver.errno("SIOCSIFFIB", name="ipsec0", fib=2) == 0
    assert driver.errno("SIOCSTUNFIB", name="ipsec0", fib=1) == 0
    assert driver.errno("SIOCSTUNFIB", name="ipsec0", fib=3) == EINVAL
    assert driver.errno("SIOCSTUNFIB", name="em0", fib=1) == EINVAL
    assert driver.errno("SIOCSIFFIB", name="em0", fib=1) == 0
    assert [driver.interface("ipsec0")[each] for each in ("fib", "tunnelfib")] == [2, 1]


def test_link_address(driver: Driver) -> None:
    address = "02:00:00:00:00:01"
    assert driver.errno("SIOCSIFLLADDR", name="em0", address=address) == 0
    assert driver.interface("em0")["lladdr"] == address
    for text in ("", "02:00:00:00:00", address + ":01", "02:00:00:00:00:0g", "\u0661"):
        assert driver.errno("SIOCSIFLLADDR", name="em0", address=text) == EINVAL
    for name in ("ipsec0", "lo0"):
        assert driver.errno("SIOCSIFLLADDR", name=name, address=address) == EINVAL


def test_capabilities(driver: Driver) -> None:
    assert driver.errno("SIOCSIFCAP", name="lo0", value=0x80000) == 0
    assert driver.interface("lo0")["options"] == 0x80000
    assert driver.errno("SIOCSIFCAP", name="lo0", value=0x4) == EINVAL
    assert driver.errno("SIOCSIFCAP", name="ipsec0", value=0x1) == EINVAL


def test_bridge(driver: Driver) -> None:
    for name in ("bridge0", "bridge1", "epair0"):
        driver.call("SIOCIFCREATE2", name=name)
    assert driver.errno("BRDGADD", name="bridge0", member="epair0a") == 0
    assert driver.errno("BRDGADD", name="bridge0", member="em0") == 0
    assert driver.interface("bridge0")["members"] == ["em0", "epair0a"]
    assert driver.errno("BRDGADD", name="bridge0", member="em0") == EEXIST
    assert driver.errno("BRDGADD", name="bridge1", member="em0") == errno.EBUSY
    assert driver.errno("BRDGADD", name="bridge0", member="nobody") == ENOENT
    assert driver.errno("BRDGADD", name="bridge0", member="ipsec0") == EINVAL
    assert driver.errno("BRDGADD", name="em0", member="epair0b") == EINVAL
    assert driver.errno("BRDGDEL", name="bridge1", member="em0") == ENOENT
    assert driver.errno("BRDGDEL", name="bridge0", member="em0") == 0
    driver.call("SIOCIFDESTROY", name="epair0a")
    assert driver.interface("bridge0")["members"] == []


def test_vnet_that_is_not_there(driver: Driver) -> None:
    assert driver.errno("SIOCSIFVNET", name="ipsec0", vnet="blue") == ENXIO
    assert driver.errno("SIOCSIFRVNET", name="ipsec1", vnet="blue") == ENXIO
    assert driver.errno("SIOCSIFRVNET", name="ipsec0", vnet="blue") == EEXIST


# who may, and nonsense

READING = {"LISTIF", "SIOCIFGCLONERS", "SIOCGIFGMEMB", "SYSCTLLIST", "SYSCTLGET", "STATISTICS", "OUTBOUND", "KLDSTAT"}


@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_privilege(driver: Driver, op: str) -> None:
    """EPERM comes before anything else is looked at."""
    try:
        driver.kernel.control(op, {"nonsense": 1}, driver.now, False)
        raise AssertionError
    except KernelError as error:
        assert error.errno == (EINVAL if op in READING else EPERM)


NONSENSE: list[Any] = [
    None,
    0,
    -1,
    1.5,
    True,
    1 << 70,
    "",
    "x" * 300,
    "a\0b",
    "\ud800",
    b"em0",
    [],
    {},
    ["x"],
    [None],
    {"a": 1},
]


@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_nonsense(driver: Driver, op: str) -> None:
    """Whatever a client sends is answered with an errno, and changes nothing."""
    names = OPERATIONS[op]._checks
    good = {
        "name": "ipsec0", "new": "vpn0", "text": "x", "value": 1300, "set": 4, "clear": 0, "group": "vpn", "fib": 0,
        "src": "10.0.0.1", "dst": "10.0.0.2", "reqid": 5, "family": "inet", "address": "10.0.0.1", "prefixlen": 24,
        "peer": "10.0.0.2", "member": "em0", "vnet": "blue",
    }  # fmt: skip
    for bad in NONSENSE:
        for name in names:
            before = driver.call("LISTIF")
            args = {each: good.get(each) for each in names} | {name: bad}
            number = driver.errno(op, **args)
            if bad in ("", None, 0, -1, [], "x" * 300) or (isinstance(bad, list) and name == "flags"):
                continue  # may be right somewhere
            assert number, (op, args)
            assert driver.call("LISTIF") == before, (op, args)
        for args in (bad, {"more": bad}, {"name": "ipsec0", "more": bad}):
            if args == {} or op in ("LISTIF", "SYSCTLLIST"):
                continue
            with pytest.raises(KernelError):
                driver.kernel.control(op, args, driver.now)


@pytest.mark.parametrize("op", [None, 0, "", "SIOCNONSENSE", "listif", [], {}, ("LISTIF",)])
def test_no_such_operation(driver: Driver, op: Any) -> None:
    with pytest.raises(KernelError) as caught:
        driver.kernel.control(op, {}, driver.now)
    assert caught.value.errno == EINVAL


def test_no_such_interface(driver: Driver) -> None:
    assert driver.call("LISTIF", name="ipsec9") == []
    for op, operation in OPERATIONS.items():
        if op in READING or "name" not in operation._checks or op.startswith("SYSCTL"):
            continue
        args: dict[str, Any] = {
            "name": "i" * 40, "new": "vpn0", "text": "x", "value": 1300, "set": 4, "clear": 0, "group": "vpn", "fib": 0,
            "src": "10.0.0.1", "dst": "10.0.0.2", "reqid": 5, "family": "inet", "address": "10.0.0.1", "prefixlen": 24,
            "member": "em0", "vnet": "blue",
        }  # fmt: skip
        number = driver.errno(op, **{each: args.get(each) for each in operation._checks})
        assert number == (EINVAL if op in ("SIOCIFCREATE2", "SIOCSDEFIFACE_IN6") else ENXIO), op
