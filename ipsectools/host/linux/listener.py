"""Listens to what rtnetlink(7) tells of changes: links, addresses, routes, rules."""

from __future__ import annotations

import _socket
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = -1
"""The type of a message that says that messages were lost."""

# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV6_RULE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000
RTM_NEWRULE, RTM_DELRULE = 32, 33

_HEADER = Struct("=IHHII")  # nlmsghdr
_RECEIVE_BUFFER = 1 << 20
_LISTEN_BUFFER, _SO_RCVBUFFORCE = 4 << 20, 33


class Listener:
    """Says when links, addresses, routes or rules have changed. `fileno()` is readable then."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        try:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_RCVBUFFORCE, _LISTEN_BUFFER)
        except OSError:
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _LISTEN_BUFFER)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def messages(self) -> Iterator[tuple[int, bytes, int]]:
        """Type and body of the notifications that have come, and the port of the program that caused it (0: none, or
        not told); (LOST, b"", 0) if some were lost."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BUFFER)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS
                yield LOST, b"", 0
                continue
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, _flags, _sequence, port = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    break
                yield kind, data[offset + _HEADER.size : offset + length], port
                offset += (length + 3) & ~3

    def close(self) -> None:
        self._socket.close()
