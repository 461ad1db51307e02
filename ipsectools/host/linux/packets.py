"""Packets of the Linux host: TUN devices, raw ESP sockets, UDP sockets of NAT-T SAs.

A FIB other than 0 is a firewall mark (SO_MARK) of the same number: `ip rule add fwmark N lookup N` gives it its table.
The outer IPv4 id is the kernel's: 0 with DF, as RFC 6864 wants it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

from ipsectools.errno import EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENOBUFS, KernelError, from_host
from ipsectools.host.api import OuterPacket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    Endpoint: TypeAlias = tuple[bytes, int]

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

IP_MTU_DISCOVER = 10
IP_MTU = 14
IP_FREEBIND = 15
IPV6_MTU_DISCOVER = 23
IPV6_RECVERR = 25
IPV6_MTU = 24
IPV6_AUTOFLOWLABEL = 70
IPV6_HDRINCL = 36
PMTUDISC_DONT = 0
PMTUDISC_DO = 2
SO_NO_CHECK = 11
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
UDP_SEGMENT = 103
UDP_GRO = 104

BUFFER = 4 << 20
"""Socket buffers in bytes: a few milliseconds of traffic, no more, so that queues stay short."""
MAXIMUM_PACKET = 65535


def open_tun_fd(name: str, flags: int = IFF_TUN | IFF_NO_PI) -> int:
    """Attaches to the TUN device `name`, making it if need be; a non-blocking descriptor. Raises KernelError."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(from_host(error.errno or errno.EIO)) from None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(fd)
        raise KernelError(from_host(error.errno or errno.EIO)) from None
    return fd


class LinuxTun:
    """`host.api.Tun` on a TUN device, one system call per packet."""

    __slots__ = ("_fd", "index", "name")

    def __init__(self, name: str) -> None:
        self._fd = open_tun_fd(name)
        self.name = name
        self.index = socket.if_nametoindex(name)

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int) -> list[bytes]:
        packets: list[bytes] = []
        fd, read, append = self._fd, os.read, packets.append
        try:
            for _ in range(limit):
                append(read(fd, MAXIMUM_PACKET))
        except OSError:  # nothing more to read, or the device is down
            pass
        return packets

    def write(self, packet: bytes) -> int:
        try:
            os.write(self._fd, packet)
        except BlockingIOError:
            return ENOBUFS
        except OSError as error:
            return from_host(error.errno or errno.EIO)
        return 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def address_family(address: bytes) -> socket.AddressFamily:
    """The family of 4 or 16 address bytes."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def address_text(address: bytes) -> str:
    return socket.inet_ntop(address_family(address), address)


def prepare_outer(sock: socket.socket, *, df: bool = False, fib: int = 0) -> None:
    """The options that every socket for outer packets has: non-blocking, DF and fragmentation, flow label 0, FIB."""
    sock.setblocking(False)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        except OSError:  # without CAP_NET_ADMIN: as much as the system's limit allows
            fallback = socket.SO_RCVBUF if option == SO_RCVBUFFORCE else socket.SO_SNDBUF
            sock.setsockopt(socket.SOL_SOCKET, fallback, BUFFER)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO if df else PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0)
    if fib:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fib)


def attach_filter(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Puts a classic BPF program (rows of code, jt, jf, k) on the receiving side of a socket."""
    import ctypes

    code = b"".join(struct.pack("HBBI", *row) for row in program)
    memory = ctypes.create_string_buffer(code)
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program), ctypes.addressof(memory))
    )


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


