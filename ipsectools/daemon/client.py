"""The way from a command to the emulated kernel, wherever that lives.

`open_control` and `open_pfkey` give the kernel's two doors (who has it: `owner`). If an ipsecd owns the state directory
they lead there; if nobody does, the command becomes the owner for as long as it needs and opens the kernel in its own
process (`embedded`), or starts ipsecd first. ipsecd is needed on a host where packets flow as soon as there is an ipsec
interface, for every change (so no command ever imports what changes Linux), and for whoever waits for input or
messages. Where packets cannot flow see `limits`.

Every command runs through here: nothing is imported that costs time (see `tests/test_imports.py`).
"""

from __future__ import annotations

import _socket
from _collections import deque  # type: ignore[import-not-found]  # the one in C, without the module around it
from select import POLLIN, POLLOUT, poll
from sys import byteorder
from time import monotonic, sleep

from ipsectools.daemon.doors import DUMP_MESSAGES, READING_MESSAGES, READING_OPS
from ipsectools.daemon.doors import ClientError as ClientError
from ipsectools.daemon.owner import PATIENCE as PATIENCE
from ipsectools.daemon.owner import attach
from ipsectools.daemon.owner import connect as connect
from ipsectools.errno import EPERM, KernelError, from_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, overload

    from ipsectools import answers
    from ipsectools.daemon.embedded import EmbeddedKernel, EmbeddedPfkey

HELLO = b"IPSECPF"
ACKNOWLEDGE, LINUX_DIALECT, RECEIVE_BUFFER, ADOPT = 1, 2, 4, 8
"""Options in the byte that follows the hello; with RECEIVE_BUFFER a 4-byte size in host order follows. ADOPT, of a
client in Linux's dialect: see `adoption`."""

DEFAULT_RECEIVE_BUFFER = 2 << 20
LARGEST_MESSAGE = 1 << 16
_ACKNOWLEDGEMENT = 4
"""Bytes of an acknowledgement; no PF_KEY message is as short."""

PATIENCE_AT_THE_DOOR = 5.0
"""Seconds to try again when ipsecd closes a new connection, because it is ending or has too many clients."""


class Gone(ClientError):
    """The one ipsecd that was to be asked has ended."""


class Disconnected(Exception):
    """ipsecd went away; `unread` is true if it certainly never saw the request."""

    def __init__(self, unread: bool) -> None:
        super().__init__(unread)
        self.unread = unread


def state_directory() -> str:
    """The state directory of this process, made if need be. Raises ClientError if it is not ours to use."""
    from ipsectools.kernel import statedir
    from ipsectools.kernel.errors import StateError

    try:
        return statedir.prepare()
    except StateError as error:
        raise ClientError(str(error)) from None


def usable_directory() -> str:
    """The state directory; empty for a process that can have none, and only look at the machine. Raises ClientError.

    Without the right to have one, one with an ipsecd is used: this user may have started it when he had the right.
    """
    from ipsectools.daemon import limits
    from ipsectools.kernel import statedir

    if limits.is_outsider():
        directory = statedir.existing()
        return directory if directory and _status(directory) is not None else ""
    try:
        return state_directory()
    except ClientError:
        if limits.lacking() is None:
            raise
        return ""


def _status(directory: str) -> answers.DaemonStatus | None:
    """What the ipsecd there says about itself, None if there is none."""
    connection = connect(directory, "control", _socket.SOCK_STREAM)
    if connection is None:
        return None
    door = ControlDoor(directory, connection)
    try:
        return door.call("IPSECDSTATUS")
    except Gone:
        return None
    finally:
        door.close()


