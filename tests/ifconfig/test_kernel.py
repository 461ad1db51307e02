"""ifconfig and the emulated kernel together, on a simulated host: whole sessions, byte for byte."""

from __future__ import annotations

import pytest

from tests.ifconfig.harness import Result, failed, ok, run, warned

pytestmark = pytest.mark.usefixtures("ipsec0")

CREATED = """\
ipsec0: flags=8010<POINTOPOINT,MULTICAST> metric 0 mtu 1400
	options=0
	groups: ipsec
	reqid: 0
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
"""
TUNNEL_LINE = "\ttunnel inet 192.0.2.1 --> 198.51.100.1\n"
INNER_LINE = "\tinet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc\n"


def do(*commands: str) -> None:
    """Commands that succeed silently."""
    for command in commands:
        assert (command, run(command)) == (command, ok())


def status(name: str = "ipsec0") -> str:
    result = run(f"ifconfig {name}")
    assert (result.status, result.err) == (0, "")
    return result.out


def first_line(name: str = "ipsec0") -> str:
    return status(name).splitlines()[0]


def flags(name: str = "ipsec0") -> str:
    return first_line(name).partition("flags=")[2].partition(" ")[0]


def lines(name: str, beginning: str) -> list[str]:
    return [line.strip() for line in status(name).splitlines() if line.strip().startswith(beginning)]


# The creation of interfaces.


def test_created() -> None:
    assert status() == CREATED
    do("ifconfig ipsec1 create reqid 100")
    assert status("ipsec1") == CREATED.replace("ipsec0", "ipsec1").replace("reqid: 0", "reqid: 100")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ipsec0", "interface ipsec0 already exists"),
        ("em0", "interface em0 already exists"),
        ("foo0", "SIOCIFCREATE2 (foo0): Invalid argument"),
        ("ipsecx", "SIOCIFCREATE2 (ipsecx): Invalid argument"),
        ("ipsec0x", "SIOCIFCREATE2 (ipsec0x): Invalid argument"),
        ("ipsec01", "SIOCIFCREATE2 (ipsec01): Invalid argument"),
        ("ipsec00", "SIOCIFCREATE2 (ipsec00): Invalid argument"),
        ("ipsec-1", "SIOCIFCREATE2 (ipsec-1): Invalid argument"),
        ("ipsec2147483648", "SIOCIFCREATE2 (ipsec2147483648): Invalid argument"),
        ("ipsec32768", "SIOCIFCREATE2 (ipsec32768): No space left on device"),
        ("ipsec2147483647", "SIOCIFCREATE2 (ipsec2147483647): No space left on device"),
        ("ipsec1\n", "SIOCIFCREATE2 (ipsec1\n): Invalid argument"),
        ("ipsec٣", "SIOCIFCREATE2 (ipsec٣): Invalid argument"),
        ("Ipsec1", "SIOCIFCREATE2 (Ipsec1): Invalid argument"),
        ("../x", "SIOCIFCREATE2 (../x): Invalid argument"),
        ("a b", "SIOCIFCREATE2 (a b): Invalid argument"),
        ("ip\udcffsec", "SIOCIFCREATE2 (ip\udcffsec): Invalid argument"),
        ("ipsec0123456789", "SIOCIFCREATE2 (ipsec0123456789): Invalid argument"),
        ("ipsec01234567890", "ipsec01234567890: cloning name too long"),
        ("ipsecé123456789", "ipsecé123456789: cloning name too long"),
        ("i" * 10000, "i" * 10000 + ": cloning name too long"),
    ],
)
def test_names_of_new_interfaces(name: str, complaint: str) -> None:
    assert run([name, "create"]) == failed(complaint)
    assert run("ifconfig -g ipsec") == ok("ipsec0\n")


def test_units() -> None:
    assert run("ifconfig ipsec create") == ok("ipsec1\n")
    do("ifconfig ipsec3 create", "ifconfig ipsec32767 create", "ifconfig ipsec0 destroy")
    assert run("ifconfig ipsec create") == ok("ipsec0\n")
    assert run("ifconfig ipsec create up bad") == failed("bad: bad value", out="ipsec2\n")
    assert run("ifconfig ipsec create name vpn0") == ok("vpn0\n")
    assert run("ifconfig ipsec4 create") == failed("interface ipsec4 already exists")
    assert run("ifconfig ipsec create") == ok("ipsec5\n")
    assert run("ifconfig -l").out == "lo0 em0 ipsec1 ipsec3 ipsec32767 ipsec0 ipsec2 vpn0 ipsec5\n".replace(
        "lo0 em0", " ".join(run("ifconfig -l").out.split()[:2])
    )


