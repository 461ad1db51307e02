"""When an SA's lifetimes are due, and the heap in which they wait.

Comparisons are strict (a limit of 10 s fires at the 11th). What depends on the clock alone waits in a heap of
deadlines; what depends on packets is looked at when an SA's packet counter has moved. Deadlines are wall-clock
seconds, so a clock that jumps, or a pause, only makes them due together.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import attrgetter

from ipsectools.kernel.key.counters import SAVED_PER_TICK
from ipsectools.pfkey.constants import SASTATE_MATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.sad import Sad, SecurityAssociation

SEQUENCE_SOFT_LIMIT = 0xCCCCCCCC
"""80 % of 32 bits: an SA with lifetimes and without ESN asks for its successor when a sequence number is above."""

_AT_ONCE = 0
_packets_of = attrgetter("traffic.packets")


def _due(limits: tuple[int, int, int, int], sa: SecurityAssociation) -> int | None:
    """The first second at which one of these limits has passed, 0 if one has passed by count, None for never."""
    _, size, addtime, usetime = limits
    traffic = sa.traffic
    if size and traffic.bytes > size:
        return _AT_ONCE
    moments = []
    if addtime:
        moments.append(sa.created + addtime + 1)
    if usetime and traffic.first_used:
        moments.append(int(traffic.first_used) + usetime + 1)
    return min(moments, default=None)


def hard_due(sa: SecurityAssociation) -> int | None:
    return None if sa.hard is None else _due(sa.hard, sa)


def soft_due(sa: SecurityAssociation) -> int | None:
    """As `hard_due`, for the soft limits, which only a mature SA has left to pass."""
    if sa.soft is None or sa.state != SASTATE_MATURE:
        return None
    traffic = sa.traffic
    if not sa.esn and max(traffic.sequence, traffic.received_high) > SEQUENCE_SOFT_LIMIT:
        return _AT_ONCE
    return _due(sa.soft, sa)


class Timers:
    """The heap of deadlines."""

    __slots__ = ("_count", "_heap", "_looked", "_packets", "_version", "moving")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, SecurityAssociation]] = []
        self._count = 0
        self._packets: list[int] = []
        self._version = -1
        self._looked: tuple[list[int], int] | None = None
        self.moving: list[SecurityAssociation] | None = None
        """What `moved` found at this tick, until it is `saved`."""

    def watch(self, sa: SecurityAssociation) -> None:
        """Computes when the SA has to be looked at next, after anything in it changed."""
        if sa.hard is None or not sa.alive:
            return
        moments = [due for due in (hard_due(sa), soft_due(sa)) if due is not None]
        if not moments:
            return
        deadline = min(moments)
        if sa.deadline is None or deadline < sa.deadline:
            sa.deadline = deadline
            self._count += 1
            heappush(self._heap, (deadline, self._count, sa))

    def due(self, now: int) -> list[SecurityAssociation]:
        """Takes the SAs out of the heap whose deadline has come; a changed SA may be among them in vain."""
        found: dict[int, SecurityAssociation] = {}
        while self._heap and self._heap[0][0] <= now:
            deadline, _, sa = heappop(self._heap)
            if sa.deadline == deadline:
                sa.deadline = None
                found[sa.id] = sa
        return list(found.values())

    def moved(self, sad: Sad) -> list[SecurityAssociation]:
        """SAs whose packet counter is not what the state file has.

        With nothing moving this is one list of counters compared with the last one: a few ms for 100,000 SAs.
        """
        packets = list(map(_packets_of, sad.by_spi.values()))
        if sad.version == self._version and packets == self._packets:
            return []
        found = [sa for sa in sad.by_spi.values() if sa.traffic.packets != sa.saved_packets]
        # If there are more, not all of them will be saved now.
        self._looked = (packets, sad.version) if len(found) <= SAVED_PER_TICK else None
        return found

    def saved(self) -> None:
        """What `moved` found last is in the state file."""
        self.moving = None
        if self._looked is not None:
            self._packets, self._version = self._looked
            self._looked = None
