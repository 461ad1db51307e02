"""The command line up to the interface's name: flags, their interactions, usage, formats, listings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.errno import EINVAL, ENOENT, EPERM, KernelError
from tests.ifconfig.harness import ETHERNET, FakeDoor, Result, failed, install, interface, ok, run, warned

if TYPE_CHECKING:
    from pathlib import Path

USAGE = """\
usage: ifconfig [-j jail] [-f type:format] [-g groupname] [-C] [-L] interface address_family
                [address [dest_address]] [parameters]
       ifconfig [-j jail] interface create
       ifconfig [-j jail] -a [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v] [address_family]
       ifconfig [-j jail] -l [-d] [-u] [address_family]
       ifconfig [-j jail] [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v]
"""


def usage(first: str = "") -> Result:
    return Result(1, "", (f"ifconfig: {first}\n" if first else "") + USAGE)


LO0 = interface(
    "lo0",
    index=2,
    flags=0x1008049,
    mtu=16384,
    iftype="loop",
    groups=["all", "lo"],
    reqid=None,
    nd6=0x21,
    cloner="lo",
    inet=[{"address": "127.0.0.1", "peer": None, "prefixlen": 8, "broadcast": None}],
)
IPSEC0_TEXT = """\
ipsec0: flags=8010<POINTOPOINT,MULTICAST> metric 0 mtu 1400
\toptions=0
\tgroups: ipsec
\treqid: 0
\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
"""


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> FakeDoor:
    return install(monkeypatch, FakeDoor(ETHERNET, LO0, interface()))


def names_of(result: Result) -> list[str]:
    assert result.status == 0 and not result.err
    return [line.partition(":")[0] for line in result.out.splitlines() if not line.startswith("\t")]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("ifconfig -x", "illegal option -- x"),
        ("ifconfig -ax", "illegal option -- x"),
        ("ifconfig -f", "option requires an argument -- f"),
        ("ifconfig -ag", "option requires an argument -- g"),
        ("ifconfig -j", "option requires an argument -- j"),
        ("ifconfig --libxo", "option requires an argument -- libxo"),
        ("ifconfig -l -a", ""),
        ("ifconfig -a -l", ""),
        ("ifconfig -lm", ""),
        ("ifconfig -u -d", ""),
        ("ifconfig -lud", ""),
        ("ifconfig -ud ipsec0 up", ""),
        ("ifconfig -G ipsec -a", ""),
        ("ifconfig -G ipsec", ""),
        ("ifconfig -a inet inet6", ""),
        ("ifconfig -l inet ether", ""),
        ("ifconfig -a ipsec0 up", ""),
        ("ifconfig -a foo", "Address family 'foo' unknown."),
        ("ifconfig -l ipsec0", "Address family 'ipsec0' unknown."),
        ("ifconfig -l INET", "Address family 'INET' unknown."),
    ],
)
def test_usage(three: FakeDoor, command: str, complaint: str) -> None:
    assert run(command) == usage(complaint)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("ifconfig", ["em0", "lo0", "ipsec0"]),
        ("ifconfig -a", ["em0", "lo0", "ipsec0"]),
        ("ifconfig --", ["em0", "lo0", "ipsec0"]),
        ("ifconfig -m -v -k -n -L", ["em0", "lo0", "ipsec0"]),
        ("ifconfig -u", ["em0", "lo0"]),
        ("ifconfig -d", ["ipsec0"]),
        ("ifconfig -a inet", ["lo0"]),
        ("ifconfig -a inet6", []),
        ("ifconfig -a ether", ["em0"]),
        ("ifconfig -a link", ["em0"]),
        ("ifconfig -a lladdr", ["em0"]),
        ("ifconfig -a af_ipsec", []),
        ("ifconfig -ag ipsec", ["ipsec0"]),
        ("ifconfig -a -g 'ip*'", ["ipsec0"]),
        ("ifconfig -a -g all", ["em0", "lo0", "ipsec0"]),
        ("ifconfig -a -G all", []),
        ("ifconfig -a -G '[il]*'", ["em0"]),
        ("ifconfig -a -g a?l -G lo", ["em0", "ipsec0"]),
        ("ifconfig -a -g nothing", []),
        ("ifconfig -u ipsec0", []),
        ("ifconfig -d ipsec0", ["ipsec0"]),
        ("ifconfig ipsec0 inet", []),
        ("ifconfig ipsec0 af_group", []),
        ("ifconfig ipsec0 link", []),
        ("ifconfig ipsec0 create inet", []),
        ("ifconfig lo0 ether", []),
    ],
)
def test_who_is_shown(three: FakeDoor, command: str, names: list[str]) -> None:
    assert names_of(run(command)) == names


@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("ifconfig -l", "em0 lo0 ipsec0\n"),
        ("ifconfig -lu", "em0 lo0\n"),
        ("ifconfig -ld", "ipsec0\n"),
        ("ifconfig -l inet", "lo0\n"),
        ("ifconfig -l inet6", "\n"),
        ("ifconfig -l ether", "em0\n"),
        ("ifconfig -l link", "em0\n"),
        ("ifconfig -l lladdr", "em0\n"),
        ("ifconfig -l af_ipsec", "\n"),
    ],
)
def test_names(three: FakeDoor, command: str, out: str) -> None:
    assert run(command) == ok(out)


def test_ether_lists_only_ethernet(monkeypatch: pytest.MonkeyPatch) -> None:
    other = interface("ib0", iftype="other", lladdr="00:11:22:33:44:55:66:77")
    bridge = interface("bridge0", iftype="bridge", lladdr="58:9c:fc:10:ff:a4")
    install(monkeypatch, FakeDoor(other, bridge))
    assert run("ifconfig -l ether") == ok("bridge0\n")
    assert run("ifconfig -l link") == ok("ib0 bridge0\n")


def test_unconfigurable_interfaces_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    door = install(monkeypatch, FakeDoor(interface(flags=0x18010), interface("ipsec1")))
    assert run("ifconfig -l") == ok("ipsec1\n")
    assert run("ifconfig ipsec0") == ok()
    assert run("ifconfig ipsec0 up") == ok()
    assert door.calls == []


def test_up_only_configures_nothing_that_is_down(door: FakeDoor) -> None:
    assert run("ifconfig -u ipsec0 mtu 1300") == ok()
    assert door.calls == []
    assert run("ifconfig -d ipsec0 mtu 1300") == ok()
    assert door.asked("SIOCSIFMTU") == [{"name": "ipsec0", "value": 1300}]


def test_cloners(door: FakeDoor) -> None:
    door.values["SIOCIFGCLONERS"] = ["ipsec", "tun", "lo"]
    assert run("ifconfig -C") == ok("ipsec tun lo\n")
    assert run("ifconfig -a -C -x") == ok("ipsec tun lo\n")  # at once: the rest is not looked at
    door.errors["SIOCIFGCLONERS"] = KernelError(EINVAL)
    assert run("ifconfig -C") == failed("unable to list cloners: Invalid argument")


def test_members(door: FakeDoor) -> None:
    door.values["SIOCGIFGMEMB"] = ["ipsec0", "ipsec4"]
    assert run("ifconfig -g ipsec") == ok("ipsec0\nipsec4\n")
    assert run("ifconfig -g ipsec -a") == ok("ipsec0\nipsec4\n")
    assert run("ifconfig -l -g ipsec") == ok("ipsec0\nipsec4\n")
    assert run("ifconfig -gipsec -x") == ok("ipsec0\nipsec4\n")
    assert door.asked("SIOCGIFGMEMB") == [{"group": "ipsec"}] * 4
    door.errors["SIOCGIFGMEMB"] = KernelError(ENOENT)
    assert run("ifconfig -g nobody") == ok()
    door.errors["SIOCGIFGMEMB"] = KernelError(EPERM)
    assert run("ifconfig -g ipsec") == failed("SIOCGIFGMEMB: Operation not permitted")


def test_jail_of_no_namespace(door: FakeDoor) -> None:
    for name in ("nosuchjail", "../../etc/passwd", ".", "", "12"):
        assert run(["-j", name, "ipsec0"]) == failed(f'jail "{name}" not found')
    assert door.calls == []


def test_no_kernel(state: Path) -> None:
    state.write_text("not a directory")
    result = run("ifconfig -a")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("ifconfig: ") and result.err.count("\n") == 1


INET = {"address": "10.0.0.1", "peer": "10.0.0.2", "prefixlen": 30, "broadcast": None}
INET6 = {
    "address": "2001:db8::1",
    "peer": None,
    "prefixlen": 64,
    "flags": [],
    "scopeid": 0,
    "pltime": None,
    "vltime": None,
    "pltime_left": None,
    "vltime_left": None,
}
HEX = "inet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc"
SIX = "inet6 2001:db8::1 prefixlen 64"
ETHER = "ether 52:54:00:12:34:56"


@pytest.mark.parametrize(
    ("formats", "inet", "inet6", "ether"),
    [
        ([], HEX, SIX, ETHER),
        (["inet:cidr"], "inet 10.0.0.1 --> 10.0.0.2/30", SIX, ETHER),
        (["inet:dotted"], "inet 10.0.0.1 --> 10.0.0.2 netmask 255.255.255.252", SIX, ETHER),
        (["inet:hex"], HEX, SIX, ETHER),
        (["inet:default"], HEX, SIX, ETHER),
        (["inet:nonsense"], HEX, SIX, ETHER),
        (["inet:"], HEX, SIX, ETHER),
        (["inet6:cidr"], HEX, "inet6 2001:db8::1/64", ETHER),
        (["inet6:numeric"], HEX, SIX, ETHER),
        (["cidr"], "inet 10.0.0.1 --> 10.0.0.2/30", "inet6 2001:db8::1/64", ETHER),
        (["cidr,default"], HEX, SIX, ETHER),
        (["ether:dash"], HEX, SIX, "ether 52-54-00-12-34-56"),
        (["ether:dotted"], HEX, SIX, "ether 5254.0012.3456"),
        (["ether:colon"], HEX, SIX, ETHER),
        (["addr:fqdn"], HEX.replace("10.0.0.1 ", "a.example "), SIX, ETHER),
        (["addr:host"], HEX.replace("10.0.0.1 ", "a "), SIX, ETHER),
        (["addr:numeric"], HEX, SIX, ETHER),
        (["unknown:cidr"], HEX, SIX, ETHER),
        (["inet:cidr,ether:dash"], "inet 10.0.0.1 --> 10.0.0.2/30", SIX, "ether 52-54-00-12-34-56"),
        (["inet:cidr", "inet:dotted"], "inet 10.0.0.1 --> 10.0.0.2 netmask 255.255.255.252", SIX, ETHER),
    ],
)
def test_formats(monkeypatch: pytest.MonkeyPatch, formats: list[str], inet: str, inet6: str, ether: str) -> None:
    shown = interface(iftype="ether", lladdr="52:54:00:12:34:56", inet=[INET], inet6=[INET6])
    install(monkeypatch, FakeDoor(shown))
    result = run([word for each in formats for word in ("-f", each)] + ["ipsec0"])
    assert result == ok(result.out)
    assert result.out.splitlines()[2:5] == [f"\t{ether}", f"\t{inet}", f"\t{inet6}"]


def test_format_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDoor(interface(inet=[INET])))
    monkeypatch.setenv("IFCONFIG_FORMAT", "inet:cidr")
    assert "\tinet 10.0.0.1 --> 10.0.0.2/30\n" in run("ifconfig ipsec0").out
    assert f"\t{HEX}\n" in run("ifconfig -f inet:hex ipsec0").out


def test_broken_formats(door: FakeDoor) -> None:
    assert run("ifconfig -f cider ipsec0") == warned("Skipping invalid format: cider\n", out=IPSEC0_TEXT)
    assert run("ifconfig -f a,inet:cidr,b ipsec0") == warned(
        "Skipping invalid format: a\n", "Skipping invalid format: b\n", out=IPSEC0_TEXT
    )
    assert run(["-f", "", "ipsec0"]) == warned("Skipping invalid format: \n", out=IPSEC0_TEXT)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[]]x", "]x", True),
        ("[", "[", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("*" * 40 + "b", "a" * 2000, False),  # in no time
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    from ipsectools.commands.ifconfig.patterns import matches

    assert matches(pattern, text) is fits