def test_create_on_an_existing_interface() -> None:
    assert run("ifconfig ipsec0 create") == failed("interface ipsec0 already exists")
    assert run("ifconfig ipsec0 plumb") == failed("interface ipsec0 already exists")
    do("ifconfig ipsec0 create inet6 2001:db8::1", "ifconfig ipsec0 plumb mtu 1300")
    assert "mtu 1300" in first_line()


def test_create_and_words() -> None:
    do("ifconfig ipsec1 create inet tunnel 192.0.2.1 198.51.100.1 reqid 100 mtu 1400 up")
    assert (
        status("ipsec1")
        == """\
ipsec1: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 1400
	options=0
	tunnel inet 192.0.2.1 --> 198.51.100.1
	groups: ipsec
	reqid: 100
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
"""
    )
    do("ifconfig ipsec2 create inet6 tunnel 2001:db8::1 2001:db8::2 reqid 101")
    assert lines("ipsec2", "tunnel") == ["tunnel inet6 2001:db8::1 --> 2001:db8::2"]
    assert run("ifconfig ipsec3 create reqid 102 inet tunnel 192.0.2.1 192.0.2.2") == failed("inet: bad value")
    assert lines("ipsec3", "reqid") == ["reqid: 102"]
    do("ifconfig ipsec4 create reqid 103 tunnel 192.0.2.1 192.0.2.2")
    assert run("ifconfig ipsec5 create create") == failed("interface ipsec5 already exists")
    assert flags("ipsec5") == "8010<POINTOPOINT,MULTICAST>"
    assert run("ifconfig ipsec6 create reqid 102") == warned("ioctl(IPSECSREQID): File exists")
    assert lines("ipsec6", "reqid") == ["reqid: 0"]


def test_destroy() -> None:
    do("ifconfig ipsec0 destroy")
    assert run("ifconfig ipsec0") == failed("interface ipsec0 does not exist")
    assert run("ifconfig ipsec0 destroy") == failed("interface ipsec0 does not exist")
    assert run("ifconfig lo0 destroy") == failed("SIOCIFDESTROY: Invalid argument")
    assert run("ifconfig em0 destroy") == failed("SIOCIFDESTROY: Invalid argument")
    do("ifconfig ipsec0 create destroy")
    do("ifconfig ipsec0 create")
    assert run("ifconfig ipsec0 destroy up") == failed("ioctl (SIOCGIFFLAGS): no such interface")
    do("ifconfig ipsec0 create")
    assert run("ifconfig ipsec0 destroy mtu 1300") == failed("ioctl SIOCSIFMTU (set mtu): Device not configured")
    do("ifconfig ipsec0 create name vpn0 destroy".replace("name vpn0 ", ""))
    assert run("ifconfig ipsec0 create name vpn0") == ok("vpn0\n")
    do("ifconfig vpn0 unplumb", "ifconfig ipsec0 create")


# What the kernel refuses.


@pytest.mark.parametrize("mtu", ["1279", "8193", "0", "71", "65536", "-1", "garbage", "99999999999999999999"])
def test_mtu(mtu: str) -> None:
    assert run(f"ifconfig ipsec0 mtu {mtu}") == failed("ioctl SIOCSIFMTU (set mtu): Invalid argument")
    assert "mtu 1400" in first_line()


def test_mtu_limits() -> None:
    do("ifconfig ipsec0 mtu 1280", "ifconfig ipsec0 mtu 8192")
    assert first_line().endswith("mtu 8192")


def test_metric() -> None:
    do("ifconfig ipsec0 metric 5")
    assert " metric 5 " in first_line()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("em0", "File exists"),
        ("", "Invalid argument"),
        ("n" * 16, "File name too long"),
        ("n" * 5000, "File name too long"),
    ],
)
def test_names(name: str, text: str) -> None:
    assert run(["ipsec0", "name", name]) == failed(f"ioctl SIOCSIFNAME (set name): {text}")


