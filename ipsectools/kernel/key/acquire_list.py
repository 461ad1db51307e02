"""The requests for SAs that have been sent to key management daemons and are not over."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Index = tuple[int, int, int, bytes, bytes]


class Acquire:
    """A request for an SA that has been sent. `index` is protocol, mode, reqid, src, dst (socket addresses, port 0)."""

    __slots__ = ("count", "created", "index", "seq", "unsaved")

    def __init__(self, seq: int, index: Index, created: int, count: int = 0) -> None:
        self.seq = seq
        self.index = index
        self.created = created
        self.count = count
        self.unsaved = False

    def row(self) -> tuple[Any, ...]:
        return (self.seq, *self.index, self.created, self.count)


def key_of(index: Index) -> bytes:
    protocol, mode, reqid, src, dst = index
    return b"%c%c" % (protocol, mode) + reqid.to_bytes(4, "little") + src + dst


def load(rows: Iterable[Any]) -> dict[bytes, Acquire]:
    found = (Acquire(row[0], row[1:6], row[6], row[7]) for row in rows)
    return {key_of(entry.index): entry for entry in found}
