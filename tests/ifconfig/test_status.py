"""Status text, byte for byte, from interface dicts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ifconfig.harness import ETHERNET, FakeDoor, install, interface, ok, run

TUNNEL = {"family": "inet", "src": "192.0.2.1", "dst": "198.51.100.1"}
INNER = {"address": "10.0.0.1", "peer": "10.0.0.2", "prefixlen": 30, "broadcast": None}


def inet6(address: str, prefixlen: int = 64, **more: Any) -> dict[str, Any]:
    lifetimes = dict.fromkeys(("pltime", "vltime", "pltime_left", "vltime_left"))
    return {"address": address, "peer": None, "prefixlen": prefixlen, "flags": [], "scopeid": 0, **lifetimes, **more}


EVERYTHING = interface(
    "vpn0",
    index=5,
    flags=0x1008051,
    metric=5,
    mtu=1350,
    description="to branch office",
    tunnel=TUNNEL,
    inet=[INNER],
    inet6=[inet6("2001:db8:1::1"), inet6("fe80::5054:ff:fe12:3456", scopeid=5)],
    groups=["all", "ipsec", "vpn"],
    reqid=100,
    fib=1,
    tunnelfib=2,
    drivername="ipsec0",
)


def test_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(EVERYTHING))
    text = """\
vpn0: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 5 mtu 1350
	description: to branch office
	options=0
	tunnel inet 192.0.2.1 --> 198.51.100.1
	inet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc
	inet6 2001:db8:1::1 prefixlen 64
	inet6 fe80::5054:ff:fe12:3456%vpn0 prefixlen 64 scopeid 0x5
	groups: ipsec vpn
	reqid: 100
	fib: 1
	tunnelfib: 2
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
"""
    assert run("ifconfig vpn0") == ok(text)
    assert run("ifconfig") == ok(text)
    assert run("ifconfig -D vpn0") == run("ifconfig -v vpn0") == ok(text + "\tdrivername: ipsec0\n")
    assert run("ifconfig -m vpn0") == ok(text.replace("options=0\n", "options=0\n\tcapabilities=0\n", 1))


def test_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(EVERYTHING, ETHERNET))
    assert run("ifconfig vpn0 inet") == ok("""\
vpn0: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 5 mtu 1350
	description: to branch office
	options=0
	tunnel inet 192.0.2.1 --> 198.51.100.1
	inet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc
""")
    assert run("ifconfig -mD vpn0 inet6") == ok("""\
vpn0: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 5 mtu 1350
	description: to branch office
	options=0
	capabilities=0
	tunnel inet 192.0.2.1 --> 198.51.100.1
	inet6 2001:db8:1::1 prefixlen 64
	inet6 fe80::5054:ff:fe12:3456%vpn0 prefixlen 64 scopeid 0x5
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
	drivername: ipsec0
""")
    assert run("ifconfig -a ether") == ok("""\
em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
	options=0
	ether 52:54:00:12:34:56
""")


def test_ethernet(monkeypatch: pytest.MonkeyPatch) -> None:
    inet = {"address": "192.0.2.1", "peer": None, "prefixlen": 24, "broadcast": "192.0.2.255"}
    install(monkeypatch, FakeDoor({**ETHERNET, "inet": [inet]}))
    text = """\