def test_rename() -> None:
    assert run("ifconfig ipsec0 name vpn0") == ok("vpn0\n")
    assert status("vpn0") == CREATED.replace("ipsec0", "vpn0")
    assert run("ifconfig -D vpn0").out.endswith("\tdrivername: ipsec0\n")
    assert run("ifconfig ipsec0 create") == failed("interface ipsec0 already exists")
    assert run("ifconfig vpn0 name vpn0") == ok("vpn0\n")
    assert run("ifconfig vpn0 name ipsec0") == ok("ipsec0\n")


def test_description() -> None:
    do("ifconfig ipsec0 descr 'to branch office'")
    assert lines("ipsec0", "description") == ["description: to branch office"]
    do("ifconfig ipsec0 -descr")
    assert status() == CREATED
    assert run(["ipsec0", "description", "x" * 1023]) == ok()
    assert run(["ipsec0", "description", "x" * 1024]) == failed("ioctl SIOCSIFDESCR (set descr): File name too long")
    assert run(["ipsec0", "descr", ""]) == ok()
    assert status() == CREATED
    assert run(["ipsec0", "descr", "caf\udce9"]) == ok()
    assert lines("ipsec0", "description") == ["description: caf\udce9"]


def test_groups() -> None:
    do("ifconfig ipsec0 group vpn", "ifconfig ipsec0 group vpn", "ifconfig ipsec0 -group nothing")
    assert lines("ipsec0", "groups") == ["groups: ipsec vpn"]
    assert run("ifconfig -g vpn") == ok("ipsec0\n")
    do("ifconfig ipsec0 -group ipsec", "ifconfig ipsec0 -group vpn")
    assert status() == CREATED.replace("\tgroups: ipsec\n", "")
    assert run("ifconfig -g vpn") == ok()


def test_fib() -> None:
    do("ifconfig ipsec0 fib 0 tunnelfib 0")
    assert status() == CREATED
    huge = "4294967295"
    assert run(f"ifconfig ipsec0 fib {huge} mtu 1300") == warned("ioctl (SIOCSIFFIB): Invalid argument")
    assert run(f"ifconfig ipsec0 tunnelfib {huge} mtu 1301") == warned("ioctl (SIOCSTUNFIB): Invalid argument")
    assert run("ifconfig em0 tunnelfib 0") == warned("ioctl (SIOCSTUNFIB): Invalid argument")
    assert first_line().endswith("mtu 1301")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("tunnel 0.0.0.0 192.0.2.2", "SIOCSIFPHYADDR: Can't assign requested address"),
        ("tunnel 192.0.2.1 0", "SIOCSIFPHYADDR: Can't assign requested address"),
        ("inet6 tunnel :: 2001:db8::1", "SIOCSIFPHYADDR_IN6: Can't assign requested address"),
        (
            "tunnel 2001:db8::1 2001:db8::2",
            "SIOCSIFPHYADDR: Address family not supported by protocol family",
        ),
        (
            "inet6 tunnel 192.0.2.1 192.0.2.2",
            "SIOCSIFPHYADDR_IN6: Address family not supported by protocol family",
        ),
        ("inet6 tunnel fe80::1%99 fe80::2%99", "SIOCSIFPHYADDR_IN6: Device not configured"),
    ],
)
def test_refused_tunnels(words: str, complaint: str) -> None:
    assert run(f"ifconfig ipsec0 {words} mtu 1300") == warned(complaint)
    assert status() == CREATED.replace("mtu 1400", "mtu 1300")


def test_what_is_no_tunnel() -> None:
    assert run("ifconfig lo0 tunnel 192.0.2.1 192.0.2.2") == warned("SIOCSIFPHYADDR: Invalid argument")
    assert run("ifconfig lo0 inet6 tunnel ::1 ::2") == warned("SIOCSIFPHYADDR_IN6: Invalid argument")
    assert run("ifconfig lo0 deletetunnel") == failed("SIOCDIFPHYADDR: Invalid argument")
    assert run("ifconfig em0 -tunnel") == failed("SIOCDIFPHYADDR: Invalid argument")
    assert run("ifconfig em0 reqid 5") == warned("ioctl(IPSECSREQID): Invalid argument")


