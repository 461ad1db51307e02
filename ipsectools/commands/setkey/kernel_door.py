"""The one place where setkey meets the kernel: a PF_KEY socket, and the names of interfaces."""

from __future__ import annotations

from time import monotonic

from ipsectools.daemon.client import ClientError, open_control, open_pfkey
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ipsectools.answers import SharedKey

    class Connection(Protocol):
        """An open PF_KEY socket; every method may raise ClientError when the kernel is gone."""

        def send(self, message: bytes) -> int:
            """0, or FreeBSD's errno with which the write fails."""

        def send_ahead(self, message: bytes) -> None:
            """Sends without waiting; the result comes from `finish`, one for each, in order."""

        def finish(self) -> int:
            """The result of the oldest message sent ahead, as `send` gives it."""

        def receive(self, timeout: float | None) -> bytes | None:
            """The next message, or None if none came for `timeout` seconds (None: waits for ever)."""

        def close(self) -> None: ...


_FRESH = 1.0
"""Seconds for which the names of interfaces are taken to stay as they are."""


class Door:
    """A PF_KEY socket of this process's kernel."""

    __slots__ = ("_connection", "_names", "_names_until", "opened")

    def __init__(self, served: bool) -> None:
        """Raises ClientError. `served`: this process will wait for input or messages, so it must not own the kernel."""
        self._connection: Connection = open_pfkey(served=served)
        self.opened = served
        """Whether the kernel was reached; without `served` that is tried with the first request only."""
        self._names: dict[int, str] = {}
        self._names_until = 0.0

    def send(self, message: bytes) -> int:
        """Gives the kernel a message: 0, or FreeBSD's errno with which the write fails. Raises ClientError."""
        number = self._connection.send(message)
        self.opened = True
        return number

    def send_ahead(self, message: bytes) -> None:
        """Gives the kernel a message and does not wait. Raises ClientError."""
        self._connection.send_ahead(message)
        self.opened = True

    def finish(self) -> int:
        """The result, as of `send`, of the oldest message sent ahead. Raises ClientError."""
        return self._connection.finish()

    def receive(self, timeout: float | None) -> bytes | None:
        """The next message; None if none came for `timeout` seconds (None: waits). Raises ClientError."""
        return self._connection.receive(timeout)

    def close(self) -> None:
        self._connection.close()

    def interface_name(self, index: int) -> str | None:
        """The name of an interface (of the kernel, not of the host) by its index."""
        return self._interfaces().get(index)

    def interface_index(self, name: str) -> int:
        """The index of an interface by its name, 0 if there is none."""
        for index, known in self._interfaces().items():
            if known == name:
                return index
        return 0

    def shared_keys(self) -> list[SharedKey]:
        """SAs that share keys of counter modes: as the control operation SHAREDKEYS tells; nothing if it cannot."""
        control = open_control()
        try:
            return control.call("SHAREDKEYS")
        except (ClientError, KernelError):
            return []
        finally:
            control.close()

    def _interfaces(self) -> dict[int, str]:
        if monotonic() >= self._names_until:
            control = open_control()
            try:
                self._names = {row["index"]: row["name"] for row in control.call("LISTIF")}
            except (ClientError, KernelError):
                self._names = {}
            finally:
                control.close()
            self._names_until = monotonic() + _FRESH
        return self._names
