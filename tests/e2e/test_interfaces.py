"""Many interfaces with the same end points: the reqid tells them apart, on the way out and on the way in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books, control
from tests.traffic.scene import GCM, INNER, OUTER, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]


def address(number: int, side: int) -> str:
    return f"10.{100 + number // 250}.{number % 250}.{1 + side}"


def spi(number: int, side: int) -> int:
    return 100_000 + 2 * number + side


def make(hosts: Pair, count: int) -> None:
    """`count` tunnels between the same two addresses."""
    for side, host in enumerate(hosts):
        host.run("ifconfig", "ipsec0", "create")  # which has ipsecd started
        host.run("ifconfig", "ipsec0", "destroy")
        local, remote = OUTER["inet"][side], OUTER["inet"][1 - side]
        for number in range(count):
            name = f"ipsec{number}"
            control(host, "SIOCIFCREATE2", name=name)
            control(host, "IPSECSREQID", name=name, reqid=1000 + number)
            control(host, "SIOCSIFPHYADDR", name=name, src=local, dst=remote)
            here, there = address(number, side), address(number, 1 - side)
            control(host, "NEWADDR", name=name, family="inet", address=here, prefixlen=32, peer=there)
        statements = []
        for number in range(count):
            for way in (0, 1):
                source, destination = OUTER["inet"] if way == 0 else OUTER["inet"][::-1]
                options = GCM.options(spi(number, way))
                statements.append(
                    f"add {source} {destination} esp {spi(number, way)} -m tunnel -u {1000 + number} {options};\n"
                )
        result = host.setkey("".join(statements), timeout=120)
        assert not result.output + result.errors, result


def each_uses_its_own(hosts: Pair, count: int, step: int) -> None:
    a, b = hosts
    books = Books(a), Books(b)
    with Capture(a) as capture:
        for number in range(0, count, step):
            assert ping(a, address(number, 1), count=2), number
            assert ping(b, address(number, 0), count=1), number
        assert {seen.spi for seen in capture.esp()} >= {
            spi(number, side) for number in range(0, count, step) for side in (0, 1)
        }
        assert not capture.clear()
    for book in books:
        assert book.closed()[1] == {}
    for host in hosts:
        counted = control(host, "STATISTICS")["interfaces"]
        assert {counted[f"ipsec{number}"]["ipackets"] >= 3 for number in range(0, count, step)} == {True}


def test_interfaces_with_the_same_end_points(hosts: Pair) -> None:
    make(hosts, 12)
    each_uses_its_own(hosts, 12, 1)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_thousand_interfaces(hosts: Pair) -> None:
    make(hosts, 1000)
    each_uses_its_own(hosts, 1000, 37)


def test_the_program_tells_what_the_data_path_counted(hosts: Pair) -> None:
    """`ipsectools stats --json` says the same as the books, and the interface as ifconfig's users know it."""
    a, b = hosts
    tunnel(a, b, GCM)
    assert_pings(a, b)
    a.setkey("flush;")
    ping(a, INNER["inet"][1], count=3, timeout=0.05)
    said = json.loads(a.run("ipsectools", "stats", "--json").output)
    counted = control(a, "STATISTICS")
    assert said["balance"] == counted["balance"]
    assert said["drops"] == counted["drops"]
    assert said["drops"]["out-no-sa"] >= 3
    out = sum(count for reason, count in said["drops"].items() if reason.startswith("out-"))
    assert said["balance"]["taken"] == said["balance"]["sent"] + out
    assert said["interfaces"]["ipsec0"]["opackets"] == said["balance"]["taken"]
    assert said["interfaces"]["ipsec0"]["ipackets"] == said["balance"]["delivered"]