def test_link_addresses() -> None:
    refused = failed("ioctl (SIOCAIFADDR): Invalid argument")
    assert run("ifconfig ipsec0 link 00:11:22:33:44:55") == refused
    assert run("ifconfig lo0 ether 00:11:22:33:44:55") == refused
    assert run("ifconfig em0 ether 00:11:22:33:44") == refused
    do("ifconfig em0 ether 02:11:22:33:44:55")
    assert lines("em0", "ether") == ["ether 02:11:22:33:44:55"]


@pytest.mark.parametrize(
    ("words", "complaints"),
    [
        (
            "10.0.0.1",
            ["in_exec_nl(): Empty IFA_LOCAL/IFA_ADDRESS", "ioctl (SIOCAIFADDR): Invalid argument"],
        ),
        (
            "netmask 255.255.255.0",
            ["in_exec_nl(): Empty IFA_LOCAL/IFA_ADDRESS", "ioctl (SIOCAIFADDR): Invalid argument"],
        ),
        ("10.0.0.1 0.0.0.0", ["ioctl (SIOCAIFADDR): Destination address required"]),
        ("10.0.0.1 -alias", ["ioctl (SIOCDIFADDR): Can't assign requested address"]),
        ("inet6 2001:db8::1/0", ["ioctl (SIOCAIFADDR): Invalid argument"]),
        ("inet6 2001:db8::1 2001:db8::2", ["ioctl (SIOCAIFADDR): Invalid argument"]),
        ("inet6 2001:db8::1 prefixlen 127 2001:db8::2", ["ioctl (SIOCAIFADDR): Invalid argument"]),
        ("inet6 2001:db8::1 pltime 61 vltime 60", ["ioctl (SIOCAIFADDR): Invalid argument"]),
        ("inet6 2001:db8::1 -alias", ["ioctl (SIOCDIFADDR): Can't assign requested address"]),
        ("inet6 -alias 2001:db8::1", ["ioctl (SIOCDIFADDR): Can't assign requested address"]),
        ("inet6 delete", ["ioctl (SIOCDIFADDR): Can't assign requested address"]),
    ],
)
def test_refused_addresses(words: str, complaints: list[str]) -> None:
    assert run(f"ifconfig ipsec0 {words}") == failed(*complaints)
    assert status() == CREATED


def test_prefix_length_cannot_change() -> None:
    do("ifconfig ipsec0 inet6 2001:db8::1/64")
    assert run("ifconfig ipsec0 inet6 2001:db8::1/48") == failed("ioctl (SIOCAIFADDR): Invalid argument")


def test_vnet() -> None:
    assert run("ifconfig ipsec0 vnet 77") == failed("SIOCSIFVNET: Device not configured")
    assert run("ifconfig ipsec0 vnet nosuchjail") == failed('jail "nosuchjail" not found')


# States of an interface.


def test_tunnel_with_a_local_source() -> None:
    do("ifconfig ipsec0 reqid 100", "ifconfig ipsec0 tunnel 192.0.2.1 198.51.100.1")
    down = CREATED.replace("8010<POINTOPOINT,", "8050<POINTOPOINT,RUNNING,").replace(
        "\tgroups", TUNNEL_LINE + "\tgroups"
    )
    down = down.replace("reqid: 0", "reqid: 100")
    assert status() == down
    do("ifconfig ipsec0 inet 10.0.0.1/30 10.0.0.2")
    up = down.replace(
        "8050<POINTOPOINT,RUNNING,MULTICAST>", "1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP>"
    ).replace(TUNNEL_LINE, TUNNEL_LINE + INNER_LINE)
    assert status() == up
    assert run("ifconfig -m ipsec0") == ok(up.replace("options=0\n", "options=0\n\tcapabilities=0\n", 1))
    do("ifconfig ipsec0 down")
    assert status() == down.replace(TUNNEL_LINE, TUNNEL_LINE + INNER_LINE)
    do("ifconfig ipsec0 link0 debug up")
    assert flags() == "1009055<UP,DEBUG,POINTOPOINT,RUNNING,LINK0,MULTICAST,LOWER_UP>"
    do("ifconfig ipsec0 -link0 -debug promisc")
    assert flags() == "1028151<UP,POINTOPOINT,RUNNING,PROMISC,MULTICAST,PPROMISC,LOWER_UP>"
    do("ifconfig ipsec0 -promisc monitor")
    assert flags() == "1048051<UP,POINTOPOINT,RUNNING,MULTICAST,MONITOR,LOWER_UP>"
    do("ifconfig ipsec0 -monitor metric 5 mtu 1350 descr 'to branch office' group vpn")
    assert run("ifconfig ipsec0 name vpn0") == ok("vpn0\n")
    assert run("ifconfig -D vpn0") == ok("""\
vpn0: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 5 mtu 1350
	description: to branch office
	options=0
	tunnel inet 192.0.2.1 --> 198.51.100.1
	inet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc
	groups: ipsec vpn
	reqid: 100
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
	drivername: ipsec0
""")


