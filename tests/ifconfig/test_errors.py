"""What ifconfig says about every errno of every operation, row by row.

The errors that a kernel gives only in a race, or to somebody else than root, come from a door that fails as told;
`test_kernel_errors.py` has those that a simulated host gives by itself.
"""

from __future__ import annotations

import pytest

from ipsectools.daemon import client
from ipsectools.errno import (
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EDESTADDRREQ,
    EEXIST,
    EINVAL,
    ENAMETOOLONG,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENXIO,
    EPERM,
    KernelError,
    strerror,
)
from tests.ifconfig.harness import ETHERNET, FakeDoor, failed, install, interface, ok, run, warned


def refuse(door: FakeDoor, op: str, number: int, detail: str = "") -> None:
    door.errors[op] = KernelError(number, detail)


@pytest.mark.parametrize("number", [EINVAL, ENOSPC, EPERM, ENOMEM])
def test_create(door: FakeDoor, number: int) -> None:
    refuse(door, "SIOCIFCREATE2", number)
    assert run("ifconfig ipsec7 create") == failed(f"SIOCIFCREATE2 (ipsec7): {strerror(number)}")


def test_create_lost_the_race(door: FakeDoor) -> None:
    refuse(door, "SIOCIFCREATE2", EEXIST)
    assert run("ifconfig ipsec7 create up") == failed("interface ipsec7 already exists")


@pytest.mark.parametrize("word", ["destroy", "unplumb"])
@pytest.mark.parametrize("number", [EINVAL, EPERM, ENXIO])
def test_destroy(door: FakeDoor, word: str, number: int) -> None:
    refuse(door, "SIOCIFDESTROY", number)
    assert run(f"ifconfig ipsec0 {word}") == failed(f"SIOCIFDESTROY: {strerror(number)}")


@pytest.mark.parametrize(
    "word",
    "up down arp -arp debug -debug promisc -promisc allmulti -allmulti link0 -link0 link1 -link1 link2 -link2 normal "  # noqa: SIM905
    "compress noicmp monitor -monitor staticarp -staticarp stickyarp -stickyarp".split(),
)
def test_flags(door: FakeDoor, word: str) -> None:
    refuse(door, "SIOCSIFFLAGS", EPERM)
    assert run(f"ifconfig ipsec0 {word}") == failed(f"{word}: permission denied")
    refuse(door, "SIOCSIFFLAGS", ENXIO)
    assert run(f"ifconfig ipsec0 {word}") == failed("ioctl (SIOCGIFFLAGS): no such interface")
    refuse(door, "SIOCSIFFLAGS", EINVAL)
    assert run(f"ifconfig ipsec0 {word}") == failed(f"{word}: Invalid argument")


@pytest.mark.parametrize(
    ("words", "op", "text"),
    [
        ("mtu 5", "SIOCSIFMTU", "ioctl SIOCSIFMTU (set mtu)"),
        ("metric 5", "SIOCSIFMETRIC", "ioctl SIOCSIFMETRIC (set metric)"),
        ("name new", "SIOCSIFNAME", "ioctl SIOCSIFNAME (set name)"),
        ("descr text", "SIOCSIFDESCR", "ioctl SIOCSIFDESCR (set descr)"),
        ("description text", "SIOCSIFDESCR", "ioctl SIOCSIFDESCR (set descr)"),
        ("-descr", "SIOCSIFDESCR", "ioctl SIOCSIFDESCR (set descr)"),
        ("group g", "SIOCAIFGROUP", " SIOCAIFGROUP"),
        ("-group g", "SIOCDIFGROUP", "SIOCDIFGROUP"),
        ("-tunnel", "SIOCDIFPHYADDR", "SIOCDIFPHYADDR"),
        ("deletetunnel", "SIOCDIFPHYADDR", "SIOCDIFPHYADDR"),
        ("vnet 12", "SIOCSIFVNET", "SIOCSIFVNET"),
        ("-vnet 12", "SIOCSIFRVNET", "SIOCSIFRVNET(12, ipsec0)"),
        ("addm em0", "BRDGADD", "BRDGADD em0"),
        ("deletem em0", "BRDGDEL", "BRDGDEL em0"),
    ],
)
@pytest.mark.parametrize("number", [EINVAL, EPERM, ENXIO, ENAMETOOLONG])
def test_fatal_settings(door: FakeDoor, words: str, op: str, text: str, number: int) -> None:
    refuse(door, op, number)
    assert run(f"ifconfig ipsec0 {words} up") == failed(f"{text}: {strerror(number)}")
    assert not door.asked("SIOCSIFFLAGS")


