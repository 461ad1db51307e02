"""sd_notify(3): tells the service manager that started us how we are."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """Sends to $NOTIFY_SOCKET; does nothing without one. Takes the variables out of the environment."""

    __slots__ = ("_address", "_socket", "watchdog")

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address[:1] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        interval = os.environ.pop("WATCHDOG_USEC", "")
        ours = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.watchdog = int(interval) / 2e6 if interval.isdigit() and ours else 0.0
        """Seconds after which WATCHDOG=1 is due again; 0: nobody waits for it."""

    def send(self, *assignments: str) -> None:
        """For example "READY=1". A service manager that does not read is left alone."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(assignments).encode(), self._address)