class ControlDoor:
    """The control door: `call` does one ioctl-shaped request."""

    __slots__ = ("_directory", "_embedded", "_only", "_socket")

    def __init__(self, directory: str, connection: _socket.socket | None = None) -> None:
        """`connection`: to the ipsecd that shall be asked, if it must be that one: `call` raises Gone without it."""
        self._directory = directory
        self._only = connection is not None
        self._socket = connection
        self._embedded: EmbeddedKernel | None = None

    if TYPE_CHECKING:

        @overload
        def call(self, op: Literal["LISTIF"], *, name: str = ...) -> list[answers.Interface]: ...
        @overload
        def call(self, op: Literal["OUTBOUND"], *, name: str) -> answers.Outbound: ...
        @overload
        def call(self, op: Literal["STATISTICS"]) -> answers.Statistics: ...
        @overload
        def call(self, op: Literal["SHAREDKEYS"]) -> list[answers.SharedKey]: ...
        @overload
        def call(self, op: Literal["SYSCTLGET"], *, name: str) -> answers.Leaf: ...
        @overload
        def call(self, op: Literal["SYSCTLLIST"]) -> list[answers.Leaf]: ...
        @overload
        def call(self, op: Literal["IPSECDSTATUS"]) -> answers.DaemonStatus: ...
        @overload
        def call(self, op: str, **args: Any) -> Any: ...

    def call(self, op: str, **args: Any) -> Any:
        """The operation's result. Raises KernelError (what the kernel says) or ClientError (no kernel)."""
        changing = op not in READING_OPS
        while True:
            if self._embedded is not None and not self._embedded.usable(changing):
                self.close()
            if self._embedded is None and self._socket is None:
                self._attach(changing)
            if self._embedded is not None:
                if self._embedded.is_limited:
                    self._check_limits(op, changing)
                return self._embedded.control(op, args)
            try:
                return self._request(op, args)
            except KernelError as error:
                if error.errno != EPERM or not self._may_try_again():
                    raise
            except Disconnected as lost:
                self.close()
                if self._only:
                    raise Gone("ipsecd has ended") from None
                if changing and not lost.unread:
                    raise ClientError(f"ipsecd ended during the request {op}") from None

    def _check_limits(self, op: str, changing: bool) -> None:
        from ipsectools.daemon import limits

        if changing:
            raise limits.refusal()
        if not self._directory:
            limits.check_secret(op)

    def _may_try_again(self) -> bool:
        """After EPERM: whether ipsecd ends now, as it started without a right that this process has.

        Raises what `limits.refusal` gives if this process has not got it either.
        """
        if self._only or self._request("IPSECDSTATUS", {}).get("may_change", True):
            return False
        from ipsectools.daemon import limits
        from ipsectools.host import missing

        if missing() is not None:
            raise limits.refusal()
        self._request("IPSECDSTOP", {})
        self.close()
        return True

    def _attach(self, changing: bool) -> None:
        owner = attach(self._directory, "control", _socket.SOCK_STREAM, False, changing)
        if isinstance(owner, _socket.socket):
            self._socket = owner
        else:
            self._embedded = owner

    def _request(self, op: str, args: dict[str, Any]) -> Any:
        from ipsectools.daemon import frames

        connection = self._socket
        assert connection is not None
        try:
            connection.sendall(frames.pack({"op": op, "args": args}))
            body = _read_exactly(connection, int.from_bytes(_read_exactly(connection, frames.HEADER_LENGTH), "big"))
        except TimeoutError:
            self.close()
            raise ClientError(f"ipsecd does not answer ({self._directory})") from None
        except ConnectionError:
            # The peer's socket was closed with our bytes in its queue, or before we sent any.
            raise Disconnected(True) from None
        except OSError as error:
            self.close()
            raise ClientError(f"{self._directory}/control: {error.strerror or error}") from None
        try:
            return frames.answer_value(frames.unpack(body))
        except ValueError:
            raise ClientError("ipsecd sent an answer that makes no sense") from None

    def close(self) -> None:
        """Lets go of the kernel. A later call opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None


def _read_exactly(connection: _socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(min(length - len(data), 1 << 20))
        if not part:
            raise Disconnected(False)
        data += part
    return data


class PfkeyConnection:
    """An open PF_KEY socket: messages of FreeBSD's ABI in and out.

    Messages that came while a `send` waited for its acknowledgement are kept and come first out of `receive`: before
    polling `fileno()`, call `receive(0)` until it returns None.

    `send_ahead` does not wait: ipsecd works on a request while the next ones are made. Each is ended by one `finish`.
    """

    __slots__ = (
        "_ahead",
        "_directory",
        "_embedded",
        "_inbox",
        "_may_protect",
        "_receive_buffer",
        "_results",
        "_served",
        "_socket",
    )

    def __init__(self, directory: str, receive_buffer: int, served: bool) -> None:
        self._directory = directory
        self._receive_buffer = receive_buffer
        self._served = served
        self._may_protect = False  # that SAs have an effect here has been found out
        self._socket: _socket.socket | None = None
        self._embedded: EmbeddedPfkey | None = None
        self._inbox: deque[bytes] = deque()
        self._ahead = 0  # requests whose acknowledgement has not come
        self._results: deque[int] = deque()  # of those whose acknowledgement has come before it was asked for
        if served:
            self._attach(True)

    def send(self, message: bytes) -> int:
        """Gives the kernel a message: 0, or FreeBSD's errno with which the write fails.

        All replies to this socket are there when it returns. Raises ClientError if the kernel is gone. Not between
        `send_ahead` and its `finish`.
        """
        self.send_ahead(message)
        return self.finish()

    def send_ahead(self, message: bytes) -> None:
        """Gives the kernel a message and does not wait for the result. Raises ClientError if the kernel is gone.

        The caller sees to it that not more is under way than a socket holds (some 64 short messages).
        """
        kind = message[1] if len(message) > 1 else 0
        changing = kind not in READING_MESSAGES
        if changing and not self._may_protect:
            self._check_effect(kind)
        if self._embedded is not None and not self._embedded.usable(changing):
            self._close_embedded()
        if self._socket is None and self._embedded is None:
            self._attach(changing)
        if self._embedded is not None:
            self._results.append(self._embedded.send(message))
            if kind in DUMP_MESSAGES and self._embedded.only_read:
                self._close_embedded()  # whoever pages through a long dump must not keep others waiting
            return
        connection = self._socket
        assert connection is not None
        try:
            while True:
                try:
                    connection.send(message)
                    self._ahead += 1
                    return
                except BlockingIOError:
                    if not self._wait(POLLOUT, PATIENCE):
                        raise ClientError(f"ipsecd does not answer ({self._directory})") from None
        except OSError as error:
            if error.errno != 90:  # EMSGSIZE: longer than a packet of the socket can be
                raise ClientError("ipsecd ended during a request") from None
            while self._ahead:
                self._wait_for_result()
            self._results.append(from_host(90))

    def _check_effect(self, kind: int) -> None:
        from ipsectools.pfkey.constants import MAKE_NOTHING

        if kind in MAKE_NOTHING:
            return
        from ipsectools.host import may_protect

        if not may_protect():
            told = _status(self._directory)
            if told is None or not told.get("may_protect", False):
                from ipsectools.daemon import limits

                raise limits.refused_socket()
        self._may_protect = True

    def finish(self) -> int:
        """What `send` gives, of the oldest request sent ahead. Its replies are there then. Raises ClientError."""
        while not self._results:
            self._wait_for_result()
        return int(self._results.popleft())

    def _wait_for_result(self) -> None:
        """Takes packets until an acknowledgement has come."""
        while not self._take_packet(PATIENCE):
            pass

    def _take_packet(self, timeout: float) -> bool:
        """Waits for a packet while requests are under way; whether it was an acknowledgement. Raises ClientError."""
        packet = self._packet(timeout)
        if packet is None:
            raise ClientError(f"ipsecd does not answer ({self._directory})")
        if not packet:
            raise ClientError("ipsecd ended during a request")
        if len(packet) == _ACKNOWLEDGEMENT:
            self._ahead -= 1
            self._results.append(int.from_bytes(packet, byteorder))
            return True
        self._inbox.append(packet)
        return False

    def _packet(self, timeout: float | None) -> bytes | None:
        """The next packet of the socket; None after `timeout` seconds, empty if ipsecd is gone."""
        # The socket does not block: asking first and waiting then takes one system call when much is there.
        assert self._socket is not None
        try:
            while True:
                try:
                    return self._socket.recv(LARGEST_MESSAGE)
                except BlockingIOError:
                    if not self._wait(POLLIN, timeout):
                        return None
        except OSError:
            return b""

    def _wait(self, event: int, timeout: float | None) -> bool:
        assert self._socket is not None
        waiter = poll()
        waiter.register(self._socket, event)
        return bool(waiter.poll(None if timeout is None else timeout * 1000))

    def receive(self, timeout: float | None) -> bytes | None:
        """The next message; None after `timeout` seconds (None: waits for ever).

        In an embedded kernel nothing can come but replies: None at once. While a request sent ahead is under way, it
        waits for that, and returns None when the last one has ended. Raises ClientError if the kernel is gone.
        """
        while not self._inbox and self._ahead:
            if self._take_packet(PATIENCE) and not self._ahead:
                return None
        if self._inbox:
            return bytes(self._inbox.popleft())
        if self._embedded is not None:
            return self._embedded.receive()
        if self._socket is None:
            return None
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            packet = self._packet(None if deadline is None else max(0.0, deadline - monotonic()))
            if packet is None:
                return None
            if not packet:
                raise ClientError("ipsecd ended")
            if len(packet) >= 16:
                return packet

    def fileno(self) -> int:
        """A descriptor that is readable when a message has come; only of a connection opened with `served`."""
        if self._socket is None:
            raise ClientError("not connected to ipsecd")
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the PF_KEY socket."""
        self._inbox.clear()
        self._results.clear()
        self._ahead = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None

    def _close_embedded(self) -> None:
        embedded = self._embedded
        assert embedded is not None
        while (message := embedded.receive()) is not None:
            self._inbox.append(message)
        embedded.close()
        self._embedded = None

    def _attach(self, changing: bool) -> None:
        deadline = monotonic() + PATIENCE_AT_THE_DOOR
        hello = HELLO + bytes([ACKNOWLEDGE | RECEIVE_BUFFER]) + self._receive_buffer.to_bytes(4, byteorder)
        while True:
            owner = attach(self._directory, "pfkey", _socket.SOCK_SEQPACKET, self._served, changing)
            if not isinstance(owner, _socket.socket):
                self._embedded = owner.open_pfkey()
                return
            try:
                owner.send(hello)
                # What the kernel told every socket before it read the hello comes first: it is not the answer, and not
                # for us, as our socket is open with the answer.
                while len(answer := owner.recv(LARGEST_MESSAGE)) > _ACKNOWLEDGEMENT:
                    pass
                if answer:
                    owner.setblocking(False)
                    self._socket = owner
                    return
            except OSError:
                pass
            owner.close()  # it was just ending, or has too many clients
            if monotonic() > deadline:
                raise ClientError("ipsecd does not let us in: too many clients")
            sleep(0.02)


def open_control() -> ControlDoor:
    """The control door of this process's emulated kernel. Raises ClientError."""
    return ControlDoor(usable_directory())


def open_pfkey(receive_buffer: int = DEFAULT_RECEIVE_BUFFER, *, served: bool = False) -> PfkeyConnection:
    """A PF_KEY socket of this process's emulated kernel. Raises ClientError.

    `served`: connect to an ipsecd (started if need be), as whoever waits for input or for messages must. The messages
    of others are lost while more than `receive_buffer` bytes are waiting to be received.
    """
    directory = usable_directory()
    if not directory:
        from ipsectools.daemon import limits

        raise limits.refused_socket()
    from ipsectools.daemon import secrecy

    secrecy.guard_memory()
    return PfkeyConnection(directory, receive_buffer, served)
