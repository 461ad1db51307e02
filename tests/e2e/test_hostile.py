"""Packets that nobody honest sends: each is a counted drop, and ipsecd lives."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books, control
from tests.traffic.scene import CBC_SHA256, GCM, INNER, OUTER, REQIDS, SPIS, Algorithm, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]

IPV4 = bytes.fromhex("4500001c 00010000 40010000 ac100003 ac100005 0800f7ff 00000000")


def esp_socket(host: Host, outer: str = "inet") -> socket.socket:
    family = socket.AF_INET if outer == "inet" else socket.AF_INET6
    return host.socket(family, socket.SOCK_RAW, socket.IPPROTO_ESP)


def all_arrived(books: Books, count: int) -> dict[str, int]:
    """The drops, once so many packets have arrived and been judged."""
    for _ in range(500):
        if books.counted()[0]["arrived"] >= count:
            break
    balance, drops = books.closed()
    assert balance["arrived"] == count
    assert balance["delivered"] == balance["injected"] == 0, (balance, drops)
    return drops


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("algorithm", [GCM, CBC_SHA256], ids=str)
def test_every_length_and_noise(hosts: Pair, algorithm: Algorithm, outer: str) -> None:
    a, b = hosts
    tunnel(a, b, algorithm, outer, more="-r 8")
    assert_pings(a, b)
    before = b.processes("ipsecd")
    books = Books(b)
    noise = random.Random(3)
    sent = 0
    with esp_socket(a, outer) as wire:
        for length in range(201):
            for start in (SPIS[0].to_bytes(4, "big") + (1000 + length).to_bytes(4, "big"), bytes(8), b"\xff" * 8):
                wire.sendto((start + noise.randbytes(200))[:length], (OUTER[outer][1], 0))
                sent += 1
            if length % 50 == 0:
                all_arrived(books, sent)
        for _ in range(2000):
            data = SPIS[0].to_bytes(4, "big") * noise.randint(0, 1) + noise.randbytes(noise.randint(0, 400))
            wire.sendto(data, (OUTER[outer][1], 0))
            sent += 1
            if sent % 200 == 0:
                all_arrived(books, sent)
    drops = all_arrived(books, sent)
    assert set(drops) <= {"in-short", "in-unknown-spi", "in-length", "in-icv", "in-replay"}
    assert drops["in-short"] >= 3 * 8
    assert b.processes("ipsecd") == before
    assert_pings(a, b)


@pytest.mark.parametrize("algorithm", [GCM, CBC_SHA256], ids=str)
def test_every_bit_of_a_genuine_packet(hosts: Pair, algorithm: Algorithm) -> None:
    """A packet with one bit turned is refused, whichever bit it is; then the packet itself is accepted."""
    a, b = hosts
    tunnel(a, b, algorithm, more="-r 8")
    assert_pings(a, b)
    with Capture(a) as capture, esp_socket(a) as wire:
        ends = " ".join(OUTER["inet"])
        b.setkey(f"delete {ends} esp {SPIS[0]};")  # so that B has not seen the packet
        assert ping(a, INNER["inet"][1], count=1, size=8, timeout=0.1).received == 0
        genuine = [seen for seen in capture.esp() if seen.outgoing][-1].payload
        b.setkey(f"add {ends} esp {SPIS[0]} -m tunnel -u {REQIDS[1]} -r 8 {algorithm.options(SPIS[0])};")
        books = Books(b)
        bits = len(genuine) * 8
        for bit in range(bits):
            turned = bytearray(genuine)
            turned[bit // 8] ^= 1 << bit % 8
            wire.sendto(bytes(turned), (OUTER["inet"][1], 0))
            if bit % 200 == 0:
                all_arrived(books, bit + 1)
        drops = all_arrived(books, bits)
        assert set(drops) <= {"in-icv", "in-unknown-spi", "in-replay"}, drops
        assert drops["in-unknown-spi"] == 32
        assert drops["in-icv"] >= bits - 64
        # None of them moved the window: the packet itself is still good, once.
        wire.sendto(genuine, (OUTER["inet"][1], 0))
        wire.sendto(genuine, (OUTER["inet"][1], 0))
        assert_pings(a, b)
        assert books.closed()[1]["in-replay"] == drops.get("in-replay", 0) + 1


def sealed(spi: int, sequence: int, plaintext: bytes) -> bytes:
    """A packet that B's SA authenticates, whatever is in it (RFC 4106)."""
    key = GCM.key(spi)
    start = spi.to_bytes(4, "big") + sequence.to_bytes(4, "big")
    iv = (1 << 60 | sequence).to_bytes(8, "big")
    return start + iv + AESGCM(key[:16]).encrypt(key[16:] + iv, plaintext, start)


def padded(inner: bytes, next_header: int) -> bytes:
    """Padding as it should be."""
    count = -(len(inner) + 2) % 4
    return inner + bytes(range(1, count + 1)) + bytes([count, next_header])


@pytest.mark.parametrize("outer", OUTER)
def test_valid_icv_and_a_wrong_inside(hosts: Pair, outer: str) -> None:
    """Whoever has the keys may still send nonsense."""
    a, b = hosts
    tunnel(a, b, GCM, outer, more="-r 64")
    assert_pings(a, b)
    before = b.processes("ipsecd")
    ipv6 = b"\x60" + bytes(39)
    not_ip = "in-next-header" if outer == "inet" else "in-transport"
    cases: list[tuple[bytes, str]] = [
        (padded(b"", 4), "in-inner-short"),
        (padded(IPV4[:1], 4), "in-inner-short"),
        (padded(IPV4[:19], 4), "in-inner-short"),
        (padded(ipv6[:39], 41), "in-inner-short"),
        (padded(IPV4 + bytes(40), 41), "in-inner-version"),
        (padded(ipv6, 4), "in-inner-version"),
        (padded(bytes(40), 4), "in-inner-version"),
        (padded(bytes(100), 59), "in-dummy"),
        (padded(b"", 59), "in-dummy"),
        (padded(b"GET / HTTP", 6), not_ip),
        (padded(IPV4, 50), not_ip),
        (IPV4 + b"\1\3\2\4", "in-padding"),
        (b"\xfa\xfa\xfa\4", "in-pad-length"),
    ]
    books = Books(b)
    expected: dict[str, int] = {}
    with esp_socket(a, outer) as wire, Capture(b, "ipsec0") as inside:
        for number, (plaintext, reason) in enumerate(cases):
            wire.sendto(sealed(SPIS[0], 5000 + number, plaintext), (OUTER[outer][1], 0))
            expected[reason] = expected.get(reason, 0) + 1
        drops = all_arrived(books, len(cases))
        assert not [seen for seen in inside.packets() if not seen.outgoing]
    assert drops == expected, drops
    # Headers that lie about lengths are for the host's own IP input, which is used to them.
    lies = [IPV4[:2] + b"\xff\xff" + IPV4[4:], b"\x4f" + IPV4[1:], b"\x40" + IPV4[1:], IPV4[:2] + b"\0\1" + IPV4[4:]]
    with esp_socket(a, outer) as wire:
        for number, inner in enumerate(lies):
            wire.sendto(sealed(SPIS[0], 6000 + number, padded(inner, 4)), (OUTER[outer][1], 0))
    for _ in range(500):
        balance, _ = books.counted()
        if balance["arrived"] == len(cases) + len(lies):
            break
    books.closed()
    assert b.processes("ipsecd") == before
    assert control(b, "IPSECDSTATUS")
    # The genuine sender's numbers have been overtaken, within the window.
    assert ping(b, INNER["inet"][0], count=1, timeout=0.1).received in (0, 1)
