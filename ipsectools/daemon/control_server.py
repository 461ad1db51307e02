"""The `control` socket: ioctl-shaped requests in frames of JSON, answered one after the other."""

from __future__ import annotations

import socket
from time import monotonic, time

from ipsectools.daemon import frames, listener
from ipsectools.daemon.loop import READ, WRITE
from ipsectools.errno import EINVAL, EIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ipsectools.daemon.loop import Loop

MOST_CLIENTS = 128
LARGEST_REQUEST = 1 << 20
_RECEIVE = 1 << 16


class ControlServer:
    """Serves one listening socket. `perform(op, args, now)` does a request (KernelError: what the kernel answers)."""

    def __init__(
        self,
        loop: Loop,
        listening: socket.socket,
        perform: Callable[[str, dict[str, Any], float], Any],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.loop = loop
        self.perform = perform
        self.failed = failed
        self.clients: set[ControlClient] = set()
        self._listening = listening
        loop.add(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stops listening and drops the clients. Who has not been answered sees that its request was not read."""
        self.loop.remove(self._listening.fileno())
        self._listening.close()
        for client in list(self.clients):
            client.close()

    def _accept(self, _events: int) -> None:
        for connection in listener.accept(self._listening):
            if len(self.clients) >= MOST_CLIENTS:
                min(self.clients, key=lambda client: client.last_heard).close()
            ControlClient(self, connection)


class ControlClient:
    """One connection, in its server's `clients` until it is closed.

    Reading stops while an answer waits to be taken, so no queue grows beyond one answer.
    """

    __slots__ = ("_connection", "_descriptor", "_events", "_incoming", "_outgoing", "_server", "last_heard")

    def __init__(self, server: ControlServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._descriptor = connection.fileno()
        self._events = READ
        self._incoming = bytearray()
        self._outgoing = memoryview(b"")
        self.last_heard = monotonic()
        server.clients.add(self)
        server.loop.add(self._descriptor, self._handle)
        self._handle(READ)

    def close(self) -> None:
        self._server.clients.discard(self)
        if self._connection.fileno() >= 0:
            self._server.loop.remove(self._descriptor)
            self._connection.close()

    def _handle(self, events: int) -> None:
        if self._connection.fileno() < 0:
            return
        if self._outgoing:
            self._flush()
        elif events & READ and not self._complete():
            try:
                data = self._connection.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.last_heard = monotonic()
            self._incoming += data
            self._next_request()

    def _complete(self) -> int:
        """The length of the first frame if all of it is here, else 0."""
        if len(self._incoming) < frames.HEADER_LENGTH:
            return 0
        end = frames.HEADER_LENGTH + int.from_bytes(self._incoming[: frames.HEADER_LENGTH], "big")
        if end > LARGEST_REQUEST:
            self.close()
            return 0
        return end if len(self._incoming) >= end else 0

    def _next_request(self) -> None:
        """Does the first request if it is complete, and comes back for the next one after everybody else's turn."""
        if self._connection.fileno() < 0 or self._outgoing:
            return
        end = self._complete()
        if end:
            body = bytes(self._incoming[frames.HEADER_LENGTH : end])
            del self._incoming[:end]
            self._outgoing = memoryview(self._answer(body))
            self._flush()

    def _answer(self, body: bytes) -> bytes:
        try:
            request = frames.unpack(body)
            if not isinstance(request, dict):
                raise KernelError(EINVAL)
            op, args = request.get("op"), request.get("args", {})
            if not isinstance(op, str) or not isinstance(args, dict):
                raise KernelError(EINVAL)
            return frames.pack({"value": self._server.perform(op, args, time())})
        except KernelError as error:
            return frames.pack({"errno": error.errno, "detail": error.detail})
        except ValueError:
            return frames.pack({"errno": EINVAL, "detail": ""})
        except Exception as error:  # a mistake of ours must not take the others' connections down
            self._server.failed(error)
            return frames.pack({"errno": EIO, "detail": ""})

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._connection.send(self._outgoing) :]
        except BlockingIOError:
            self._listen_for(WRITE)
            return
        except OSError:
            self.close()
            return
        self._listen_for(READ)
        if self._complete():
            self._server.loop.call_soon(self._next_request)

    def _listen_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._server.loop.modify(self._descriptor, events)