def test_group_membership_is_no_error(door: FakeDoor) -> None:
    refuse(door, "SIOCAIFGROUP", EEXIST)
    assert run("ifconfig ipsec0 group vpn up") == ok()
    refuse(door, "SIOCDIFGROUP", ENOENT)
    assert run("ifconfig ipsec0 -group vpn up") == ok()
    assert len(door.asked("SIOCSIFFLAGS")) == 2


@pytest.mark.parametrize(("sign", "routine"), [("", "setifgroup"), ("-", "unsetifgroup")])
def test_group_names(door: FakeDoor, sign: str, routine: str) -> None:
    assert run(f"ifconfig ipsec0 {sign}group vpn1") == failed(f"{routine}: group names may not end in a digit")
    assert run(f"ifconfig ipsec0 {sign}group {'g' * 16}") == failed(f"{routine}: group name too long")
    assert run(f"ifconfig ipsec0 {sign}group {'g' * 15}9") == failed(f"{routine}: group names may not end in a digit")
    assert run(f"ifconfig ipsec0 {sign}group {'ü' * 8}") == failed(f"{routine}: group name too long")
    assert run(f"ifconfig ipsec0 {sign}group {'g' * 15}") == ok()
    assert len(door.calls) == 1


@pytest.mark.parametrize(
    ("words", "op", "text"),
    [
        ("fib 9", "SIOCSIFFIB", "ioctl (SIOCSIFFIB)"),
        ("tunnelfib 9", "SIOCSTUNFIB", "ioctl (SIOCSTUNFIB)"),
        ("tunnel 192.0.2.1 192.0.2.2", "SIOCSIFPHYADDR", "SIOCSIFPHYADDR"),
        ("inet tunnel 192.0.2.1 192.0.2.2", "SIOCSIFPHYADDR", "SIOCSIFPHYADDR"),
        ("inet6 tunnel 2001:db8::1 2001:db8::2", "SIOCSIFPHYADDR_IN6", "SIOCSIFPHYADDR_IN6"),
        ("reqid 100", "IPSECSREQID", "ioctl(IPSECSREQID)"),
        ("inet6 no_dad", "SIOCSIFINFO_IN6", "ioctl(SIOCSIFINFO_IN6)"),
        ("inet6 -ifdisabled", "SIOCSIFINFO_IN6", "ioctl(SIOCSIFINFO_IN6)"),
        ("inet6 defaultif", "SIOCSDEFIFACE_IN6", "ioctl(SIOCSDEFIFACE_IN6)"),
    ],
)
@pytest.mark.parametrize("number", [EINVAL, EPERM, EEXIST, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ENOMEM])
def test_warnings_let_the_rest_happen(door: FakeDoor, words: str, op: str, text: str, number: int) -> None:
    refuse(door, op, number)
    assert run(f"ifconfig ipsec0 {words} mtu 1300") == warned(f"{text}: {strerror(number)}")
    assert door.asked("SIOCSIFMTU") == [{"name": "ipsec0", "value": 1300}]


def test_nd6_of_an_interface_that_went_away(door: FakeDoor) -> None:
    refuse(door, "SIOCSIFINFO_IN6", ENXIO)
    assert run("ifconfig ipsec0 inet6 nud") == warned("ioctl(SIOCGIFINFO_IN6): Device not configured")


