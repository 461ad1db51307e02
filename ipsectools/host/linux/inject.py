"""Packets for this host itself: what came out of a tunnel as if it had come over lo0."""

from __future__ import annotations

import errno
import socket

from ipsectools.errno import EADDRNOTAVAIL, EINVAL, from_host
from ipsectools.host.linux.sockets import IPV6_HDRINCL, is_local


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
