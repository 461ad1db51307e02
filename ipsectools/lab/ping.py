"""Echo requests from a lab host, without ping(8): ICMP (RFC 792) and ICMPv6 (RFC 4443) on raw sockets."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsectools.lab.host import Host

ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Pinged:
    """What came back: for each payload size sent, in order, the round trip in seconds or None."""

    __slots__ = ("address", "altered", "duplicates", "sizes", "times")

    def __init__(self, address: str, sizes: list[int]) -> None:
        self.address = address
        self.sizes = sizes
        self.times: list[float | None] = [None] * len(sizes)
        self.duplicates = 0
        self.altered = 0

    @property
    def received(self) -> int:
        return sum(t is not None for t in self.times)

    @property
    def lost(self) -> list[int]:
        """Payload sizes that got no answer."""
        return [size for size, t in zip(self.sizes, self.times, strict=True) if t is None]

    def __bool__(self) -> bool:
        """Every request was answered, once and unaltered."""
        return not self.lost and not self.duplicates and not self.altered

    def __repr__(self) -> str:
        lost = self.lost
        return (
            f"Pinged({self.address}: {len(self.sizes)} sent, {len(lost)} lost {lost[:8]}, "
            f"{self.duplicates} twice, {self.altered} altered)"
        )


def ping(
    host: Host,
    address: str,
    *,
    count: int = 3,
    size: int = 56,
    sizes: Iterable[int] | None = None,
    source: str | None = None,
    timeout: float = 5,
    window: int = 16,
) -> Pinged:
    """Sends one echo request per payload size (else `count` of `size` bytes), at most `window` unanswered at a time.

    Ends when all are answered, or `timeout` seconds after the last answer. An address that cannot be reached now
    counts as no answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    result = Pinged(address, list(sizes) if sizes is not None else [size] * count)
    total = len(result.sizes)
    identifier = int.from_bytes(os.urandom(2))
    sent: list[float] = []
    unanswered = 0
    with host.socket(family, socket.SOCK_RAW, protocol) as endpoint:
        endpoint.setblocking(False)
        if source is not None:
            endpoint.bind((source, 0))
        last = time.monotonic()
        while unanswered or len(sent) < total:
            while len(sent) < total and unanswered < window:
                number = len(sent)
                sent.append(time.monotonic())
                unanswered += _send(
                    endpoint, family, address, identifier, number, _payload(number, result.sizes[number])
                )
            if not unanswered:
                continue
            if not select.select([endpoint], [], [], max(0.0, last + timeout - time.monotonic()))[0]:
                # Those are lost. The rest is still sent, but not waited for as long again.
                unanswered = 0
                timeout = min(timeout, 0.2)
                last = time.monotonic()
                continue
            unanswered -= _collect(endpoint, family, identifier, sent, result)
            last = time.monotonic()
        time.sleep(0.01)  # a second copy of the last answer would be right behind it
        _collect(endpoint, family, identifier, sent, result)
    return result


def _collect(endpoint: socket.socket, family: int, identifier: int, sent: list[float], result: Pinged) -> int:
    """Books the replies that are there now; returns how many requests they answered."""
    answered = 0
    for sequence, payload in _replies(endpoint, family, identifier):
        number = len(sent) - 1 - ((len(sent) - 1 - sequence) & 0xFFFF)  # of the last 65536 requests
        if number < 0:
            continue
        if result.times[number] is not None:
            result.duplicates += 1
            continue
        answered += 1
        result.times[number] = time.monotonic() - sent[number]
        result.altered += payload != _payload(number, result.sizes[number])
    return answered


def _payload(number: int, size: int) -> bytes:
    return bytes((number + i * 7) & 0xFF for i in range(size))


def _send(endpoint: socket.socket, family: int, address: str, identifier: int, number: int, payload: bytes) -> bool:
    header = struct.pack(">BBHHH", ECHO_REQUEST[socket.AddressFamily(family)], 0, 0, identifier, number & 0xFFFF)
    if family == socket.AF_INET:  # for ICMPv6, Linux fills in the checksum itself
        header = header[:2] + struct.pack(">H", checksum(header + payload)) + header[4:]
    try:
        endpoint.sendto(header + payload, (address, 0))
    except OSError:
        return False
    return True


def _replies(endpoint: socket.socket, family: int, identifier: int) -> Iterable[tuple[int, bytes]]:
    """The echo replies that are there now, as (sequence, payload)."""
    while True:
        try:
            packet = endpoint.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            continue  # an error that the network reported for an earlier request
        if family == socket.AF_INET:
            packet = packet[(packet[0] & 15) * 4 :]
        if len(packet) >= 8 and packet[0] == ECHO_REPLY[socket.AddressFamily(family)]:
            _, _, _, this, sequence = struct.unpack_from(">BBHHH", packet)
            if this == identifier:
                yield sequence, packet[8:]
