"""What crosses an interface of a lab host, without tcpdump: a packet(7) socket and a look at the headers."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from ipsectools.lab.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipsectools.lab.host import Host

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, ETH_P_ARP = 0x0003, 0x0800, 0x86DD, 0x0806
PROTOCOL_ICMP, PROTOCOL_UDP, PROTOCOL_ESP, PROTOCOL_ICMPV6 = 1, 17, 50, 58
ICMP_ERRORS = (b"\x03", b"\x0b", b"\x0c")
ICMPV6_ERRORS = (b"\x01", b"\x02", b"\x03", b"\x04")
IPV6_HOP_BY_HOP, IPV6_FRAGMENT = 0, 44
NATT_PORT = 4500
PATIENCE = 10.0
"""Seconds for the kernel to show what has arrived; it takes a few milliseconds."""
NEIGHBOUR_TYPES = frozenset({*range(130, 138), 143})
"""ICMPv6 messages that stay on the link: multicast listeners, router and neighbour discovery (RFC 4861, 3810)."""


class Seen:
    """One packet on the wire.

    `kind` is `esp`, `fragment` (a later fragment of ESP), `keepalive` (RFC 3948), `neighbour` (ARP, neighbour
    discovery), `refusal` (an ICMP error that quotes an ESP packet) or `clear`: everything else. `size` is the length of
    the whole IP packet in bytes; `spi`, `sequence` and `payload` (from the SPI on) are those of ESP; `ports` is
    (source, destination) of UDP around ESP.
    """

    __slots__ = (
        "destination",
        "kind",
        "outgoing",
        "packet",
        "payload",
        "ports",
        "sequence",
        "size",
        "source",
        "spi",
        "time",
    )

    def __init__(self, packet: bytes, outgoing: bool, when: float) -> None:
        self.packet = packet
        self.outgoing = outgoing
        self.time = when
        self.kind = "clear"
        self.source = self.destination = ""
        self.size = len(packet)
        self.spi = self.sequence = 0
        self.payload = b""
        self.ports: tuple[int, int] | None = None

    def __repr__(self) -> str:
        esp = f" spi {self.spi} seq {self.sequence}" if self.kind == "esp" else ""
        return f"<{self.kind} {self.source} > {self.destination}{esp}, {self.size} bytes>"


def look(
    packet: bytes, ethertype: int, outgoing: bool = True, when: float = 0.0, natt_ports: Iterable[int] = (NATT_PORT,)
) -> Seen:
    """Says what a packet (without its link header) is. Anything that is not surely something else is `clear`."""
    seen = Seen(packet, outgoing, when)
    if ethertype == ETH_P_ARP:
        seen.kind = "neighbour"
    elif ethertype == ETH_P_IP and len(packet) >= 20 and packet[0] >> 4 == 4:
        _look_ipv4(seen, natt_ports)
    elif ethertype == ETH_P_IPV6 and len(packet) >= 40 and packet[0] >> 4 == 6:
        _look_ipv6(seen, natt_ports)
    return seen


def _look_ipv4(seen: Seen, natt_ports: Iterable[int]) -> None:
    packet = seen.packet
    length, fragment = struct.unpack_from(">H2xH", packet, 2)
    seen.size = length
    seen.source, seen.destination = str(ipaddress.IPv4Address(packet[12:16])), str(ipaddress.IPv4Address(packet[16:20]))
    _look_above(seen, packet[9], packet[(packet[0] & 15) * 4 : length], fragment & 0x1FFF, natt_ports)


def _look_ipv6(seen: Seen, natt_ports: Iterable[int]) -> None:
    packet = seen.packet
    seen.size = 40 + int.from_bytes(packet[4:6])
    seen.source, seen.destination = str(ipaddress.IPv6Address(packet[8:24])), str(ipaddress.IPv6Address(packet[24:40]))
    protocol, rest, offset = packet[6], packet[40 : seen.size], 0
    while protocol in (IPV6_HOP_BY_HOP, IPV6_FRAGMENT) and len(rest) >= 8:
        if protocol == IPV6_FRAGMENT:
            offset = int.from_bytes(rest[2:4]) >> 3
            protocol, rest = rest[0], rest[8:]
        else:
            protocol, rest = rest[0], rest[8 + rest[1] * 8 :]
    _look_above(seen, protocol, rest, offset, natt_ports)


def _look_above(seen: Seen, protocol: int, rest: bytes, offset: int, natt_ports: Iterable[int]) -> None:
    if offset:
        # The first fragment tells what it is; a later one of plain UDP counts as clear unless ESP is all that may be.
        seen.kind = "fragment" if protocol == PROTOCOL_ESP else "clear"
    elif protocol == PROTOCOL_ESP and len(rest) >= 8:
        _esp(seen, rest)
    elif protocol == PROTOCOL_UDP and len(rest) > 8:
        ports = struct.unpack_from(">HH", rest)
        if ports[0] in natt_ports or ports[1] in natt_ports:
            if rest[8:] == b"\xff":
                seen.kind = "keepalive"
            elif len(rest) >= 16 and rest[8:12] != bytes(4):
                _esp(seen, rest[8:])
                seen.ports = ports[0], ports[1]
    elif protocol == PROTOCOL_ICMPV6 and rest and rest[0] in NEIGHBOUR_TYPES:
        seen.kind = "neighbour"
    elif (protocol == PROTOCOL_ICMP and rest[:1] in ICMP_ERRORS and rest[8:9] == b"\x45") or (
        protocol == PROTOCOL_ICMPV6 and rest[:1] in ICMPV6_ERRORS and rest[8:9] >= b"\x60"
    ):
        quoted = look(rest[8:], ETH_P_IP if protocol == PROTOCOL_ICMP else ETH_P_IPV6, natt_ports=natt_ports)
        seen.kind = "refusal" if quoted.kind in ("esp", "fragment") else "clear"


def _esp(seen: Seen, payload: bytes) -> None:
    seen.kind = "esp"
    seen.spi, seen.sequence = struct.unpack_from(">II", payload)
    seen.payload = payload


class Capture:
    """Records what crosses an interface of a host, both ways, from the moment it exists until `close`.

    A packet that has arrived at its receiver is in `packets()`. `on_packet` is called, in a thread of the capture, for
    each packet as it is seen.
    """

    def __init__(
        self,
        host: Host,
        interface: str = "em0",
        *,
        on_packet: Callable[[Seen], None] | None = None,
        natt_ports: Iterable[int] = (NATT_PORT,),
    ) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._ring = Ring(self._socket)
        self._on_packet = on_packet
        self._natt_ports = tuple(natt_ports)
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._closing = False
        self._socket.bind((interface, ETH_P_ALL))  # from here on it hears something
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def missed(self) -> int:
        """Packets that the capture itself lost."""
        return self._ring.missed

    def _take(self) -> None:
        offset = time.monotonic() - time.time()
        for packet, ethertype, kind, when in self._ring.take():
            seen = look(packet, ethertype, kind == socket.PACKET_OUTGOING, when + offset, self._natt_ports)
            self._seen.append(seen)
            if self._on_packet is not None:
                self._on_packet(seen)

    def _watch(self) -> None:
        while not self._closing:
            self._ring.wait()
            with self._lock:
                self._take()

    def _drain(self) -> None:
        """Everything that has arrived, also what the kernel does not show yet."""
        with self._lock:
            self._ring.count()
            self._take()
            deadline = time.monotonic() + PATIENCE
            while self._ring.is_behind and time.monotonic() < deadline:
                self._ring.wait()
                self._take()

    def packets(self) -> list[Seen]:
        """Everything seen so far, in order."""
        self._drain()
        with self._lock:
            return list(self._seen)

    def esp(self) -> list[Seen]:
        """The ESP packets seen so far."""
        return [seen for seen in self.packets() if seen.kind == "esp"]

    def clear(self) -> list[Seen]:
        """What should never be there: all that is neither ESP (or an error about it) nor neighbour discovery.

        Raises AssertionError when the capture lost packets, since then nothing can be said."""
        found = [seen for seen in self.packets() if seen.kind == "clear"]
        if self.missed:
            raise AssertionError(f"the capture itself lost {self.missed} packets")
        return found

    def forget(self) -> None:
        """Starts again with an empty record."""
        self._drain()
        with self._lock:
            self._seen.clear()

    def close(self) -> None:
        """Ends the capture; what was seen stays."""
        self._drain()
        self._closing = True
        self._thread.join()
        self._ring.close()
        self._socket.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
