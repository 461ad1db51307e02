"""ESP in UDP (RFC 3948): ports, keepalives, the non-ESP marker, and a socket that belongs to somebody else."""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.flow import Counters, tcp_stream
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books
from tests.traffic.scene import GCM, INNER, OUTER, REQIDS, SPIS, Algorithm, assert_pings, assert_sequences, configure

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]
MARKER = bytes(4)
ANY = {"inet": "0.0.0.0", "inet6": "::"}


def natt_sas(reqid: int, outer: str, ports: tuple[int, int], algorithm: Algorithm = GCM) -> str:
    lines = []
    for place, spi in enumerate(SPIS):
        source, destination = OUTER[outer] if place == 0 else OUTER[outer][::-1]
        sport, dport = ports if place == 0 else ports[::-1]
        lines.append(
            f"add {source} {destination} esp {spi} -m tunnel -u {reqid} -r 8 "
            f"-natt {source} [{sport}] {destination} [{dport}] {algorithm.options(spi)};\n"
        )
    return "".join(lines)


def natt_tunnel(hosts: Pair, outer: str, ports: tuple[int, int]) -> None:
    for side, host in enumerate(hosts):
        configure(host, side, GCM, outer)
        result = host.setkey("flush;\n" + natt_sas(REQIDS[side], outer, ports))
        assert not result.output + result.errors, result


def udp(host: Host, outer: str, address: str, port: int) -> socket.socket:
    sock = host.socket(socket.AF_INET if outer == "inet" else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(10)
    return sock


@pytest.mark.parametrize(("outer", "ports"), [("inet", (4500, 4500)), ("inet6", (5500, 45000))])
def test_everything_goes_through_udp(hosts: Pair, outer: str, ports: tuple[int, int]) -> None:
    a, b = hosts
    natt_tunnel(hosts, outer, ports)
    books = Books(a), Books(b)
    with Capture(a, natt_ports=ports) as capture:
        assert_pings(a, b)
        for family in INNER:
            assert ping(a, INNER[family][1], sizes=range(0, 1353, 97), window=8)
            assert tcp_stream(a, b, INNER[family][1], 2_000_000)
        with Counters(a, INNER["inet"][0], b, INNER["inet"][1], size=1000) as counters:
            counters.run(1000, burst=30)
            assert counters.forth.complete and counters.back.complete
        assert not capture.clear()
        assert {seen.ports for seen in capture.esp()} == {ports, ports[::-1]}
        assert_sequences(capture.esp())
    for book in books:
        assert book.closed()[1] == {}


@pytest.mark.parametrize("outer", OUTER)
def test_what_is_not_esp(hosts: Pair, outer: str) -> None:
    """Keepalives, IKE behind the marker, short datagrams and strangers' ports: each counted by its name."""
    a, b = hosts
    natt_tunnel(hosts, outer, (4500, 4500))
    with Capture(a) as capture:
        assert_pings(a, b)
        genuine = next(seen for seen in capture.esp() if seen.source == OUTER[outer][0])
        books = Books(b)
        there = (OUTER[outer][1], 4500)
        with udp(a, outer, OUTER[outer][0], 4555) as stranger:
            for data in (b"\xff", MARKER + b"IKE says hello", b"", b"abc", b"\xfe", genuine.payload, b"\1\2\3\4" * 20):
                stranger.sendto(data, there)
        assert_pings(a, b)
        _, drops = books.closed()
    assert drops == {
        "in-natt-keepalive": 1,
        "in-non-esp-marker": 1,
        "in-natt-short": 3,
        "in-natt-ports": 1,
        "in-natt-no-sa": 1,
    }


@pytest.mark.parametrize("outer", OUTER)
def test_the_port_of_a_key_management_daemon(hosts: Pair, outer: str) -> None:
    """A daemon that has port 4500 on B keeps it and gets what is its; ESP goes past it."""
    a, b = hosts
    with udp(b, outer, ANY[outer], 4500) as daemon, Capture(a) as capture:
        natt_tunnel(hosts, outer, (4500, 4500))
        assert_pings(a, b)
        assert tcp_stream(b, a, INNER["inet"][0], 300_000)
        with udp(a, outer, OUTER[outer][0], 4555) as peer:
            for data in (MARKER + b"IKE", b"\xff"):
                peer.sendto(data, (OUTER[outer][1], 4500))
            heard = []
            while len(heard) < 2:
                data, source = daemon.recvfrom(2000)
                if source[1] == 4555:
                    heard.append(data)
            assert heard == [MARKER + b"IKE", b"\xff"]
            daemon.sendto(MARKER + b"answer", (OUTER[outer][0], 4555))
            assert peer.recv(2000) == MARKER + b"answer"
        assert {seen.ports for seen in capture.esp()} == {(4500, 4500)}
        assert_sequences(capture.esp())
    # The daemon ends; the tunnel goes on.
    assert_pings(a, b)


def test_the_port_is_open_as_long_as_it_is_needed(hosts: Pair) -> None:
    a, b = hosts
    for side, host in enumerate(hosts):
        configure(host, side, GCM)
    assert_pings(a, b)
    udp(a, "inet", ANY["inet"], 4500).close()  # nobody has it
    a.setkey("flush;\n" + natt_sas(100, "inet", (4500, 4500)))
    with pytest.raises(OSError) as caught:
        udp(a, "inet", OUTER["inet"][0], 4500)
    assert caught.value.errno == errno.EADDRINUSE
    udp(a, "inet", OUTER["inet"][0], 500).close()
    udp(a, "inet6", ANY["inet6"], 4501).close()
    a.setkey("flush;\n")
    udp(a, "inet", ANY["inet"], 4500).close()


@pytest.mark.parametrize("outer", OUTER)
def test_unrelated_esp_is_left_alone(hosts: Pair, outer: str) -> None:
    """ESP of an SPI that is not ours: nobody is told, and the program that has a socket for it gets it."""
    a, b = hosts
    configure(a, 0, GCM, outer)
    configure(b, 1, GCM, outer)
    assert_pings(a, b)
    family = socket.AF_INET if outer == "inet" else socket.AF_INET6
    books = Books(b)
    foreign = [b"\0\0\x99\x99" + bytes([0, 0, 0, number]) + bytes(range(64)) for number in range(1, 6)]
    with (
        Capture(a) as capture,
        b.socket(family, socket.SOCK_RAW, socket.IPPROTO_ESP) as other_stack,
        a.socket(family, socket.SOCK_RAW, socket.IPPROTO_ESP) as sender,
    ):
        for packet in foreign:
            sender.sendto(packet, (OUTER[outer][1], 0))
        heard = []
        while len(heard) < len(foreign):
            assert select.select([other_stack], [], [], 10)[0]
            data = other_stack.recv(2000)
            heard.append(data[20:] if outer == "inet" else data)
        assert heard == foreign
        assert_pings(a, b)
        answers = [seen for seen in capture.packets() if not seen.outgoing and seen.kind in ("clear", "refusal")]
        assert not answers
    balance, drops = books.closed()
    assert drops == {"in-unknown-spi": len(foreign)}
    assert balance["injected"] == 0
