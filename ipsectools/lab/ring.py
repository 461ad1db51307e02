"""A ring of memory that the kernel fills with packets (packet(7), PACKET_RX_RING, TPACKET_V3).

Unlike a socket's buffer, which an ordinary user cannot make larger than net.core.rmem_max, it holds many packets for
everybody: a reader that is late for a while loses none.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V3 = 2
_BLOCK, _BLOCKS = 1 << 20, 32
_FRAME = 2048
"""Only a number that has to fit: frames are as long as their packets."""
_OLD = 4
"""Milliseconds after which a block that is not full is shown."""

_REQUEST = struct.Struct("=7I")
_STATISTICS = struct.Struct("=3I")
_BLOCK_HEAD = struct.Struct("=8xIII")  # status, number of packets, offset of the first
_FRAME_HEAD = struct.Struct("=4IIIHH")  # next, seconds, nanoseconds, captured, length, status, link header, packet
_ADDRESS = struct.Struct("=2xHihB")  # of sockaddr_ll: (big-endian) protocol, interface, hardware type, packet type
_ADDRESS_AT = 48
_OURS = 1


class Ring:
    """What arrives at a packet socket from when it is bound on: make the ring first. One thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        """Raises OSError."""
        self._socket = sock
        sock.setsockopt(SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        request = _REQUEST.pack(_BLOCK, _BLOCKS, _FRAME, _BLOCK // _FRAME * _BLOCKS, _OLD, 0, 0)
        sock.setsockopt(SOL_PACKET, _PACKET_RX_RING, request)
        self._memory = mmap.mmap(sock.fileno(), _BLOCK * _BLOCKS)
        self._next = 0
        self._taken = 0
        self._arrived = 0
        self.missed = 0
        """Packets for which there was no room, at the last `count`."""

    def take(self) -> Iterator[tuple[bytes, int, int, float]]:
        """What is there to see: packets with their ethertype, packet(7)'s packet type, and the time (unix seconds)."""
        while True:
            start = self._next * _BLOCK
            status, count, offset = _BLOCK_HEAD.unpack_from(self._memory, start)
            if not status & _OURS:
                return
            at = start + offset
            for _ in range(count):
                ahead, seconds, nanoseconds, captured, _, _, _, data = _FRAME_HEAD.unpack_from(self._memory, at)
                protocol, _, _, kind = _ADDRESS.unpack_from(self._memory, at + _ADDRESS_AT)
                ethertype = int.from_bytes(protocol.to_bytes(2, "little"), "big")
                packet = self._memory[at + data : at + data + captured]
                self._taken += 1
                yield packet, ethertype, kind, seconds + nanoseconds / 1e9
                at += ahead
            self._memory[start + 8 : start + 12] = bytes(4)  # the kernel's again
            self._next = (self._next + 1) % _BLOCKS

    def count(self) -> None:
        """Asks the kernel what has arrived, seen or not, and what it had no room for."""
        arrived, missed, _ = _STATISTICS.unpack(self._socket.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 12))
        self._arrived += arrived - missed
        self.missed += missed

    @property
    def is_behind(self) -> bool:
        """Whether something that was counted has not been taken."""
        return self._taken < self._arrived

    def wait(self) -> None:
        """Until there is something to take, or a while is over."""
        if select.select([self._socket], [], [], 0.05)[0]:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # ENETDOWN, when the interface goes: seen

    def close(self) -> None:
        self._memory.close()
