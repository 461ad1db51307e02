"""Forged messages about a small path MTU: what is inside goes on, and min_pmtu is the least that is believed."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.faults import without_offload
from ipsectools.lab.flow import tcp_stream
from ipsectools.lab.ping import ping
from ipsectools.wire.checksum import checksum
from tests.datapath.world import ipv4, udp
from tests.e2e.doors import Books
from tests.e2e.test_natt import natt_tunnel
from tests.traffic.scene import GCM, INNER, OUTER, SPIS, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]
HERE, THERE = OUTER["inet"]


def refusal(mtu: int, natt: bool) -> bytes:
    """ "Fragmentation needed" about an outer packet of A's, the ICMP message."""
    esp = struct.pack("!II", SPIS[0], 1) + bytes(20)
    quoted = (
        ipv4(udp(esp, 4500, 4500), 17, df=True, src=HERE, dst=THERE)
        if natt
        else ipv4(esp, 50, df=True, src=HERE, dst=THERE)
    )
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted[:56]
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


def believed(host: Host) -> int:
    """The path MTU to B as the host's kernel has it."""
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((THERE, 9))
        return probe.getsockopt(socket.IPPROTO_IP, 14)


def is_fragment(packet: bytes) -> bool:
    return bool(int.from_bytes(packet[6:8], "big") & 0x3FFF)


def is_ours(packet: bytes) -> bool:
    """ESP, or ESP in UDP, or a fragment of that."""
    return packet[9] == 50 or (packet[9] == 17 and (is_fragment(packet) or packet[20:24] == b"\x11\x94" * 2))


def wait_until_disbelieved(host: Host, wire: Capture) -> None:
    """Without DF ipsecd has to look itself, which it does once a second."""
    for _ in range(100):
        wire.forget()
        ping(host, INNER["inet6"][1], size=1232, count=1, timeout=1)
        if not any(is_fragment(seen.packet) for seen in wire.packets() if seen.outgoing and seen.source == HERE):
            return
        time.sleep(0.1)
    raise AssertionError("the small path MTU is still believed")


@contextmanager
def forger(a: Host, b: Host, mtu: int, natt: bool) -> Iterator[None]:
    """Sends such messages to A, from now on until the end, several times a second."""
    raw = b.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    over = threading.Event()
    message = refusal(mtu, natt)

    def forge() -> None:
        while not over.wait(0.1):
            raw.sendto(message, (HERE, 0))

    raw.sendto(message, (HERE, 0))
    thread = threading.Thread(target=forge)
    thread.start()
    try:
        for _ in range(200):
            if believed(a) <= max(mtu, 552):
                break
            over.wait(0.05)
        else:
            raise AssertionError("the kernel did not fall for it")
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("natt", "core"),
    [
        (False, "auto"),
        (True, "python"),
        pytest.param(False, "python", marks=pytest.mark.long),
        pytest.param(True, "auto", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("dfbit", [2, pytest.param(1, marks=pytest.mark.long), pytest.param(0, marks=pytest.mark.long)])
def test_forged_messages_do_not_stop_what_is_inside(hosts: Pair, natt: bool, core: str, dfbit: int) -> None:
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    a.run("sysctl", f"net.inet.ipsec.dfbit={dfbit}")
    if natt:
        natt_tunnel(hosts, "inet", (4500, 4500))
    else:
        tunnel(a, b, GCM)
    without_offload(a, "em0")  # the capture shall see packets as they would be on a cable
    assert ping(a, INNER["inet6"][1], count=1)
    for mtu in (700, 68):
        with forger(a, b, mtu, natt), Capture(a) as wire:
            if mtu == 68:
                wait_until_disbelieved(a, wire)
            wire.forget()
            for family in INNER:
                assert tcp_stream(a, b, INNER[family][1], 300_000), (mtu, family)
            assert ping(a, INNER["inet6"][1], sizes=[1100, 1200, 1232])
            outer = [seen.packet for seen in wire.packets() if seen.outgoing and seen.source == HERE]
            assert all(is_ours(packet) for packet in outer)
        # 700 may be true. 552, which Linux makes of 68, is not believed: nothing is cut.
        longest = max(map(len, outer))
        if mtu == 68:
            assert longest > 1280 and not any(map(is_fragment, outer))
        else:
            assert longest <= 700 and any(map(is_fragment, outer))
        assert Books(a).closed()


@pytest.mark.parametrize("core", ["auto", pytest.param("python", marks=pytest.mark.long)])
def test_min_pmtu_is_the_least_believed(hosts: Pair, core: str) -> None:
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    a.run("sysctl", "net.inet.ipsec.dfbit=1")
    a.run("sysctl", "net.inet.ipsec.min_pmtu=1500")
    tunnel(a, b, GCM)
    books = Books(a)
    with forger(a, b, 1000, False), Capture(a) as wire:
        assert ping(a, INNER["inet"][1], sizes=[1372])
        assert ping(a, INNER["inet6"][1], sizes=[1352])
        outer = [seen for seen in wire.esp() if seen.outgoing]
        assert {seen.packet[6] & 0x40 for seen in outer} == {0x40}
        assert max(seen.size for seen in outer) > 1400
    assert not books.closed()[1]