em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
	options=0
	ether 52:54:00:12:34:56
	inet 192.0.2.1 netmask 0xffffff00 broadcast 192.0.2.255
	media: Ethernet autoselect (1000baseT <full-duplex>)
	status: active
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
"""
    assert run("ifconfig em0") == ok(text)
    assert run("ifconfig -f cidr em0").out.splitlines()[3] == "\tinet 192.0.2.1/24 broadcast 192.0.2.255"
    assert "\tstatus: active\n\tsupported media:\n\t\tmedia autoselect\n\tnd6" in run("ifconfig -m em0").out


def test_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(interface("bridge0", reqid=None, members=["em0", "em1"], groups=["all", "bridge"])))
    assert run("ifconfig bridge0").out.splitlines()[2:5] == [
        "\tmember: em0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>",
        "\tmember: em1 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>",
        "\tgroups: bridge",
    ]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "0"),
        (0x8010, "8010<POINTOPOINT,MULTICAST>"),
        (0x1008011, "1008011<UP,POINTOPOINT,MULTICAST,LOWER_UP>"),
        (0x8050, "8050<POINTOPOINT,RUNNING,MULTICAST>"),
        (0x1009055, "1009055<UP,DEBUG,POINTOPOINT,RUNNING,LINK0,MULTICAST,LOWER_UP>"),
        (0x1028151, "1028151<UP,POINTOPOINT,RUNNING,PROMISC,MULTICAST,PPROMISC,LOWER_UP>"),
        (0x1048051, "1048051<UP,POINTOPOINT,RUNNING,MULTICAST,MONITOR,LOWER_UP>"),
        (0x1008049, "1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP>"),
        (0x6E0, "6e0<NEEDSEPOCH,RUNNING,NOARP,ALLMULTI,DRV_OACTIVE>"),
        (0x86E000, "86e000<LINK1,LINK2,MULTICAST,PPROMISC,MONITOR,PALLMULTI>"),
        (0x780000, "780000<STATICARP,STICKYARP,DYING,RENAMING>"),
        (0x82000000, "82000000<IFF_25,IFF_31>"),
    ],
)
def test_flags(monkeypatch: pytest.MonkeyPatch, flags: int, text: str) -> None:
    install(monkeypatch, FakeDoor(interface(flags=flags)))
    assert run("ifconfig ipsec0").out.splitlines()[0] == f"ipsec0: flags={text} metric 0 mtu 1400"


@pytest.mark.parametrize(
    ("nd6", "line"),
    [
        (None, None),
        (0, None),
        (0x21, "21<PERFORMNUD,AUTO_LINKLOCAL>"),
        (0x23, "23<PERFORMNUD,ACCEPT_RTADV,AUTO_LINKLOCAL>"),
        (0x8029, "8029<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL,DEFAULTIF>"),
        (0x121, "121<PERFORMNUD,AUTO_LINKLOCAL,NO_DAD>"),
        (0x6D4, "6d4<PREFER_SOURCE,DONT_SET_IFROUTE,NO_RADR,NO_PREFER_IFACE,IPV6_ONLY,IPV6_ONLY_MANUAL>"),
        (0x1000, "1000<>"),
    ],
)
def test_nd6(monkeypatch: pytest.MonkeyPatch, nd6: int | None, line: str | None) -> None:
    install(monkeypatch, FakeDoor(interface(nd6=nd6)))
    last = run("ifconfig ipsec0").out.splitlines()[-1]
    assert last == ("\treqid: 0" if line is None else f"\tnd6 options={line}")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (0, "0"),
        (0x680003, "680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>"),
        (0x20000, "20000<>"),
        (0x4000009B, "4000009b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM,VXLAN_HWTSO>"),
    ],
)
def test_options(monkeypatch: pytest.MonkeyPatch, options: int, text: str) -> None:
    install(monkeypatch, FakeDoor(interface(options=options, capabilities=options)))
    assert run("ifconfig -m ipsec0").out.splitlines()[1:3] == [f"\toptions={text}", f"\tcapabilities={text}"]


@pytest.mark.parametrize(
    ("groups", "line"),
    [(["all"], None), (["all", "ipsec"], "\tgroups: ipsec"), (["a", "all", "b"], "\tgroups: a b"), ([], None)],
)
def test_groups(monkeypatch: pytest.MonkeyPatch, groups: list[str], line: str | None) -> None:
    install(monkeypatch, FakeDoor(interface(groups=groups)))
    assert [each for each in run("ifconfig ipsec0").out.splitlines() if "groups" in each] == ([line] if line else [])


@pytest.mark.parametrize(
    ("prefixlen", "mask"), [(0, "0x0"), (8, "0xff000000"), (30, "0xfffffffc"), (32, "0xffffffff"), (1, "0x80000000")]
)
def test_netmask(monkeypatch: pytest.MonkeyPatch, prefixlen: int, mask: str) -> None:
    install(monkeypatch, FakeDoor(interface(inet=[{**INNER, "prefixlen": prefixlen}])))
    assert f"\tinet 10.0.0.1 --> 10.0.0.2 netmask {mask}\n" in run("ifconfig ipsec0").out
    dotted = ".".join(str(int(mask, 16) >> shift & 255) for shift in (24, 16, 8, 0))
    assert f"\tinet 10.0.0.1 --> 10.0.0.2 netmask {dotted}\n" in run("ifconfig -f inet:dotted ipsec0").out


@pytest.mark.parametrize(
    ("address", "line", "cidr"),
    [
        (inet6("2001:db8::1"), "inet6 2001:db8::1 prefixlen 64", "inet6 2001:db8::1/64"),
        (
            inet6("2001:db8:1::1", 128, peer="2001:db8:1::2"),
            "inet6 2001:db8:1::1 --> 2001:db8:1::2 prefixlen 128",
            "inet6 2001:db8:1::1 --> 2001:db8:1::2/128",
        ),
        (
            inet6("fe80::1", flags=["tentative"], scopeid=26),
            "inet6 fe80::1%ipsec0 prefixlen 64 tentative scopeid 0x1a",
            "inet6 fe80::1%ipsec0/64 tentative scopeid 0x1a",
        ),
        (
            inet6("::1", flags=["prefer_source", "temporary", "autoconf", "deprecated", "detached", "duplicated"]),
            "inet6 ::1 prefixlen 64 duplicated detached deprecated autoconf temporary prefer_source",
            "inet6 ::1/64 duplicated detached deprecated autoconf temporary prefer_source",
        ),
        (
            inet6("::1", pltime=60, vltime=120, pltime_left=50, vltime_left=110),
            "inet6 ::1 prefixlen 64 pltime 60 vltime 120",
            "inet6 ::1/64 pltime 60 vltime 120",
        ),
        (
            inet6("fe80::1", pltime=60, pltime_left=50, scopeid=3),
            "inet6 fe80::1%ipsec0 prefixlen 64 scopeid 0x3 pltime 60 vltime 0",
            "inet6 fe80::1%ipsec0/64 scopeid 0x3 pltime 60 vltime 0",
        ),
    ],
)
def test_inet6(monkeypatch: pytest.MonkeyPatch, address: dict[str, Any], line: str, cidr: str) -> None:
    install(monkeypatch, FakeDoor(interface(inet6=[address])))
    assert run("ifconfig ipsec0").out.splitlines()[2] == f"\t{line}"
    assert run("ifconfig -f inet6:cidr ipsec0").out.splitlines()[2] == f"\t{cidr}"


def test_remaining_lifetimes(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [inet6("::1", pltime=60, vltime=120, pltime_left=50, vltime_left=110), inet6("::2")]
    install(monkeypatch, FakeDoor(interface(inet6=entries)))
    assert run("ifconfig -L ipsec0").out.splitlines()[2:4] == [
        "\tinet6 ::1 prefixlen 64 pltime 50 vltime 110",
        "\tinet6 ::2 prefixlen 64",
    ]


def test_inet6_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = {"family": "inet6", "src": "fe80::1%em0", "dst": "fe80::2%em0"}
    install(monkeypatch, FakeDoor(interface(tunnel=tunnel)))
    assert run("ifconfig ipsec0").out.splitlines()[2] == "\ttunnel inet6 fe80::1%em0 --> fe80::2%em0"


def test_a_linux_address_without_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(interface(inet=[{**INNER, "peer": None}])))
    assert run("ifconfig ipsec0").out.splitlines()[2] == "\tinet 10.0.0.1 --> 10.0.0.1 netmask 0xfffffffc"


def test_all_interfaces_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(interface(), interface("ipsec1")))
    assert run("ifconfig -a").out == run("ifconfig ipsec0").out + run("ifconfig ipsec1").out


def test_bytes_come_out_as_they_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A description need not be text in any encoding."""
    import io
    import sys

    install(monkeypatch, FakeDoor(interface(description="caf\udce9 \u20ac")))
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    from ipsectools.commands.ifconfig.main import main

    assert main(["ipsec0"]) == 0
    sys.stdout.flush()
    assert b"\tdescription: caf\xe9 \xe2\x82\xac\n" in raw.getvalue()
