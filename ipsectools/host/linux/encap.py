"""UDP sockets of NAT-T SAs (RFC 3948), and how a port is shared with an IKE daemon.

A port that nobody has becomes ours, which is fast (UDP_SEGMENT, UDP_GRO). It may be bound a second time by a process of
the same user that asks for that (SO_REUSEPORT, as IKE daemons do); once somebody has it too, it is theirs alone: what
arrives is then seen on a raw socket, as a copy, and what leaves carries a UDP header made here. When they are gone, it
becomes ours again. So either may be started first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from ipsectools.host.api import OuterPacket
from ipsectools.host.linux.sockets import (
    MAXIMUM_PACKET,
    SO_NO_CHECK,
    address_family,
    address_text,
    arrived_on,
    attach_filter,
    prepare_outer,
    set_discovery,
    set_header_fields,
    tell_arrival,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    Endpoint: TypeAlias = tuple[bytes, int]

UDP_GRO = 104


def bpf_udp_port(port: int, *, ipv4: bool) -> list[tuple[int, int, int, int]]:
    """Passes UDP datagrams to `port` that carry ESP (four bytes or more, no non-ESP marker).

    Raw IPv4 sockets see the packet from its IP header on, raw IPv6 sockets from the UDP header on.
    """
    start: list[tuple[int, int, int, int]] = [(0xB1, 0, 0, 0)] if ipv4 else [(0x01, 0, 0, 0)]  # X = header length
    return [
        *start,
        (0x48, 0, 0, 2),  # A = destination port
        (0x15, 0, 3, port),
        (0x40, 0, 0, 8),  # A = first word of the payload (a shorter datagram ends the program: dropped)
        (0x15, 1, 0, 0),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]


def train_step(data: bytes) -> int:
    """The length of the packets of a train in one datagram; of the datagram, if it is no train.

    The packets of a train have one SPI, consecutive numbers and one length; the last may be shorter.
    """
    spi, sequence = data[:4], int.from_bytes(data[4:8], "big")
    step = data.find(spi, 16)
    while step > 0:
        starts = range(step, len(data), step)
        if step % 4 == 0 and all(
            data[at : at + 8] == spi + (sequence + number & 0xFFFFFFFF).to_bytes(4, "big")
            for number, at in enumerate(starts, 1)
        ):
            return step
        step = data.find(spi, step + 1)
    return len(data)


class EncapSocket:
    """UDP-encapsulated ESP on one local (address, port). `shared`: the port is somebody else's."""

    __slots__ = ("_fields", "_sources", "_tells_arrival", "address", "port", "shared", "sock")

    def __init__(self, address: bytes, port: int) -> None:
        family = address_family(address)
        self.address = address
        self.port = port
        self.shared = False
        self._tells_arrival = False
        self._sources: dict[str, bytes] = {}
        self._fields: tuple[int, int, bool, bool, int] | None = None  # of the outer header, as the socket has them now
        self.sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            self.sock.bind((address_text(address), port))
        except OSError as error:
            self.sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            self.shared = True
            self.sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_UDP)
            attach_filter(self.sock, bpf_udp_port(port, ipv4=family == socket.AF_INET))
            self.sock.bind((address_text(address), 0))
            if family == socket.AF_INET6:
                self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 6)
        else:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not before: theirs must not become ours
        prepare_outer(self.sock)
        if family == socket.AF_INET and not self.shared:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)

    def accept_trains(self) -> None:
        """From now on the kernel may give many datagrams of one sender at once (UDP_GRO; not with a shared port)."""
        if not self.shared:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)

    def tell_arrival(self, on: bool) -> None:
        """Whether packets come with the link on which they arrived."""
        if on != self._tells_arrival:
            self._tells_arrival = on
            tell_arrival(self.sock, on)

    def receive(self) -> list[OuterPacket]:
        """What one datagram brings: one packet, or none of ours, or on a raw socket a train that nobody has cut.

        Raises OSError when there is no datagram."""
        interface = 0
        if self._tells_arrival:
            data, ancillary, _, source = self.sock.recvmsg(MAXIMUM_PACKET, 64)
            interface = arrived_on(ancillary)
        else:
            data, source = self.sock.recvfrom(MAXIMUM_PACKET)
        src = self._sources.get(source[0])
        if src is None:
            if len(self._sources) > 4096:
                self._sources.clear()
            src = socket.inet_pton(self.sock.family, source[0].partition("%")[0])
            self._sources[source[0]] = src
        sport = source[1]
        if self.shared:
            start = (data[0] & 15) * 4 if self.sock.family == socket.AF_INET else 0
            if len(data) < start + 8:
                return []
            sport = int.from_bytes(data[start : start + 2], "big")
            data = data[start + 8 :]
        ports = (sport, self.port)
        step = train_step(data) if self.shared else len(data)
        pieces = [data[place : place + step] for place in range(0, len(data), step)] if data else [data]
        return [
            OuterPacket(src, self.address, piece, protocol=17, ports=ports, interface=interface) for piece in pieces
        ]

    def send(self, packet: OuterPacket, dst: str, dport: int) -> None:
        fields = (packet.tos, packet.ttl, packet.df, packet.doubt, packet.mark)
        if fields != self._fields:
            self._set_fields(*fields)
        if self.shared:
            header = struct.pack("!4H", self.port, dport, 8 + len(packet.payload), 0)
            self.sock.sendto(header + packet.payload, (dst, 0))
        else:
            self.sock.sendto(packet.payload, (dst, dport))

    def _set_fields(self, tos: int, ttl: int, df: bool, doubt: bool, mark: int) -> None:
        set_header_fields(self.sock, tos, ttl)
        if self.sock.family == socket.AF_INET:
            set_discovery(self.sock, df, doubt)
        if mark or (self._fields is not None and self._fields[4]):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self._fields = (tos, ttl, df, doubt, mark)

    def stale(self, bound: Bound) -> bool:
        """Whether the port has come to belong to somebody else, or no longer does."""
        return self.shared != bound.by_others(self.address, self.port, os.fstat(self.sock.fileno()).st_ino)

    def close(self) -> None:
        self.sock.close()


