"""The `pfkey` socket: one PF_KEY message a packet; the kernel's replies and announcements the same way back.

A client may say hello first (`client.HELLO`) to have each of its writes acknowledged by a 4-byte packet with the errno,
or to be served in Linux's dialect.
"""

from __future__ import annotations

import socket
from collections import deque
from sys import byteorder
from time import time

from ipsectools.daemon import adoption, listener
from ipsectools.daemon.client import (
    ACKNOWLEDGE,
    ADOPT,
    DEFAULT_RECEIVE_BUFFER,
    HELLO,
    LARGEST_MESSAGE,
    LINUX_DIALECT,
    RECEIVE_BUFFER,
)
from ipsectools.daemon.loop import READ, WRITE
from ipsectools.errno import EIO
from ipsectools.pfkey import linux
from ipsectools.pfkey.constants import SADB_ADD, SADB_DELETE, SADB_UPDATE, SADB_X_SPDADD, SADB_X_SPDDELETE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipsectools.daemon.loop import Loop
    from ipsectools.kernel.kernel import Kernel

MOST_CLIENTS = 128
SMALLEST_BUFFER = 8192
LARGEST_BUFFER = 16 << 20

_WRITES_AT_A_TIME = 16
_TOGETHER = frozenset(b"%c" % kind for kind in (SADB_UPDATE, SADB_ADD, SADB_DELETE, SADB_X_SPDADD, SADB_X_SPDDELETE))
"""Requests that may share a transaction: they change the databases and nothing else."""
_MESSAGES_AT_A_TIME = 256
"""What one client gets before others have their turn."""
_ACKNOWLEDGEMENT = 4
_MUCH = 64 << 10
"""Bytes of replies from which on a client with the preload library gets the acknowledgement before them: it reads
nothing until its write returns, and so many might not fit into the connection. Also how much of a dump is made at once;
the rest is made as the client reads."""


