"""netstat(1): FreeBSD's statistics and interface tables; with real packets, what they count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.commands import hosttool
from ipsectools.commands.netstat import interfaces, rates, statistics
from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.daemon.state import State
from tests.traffic.scene import CBC_SHA256, INNER, OUTER, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipsectools.lab.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state")
    yield state
    state.close()


def test_the_lines_of_esp() -> None:
    values = list(range(20))
    lines = list(statistics.lines("esp", values, [0] * 11 + [4, 5] + [0] * 2 + [9] + [0] * 240, False))
    assert lines[0] == "esp:"
    assert lines[1] == "\t0 packets shorter than header shows"
    assert lines[2] == "\t1 packet dropped; protocol family not supported"
    assert lines[8] == "\t7 replay counter wraps"
    assert lines[11:13] == ["\t10 possible replay packets detected", "\t11 packets in"]
    assert lines[20:] == [
        "\t19 tunnel sanity check failures",
        "\tESP output histogram:",
        "\t\tnull: 4",
        "\t\taes-cbc: 5",
        "\t\t#15: 9",
    ]


def test_the_lines_of_ipsec6_without_zeros() -> None:
    values = [0] * 10 + [1, 2, 0]
    assert list(statistics.lines("ipsec6", values, [], True)) == [
        "ipsec6:",
        "\t1 spd cache miss",
        "\t2 clusters copied during clone",
    ]


@pytest.mark.parametrize(("protocol", "count"), [("esp", 20), ("ah", 19), ("ipsec", 13), ("ipsec6", 13)])
def test_statistics_without_packets(host: State, protocol: str, count: int) -> None:
    lines = host.ok("netstat", "-s", "-p", protocol).splitlines()
    assert lines[0] == f"{protocol}:"
    assert len(lines) == 1 + count
    assert all(line.startswith("\t0 ") for line in lines[1:])
    assert host.ok("netstat", "-ssp", protocol) == f"{protocol}:\n"


INTERFACE = {
    "name": "ipsec0",
    "index": 3,
    "flags": 0x8051,
    "mtu": 1400,
    "lladdr": None,
    "inet": [{"address": "172.16.0.3", "peer": "172.16.0.5", "prefixlen": 16, "broadcast": None}],
    "inet6": [
        {"address": "fe80::1", "prefixlen": 64, "scopeid": 3},
        {"address": "fd00::3", "prefixlen": 128, "scopeid": 0},
    ],
    "statistics": {"ipackets": 12, "ibytes": 3456, "ierrors": 0, "opackets": 78, "obytes": 123456789, "oerrors": 9},
}  # fmt: skip


def test_the_table_of_interfaces() -> None:
    assert list(interfaces.table([INTERFACE], octets=False, drops=False)) == [
        "Name     Mtu Network           Address           Ipkts Ierrs Idrop    Opkts Oerrs  Coll",
        "ipsec0  1400 <Link#3>          ipsec0               12     0     0       78     9     0",
        "ipsec0     - 172.16.0.0/16     172.16.0.3            -     -     -        -     -     -",
        "ipsec0     - fe80::%ipsec0/64  fe80::1%ipsec0        -     -     -        -     -     -",
        "ipsec0     - fd00::3/128       fd00::3               -     -     -        -     -     -",
    ]


def test_bytes_and_drops() -> None:
    down = INTERFACE | {"flags": 0x8010, "inet": []}
    assert list(interfaces.table([down], family="link", octets=True, drops=True)) == [
        "Name      Mtu Network   Address     Ipkts Ierrs Idrop     Ibytes    Opkts Oerrs     Obytes  Coll  Drop",
        "ipsec0*  1400 <Link#3>  ipsec0         12     0     0       3456       78     9  123456789     0     0 ",
    ]


@pytest.mark.parametrize(
    ("number", "width"), [(0, 8), (9_999_999, 8), (10_000_000, 8), (10_000_001, 8), (11 * 10**6, 9), (10**9, 10)]
)
def test_columns_grow_with_their_numbers(number: int, width: int) -> None:
    """FreeBSD divides by 10 until 10 are left: 10,000,000 needs no more room than 9,999,999."""
    busy = INTERFACE | {"statistics": INTERFACE["statistics"] | {"opackets": number}}
    header, line = interfaces.table([busy], family="link", octets=False, drops=False)
    assert header == f"Name     Mtu Network   Address  {'Ipkts':>{width}} Ierrs Idrop {'Opkts':>{width}} Oerrs  Coll"
    assert len(line) == len(header)


def test_rates() -> None:
    counters = iter([(0, 0), (3, 252), (3, 252), (1, 84)])

    def read() -> list[dict[str, object]]:
        packets, octets = next(counters)
        zeros = dict.fromkeys(("ierrors", "opackets", "oerrors", "obytes"), 0)
        return [{"statistics": {"ipackets": packets, "ibytes": octets} | zeros}]

    pauses: list[float] = []
    assert list(rates.lines(read, "ipsec0", 2, 3, False, pauses.append)) == [
        "            input         ipsec0           output",
        "   packets  errs idrops      bytes    packets  errs      bytes colls",
        "         3     0     0        252          0     0          0     0",
        "         0     0     0          0          0     0          0     0",
        "         0     0     0          0          0     0          0     0",
    ]
    assert pauses == [2, 2, 2]


def test_rates_end_with_a_head_after_21_lines() -> None:
    quiet = {"statistics": dict.fromkeys(("ipackets", "ibytes", "ierrors", "opackets", "oerrors", "obytes"), 0)}
    lines = list(rates.lines(lambda: [quiet], None, 1, 21, True, lambda seconds: None))
    assert lines[:2] == lines[-2:] and len(lines) == 25
    assert lines[1].endswith(" colls drops") and lines[2].endswith("     0     0 ")


def test_rates_of_no_interface(host: State) -> None:
    assert host.run("netstat", "-w", "1", "-I", "em9") == (65, "", "netstat: interface em9 not found\n")


def test_rates_of_the_host(host: State) -> None:
    lines = host.ok("netstat", "-w", "1", "-q", "1", "-d").splitlines()
    assert lines[0].split() == ["input", "(Total)", "output"]
    assert lines[1].split()[-1] == "drops"
    assert lines[2].split() == ["0"] * 9


def test_interfaces_of_the_host(host: State) -> None:
    lines = host.ok("netstat", "-i").splitlines()
    assert lines[0].split()[:4] == ["Name", "Mtu", "Network", "Address"]
    assert [line.split()[0] for line in lines[1:]] == ["lo0"] * 4 + ["em0*"]
    assert len(host.ok("netstat", "-inb", "-f", "inet").splitlines()) == 2
    assert host.ok("netstat", "-I", "em0").splitlines()[1].split()[:2] == ["em0*", "1500"]
    assert len(host.ok("netstat", "-I", "em9").splitlines()) == 1


@pytest.mark.skipif(hosttool.find("netstat") is None, reason="this host has no netstat of its own")
@pytest.mark.parametrize("arguments", [["-rn"], ["-s", "-p", "tcp"], ["-an"], ["-i", "-e", "-x"], ["--version"]])
def test_other_calls_are_the_hosts(host: State, arguments: list[str]) -> None:
    import subprocess

    program = hosttool.find("netstat")
    assert program is not None
    theirs = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    status, output, _ = host.run("netstat", *arguments)
    assert status == theirs.returncode
    assert output.splitlines()[:1] == theirs.stdout.splitlines()[:1]


def test_without_a_netstat_of_the_host(host: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ipsectools.commands.netstat import main

    monkeypatch.setattr(hosttool, "find", lambda program: None)
    assert main.main(["-rn"]) == 1


@pytest.mark.traffic
def test_real_packets_are_counted(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    def counted(host: Host, protocol: str) -> dict[str, int]:
        lines = host.run("netstat", "-s", "-p", protocol).output.splitlines()[1:]
        return {line.strip().partition(" ")[2]: int(line.split()[0]) for line in lines if line.split()[0].isdigit()}

    for host in hosts:  # nothing on the tunnel but what the test sends
        host.set_kernel("net/ipv6/conf/default/router_solicitations", 0)
    with Capture(a) as wire:
        tunnel(a, b, CBC_SHA256)
        assert ping(a, INNER["inet"][1], count=5)
        b.setkey("flush;")
        assert not ping(b, INNER["inet"][0], count=3, timeout=1).received
        assert len([seen for seen in wire.esp() if seen.source == OUTER["inet"][0]]) == 5
    esp = counted(a, "esp")
    assert (esp["packets in"], esp["packets out"], esp["bytes out"]) == (5, 5, 5 * 84)
    assert "\t\taes-cbc: 10" in a.run("netstat", "-s", "-p", "esp").output.splitlines()
    assert "\t\thmac-sha2-256: 10" in a.run("netstat", "-s", "-p", "ah").output.splitlines()
    for host, packets_out in ((a, "5"), (b, "8")):
        line = host.run("netstat", "-I", "ipsec0").output.splitlines()[1].split()
        assert line == ["ipsec0", "1400", line[2], "ipsec0", "5", "0", "0", packets_out, "0", "0"]
    assert counted(b, "ipsec")["outbound packets with no SA available"] == 3