class Bound:
    """The UDP sockets of this host that are bound to something, as they are when this is made."""

    __slots__ = ("_inodes",)

    def __init__(self) -> None:
        self._inodes: dict[str, set[int]] = {}
        for table in ("udp", "udp6"):
            # There may be no IPv6, or no /proc.
            with contextlib.suppress(OSError), open(f"/proc/thread-self/net/{table}") as lines:
                next(lines, None)
                for line in lines:
                    fields = line.split()
                    self._inodes.setdefault(fields[1], set()).add(int(fields[9]))

    def by_others(self, address: bytes, port: int, inode: int) -> bool:
        """Whether a socket other than the one with this inode has the port, at the address or everywhere.

        A socket for all IPv6 addresses counts for IPv4 as well: it may take both."""
        return any(
            self._inodes.get(f"{_as_in_proc(place)}:{port:04X}", set()) - {inode}
            for place in (address, bytes(len(address)), bytes(16))
        )


def _as_in_proc(address: bytes) -> str:
    """As /proc/net/udp has addresses: words of the host's byte order."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words)


def _nothing(endpoint: EncapSocket) -> None:
    pass


class EncapSockets:
    """The sockets of the endpoints that are wanted. `opened` and `closing` are told of each that comes and goes."""

    def __init__(
        self,
        opened: Callable[[EncapSocket], None] = _nothing,
        closing: Callable[[EncapSocket], None] = _nothing,
    ) -> None:
        self._sockets: dict[Endpoint, EncapSocket] = {}
        self._opened = opened
        self._closing = closing

    def __iter__(self) -> Iterator[EncapSocket]:
        return iter(self._sockets.values())

    def get(self, endpoint: Endpoint) -> EncapSocket | None:
        return self._sockets.get(endpoint)

    def want(self, endpoints: Iterable[Endpoint]) -> bool:
        """These endpoints and no others from now on, each as its port allows now; whether any socket changed.

        To be called now and then also if nothing else is wanted: addresses and other people's sockets come and go."""
        wanted = set(endpoints)
        changed = False
        bound = Bound() if self._sockets else None
        for endpoint, sock in list(self._sockets.items()):
            if endpoint not in wanted or (bound is not None and sock.stale(bound)):
                changed = True
                self._closing(sock)
                del self._sockets[endpoint]
                sock.close()
        for endpoint in wanted - self._sockets.keys():
            try:
                sock = EncapSocket(*endpoint)
            except OSError:  # the address is not (yet) this host's; sending says so packet by packet
                continue
            changed = True
            self._sockets[endpoint] = sock
            self._opened(sock)
        return changed
