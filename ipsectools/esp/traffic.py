"""What moves in an SA while packets pass: the part that the data path writes and the key engine reads."""

from __future__ import annotations

COUNTERS = (
    "sequence",
    "iv",
    "received_high",
    "advancing",
    "received_floor",
    "packets",
    "bytes",
    "first_used",
)
"""The counters in the order in which they lie in memory that is shared (64 bits each)."""

NO_LIMIT = 0xFFFFFFFFFFFFFFFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Place: TypeAlias = tuple[int, int, int, object]
    """Memory for the counters of an SA: its address, the address and length of its window's bitmap, and what keeps
    both there."""


class Traffic:
    """Counters of one SA.

    `sequence` is FreeBSD's packet counter of the SA (64 bits): outbound the number last sent, inbound the number of
    packets accepted (it stands still while the replay window is 0). Nothing is sent with an IV counter at or above
    `iv_limit`: those below were given to this SA alone. `received_high` is the highest sequence number accepted, the
    edge of the replay window; all numbers up to `received_floor` count as seen; `advancing` is where the edge is being
    moved to, or was moved last. `first_used` is unix seconds, 0 for never.

    Where the counters do not survive the end of what keeps them, nothing is sent above `sequence_limit` and, with a
    replay window, accepted above `received_limit`: the marks that are kept for sure, above which a start continues.
    Elsewhere both are NO_LIMIT.

    `ring` is the memory for the window's bitmap if somebody keeps it with the counters.
    """

    ring: memoryview | None = None

    __slots__ = (*COUNTERS, "iv_limit", "received_limit", "sequence_limit")

    def __init__(self) -> None:
        self.sequence = 0
        self.sequence_limit = 0
        self.iv = 0
        self.iv_limit = 0
        self.packets = 0
        self.bytes = 0
        self.first_used = 0
        self.received_high = 0
        self.received_floor = 0
        self.advancing = 0
        self.received_limit = 0

    def account_out(self, outer_length: int, now: float) -> None:
        """Counts a packet sent: the whole outer packet (IP header, ESP, ICV), without NAT-T's UDP header."""
        self.packets += 1
        self.bytes += outer_length
        if not self.first_used:
            self.first_used = int(now)

    def account_in(self, inner_length: int, now: float) -> None:
        """Counts a packet received: the inner packet, whatever becomes of it after its outer header is off."""
        self.packets += 1
        self.bytes += inner_length
        if not self.first_used:
            self.first_used = int(now)
