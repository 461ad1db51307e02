"""What the pump asks of the key engine. Filled by pump threads, emptied by whoever owns the kernel.

Each question is kept once until it is taken, so that the queue is never longer than there are SAs and interfaces.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ACQUIRE = "acquire"
"""No SA for an interface's packets; ident: (interface index, inner family 4 or 6). The count is of packets."""
RESERVE = "reserve"
"""An outbound SA has used half of its reserved numbers; ident: (SPI, id).

The id, since another SA may have the SPI when it is read."""
EDGE = "edge"
"""An inbound SA's window has used half of its reserved numbers, or met one beyond; ident: (SPI, id). The count is the
number it wants."""
EXHAUSTED = "exhausted"
"""An SA has no number left at all; ident: (SPI, id)."""
REFUSED = "refused"
"""Linux takes no joined packets of a kind from a device; ident: (interface index, GSO type of virtio)."""


class Events:
    """`wake` is called, from any thread, when the queue stops being empty: it must only wake the kernel's owner."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, object], int] = {}

    def put(self, kind: str, ident: object, count: int = 0) -> None:
        with self._lock:
            was_empty = not self._pending
            key = (kind, ident)
            before = self._pending.get(key, 0)
            self._pending[key] = before + count if kind == ACQUIRE else max(before, count)
        if was_empty:
            self._wake()

    def take(self) -> list[tuple[str, object, int]]:
        """Everything asked since the last call: (kind, ident, count)."""
        with self._lock:
            pending, self._pending = self._pending, {}
        return [(kind, ident, count) for (kind, ident), count in pending.items()]
