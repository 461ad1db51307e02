"""Words from left to right, and what is put off until all of them are read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipsectools.commands.ifconfig import features, registry  # noqa: F401  (features fills the registry)
from ipsectools.errno import EADDRNOTAVAIL, EINVAL, KernelError
from tests.ifconfig.harness import ETHERNET, FakeDoor, failed, install, interface, ok, run, warned

UP = ("SIOCSIFFLAGS", {"name": "ipsec0", "set": 1, "clear": 0})


def add(family: str, address: str, prefixlen: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return "NEWADDR", {"name": "ipsec0", "family": family, "address": address, "prefixlen": prefixlen, **more}


def delete(family: str, address: str | None = None) -> tuple[str, dict[str, Any]]:
    return "DELADDR", {"name": "ipsec0", "family": family, **({} if address is None else {"address": address})}


def test_words_act_when_met(door: FakeDoor) -> None:
    assert run("ifconfig ipsec0 up mtu 1300 reqid 7 bad") == failed("bad: bad value")
    assert door.calls == [
        UP,
        ("SIOCSIFMTU", {"name": "ipsec0", "value": 1300}),
        ("IPSECSREQID", {"name": "ipsec0", "reqid": 7}),
    ]


def test_an_argument_may_look_like_a_word(door: FakeDoor) -> None:
    assert run("ifconfig ipsec0 descr up name") == failed("'name' requires argument")
    assert door.calls == [("SIOCSIFDESCR", {"name": "ipsec0", "text": "up"})]


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("10.0.0.1/24 10.0.0.2", [delete("inet"), add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("inet 10.0.0.1/24 10.0.0.2", [delete("inet"), add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("10.0.0.1/24 10.0.0.2 10.0.0.3", [delete("inet"), add("inet", "10.0.0.1", 24, peer="10.0.0.3")]),
        ("10.0.0.1/24 10.0.0.2 alias", [add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("alias 10.0.0.1/24 10.0.0.2", [add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("add 10.0.0.1/24 10.0.0.2 up", [UP, add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("10.0.0.1 10.0.0.2", [delete("inet"), add("inet", "10.0.0.1", 8, peer="10.0.0.2")]),
        ("172.16.0.1 10.0.0.2", [delete("inet"), add("inet", "172.16.0.1", 16, peer="10.0.0.2")]),
        ("192.0.2.1 10.0.0.2", [delete("inet"), add("inet", "192.0.2.1", 24, peer="10.0.0.2")]),
        (
            "10.0.0.1 netmask 255.255.0.0 10.0.0.2",
            [delete("inet"), add("inet", "10.0.0.1", 16, peer="10.0.0.2")],
        ),
        (
            "netmask 0xffffff00 10.0.0.1 10.0.0.2",
            [delete("inet"), add("inet", "10.0.0.1", 24, peer="10.0.0.2")],
        ),
        (
            "10.0.0.1/24 10.0.0.2 broadcast 10.0.0.255",
            [delete("inet"), add("inet", "10.0.0.1", 24, peer="10.0.0.2", broadcast="10.0.0.255")],
        ),
        ("netmask 255.255.0.0", [add("inet", "0.0.0.0", 16)]),
        ("prefixlen 9 10.0.0.1/24 10.0.0.2 alias", [add("inet", "10.0.0.1", 24, peer="10.0.0.2")]),
        ("10.0.0.1 -alias", [delete("inet", "10.0.0.1")]),
        ("10.0.0.1/24 10.0.0.2 delete", [delete("inet", "10.0.0.1")]),
        ("-alias 10.0.0.1", [delete("inet", "10.0.0.1")]),
        ("remove 10.0.0.1", [delete("inet", "10.0.0.1")]),
        ("delete", [delete("inet")]),
        ("alias", []),
        ("-alias 10.0.0.1 alias", []),
        ("inet6 2001:db8::1", [add("inet6", "2001:db8::1", 64)]),
        ("inet6 2001:db8::1/48", [add("inet6", "2001:db8::1", 48)]),
        ("inet6 2001:db8::1 prefixlen 56", [add("inet6", "2001:db8::1", 56)]),
        ("inet6 prefixlen 56 2001:db8::1", [add("inet6", "2001:db8::1", 128)]),
        ("inet6 2001:db8::1 2001:db8::2", [add("inet6", "2001:db8::1", 64, peer="2001:db8::2")]),
        ("inet6 2001:db8::1/128 2001:db8::2", [add("inet6", "2001:db8::1", 128, peer="2001:db8::2")]),
        ("inet6 fe80::5%ipsec0 alias", [add("inet6", "fe80::5", 64)]),
        ("inet6 2001:db8::1 -alias", [delete("inet6", "2001:db8::1")]),
        ("inet6 -alias 2001:db8::1", [delete("inet6", "2001:db8::1")]),
        ("inet6 delete", [delete("inet6", "::")]),
        ("inet6 ::1 anycast", [add("inet6", "::1", 64, flags=["anycast"])]),
        ("inet6 ::1 tentative deprecated -tentative", [add("inet6", "::1", 64, flags=["deprecated"])]),
        ("inet6 ::1 pltime 60 vltime 0x78", [add("inet6", "::1", 64, pltime=60, vltime=120)]),
        ("inet6 ::1 pltime 010 vltime 99zz", [add("inet6", "::1", 64, pltime=8, vltime=99)]),
        ("inet6 ::1 pltime 0xffffffff vltime -1", [add("inet6", "::1", 64)]),
        ("link 00:1:2:3:4:AF", [("SIOCSIFLLADDR", {"name": "ipsec0", "address": "00:01:02:03:04:af"})]),
        ("ether 0-1-2-3-4-5 alias", [("SIOCSIFLLADDR", {"name": "ipsec0", "address": "00:01:02:03:04:05"})]),
        ("link delete", []),
    ],
)
def test_addresses(door: FakeDoor, words: str, calls: list[Any]) -> None:
    assert run(f"ifconfig ipsec0 {words}") == ok()
    assert door.calls == calls


def test_random_link_address(door: FakeDoor) -> None:
    assert run("ifconfig ipsec0 ether random") == ok()
    octets = bytes.fromhex(door.calls[0][1]["address"].replace(":", ""))
    assert len(octets) == 6 and octets[0] & 3 == 2


def test_deletion_precedes_addition_and_may_find_nothing(door: FakeDoor) -> None:
    door.errors["DELADDR"] = KernelError(EADDRNOTAVAIL)
    assert run("ifconfig ipsec0 10.0.0.1/24 10.0.0.2") == ok()
    assert door.calls == [add("inet", "10.0.0.1", 24, peer="10.0.0.2")]
    assert run("ifconfig ipsec0 delete") == ok()
    door.errors["DELADDR"] = KernelError(EINVAL)
    assert run("ifconfig ipsec0 10.0.0.3/24 10.0.0.2") == failed("ioctl (SIOCDIFADDR): Invalid argument")
    assert len(door.calls) == 1


def test_mask_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "WARNING: setting interface address without mask is deprecated,\ndefault mask may not be correct."
    door = install(monkeypatch, FakeDoor(ETHERNET, interface("lo0", flags=0x1008049)))
    assert run("ifconfig em0 192.0.2.1 alias") == warned(warning)
    assert run("ifconfig em0 192.0.2.1/24 alias") == ok()
    assert run("ifconfig em0 192.0.2.1 alias netmask 255.255.255.0") == ok()
    assert run("ifconfig em0 192.0.2.1 -alias") == ok()
    assert run("ifconfig lo0 192.0.2.1 alias") == ok()
    assert [call["prefixlen"] for call in door.asked("NEWADDR")] == [24] * 4


def test_eui64(monkeypatch: pytest.MonkeyPatch) -> None:
    door = install(monkeypatch, FakeDoor(interface(inet6=[{"address": "fe80::5054:ff:fe12:3456"}])))
    assert run("ifconfig ipsec0 inet6 2001:db8:: eui64") == ok()
    assert door.calls == [add("inet6", "2001:db8::5054:ff:fe12:3456", 64)]


def test_families_without_addresses(door: FakeDoor) -> None:
    complaint = "interface ipsec0 cannot change af_ipsec addresses!"
    assert run("ifconfig ipsec0 af_ipsec up") == warned(complaint)
    assert run("ifconfig ipsec0 af_ipsec up 10.0.0.1") == warned(complaint)
    assert run("ifconfig ipsec0 af_ipsec up delete") == warned(complaint)
    assert door.calls == [UP] * 3


def test_default_interface_of_nd6(monkeypatch: pytest.MonkeyPatch) -> None:
    door = install(monkeypatch, FakeDoor(interface(), interface("ipsec1", nd6=0x8029)))
    assert run("ifconfig ipsec0 inet6 defaultif") == ok()
    assert run("ifconfig ipsec0 inet6 -defaultif") == ok()
    assert run("ifconfig ipsec1 inet6 -defaultif") == ok()
    assert door.calls == [("SIOCSDEFIFACE_IN6", {"name": "ipsec0"}), ("SIOCSDEFIFACE_IN6", {})]


@pytest.mark.parametrize(
    ("word", "bits"),
    [
        ("nud", (0x1, 0)),
        ("-accept_rtadv", (0, 0x2)),
        ("ifdisabled", (0x8, 0)),
        ("-auto_linklocal", (0, 0x20)),
        ("no_radr", (0x40, 0)),
        ("no_prefer_iface", (0x80, 0)),
        ("-no_dad", (0, 0x100)),
    ],
)
def test_nd6(door: FakeDoor, word: str, bits: tuple[int, int]) -> None:
    assert run(f"ifconfig ipsec0 inet6 {word}") == ok()
    assert door.calls == [("SIOCSIFINFO_IN6", {"name": "ipsec0", "set": bits[0], "clear": bits[1]})]


@pytest.mark.parametrize(
    ("word", "to_set", "to_clear"),
    [
        ("down", 0, 0x1),
        ("-arp", 0x80, 0),
        ("arp", 0, 0x80),
        ("debug", 0x4, 0),
        ("promisc", 0x20000, 0),
        ("allmulti", 0x800000, 0),
        ("-link1", 0, 0x2000),
        ("normal", 0, 0x1000),
        ("compress", 0x1000, 0),
        ("noicmp", 0x2000, 0),
        ("monitor", 0x40000, 0),
        ("staticarp", 0x80000, 0),
        ("-stickyarp", 0, 0x100000),
    ],
)
def test_flags(door: FakeDoor, word: str, to_set: int, to_clear: int) -> None:
    assert run(f"ifconfig ipsec0 {word}") == ok()
    assert door.calls == [("SIOCSIFFLAGS", {"name": "ipsec0", "set": to_set, "clear": to_clear})]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("tunnel 192.0.2.1 198.51.100.1", ("192.0.2.1", "198.51.100.1")),
        ("tunnel 10.1 0x0a000002", ("10.0.0.1", "10.0.0.2")),
        ("tunnel gateway.example 192.0.2.2", ("192.0.2.1", "192.0.2.2")),
        ("tunnel 2001:DB8:0::1 six.example", ("2001:db8::1", "2001:db8::6")),
        ("tunnel fe80::1%ipsec0 fe80::2%3", ("fe80::1%ipsec0", "fe80::2%3")),
        ("tunnel 2001:db8::1%3 ::", ("2001:db8::1", "::")),
        ("tunnel fe80::1%0 fe80::2%007", ("fe80::1", "fe80::2%7")),
    ],
)
def test_tunnel_endpoints(door: FakeDoor, words: str, arguments: tuple[str, str]) -> None:
    assert run(f"ifconfig ipsec0 {words}") == ok()
    assert door.calls == [("SIOCSIFPHYADDR", {"name": "ipsec0", "src": arguments[0], "dst": arguments[1]})]


def test_creation_is_triggered_by_the_first_other_word(door: FakeDoor) -> None:
    made = ("SIOCIFCREATE2", {"name": "ipsec7"})
    assert run("ifconfig ipsec7 create") == ok()
    assert run("ifconfig ipsec7 plumb") == ok()
    assert door.calls == [made, made]
    door.calls.clear()
    assert run("ifconfig ipsec7 create inet6 up bad") == failed("bad: bad value")
    assert door.calls == [made, ("SIOCSIFFLAGS", {"name": "ipsec7", "set": 1, "clear": 0})]
    door.calls.clear()
    assert run("ifconfig ipsec7 create bad") == failed("bad: bad value")
    assert door.calls == [made]
    door.calls.clear()
    assert run("ifconfig ipsec7 create up create") == failed("create: bad value")


def test_the_name_is_printed_at_the_end(door: FakeDoor) -> None:
    door.values["SIOCIFCREATE2"] = "ipsec7"
    assert run("ifconfig ipsec create") == ok("ipsec7\n")
    assert run("ifconfig ipsec create bad") == failed("bad: bad value", out="ipsec7\n")
    assert run("ifconfig ipsec create name vpn0 up") == ok("vpn0\n")
    assert run("ifconfig ipsec create up mtu 1300") == ok("ipsec7\n")
    assert door.asked("SIOCSIFFLAGS")[0]["name"] == "vpn0"
    assert door.asked("SIOCSIFMTU")[0]["name"] == "ipsec7"
    assert run("ifconfig ipsec7 create") == ok()


def test_a_refused_rename_is_not_printed(door: FakeDoor) -> None:
    door.errors["SIOCSIFNAME"] = KernelError(EINVAL)
    assert run(["ipsec0", "name", ""]) == failed("ioctl SIOCSIFNAME (set name): Invalid argument")


def test_absent_interface(door: FakeDoor) -> None:
    assert run("ifconfig ipsec9") == failed("interface ipsec9 does not exist")
    assert run("ifconfig ipsec9 reqid 5 create") == failed("interface ipsec9 does not exist")
    assert run(["", "up"]) == failed("interface  does not exist")
    assert run(f"ifconfig {'i' * 16} create") == failed(f"{'i' * 16}: cloning name too long")
    assert run(f"ifconfig {'i' * 16} -vnet 1") == failed(f"{'i' * 16}: interface name too long")
    assert run(f"ifconfig {'i' * 16}") == failed(f"interface {'i' * 16} does not exist")
    assert run("ifconfig ipsec9 -vnet 1 up") == ok()
    assert [op for op, _ in door.calls] == ["SIOCSIFRVNET", "SIOCSIFFLAGS"]


@pytest.mark.parametrize(
    "keyword", [word for word in registry.keywords.values() if word.arguments], ids=lambda w: w.name
)
def test_missing_arguments(door: FakeDoor, keyword: registry.Keyword) -> None:
    count = len(keyword.arguments)
    complaint = f"'{keyword.name}' requires {'argument' if count == 1 else f'{count} arguments'}"
    for present in range(count):
        assert run(["ipsec0", "inet", keyword.name, *["x"] * present]) == failed(complaint)
        assert run(["ipsec0", keyword.name, *["x"] * present]) == failed(complaint)
        assert run(["ipsec7", "create", keyword.name, *["x"] * present]) == failed(complaint)
    assert {op for op, _ in door.calls} == {"SIOCIFCREATE2"}


ANY_WORD = st.one_of(
    st.sampled_from([*registry.keywords, *registry.creating_keywords, *registry.families]),
    st.sampled_from(["10.0.0.1", "10.0.0.1/24", "::1", "::1/64", "fe80::1%em0", "0x64", "-1", "--json", "4294967296"]),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40),
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ANY_WORD, max_size=6), st.sampled_from(["ipsec0", "ipsec9", "ipsec"]))
def test_any_words(words: list[str], name: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch, FakeDoor(interface()))
        result = run([name, *words])
    assert result.status in (0, 1)
    assert result.status == 0 or result.err.startswith("ifconfig: ")