def test_nd6_needs_inet6(door: FakeDoor) -> None:
    for word in ("ifdisabled", "-ifdisabled", "accept_rtadv", "no_dad", "auto_linklocal", "no_radr", "-nud"):
        assert run(f"ifconfig ipsec0 {word}") == warned("ioctl(SIOCGIFINFO_IN6): Invalid argument")
    assert run("ifconfig ipsec0 defaultif") == warned("ioctl(SIOCSDEFIFACE_IN6): Invalid argument")
    assert door.calls == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("tunnel nowhere.example 192.0.2.2", "error in parsing address string: Name does not resolve"),
        ("tunnel 192.0.2.2 nowhere.example", "error in parsing address string: Name does not resolve"),
        ("tunnel 2001:db8::1%em9 2001:db8::2", "error in parsing address string: Name does not resolve"),
        ("inet6 tunnel fe80::1%em9 fe80::2%em9", "error in parsing address string: Name does not resolve"),
        ("inet6 tunnel fe80::1%4294967296 ::1", "error in parsing address string: Name does not resolve"),
        (
            "inet6 tunnel fe80::1%\N{ARABIC-INDIC DIGIT THREE} ::1",
            "error in parsing address string: Name does not resolve",
        ),
        ("tunnel 192.0.2.1 2001:db8::1", "source and destination address families do not match"),
        ("inet6 tunnel 2001:db8::1 192.0.2.1", "source and destination address families do not match"),
        ("tunnel 192.0.2.1", "'tunnel' requires 2 arguments"),
        ("tunnel", "'tunnel' requires 2 arguments"),
        ("reqid", "'reqid' requires argument"),
        ("mtu 1300 fib", "'fib' requires argument"),
        ("upp", "upp: bad value"),
        ("inet6 upp", "upp: bad value"),
        ("up inet 10.0.0.1 10.0.0.2", "inet: bad value"),
        ("inet6 netmask 255.0.0.0", "netmask: invalid option for inet6"),
        ("inet6 fe80::1%em9/64", "fe80::1%em9: bad value"),
        ("inet6 fe80::1%/64", "fe80::1%: bad value"),
        ("inet6 2001:db8::1%ipsec0", "2001:db8::1%ipsec0: bad value"),
        ("inet6 broadcast 2001:db8::1", "broadcast: invalid option for inet6"),
        ("pltime 5", "pltime not allowed for the AF"),
        ("link vltime 5", "vltime not allowed for the AF"),
        ("eui64", "eui64 not allowed for the AF"),
        ("inet6 pltime x", "invalid pltime"),
        ("inet6 vltime ''", "invalid vltime"),
        ("inet6 2001:db8::1 eui64", "interface index is already filled"),
        ("inet6 2001:db8:: eui64", "could not determine link local address"),
        ("link 00:01:02:03:04:05 netmask 255.0.0.0", "can't set link-level netmask or broadcast"),
        ("link 00:01:02:03:04:05 00:01:02:03:04:06", "can't set link-level netmask or broadcast"),
        ("link nonsense", "malformed link-level address"),
        ("media autoselect", "SIOCGIFMEDIA: Invalid argument"),
        ("mediaopt full-duplex", "SIOCGIFMEDIA: Invalid argument"),
        ("vnet nosuchjail", 'jail "nosuchjail" not found'),
        ("-vnet nosuchjail", 'jail "nosuchjail" not found'),
    ],
)
def test_fatal_before_the_kernel(door: FakeDoor, words: str, complaint: str) -> None:
    assert run(f"ifconfig ipsec0 {words}") == failed(complaint)
    assert not [call for call in door.calls if call[0] not in ("SIOCSIFFLAGS", "SIOCSIFMTU")]


@pytest.mark.parametrize("word", ["anycast", "tentative", "-tentative", "deprecated", "-autoconf", "prefer_source"])
def test_address_flags_need_inet6(door: FakeDoor, word: str) -> None:
    result = run(f"ifconfig ipsec0 10.0.0.1 10.0.0.2 {word}")
    assert (result.status, result.out, door.calls) == (1, "", [])
    assert result.err.startswith("ifconfig: address flags can be set only for inet6 addresses: ")


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        ("reqid abc", "ifconfig: Invalid reqid value abc: "),
        ("reqid 100x", "ifconfig: Invalid reqid value 100x: "),
        ("reqid ' '", "ifconfig: Invalid reqid value  : "),
        ("fib abc", "ifconfig: fib abc not valid: "),
        ("fib 4294967296", "ifconfig: fib 4294967296 not valid: "),
        ("fib -1", "ifconfig: fib -1 not valid: "),
        ("tunnelfib 1x", "ifconfig: fib 1x not valid: "),
        ("link tunnel 192.0.2.1 192.0.2.2", "ifconfig: address family link does not support tunnel setup: "),
        ("af_gif tunnel 192.0.2.1 192.0.2.2", "ifconfig: address family af_gif does not support tunnel setup: "),
    ],
)
def test_warnings_with_some_errno(door: FakeDoor, words: str, beginning: str) -> None:
    result = run(f"ifconfig ipsec0 {words} mtu 1300")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith(beginning)
    assert result.err.splitlines()[1:] in ([], ["ifconfig: interface ipsec0 cannot change af_gif addresses!"])
    assert [op for op, _ in door.calls] == ["SIOCSIFMTU"]


@pytest.mark.parametrize(
    ("number", "detail", "lines"),
    [
        (
            EINVAL,
            "Empty IFA_LOCAL/IFA_ADDRESS",
            ["in_exec_nl(): Empty IFA_LOCAL/IFA_ADDRESS", "ioctl (SIOCAIFADDR): Invalid argument"],
        ),
        (EDESTADDRREQ, "", ["ioctl (SIOCAIFADDR): Destination address required"]),
        (EEXIST, "", ["ioctl (SIOCAIFADDR): File exists"]),
        (EPERM, "", ["ioctl (SIOCAIFADDR): permission denied"]),
        (ENXIO, "", ["ioctl (SIOCAIFADDR): no such interface"]),
    ],
)
def test_inet_address(door: FakeDoor, number: int, detail: str, lines: list[str]) -> None:
    refuse(door, "NEWADDR", number, detail)
    assert run("ifconfig ipsec0 inet 10.0.0.1/24 10.0.0.2 alias") == failed(*lines)


