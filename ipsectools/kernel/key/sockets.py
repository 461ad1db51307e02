"""PF_KEY sockets: who gets what, and in which order.

While a request is handled its answers only gather in the outbox; they leave with `flush_outbox`, after the commit. A
dump is in the outbox as one object and makes its messages when they are taken.
"""

from __future__ import annotations

from ipsectools.errno import ENOBUFS
from ipsectools.pfkey.constants import PF_KEY_V2, SADB_X_PROMISC, SATYPE_UNSPEC
from ipsectools.pfkey.message import HEADER, HEADER_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Engine(Protocol):
        def send(self, socket: KeySocket, message: bytes, now: float) -> int: ...

    Item = bytes | Callable[[], Iterator[bytes]]


class KeySocket:
    """One open PF_KEY socket.

    `deliver` takes a message for it and returns False if there is no room (the message is lost). `deliver_stream`, if
    set, takes the iterator over a dump's messages, to draw from as the reader reads, before anything delivered later;
    without it a dump is delivered message by message.
    """

    __slots__ = ("_delivery", "_engine", "deliver", "deliver_stream", "promiscuous", "registered")

    def __init__(self, engine: Engine, delivery: Delivery, deliver: Callable[[bytes], bool]) -> None:
        self._engine = engine
        self._delivery = delivery
        self.deliver = deliver
        self.deliver_stream: Callable[[Iterator[bytes]], None] | None = None
        self.promiscuous = False
        self.registered: set[int] = set()

    def send(self, message: bytes, now: float) -> int:
        """Hands a request to the key engine. Returns the errno with which the write fails, 0 if it succeeds.

        Raises KernelError if the state file cannot take the change: roll back then, drop the outbox, load.
        """
        return self._engine.send(self, message, now)

    def close(self) -> None:
        """Forgets the socket and its registrations; what was still to be delivered to it is dropped."""
        self._delivery.remove(self)

    def deliver_all(self, messages: Iterator[bytes]) -> None:
        """Delivers a dump."""
        if self.deliver_stream is not None:
            self.deliver_stream(messages)
        else:
            for message in messages:
                self.deliver(message)


def wrap(message: bytes) -> bytes:
    """A message as promiscuous sockets get it, behind a header of type X_PROMISC."""
    units = (HEADER_BYTES + len(message)) // 8
    return HEADER.pack(PF_KEY_V2, SADB_X_PROMISC, 0, SATYPE_UNSPEC, units & 0xFFFF, 0, 0, 0) + message


class Delivery:
    """The open sockets and the outbox."""

    __slots__ = ("outbox", "requester", "sockets")

    def __init__(self) -> None:
        self.sockets: dict[KeySocket, None] = {}
        self.outbox: list[tuple[KeySocket, Item]] = []
        self.requester: KeySocket | None = None

    def add(self, socket: KeySocket) -> None:
        self.sockets[socket] = None

    def remove(self, socket: KeySocket) -> None:
        self.sockets.pop(socket, None)
        self.outbox = [entry for entry in self.outbox if entry[0] is not socket]
        if self.requester is socket:
            self.requester = None

    def begin(self, requester: KeySocket | None) -> None:
        """A request of this socket is being handled (None: the kernel's own doing)."""
        self.requester = requester

    def to_one(self, socket: KeySocket, message: bytes) -> None:
        self._wrapped(message)
        self.outbox.append((socket, message))

    def to_all(self, message: bytes) -> None:
        """Every socket, the requester last."""
        self._spread(message, None)

    def to_registered(self, message: bytes) -> None:
        """Every socket that registered for anything, and the requester, last."""
        self._spread(message, lambda socket: bool(socket.registered))

    def _spread(self, message: bytes, wanted: Callable[[KeySocket], bool] | None) -> None:
        requester = self.requester
        wrapped = b""
        for socket in self.sockets:
            if socket.promiscuous:
                wrapped = wrapped or wrap(message)
                self.outbox.append((socket, wrapped))
            if socket is not requester and (wanted is None or wanted(socket)):
                self.outbox.append((socket, message))
        if requester is not None:
            self.outbox.append((requester, message))

    def _wrapped(self, message: bytes) -> None:
        for socket in self.sockets:
            if socket.promiscuous:
                self.outbox.append((socket, wrap(message)))

    def dump(self, socket: KeySocket, messages: Callable[[], Iterator[bytes]]) -> None:
        """A dump for one socket: what `messages()` yields."""
        self.outbox.append((socket, messages))

    def flush(self) -> int:
        """Delivers all. Returns ENOBUFS if an answer to the requester found no room, else 0."""
        outbox, self.outbox = self.outbox, []
        requester, self.requester = self.requester, None
        failed = 0
        for socket, item in outbox:
            if socket not in self.sockets:
                continue
            if not isinstance(item, bytes):
                socket.deliver_all(self._streamed(socket, item()))
            else:
                delivered = socket.deliver(item)
                if socket is requester:  # what counts is the answer itself, the last; a wrapped copy goes before it
                    failed = 0 if delivered else ENOBUFS
        return failed

    def _streamed(self, receiver: KeySocket, messages: Iterator[bytes]) -> Iterator[bytes]:
        for message in messages:
            for socket in self.sockets:
                if socket.promiscuous:
                    if socket is receiver:
                        yield wrap(message)
                    else:
                        socket.deliver(wrap(message))
            yield message

    def take(self) -> list[tuple[KeySocket, Item]]:
        """What the request so far has to deliver, for `give` to deliver it later."""
        outbox, self.outbox = self.outbox, []
        return outbox

    def give(self, requester: KeySocket, outbox: list[tuple[KeySocket, Item]]) -> int:
        """Delivers what was taken, as `flush` does."""
        self.requester, self.outbox = requester, outbox
        return self.flush()

    def drop(self) -> None:
        self.outbox = []
        self.requester = None