def test_inet6_addresses() -> None:
    do("ifconfig ipsec0 tunnel 192.0.2.1 198.51.100.1", "ifconfig ipsec0 inet 10.0.0.1/30 10.0.0.2")
    do("ifconfig ipsec0 inet6 2001:db8:1::1/64")
    shown = status()
    assert "\tnd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>\n" in shown
    addresses = lines("ipsec0", "inet")
    assert addresses[:2] == ["inet 10.0.0.1 --> 10.0.0.2 netmask 0xfffffffc", "inet6 2001:db8:1::1 prefixlen 64"]
    assert addresses[2].startswith("inet6 fe80::") and "%ipsec0 prefixlen 64 " in addresses[2]
    assert " scopeid 0x" in addresses[2] and len(addresses) == 3
    do("ifconfig ipsec0 inet6 2001:db8:1::1 -alias", "ifconfig ipsec0 inet6 2001:db8:1::1/128 2001:db8:1::2")
    assert any(
        line.startswith("inet6 2001:db8:1::1 --> 2001:db8:1::2 prefixlen 128") for line in lines("ipsec0", "inet6")
    )


def test_lifetimes() -> None:
    do("ifconfig ipsec0 inet6 2001:db8::1/64 pltime 600 vltime 1200", "ifconfig ipsec0 inet6 2001:db8::2/64 pltime 600")
    shown = [line.replace(" tentative", "") for line in lines("ipsec0", "inet6 2001")]
    assert shown == [
        "inet6 2001:db8::1 prefixlen 64 pltime 600 vltime 1200",
        "inet6 2001:db8::2 prefixlen 64 pltime 600 vltime 0",
    ]
    do("ifconfig ipsec0 inet6 2001:db8::3/64 pltime 0 vltime 0")
    assert len(lines("ipsec0", "inet6 2001")) == 2


def test_loopback() -> None:
    shown = status("lo0")
    assert shown.startswith(
        "lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384\n"
        "\toptions=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>\n"
        "\tinet 127.0.0.1 netmask 0xff000000\n"
        "\tinet6 ::1 prefixlen 128\n"
    )
    assert shown.endswith("\tgroups: lo\n\tnd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>\n")


def test_ethernet() -> None:
    do("ifconfig em0 up")
    shown = status("em0").splitlines()
    assert shown[0].startswith("em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500")
    assert shown[1].startswith("\toptions=")
    assert shown[2].startswith("\tether ")
    assert shown[3] == "\tinet 192.0.2.1 netmask 0xffffff00 broadcast 192.0.2.255"
    assert run("ifconfig -l ether") == ok("em0\n")
    assert run("ifconfig -l link") == ok("em0\n")
    assert run("ifconfig -l inet") in (ok("em0 lo0\n"), ok("lo0 em0\n"))


def test_ethernet_while_monitor() -> None:
    do("ifconfig em0 up monitor")
    flags = "48843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,MONITOR>"  # the medium is there, but dormant
    assert status("em0").startswith(f"em0: flags={flags} ")
    do("ifconfig em0 -monitor")
    assert "LOWER_UP" in status("em0").splitlines()[0]


