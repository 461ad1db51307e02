"""The ends of number spaces: ESN across 2^32, the last sequence number without ESN, no SA at all."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture, Seen
from ipsectools.lab.faults import Faults, FaultyLink
from ipsectools.lab.flow import Counters
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books, PfKey
from tests.e2e.numbers import set_sequence
from tests.e2e.witness import scapy_sa
from tests.traffic.scene import CBC_SHA256, GCM, INNER, REQIDS, SPIS, Algorithm, add_sas, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]

EDGE = 1 << 32
SADB_ACQUIRE, SADB_EXPIRE = 6, 8
EXT_SA, EXT_LIFETIME_HARD = 1, 3
UNHEARD = 11
"""Packets in a row for which one ACQUIRE is enough (net.key.blockacq_count). What Linux sends by itself on a new
interface may have caused the last one."""


def extensions(message: bytes) -> dict[int, bytes]:
    """The extensions of a PF_KEY message by type."""
    found = {}
    place = 16
    while place + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, place)
        found[kind] = message[place : place + length * 8]
        place += length * 8
    return found


def high_halves(packets: list[Seen], first: int) -> list[tuple[Seen, int]]:
    """Each packet with the high half of its number, when numbers rise by less than 2^31 from one to the next."""
    found, last = [], first
    for seen in packets:
        number = last + ((seen.sequence - last + (EDGE >> 1)) % EDGE) - (EDGE >> 1)
        last = max(last, number)
        found.append((seen, number >> 32))
    return found


@pytest.mark.parametrize("algorithm", [pytest.param(CBC_SHA256, marks=pytest.mark.long), GCM], ids=str)
def test_esn_across_the_edge(faulty: tuple[Host, Host, FaultyLink], algorithm: Algorithm) -> None:
    from scapy.layers.inet import IP

    a, b, link = faulty
    tunnel(a, b, algorithm, more="-r 32 -esn")
    assert_pings(a, b)
    for host in (a, b):
        set_sequence(host, SPIS, EDGE - 300)
    books = Books(a), Books(b)
    link.set(Faults(reordering=0.3, depth=40), Faults(reordering=0.3, depth=40))
    with Capture(a) as capture, Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters:
        counters.run(600, burst=50, timeout=0.05)
        link.set()
        counters.wait_for_all(10)
        packets = capture.esp()
        # Each arrived once: the window reached back across the edge. (Order is what the link disturbed.)
        assert sorted(counters.forth.numbers) == list(range(600)), (counters.forth, [book.closed() for book in books])
        assert sorted(counters.back.numbers) == list(range(600)), (counters.back, [book.closed() for book in books])
    assert [book.closed()[1] for book in books] == [{}, {}]
    for spi in SPIS:
        numbered = high_halves([seen for seen in packets if seen.spi == spi], EDGE - 300)
        assert {high for _, high in numbered} == {0, 1}
        for seen, high in numbered:
            inner = scapy_sa(algorithm, spi, esn=high).decrypt(IP(seen.packet))
            assert inner.version in (4, 6)
    assert_pings(a, b)


@pytest.mark.parametrize("algorithm", [pytest.param(CBC_SHA256, marks=pytest.mark.long), GCM], ids=str)
def test_the_last_sequence_number(hosts: Pair, algorithm: Algorithm) -> None:
    """Without ESN the SA of A dies with number 2^32 - 1, and whoever listens is told. No number is used twice."""
    a, b = hosts
    tunnel(a, b, algorithm, more="-r 8")
    assert_pings(a, b)
    for host in hosts:
        set_sequence(host, SPIS[:1], EDGE - 31)
    books = Books(a)
    with (
        PfKey(a) as listener,
        Capture(a) as capture,
        Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters,
    ):
        listener.register()
        counters.send(60)
        counters.collect(0.3)
        message = listener.receive(SADB_EXPIRE)
        assert message is not None, "no EXPIRE"
        found = extensions(message)
        assert EXT_LIFETIME_HARD in found
        assert struct.unpack_from(">I", found[EXT_SA], 4) == (SPIS[0],)
        # The next packets ask for a new SA.
        counters.send(UNHEARD + 1)
        assert listener.receive(SADB_ACQUIRE) is not None, "no ACQUIRE"
        counters.collect(0.1)
        numbers = [seen.sequence for seen in capture.esp() if seen.spi == SPIS[0]]
        assert numbers == list(range(EDGE - 30, EDGE))
        assert not capture.clear()
        assert len(counters.forth.numbers) >= 29  # the interface itself may have sent one packet
    balance, drops = books.closed()
    assert set(drops) <= {"out-sequence-exhausted", "out-no-sa"} and drops["out-no-sa"] >= 1
    assert balance["sent"] == 30
    assert f"spi={SPIS[0]}(" not in a.run("setkey", "-D").output
    # New keys under a new SPI, and everything goes on.
    for reqid, host in zip(REQIDS, hosts, strict=True):
        options = algorithm.options(77777)
        result = host.setkey(f"add 192.168.0.3 192.168.0.5 esp 77777 -m tunnel -u {reqid} {options};")
        assert not result.output + result.errors, result
    assert_pings(a, b)


def test_a_packet_without_an_sa_asks_for_one(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b, GCM)
    assert_pings(a, b)
    a.setkey("flush;")
    with PfKey(a) as listener, Capture(a) as capture:
        listener.register()
        books = Books(a)
        for family in INNER:
            assert ping(a, INNER[family][1], count=UNHEARD + 1, timeout=0.1).received == 0
            assert listener.receive(SADB_ACQUIRE) is not None
        assert not capture.clear() + capture.esp()
        assert books.closed()[1].keys() == {"out-no-sa"}
    add_sas(a, 0, GCM)
    assert_pings(a, b)