class PfkeyServer:
    """Serves one listening socket. `failed` is told of exceptions that a request raised."""

    def __init__(
        self, loop: Loop, listening: socket.socket, kernel: Kernel, failed: Callable[[BaseException], None]
    ) -> None:
        self.loop = loop
        self.kernel = kernel
        self.failed = failed
        self.clients: set[PfkeyClient] = set()
        self._waiting: list[PfkeyClient] = []
        self._listening = listening
        loop.add(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stops listening and closes the clients' sockets."""
        self.loop.remove(self._listening.fileno())
        self._listening.close()
        for client in list(self.clients):
            client.close()

    def _accept(self, _events: int) -> None:
        for connection in listener.accept(self._listening):
            if len(self.clients) < MOST_CLIENTS:
                PfkeyClient(self, connection)
            else:
                connection.close()  # a silent client may be a monitor: nobody is thrown out for another

    def has_news(self, client: PfkeyClient) -> None:
        """Something was queued for a client: it goes out when the request or timer that caused it is done."""
        if not self._waiting:
            self.loop.call_soon(self.flush)
        self._waiting.append(client)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for client in waiting:
            client.flush()


class PfkeyClient:
    """One connection, which is one PF_KEY socket of the kernel; in its server's `clients` until it is closed."""

    __slots__ = (
        "_acknowledge",
        "_adopt",
        "_asking",
        "_buffer",
        "_connection",
        "_deaf",
        "_descriptor",
        "_door",
        "_fresh",
        "_linux",
        "_mask",
        "_queue",
        "_queued",
        "_server",
        "_streaming",
        "_told",
    )

    def __init__(self, server: PfkeyServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._descriptor = connection.fileno()
        self._deaf = False  # it has closed its end: nothing can be sent, but what it wrote before is still to be done
        self._fresh = True
        self._acknowledge = False
        self._adopt = False
        self._linux = False
        self._buffer = DEFAULT_RECEIVE_BUFFER
        self._queue: deque[bytes | Iterator[bytes]] = deque()
        self._queued = 0
        self._streaming = False
        self._asking = False
        self._told = False
        self._mask = READ
        self._door = server.kernel.open_pfkey(self._deliver, self._deliver_stream)
        server.clients.add(self)
        server.loop.add(self._descriptor, self._handle)
        self._handle(READ)

    def close(self) -> None:
        if self._connection.fileno() < 0:
            return
        self._server.clients.discard(self)
        self._server.loop.remove(self._descriptor)
        self._connection.close()
        self._queue.clear()
        self._door.close()

    def flush(self) -> None:
        """Sends what the connection takes, or as much as is one client's turn."""
        self._told = False
        if self._connection.fileno() < 0:
            return
        try:
            for _ in range(_MESSAGES_AT_A_TIME):
                if not self._send_one():
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._deaf = True
            self._queue.clear()
            self._queued = 0
            self._streaming = False
        mask = READ if not self._queue else WRITE if self._is_behind() else WRITE | READ
        if mask != self._mask:
            self._mask = mask
            self._server.loop.modify(self._descriptor, mask)

    def _send_one(self) -> bool:
        """Sends the next message; False if there is none. Raises OSError."""
        queue = self._queue
        while queue:
            first = queue[0]
            if isinstance(first, bytes):
                self._connection.send(first)
                queue.popleft()
                self._queued -= len(first)
                return True
            following = next(first, None)
            if following is None:
                queue.popleft()
                self._streaming = False
            else:
                following = self._in_its_dialect(following)
                queue.appendleft(following)
                self._queued += len(following)
        return False

    def _is_behind(self) -> bool:
        """While more than the buffer's worth waits, or a dump, the client is not read."""
        return self._streaming or self._queued > self._buffer

    def _in_its_dialect(self, message: bytes) -> bytes:
        return linux.from_freebsd(message) if self._linux else message

    def _deliver(self, message: bytes) -> bool:
        # The answers to one's own request wait for one: not until they are taken is the next request read. What others
        # cause is lost when the buffer is full.
        if not self._asking and self._queued + len(message) > self._buffer:
            return False
        self._put(self._in_its_dialect(message))
        return True

    def _deliver_stream(self, messages: Iterator[bytes]) -> None:
        before = self._queued
        for message in () if self._deaf else messages:
            self._put(self._in_its_dialect(message))
            if self._queued - before > _MUCH:
                self._queue.append(messages)
                self._streaming = True
                return

    def _put(self, packet: bytes) -> None:
        if self._deaf:
            return
        self._queue.append(packet)
        self._queued += len(packet)
        if not self._told:
            self._told = True
            self._server.has_news(self)

    def _handle(self, events: int) -> None:
        if self._queue:
            self.flush()
        if not events & READ:
            return
        together: list[bytes] = []
        for _ in range(_WRITES_AT_A_TIME):
            packet = None if self._is_behind() else self._receive()
            if packet is None:
                break
            if self._acknowledge and not self._linux and packet[1:2] in _TOGETHER:
                together.append(packet)
                continue
            self._request_all(together)
            together = []
            if not packet:
                self._server.flush()
                self.close()
                return
            if self._fresh and packet.startswith(HELLO) and len(packet) in (8, 12):
                self._hello(packet)
            else:
                self._request(packet)
            self._fresh = False
            self._server.flush()
            if self._connection.fileno() < 0:
                return
        self._request_all(together)
        self._server.flush()

    def _receive(self) -> bytes | None:
        """What the client has written; None if there is nothing, empty if there will be nothing any more."""
        try:
            return self._connection.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _request_all(self, messages: list[bytes]) -> None:
        """Requests that came together are one transaction; if that cannot be, each is tried alone."""
        if len(messages) > 1:
            unanswered = len(messages)

            def answered(number: int) -> None:
                nonlocal unanswered
                unanswered -= 1
                self._acknowledge_with(number)

            self._asking = True
            try:
                if self._door.send_all(messages, time(), answered):
                    return
            except Exception as error:  # as in `_request`
                self._server.failed(error)
                while unanswered:
                    answered(EIO)
                return
            finally:
                self._asking = False
        for message in messages:
            self._request(message)

    def _acknowledge_with(self, number: int) -> None:
        self._put(number.to_bytes(_ACKNOWLEDGEMENT, byteorder))

    def _hello(self, packet: bytes) -> None:
        options = packet[len(HELLO)]
        self._acknowledge = bool(options & ACKNOWLEDGE)
        self._adopt = bool(options & ADOPT)
        self._linux = bool(options & LINUX_DIALECT)
        if options & RECEIVE_BUFFER and len(packet) == 12:
            self._buffer = min(max(int.from_bytes(packet[8:], byteorder), SMALLEST_BUFFER), LARGEST_BUFFER)
            self._put(bytes(_ACKNOWLEDGEMENT))

    def _request(self, message: bytes) -> None:
        ahead, bytes_ahead = len(self._queue), self._queued
        self._asking = True
        try:
            number = self._send_linux(message) if self._linux else self._door.send(message, time())
        except Exception as error:  # a mistake of ours must not take the others' sockets down
            self._server.failed(error)
            number = EIO
        finally:
            self._asking = False
        if not self._acknowledge or self._deaf:
            return
        if self._linux and self._queued - bytes_ahead > _MUCH:
            self._queue.insert(ahead, number.to_bytes(_ACKNOWLEDGEMENT, byteorder))
            self._queued += _ACKNOWLEDGEMENT
        else:
            self._acknowledge_with(number)

    def _send_linux(self, message: bytes) -> int:
        answer = linux.answer_without_kernel(message)
        if answer is not None:
            self._put(answer)
            return 0
        request = linux.to_freebsd(message)
        if self._adopt:
            request = adoption.adopt(request, self._server.kernel)
        return linux.errno_to_linux(self._door.send(request, time()))