def test_broadcast_address_of_small_networks() -> None:
    do("ifconfig em0 inet 198.51.100.2/31 alias", "ifconfig em0 inet 198.51.100.9/32 alias")
    do("ifconfig em0 inet 198.51.100.5/32 broadcast 198.51.100.255 alias", "ifconfig lo0 inet 198.51.100.7/32 alias")
    assert lines("em0", "inet 198") == [
        "inet 198.51.100.2 netmask 0xfffffffe broadcast 255.255.255.255",
        "inet 198.51.100.9 netmask 0xffffffff broadcast 198.51.100.9",
        "inet 198.51.100.5 netmask 0xffffffff broadcast 198.51.100.255",
    ]
    assert lines("lo0", "inet 198") == ["inet 198.51.100.7 netmask 0xffffffff"]


def test_cloners() -> None:
    result = run("ifconfig -C")
    assert result == ok(result.out)
    assert {"ipsec", "lo", "epair", "bridge", "tun"} <= set(result.out.split())


def test_other_cloners() -> None:
    assert run("ifconfig lo create") == ok("lo1\n")
    assert lines("lo1", "groups") == ["groups: lo"]
    assert run("ifconfig epair create") == ok("epair0a\n")
    assert run("ifconfig bridge create addm epair0a") == ok("bridge0\n")
    assert [line.split()[1] for line in lines("bridge0", "member")] == ["epair0a"]
    assert run("ifconfig bridge0 addm epair0a") == failed("BRDGADD epair0a: File exists")
    assert run("ifconfig bridge0 addm nothing0") == failed("BRDGADD nothing0: No such file or directory")
    do("ifconfig bridge0 deletem epair0a")
    assert run("ifconfig bridge0 deletem epair0a") == failed("BRDGDEL epair0a: No such file or directory")
    assert run("ifconfig ipsec0 addm em0") == failed("BRDGADD em0: Invalid argument")
    assert run("ifconfig tun create") == ok("tun0\n")
    do("ifconfig tun0 destroy", "ifconfig bridge0 destroy", "ifconfig epair0a destroy", "ifconfig lo1 destroy")
    assert run("ifconfig epair0b") == failed("interface epair0b does not exist")


# What a naive clone gets wrong.


def test_warnings_do_not_stop_the_rest() -> None:
    do("ifconfig ipsec1 create reqid 7")
    result = run("ifconfig ipsec0 tunnel 0.0.0.0 192.0.2.2 reqid 7 reqid abc up")
    assert result.status == 0 and result.err.count("\n") == 3
    assert flags() == "1008011<UP,POINTOPOINT,MULTICAST,LOWER_UP>"


def test_a_reqid_comes_with_the_tunnel() -> None:
    do("ifconfig ipsec0 tunnel 192.0.2.1 198.51.100.1", "ifconfig ipsec1 create tunnel 192.0.2.1 198.51.100.1")
    assert lines("ipsec0", "reqid") + lines("ipsec1", "reqid") == ["reqid: 16385", "reqid: 16386"]
    do("ifconfig ipsec0 deletetunnel", "ifconfig ipsec0 deletetunnel")
    assert lines("ipsec0", "reqid") == ["reqid: 16385"] and not lines("ipsec0", "tunnel")
    do("ifconfig ipsec0 reqid 0")
    assert lines("ipsec0", "reqid") == ["reqid: 16385"]


def test_running_follows_the_source_address() -> None:
    do("ifconfig ipsec0 tunnel 203.0.113.1 198.51.100.1 up")
    assert flags() == "1008011<UP,POINTOPOINT,MULTICAST,LOWER_UP>"
    do("ifconfig em0 203.0.113.1/24 alias")
    assert flags() == "1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP>"
    do("ifconfig ipsec0 down")
    assert flags() == "8050<POINTOPOINT,RUNNING,MULTICAST>"
    do("ifconfig em0 203.0.113.1 -alias")
    assert flags() == "8010<POINTOPOINT,MULTICAST>"


def test_an_inet_address_sets_up_again() -> None:
    do("ifconfig ipsec0 10.0.0.1/30 10.0.0.2")
    do("ifconfig ipsec0 down 10.0.0.5/30 10.0.0.6")
    assert flags() == "1008011<UP,POINTOPOINT,MULTICAST,LOWER_UP>"
    assert lines("ipsec0", "inet") == ["inet 10.0.0.5 --> 10.0.0.6 netmask 0xfffffffc"]


