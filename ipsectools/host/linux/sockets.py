"""What the sockets for outer packets have in common: options, filters, path MTU; the raw ESP sockets.

Outer packets bear a firewall mark (SO_MARK), whose layout `host.marks` has.
The outer IPv4 id is the kernel's: 0 with DF, as RFC 6864 wants it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

IP_PKTINFO = 8
IP_MTU_DISCOVER = 10
IP_MTU = 14
IP_FREEBIND = 15
IPV6_MTU_DISCOVER = 23
IPV6_RECVERR = 25
IPV6_MTU = 24
IPV6_AUTOFLOWLABEL = 70
IPV6_HDRINCL = 36
_PMTUDISC_DONT, _PMTUDISC_DO, _PMTUDISC_PROBE, _PMTUDISC_OMIT = 0, 2, 3, 5
SO_NO_CHECK = 11
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32

BUFFER = 4 << 20
"""Socket buffers in bytes: a few milliseconds of traffic, no more, so that queues stay short."""
MAXIMUM_PACKET = 65535


def address_family(address: bytes) -> socket.AddressFamily:
    """The family of 4 or 16 address bytes."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def address_text(address: bytes) -> str:
    return socket.inet_ntop(address_family(address), address)


def set_discovery(sock: socket.socket, df: bool, doubt: bool) -> None:
    """Of an IPv4 socket: DF, and whether what the kernel has learned of the path is left out of account."""
    modes = (_PMTUDISC_OMIT, _PMTUDISC_PROBE) if doubt else (_PMTUDISC_DONT, _PMTUDISC_DO)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, modes[df])


def prepare_outer(sock: socket.socket, *, df: bool = False, doubt: bool = False, mark: int = 0) -> None:
    """The options that every socket for outer packets has: non-blocking, DF and fragmentation, flow label 0, mark."""
    sock.setblocking(False)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        except OSError:  # without CAP_NET_ADMIN: as much as the system's limit allows
            fallback = socket.SO_RCVBUF if option == SO_RCVBUFFORCE else socket.SO_SNDBUF
            sock.setsockopt(socket.SOL_SOCKET, fallback, BUFFER)
    if sock.family == socket.AF_INET:
        set_discovery(sock, df, doubt)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


def attach_filter(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Puts a classic BPF program (rows of code, jt, jf, k) on the receiving side of a socket."""
    import ctypes

    code = b"".join(struct.pack("HBBI", *row) for row in program)
    memory = ctypes.create_string_buffer(code)
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program), ctypes.addressof(memory))
    )


def deafen(sock: socket.socket, address: str) -> None:
    """Makes a raw socket that only sends get nothing: every packet would be copied for it.

    It hears but its own host then (`address` is one of it). Where it sends to, each packet says.
    """
    sock.connect((address, 0))


def set_header_fields(sock: socket.socket, tos: int, ttl: int) -> None:
    """TOS/traffic class and TTL/hop limit of what the socket sends from now on.

    Linux sends nothing with a TTL of 0, which FreeBSD would: as good as 1, since no router passes it on."""
    ttl = max(1, ttl)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)


def tell_arrival(sock: socket.socket, on: bool) -> None:
    """Whether what the socket receives comes with the index of the link on which it arrived."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, on)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, on)


def arrived_on(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The index of the link on which a packet arrived, from its control messages; 0 if they do not tell."""
    for level, kind, content in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            return int.from_bytes(content[:4], sys.byteorder)
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return int.from_bytes(content[16:20], sys.byteorder)
    return 0


def path_mtu(dst: bytes, mark: int = 0) -> int:
    """The MTU towards `dst`: the route's, or what the kernel learned from ICMP (which ages after ten minutes)."""
    family = address_family(dst)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if mark:
                with contextlib.suppress(PermissionError):  # who may not set it may ask all the same
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            probe.connect((address_text(dst), 9))
            if family == socket.AF_INET:
                return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)
            return probe.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    except OSError:
        return 1280 if family == socket.AF_INET6 else 576


def open_raw(family: socket.AddressFamily) -> socket.socket:
    """A raw ESP socket for all addresses of this host. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
    prepare_outer(sock)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return sock


def open_raw_sender(*, df: bool) -> socket.socket:
    """A raw IPv4 socket for ESP that only sends; each packet has to say its source. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
    prepare_outer(sock, df=df)
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