def deafen(sock: socket.socket, address: str) -> None:
    """Makes a raw socket that only sends get nothing: every packet would be copied for it.

    It hears but its own host then (`address` is one of it). Where it sends to, each packet says.
    """
    sock.connect((address, 0))


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
    """UDP-encapsulated ESP on one local (address, port).

    The port is ours alone if it is free. If somebody else has it (an IKE daemon), it stays theirs: what arrives is
    then seen on a raw socket, as a copy, and what leaves carries a UDP header made here.
    """

    __slots__ = ("_fields", "_sources", "address", "port", "shared", "sock")

    def __init__(self, address: bytes, port: int) -> None:
        family = address_family(address)
        self.address = address
        self.port = port
        self.shared = False
        self._sources: dict[str, bytes] = {}
        self._fields: tuple[int, int, bool, int] | None = None  # of the outer header, as the socket has them now
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
        prepare_outer(self.sock)
        if family == socket.AF_INET and not self.shared:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)

    def accept_trains(self) -> None:
        """From now on the kernel may give many datagrams of one sender at once (UDP_GRO; not with a shared port)."""
        if not self.shared:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)

    def receive(self) -> list[OuterPacket]:
        """What one datagram brings: one packet, or none of ours, or on a raw socket a train that nobody has cut.

        Raises OSError when there is no datagram."""
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
        return [OuterPacket(src, self.address, piece, protocol=17, ports=ports) for piece in pieces]

    def send(self, packet: OuterPacket, dst: str, dport: int) -> None:
        fields = (packet.tos, packet.ttl, packet.df, packet.fib)
        if fields != self._fields:
            self._set_fields(*fields)
        if self.shared:
            header = struct.pack("!4H", self.port, dport, 8 + len(packet.payload), 0)
            self.sock.sendto(header + packet.payload, (dst, 0))
        else:
            self.sock.sendto(packet.payload, (dst, dport))

    def _set_fields(self, tos: int, ttl: int, df: bool, fib: int) -> None:
        set_header_fields(self.sock, tos, ttl)
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO if df else PMTUDISC_DONT)
        if fib or (self._fields is not None and self._fields[3]):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fib)
        self._fields = (tos, ttl, df, fib)

    def close(self) -> None:
        self.sock.close()


def set_header_fields(sock: socket.socket, tos: int, ttl: int) -> None:
    """TOS/traffic class and TTL/hop limit of what the socket sends from now on."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)


class _Sender:
    """A raw socket that sends from one source address and remembers its header fields."""

    __slots__ = ("sock", "tos", "ttl")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.tos = -1
        self.ttl = -1


class Injector:
    """Gives packets to this host's IP input as if they had come over lo0.

    A packet whose destination is not this host's is not forwarded (the kernel discards it), and one that pretends to
    come from this host itself or from a loopback address is refused: on lo0 the kernel would believe it.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def inject(self, packet: bytes) -> int:
        """0, or FreeBSD's errno: EINVAL for what is no IP packet, EADDRNOTAVAIL for a source that cannot be true."""
        version = packet[0] >> 4 if packet else 0
        if version == 4 and len(packet) >= 20:
            src, dst, family = packet[12:16], packet[16:20], socket.AF_INET
            if src[0] in (0, 127) or dst[0] == 127:
                return EADDRNOTAVAIL
        elif version == 6 and len(packet) >= 40:
            src, dst, family = packet[8:24], packet[24:40], socket.AF_INET6
            if src[:15] == bytes(15) or dst[:15] == bytes(15):
                return EADDRNOTAVAIL
        else:
            return EINVAL
        if is_local(family, src):
            return EADDRNOTAVAIL
        try:
            self._socket(family).sendto(packet, (socket.inet_ntop(family, dst), 0))
        except OSError as error:
            return from_host(error.errno or errno.EIO)
        return 0

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        sock = self._sockets.get(family)
        if sock is None:
            sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
            self._sockets[family] = sock
        return sock

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def is_local(family: socket.AddressFamily, address: bytes) -> bool:
    """Whether the address is one of this host's (only those can be bound to), or that cannot be found out."""
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:  # no descriptor left: believed, since nothing good comes from it
        return True
    with probe:
        try:
            probe.bind((socket.inet_ntop(family, address), 0))
        except OSError:
            return False
    return True


def path_mtu(dst: bytes, fib: int = 0) -> int:
    """The MTU towards `dst`: the route's, or what the kernel learned from ICMP (which ages after ten minutes)."""
    family = address_family(dst)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if fib:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fib)
            probe.connect((address_text(dst), 9))
            if family == socket.AF_INET:
                return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)
            return probe.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    except OSError:
        return 1280 if family == socket.AF_INET6 else 576