def test_a_missing_alias_replaces_only_inet() -> None:
    do("ifconfig ipsec0 10.0.0.1/32 10.0.0.2", "ifconfig ipsec0 10.0.0.3/32 10.0.0.4 alias")
    do("ifconfig ipsec0 10.0.0.5/32 10.0.0.6")
    assert [line.split()[1] for line in lines("ipsec0", "inet ")] == ["10.0.0.3", "10.0.0.5"]
    do("ifconfig ipsec0 inet6 2001:db8::1/64", "ifconfig ipsec0 inet6 2001:db8::2/64")
    assert [line.split()[1] for line in lines("ipsec0", "inet6 2001")] == ["2001:db8::1", "2001:db8::2"]


def test_deletion_happens_even_if_addition_fails() -> None:
    do("ifconfig ipsec0 10.0.0.1/32 10.0.0.2")
    assert run("ifconfig ipsec0 10.0.0.9/24").status == 1
    assert not lines("ipsec0", "inet")


def test_masks_without_warning() -> None:
    do("ifconfig ipsec0 10.0.0.1 10.0.0.2", "ifconfig ipsec0 192.0.2.9 10.0.0.3 netmask 255.0.255.0 alias")
    assert lines("ipsec0", "inet") == [
        "inet 10.0.0.1 --> 10.0.0.2 netmask 0xff000000",
        "inet 192.0.2.9 --> 10.0.0.3 netmask 0xffff0000",
    ]


def test_numbers_are_addresses() -> None:
    do("ifconfig ipsec0 5/32 6")
    assert lines("ipsec0", "inet") == ["inet 0.0.0.5 --> 0.0.0.6 netmask 0xffffffff"]


def test_inet6_words() -> None:
    do("ifconfig ipsec0 inet6 no_dad -auto_linklocal -ifdisabled accept_rtadv")
    assert lines("ipsec0", "nd6") == ["nd6 options=103<PERFORMNUD,ACCEPT_RTADV,NO_DAD>"]
    do("ifconfig ipsec0 inet6 defaultif")
    assert lines("ipsec0", "nd6") == ["nd6 options=8103<PERFORMNUD,ACCEPT_RTADV,NO_DAD,DEFAULTIF>"]
    do("ifconfig ipsec0 inet6 -defaultif")
    assert lines("ipsec0", "nd6") == ["nd6 options=103<PERFORMNUD,ACCEPT_RTADV,NO_DAD>"]


def test_offload_words() -> None:
    assert run("ifconfig ipsec0 ipsec rxcsum -lro up") == warned("IFCAP_NV not supported")
    assert flags() == "1008011<UP,POINTOPOINT,MULTICAST,LOWER_UP>"


def test_reqids_are_unique() -> None:
    do("ifconfig ipsec0 reqid 0x64", "ifconfig ipsec1 create")
    assert run("ifconfig ipsec1 reqid 0144") == warned("ioctl(IPSECSREQID): File exists")
    do("ifconfig ipsec0 destroy", "ifconfig ipsec1 reqid 100")


WORDS = (
    "up down create destroy mtu metric name descr group -group fib tunnelfib tunnel -tunnel reqid alias -alias netmask "
    "broadcast prefixlen pltime vltime eui64 anycast tentative ifdisabled defaultif vnet -vnet addm media ether inet "
    "inet6 link af_gif rxcsum ipsec promisc 10.0.0.1 10.0.0.1/33 ::1 ::1/129 0 -1 4294967296 x " + "y" * 300
).split()
ODD = ["", " ", "\n", "\x1b[31m", "\x7f", "é", "\udcff", "%s", "-", "--", "'", "\\", "*", "../.."]


@pytest.mark.parametrize("family", ["inet", "inet6", "link"])
def test_no_words_end_in_a_traceback(family: str) -> None:
    """Each word and an odd one after it give a complaint in FreeBSD's shape or none."""
    for word in WORDS + ODD:
        for other in (["::1"], ["\udcff"], []):
            result = run(["ipsec0", family, word, *other])
            check(result)
            if word in ("destroy", "name"):  # it is gone
                for name in run("ifconfig -g ipsec").out.split():
                    do(f"ifconfig '{name}' destroy")
                do("ifconfig ipsec0 create")


def check(result: Result) -> None:
    assert result.status in (0, 1)
    assert result.status == 0 or result.err.startswith("ifconfig: ")
    assert "Traceback" not in result.err