@pytest.mark.parametrize("number", [EINVAL, EEXIST])
def test_inet6_address(door: FakeDoor, number: int) -> None:
    refuse(door, "NEWADDR", number)
    assert run("ifconfig ipsec0 inet6 2001:db8::1/64") == failed(f"ioctl (SIOCAIFADDR): {strerror(number)}")


@pytest.mark.parametrize(
    "words", ["inet 10.0.0.1 -alias", "inet -alias 10.0.0.1", "10.0.0.1 delete", "inet6 ::5 remove", "inet6 -alias ::5"]
)
def test_deleting_an_address_that_is_not_there(door: FakeDoor, words: str) -> None:
    refuse(door, "DELADDR", EADDRNOTAVAIL)
    assert run(f"ifconfig ipsec0 {words}") == failed("ioctl (SIOCDIFADDR): Can't assign requested address")
    refuse(door, "DELADDR", EPERM)
    assert run(f"ifconfig ipsec0 {words}") == failed("ioctl (SIOCDIFADDR): permission denied")


def test_link_address_is_refused(door: FakeDoor) -> None:
    refuse(door, "SIOCSIFLLADDR", EINVAL)
    for family in ("link", "ether", "lladdr"):
        assert run(f"ifconfig ipsec0 {family} 00:11:22:33:44:55") == failed("ioctl (SIOCAIFADDR): Invalid argument")


def test_capabilities_that_are_not_there_are_ignored(door: FakeDoor) -> None:
    for word in ("rxcsum", "-rxcsum", "txcsum", "tso", "-lro", "wol", "vlanhwtag", "rxcsum6", "-txcsum6", "toe"):
        assert run(f"ifconfig ipsec0 {word}") == ok()
    for word in ("ipsec", "-ipsec", "rxtls", "-rxtls"):
        assert run(f"ifconfig ipsec0 {word} mtu 1300") == warned("IFCAP_NV not supported")
    assert {op for op, _ in door.calls} == {"SIOCSIFMTU"}


def test_capabilities_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    door = install(monkeypatch, FakeDoor(interface("lo0", options=0x680003, capabilities=0x680003)))
    assert run("ifconfig lo0 -rxcsum -tso rxcsum6") == ok()
    assert door.asked("SIOCSIFCAP") == [{"name": "lo0", "value": 0x680002}]
    refuse(door, "SIOCSIFCAP", EPERM)
    assert run("ifconfig lo0 -rxcsum") == failed("-rxcsum: permission denied")


def test_media(monkeypatch: pytest.MonkeyPatch) -> None:
    door = install(monkeypatch, FakeDoor(ETHERNET))
    assert run("ifconfig em0 media autoselect mtu 1300") == ok()
    assert run("ifconfig em0 media 1000baseT mtu 1400") == failed("SIOCSIFMEDIA (media): Device not configured")
    assert run("ifconfig em0 media 1000baseQ mtu 1500") == failed("unknown media subtype: 1000baseQ")
    assert [call["value"] for call in door.asked("SIOCSIFMTU")] == [1300, 1400]


def test_status_without_a_kernel(door: FakeDoor) -> None:
    refuse(door, "LISTIF", ENOMEM)
    assert run("ifconfig") == failed("unable to get interface list: Cannot allocate memory")


@pytest.mark.parametrize("lost_at", range(7))
def test_the_kernel_goes_away(monkeypatch: pytest.MonkeyPatch, lost_at: int) -> None:
    """ipsecd may die before any request: one line, and the name if there is one."""
    door = FakeDoor()
    door.values["SIOCIFCREATE2"] = "ipsec7"
    requests = 0

    class Dying:
        def call(self, op: str, **arguments: object) -> object:
            nonlocal requests
            requests += 1
            if requests > lost_at:
                raise client.ClientError(f"ipsecd ended during the request {op}")
            return door.call(op, **arguments)

        def close(self) -> None:
            pass

    monkeypatch.setattr(client, "open_control", Dying)
    words = ["ipsec", "create", "up", "mtu", "1300", "reqid", "5", "10.0.0.1/24", "10.0.0.2"]
    ops = ["LISTIF", "SIOCIFCREATE2", "SIOCSIFFLAGS", "SIOCSIFMTU", "IPSECSREQID", "DELADDR", "NEWADDR"]
    expected = failed(f"ipsecd ended during the request {ops[lost_at]}", out="ipsec7\n" if lost_at > 1 else "")
    assert run(words) == expected
    assert [op for op, _ in door.calls] == ops[1:lost_at]


def test_no_way_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_all() -> None:
        raise client.ClientError("/somewhere: belongs to another user")

    monkeypatch.setattr(client, "open_control", refuse_all)
    for command in ("ifconfig", "ifconfig -l", "ifconfig -C", "ifconfig -g all", "ifconfig ipsec0 up"):
        assert run(command) == failed("/somewhere: belongs to another user")