class LinuxWire:
    """`host.api.Wire` on raw and UDP sockets, one system call per packet."""

    SENDERS = 64
    """Sending sockets kept open (one per source address, DF and FIB)."""

    def __init__(self) -> None:
        self._receivers: list[socket.socket] = []
        self._senders: dict[tuple[bytes, bool, int], _Sender] = {}
        self._encap: dict[tuple[bytes, int], EncapSocket] = {}
        self._texts: dict[bytes, str] = {}
        self._injector = Injector()
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._receivers.append(open_raw(family))
            except OSError:
                if family == socket.AF_INET:
                    raise  # but a host may be without IPv6
        self._path_mtu_listener: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._path_mtu_listener = open_path_mtu_listener()

    def filenos(self) -> list[int]:
        return [sock.fileno() for sock in self._receivers] + [encap.sock.fileno() for encap in self._encap.values()]

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, packets: Sequence[OuterPacket]) -> list[int]:
        results: list[int] = []
        for packet in packets:
            try:
                if packet.ports is None:
                    self._send_raw(packet)
                else:
                    self._send_encap(packet)
            except BlockingIOError:
                results.append(ENOBUFS)
            except OSError as error:
                number = error.errno or errno.EIO
                results.append(EHOSTUNREACH if number == errno.ENETUNREACH else from_host(number))
            else:
                results.append(0)
        return results

    def _text(self, address: bytes) -> str:
        text = self._texts.get(address)
        if text is None:
            if len(self._texts) > 4096:
                self._texts.clear()
            text = self._texts[address] = address_text(address)
        return text

    def _send_raw(self, packet: OuterPacket) -> None:
        key = (packet.src, packet.df, packet.fib)
        sender = self._senders.get(key) or self._open_sender(key)
        if packet.tos != sender.tos or packet.ttl != sender.ttl:
            set_header_fields(sender.sock, packet.tos, packet.ttl)
            sender.tos, sender.ttl = packet.tos, packet.ttl
        sender.sock.sendto(packet.payload, (self._text(packet.dst), 0))

    def _open_sender(self, key: tuple[bytes, bool, int]) -> _Sender:
        src, df, fib = key
        sock = socket.socket(address_family(src), socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
        try:
            prepare_outer(sock, df=df, fib=fib)
            sock.bind((address_text(src), 0))
            deafen(sock, address_text(src))
        except OSError:
            sock.close()
            raise
        if len(self._senders) >= self.SENDERS:
            self._senders.pop(next(iter(self._senders))).sock.close()
        sender = self._senders[key] = _Sender(sock)
        return sender

    def _send_encap(self, packet: OuterPacket) -> None:
        sport, dport = packet.ports or (0, 0)
        endpoint = self._encap.get((packet.src, sport))
        if endpoint is None:
            raise OSError(errno.EADDRNOTAVAIL, "no socket for this endpoint")
        endpoint.send(packet, self._text(packet.dst), dport)

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self, limit: int) -> list[OuterPacket]:
        packets: list[OuterPacket] = []
        for sock in self._receivers:
            if sock.family == socket.AF_INET:
                self._receive4(sock, limit, packets)
            else:
                self._receive6(sock, limit, packets)
        for endpoint in self._encap.values():
            try:
                for _ in range(limit):
                    packets.extend(endpoint.receive())
            except OSError:
                pass
        return packets

    @staticmethod
    def _receive4(sock: socket.socket, limit: int, packets: list[OuterPacket]) -> None:
        try:
            for _ in range(limit):
                data = sock.recv(MAXIMUM_PACKET)
                header = (data[0] & 15) * 4
                packets.append(OuterPacket(data[12:16], data[16:20], data[header:], tos=data[1], ttl=data[8]))
        except OSError:
            pass

    @staticmethod
    def _receive6(sock: socket.socket, limit: int, packets: list[OuterPacket]) -> None:
        try:
            for _ in range(limit):
                data, ancillary, _, source = sock.recvmsg(MAXIMUM_PACKET, 64)
                for _, kind, content in ancillary:
                    if kind == socket.IPV6_PKTINFO:
                        src = socket.inet_pton(socket.AF_INET6, source[0].partition("%")[0])
                        packets.append(OuterPacket(src, content[:16], data))
        except OSError:
            pass

    def encap(self, endpoints: Iterable[Endpoint]) -> None:
        wanted = set(endpoints)
        for key in [key for key in self._encap if key not in wanted]:
            self._encap.pop(key).close()
        for key in wanted:
            if key not in self._encap:
                try:
                    self._encap[key] = EncapSocket(*key)
                except OSError:  # the address is not (yet) this host's; sending says so packet by packet
                    continue

    def inject(self, packet: bytes) -> int:
        return self._injector.inject(packet)

    def path_mtu(self, dst: bytes, fib: int = 0) -> int:
        return path_mtu(dst, fib)

    def close(self) -> None:
        for sock in self._receivers:
            sock.close()
        for sender in self._senders.values():
            sender.sock.close()
        for endpoint in self._encap.values():
            endpoint.close()
        if self._path_mtu_listener is not None:
            self._path_mtu_listener.close()
        self._injector.close()
        self._receivers.clear()
        self._senders.clear()
        self._encap.clear()


