"""kill -9 again and again, under traffic: no number, no IV, no packet is good twice, and what was set up stays."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture, Seen
from ipsectools.lab.flow import Counters
from ipsectools.lab.host import STATE
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books, control
from tests.e2e.flood import Flood
from tests.e2e.numbers import stop_ipsecd
from tests.traffic.scene import CBC_SHA256, GCM, INNER, OUTER, SPIS, Algorithm, sas, tunnel
from tests.traffic.test_crash import identity, kill_ipsecd

if TYPE_CHECKING:
    from pathlib import Path

    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]

CTR = Algorithm("aes-ctr", 20, "hmac-sha2-256", 32)
CHACHA = Algorithm("chacha20-poly1305", 36)
UNDER_WAY = 128
"""Packets that had their numbers and were not sent yet when ipsecd was killed, at the most."""
IV_LENGTH = {GCM: 8, CTR: 8, CHACHA: 8, CBC_SHA256: 16}


def replay(hosts: Pair, packets: list[Seen]) -> None:
    """Sends everything that was on the wire once more, from where it came.

    What a killed ipsecd never saw may be accepted now, if it is still in the window; the caller looks for what arrived
    a second time.
    """
    a, b = hosts
    books = Books(a), Books(b)
    ends = OUTER["inet"]
    with (
        a.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ESP) as from_a,
        b.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ESP) as from_b,
    ):
        for number, seen in enumerate(packets):
            if seen.source == ends[0]:
                from_a.sendto(seen.payload, (ends[1], 0))
            else:
                from_b.sendto(seen.payload, (ends[0], 0))
            if number % 256 == 255:
                wait_for_arrival(hosts, books, 0)
    wait_for_arrival(hosts, books, len(packets))
    for book in books:
        balance, drops = book.closed()
        assert balance["injected"] == 0
        assert set(drops) <= {"in-replay", "in-late-replay"}, drops


def wait_for_arrival(hosts: Pair, books: tuple[Books, Books], count: int) -> None:
    """Until both data paths together have seen `count` packets (0: lets them catch up)."""
    for _ in range(200):
        if sum(book.counted()[0]["arrived"] for book in books) >= count:
            return
    raise AssertionError([book.counted() for book in books])


def refused(host: Host) -> dict[str, int]:
    """What this ipsecd did not take or send for its number.

    On a disk it may want reserved ones, however slow that is; that has nothing to do with kills.
    """
    on_disk = host.environment["IPSECTOOLS_STATE"] != STATE
    drops = control(host, "STATISTICS")["drops"]
    return {
        name: count
        for name, count in drops.items()
        if count and ("unreserved" in name or name.startswith("in-")) and not (on_disk and "unreserved" in name)
    }


def rounds(hosts: Pair, algorithm: Algorithm, count: int) -> None:
    a, b = hosts
    tunnel(a, b, algorithm, more="-r 64")
    numbers: dict[int, int] = {}
    ivs: dict[int, set[bytes]] = {spi: set() for spi in SPIS}
    refused_before = {host: refused(host) for host in hosts}
    with (
        Capture(a) as capture,
        Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters,
        Flood(counters) as flood,
    ):
        before = identity(a), identity(b)
        flood.go()
        for turn in range(count):
            arrived = len(counters.forth.numbers), len(counters.back.numbers)
            victims = ((a,), (b,), (a, b))[turn % 3]
            for victim in victims:
                kill_ipsecd(victim)
                refused_before[victim] = {}
            for victim in victims:
                assert victim.run("setkey", "-D").output
                assert len(victim.processes("ipsecd")) == 1
            for _ in range(1200):  # until there is traffic again
                counters_now = len(counters.forth.numbers), len(counters.back.numbers)
                if all(now > then for now, then in zip(counters_now, arrived, strict=True)):
                    break
                time.sleep(0.05)
            else:
                raise AssertionError(f"turn {turn}: no traffic any more: {counters.forth} {counters.back}")
            assert (identity(a), identity(b)) == before, f"turn {turn}"
            flood.pause()
            for host in hosts:
                assert refused(host) == refused_before[host], f"turn {turn}: {host.name} refused what it should take"
            assert not capture.clear()
            packets = capture.esp()
            for seen in packets:
                last = numbers.get(seen.spi, 0)
                assert seen.sequence > last, f"turn {turn}: sequence number used twice: {seen}"
                assert seen.sequence <= last + 1 + UNDER_WAY, f"turn {turn}: numbers left out after {last}: {seen}"
                numbers[seen.spi] = seen.sequence
                iv = seen.payload[8 : 8 + IV_LENGTH[algorithm]]
                assert iv not in ivs[seen.spi], f"turn {turn}: IV used twice: {seen}"
                ivs[seen.spi].add(iv)
            replay(hosts, packets)
            time.sleep(0.05)
            counters.drain()
            for arrivals in (counters.forth, counters.back):
                assert len(set(arrivals.numbers)) == len(arrivals.numbers), f"turn {turn}: arrived twice: {arrivals}"
            refused_before = {host: refused(host) for host in hosts}
            capture.forget()
            flood.go()
        flood.pause()


CORES = ["auto", pytest.param("python", marks=pytest.mark.long)]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("algorithm", [GCM, pytest.param(CBC_SHA256, marks=pytest.mark.long)], ids=str)
def test_kill_under_traffic(hosts: Pair, algorithm: Algorithm, core: str) -> None:
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
    rounds(hosts, algorithm, 10)


@pytest.mark.long
def test_kill_under_traffic_with_the_state_on_a_disk(hosts: Pair, tmp_path: Path) -> None:
    for host in hosts:
        directory = tmp_path / host.name
        directory.mkdir(mode=0o700)
        host.environment["IPSECTOOLS_STATE"] = str(directory)
    rounds(hosts, GCM, 10)


@pytest.mark.kills
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("core", ["auto", "python"])
@pytest.mark.parametrize("algorithm", [GCM, CBC_SHA256], ids=str)
def test_two_hundred_kills_under_traffic(hosts: Pair, algorithm: Algorithm, core: str) -> None:
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
    rounds(hosts, algorithm, 200)


@pytest.mark.parametrize(
    "algorithm", [GCM, *(pytest.param(each, marks=pytest.mark.long) for each in (CTR, CHACHA))], ids=str
)
def test_no_iv_twice_under_one_key(hosts: Pair, algorithm: Algorithm) -> None:
    """Whatever happens to the SAs of a key, it never meets the same IV again: that would give the plaintext away."""
    a, b = hosts
    tunnel(a, b, algorithm)
    used: set[bytes] = set()
    key = algorithm.options(SPIS[0])
    statement = "add 192.168.0.3 192.168.0.5 esp {spi} -m tunnel -u {reqid} " + key + ";\n"

    def send(what: str) -> None:
        capture.forget()
        ping(a, INNER["inet"][1], count=5, timeout=0.05)
        packets = [seen for seen in capture.esp() if seen.source == OUTER["inet"][0]]
        assert len(packets) >= 5, what
        for seen in packets:
            iv = seen.payload[8:16]
            assert iv not in used, f"{what}: IV {iv.hex()} again"
            used.add(iv)

    with Capture(a) as capture:
        send("first")
        a.setkey("flush;\n" + sas(100, algorithm))
        send("flush and add")
        a.setkey("delete 192.168.0.3 192.168.0.5 esp 10000;\n" + statement.format(spi=4711, reqid=100))
        send("another SPI")
        kill_ipsecd(a)
        a.run("setkey", "-F")
        a.setkey(sas(100, algorithm))
        send("kill -9, flush and add")
        stop_ipsecd(a)
        a.run("ifconfig", "ipsec0", "destroy")
        a.run("ifconfig", "ipsec7", "create", "reqid", "107")
        a.run("ifconfig", "ipsec7", "inet", "tunnel", *OUTER["inet"])
        a.run("ifconfig", "ipsec7", "inet", INNER["inet"][0] + "/16", INNER["inet"][1])
        a.setkey("flush;\n" + statement.format(spi=10000, reqid=107))
        send("another interface")
        a.run("ifconfig", "ipsec7", "reqid", "108")
        a.setkey(statement.format(spi=815, reqid=108))
        send("another reqid")
        # Two SAs with the key at the same time, each sending.
        a.run("ifconfig", "ipsec8", "create", "reqid", "109")
        a.run("ifconfig", "ipsec8", "inet", "tunnel", *OUTER["inet"])
        a.run("ifconfig", "ipsec8", "inet", "172.17.0.3/32", "172.17.0.5")
        a.setkey(statement.format(spi=816, reqid=109))
        for _ in range(3):
            send("two SAs")
            capture.forget()
            ping(a, "172.17.0.5", count=5, timeout=0.05)
            for seen in capture.esp():
                iv = seen.payload[8:16]
                assert seen.spi == 816 or seen.source != OUTER["inet"][0]
                if seen.spi == 816:
                    assert iv not in used, "two SAs"
                    used.add(iv)