TUNSETOFFLOAD = 0x400454D0
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40
VNET_HEADER = 10


class OffloadTun:
    """A TUN device whose packets have a virtio_net_hdr: super-packets both ways, for the compiled core.

    `uso` says whether it also gives and takes UDP super-packets (Linux 6.2). Closing it leaves the device as it is.
    """

    __slots__ = ("fd", "uso")

    def __init__(self, name: str) -> None:
        """Raises KernelError if there is no such device or somebody else has it."""
        self.fd = open_tun_fd(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
        self.uso = self._set(offloads | TUN_F_USO4 | TUN_F_USO6)
        if not self.uso and not self._set(offloads):
            self._set(TUN_F_CSUM)

    def _set(self, offloads: int) -> bool:
        try:
            fcntl.ioctl(self.fd, TUNSETOFFLOAD, offloads)
        except OSError:
            return False
        return True

    def write(self, packet: bytes) -> int:
        """One packet to the host, as `host.api.Tun.write`."""
        try:
            os.write(self.fd, bytes(VNET_HEADER) + packet)
        except OSError as error:
            return from_host(error.errno or errno.EIO)
        return 0

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1


def open_raw(family: socket.AddressFamily) -> socket.socket:
    """A raw ESP socket for all addresses of this host. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
    prepare_outer(sock)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return sock


def open_raw_df() -> socket.socket:
    """A raw ESP socket that only sends, IPv4 with DF; each packet has to say its source. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
    prepare_outer(sock, df=True)
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    sock.bind(("127.0.0.1", 0))  # it hears nothing else: every packet would be copied for it
    return sock


BPF_NOTHING = ((0x06, 0, 0, 0),)


def open_path_mtu_listener() -> socket.socket:
    """A raw IPv6 socket that nobody reads. Raises OSError where there is no IPv6.

    Linux learns the path MTU of raw packets from ICMPv6 only if a socket for their protocol wants to know of errors,
    and such a socket fails with each error: so it is another one than those that send.
    """
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
    attach_filter(sock, BPF_NOTHING)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    return sock


def bpf_esp_share(number: int, shares: int, *, ipv4: bool) -> list[tuple[int, int, int, int]]:
    """Passes the ESP packets whose SPI is `number` modulo `shares`: several sockets, each packet for one of them."""
    start: list[tuple[int, int, int, int]] = [(0xB1, 0, 0, 0), (0x40, 0, 0, 0)] if ipv4 else [(0x20, 0, 0, 0)]
    return [*start, (0x94, 0, 0, shares), (0x15, 0, 1, number), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
