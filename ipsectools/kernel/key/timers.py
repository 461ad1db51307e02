"""Time: lifetimes of policies and SAs, larval SAs, empty heads, acquire requests; once a second.

Comparisons are strict (a limit of 10 s fires at the 11th). What depends on the clock alone waits in a heap of
deadlines; what depends on packets is looked at when an SA's packet counter has moved. Deadlines are wall-clock
seconds, so a clock that jumps, or a pause, only makes them due together.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import attrgetter

from ipsectools.kernel.key import acquire
from ipsectools.kernel.key.counters import SAVED_PER_TICK
from ipsectools.kernel.key.records import expire, policy_expire
from ipsectools.kernel.key.tables import HEADS
from ipsectools.pfkey.constants import MODE_TUNNEL, SASTATE_DEAD, SASTATE_DYING, SASTATE_MATURE, SCOPE_GLOBAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.engine import KeyEngine
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

    __slots__ = ("_count", "_heap", "_packets", "_version")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, SecurityAssociation]] = []
        self._count = 0
        self._packets: list[int] = []
        self._version = -1

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
        if len(found) <= SAVED_PER_TICK:  # else not all of them will be saved now
            self._packets, self._version = packets, sad.version
        return found


def tick(engine: KeyEngine, now: int) -> None:
    """Everything that is due at `now`: policies first, then SAs, then acquire requests."""
    _expire_policies(engine, now)
    _expire_sas(engine, now)
    acquire.tick(engine, now)


def _expire_policies(engine: KeyEngine, now: int) -> None:
    """In FreeBSD's order, which is that of a dump from its end."""
    if not engine.spd.mortal:
        return
    expired = [policy for policy in engine.spd.walk(SCOPE_GLOBAL) if policy.expired(now)]
    for policy in reversed(expired):
        engine.remove_policy(policy)
        engine.delivery.to_registered(policy_expire(policy))


def _expire_sas(engine: KeyEngine, now: int) -> None:
    sad = engine.sad
    empty_before = list(sad.empty_heads.values())
    if sad.larval:
        lifetime = engine.sysctl("net.key.larval_lifetime") & 0xFFFFFFFF  # -1 is for ever
        for sa in list(sad.larval.values()):
            if now - sa.created >= lifetime:
                engine.remove_sa(sa)
    moved = engine.timers.moved(sad)
    for sa in moved:
        engine.timers.watch(sa)
    _fire(engine, engine.timers.due(now), now)
    engine.counters.save([sa for sa in moved if sa.state != SASTATE_DEAD])
    for head in empty_before:
        sad.remove_head(head)
        engine.store.delete(HEADS, head.id)
        behind = sad.find_head(head.protocol, MODE_TUNNEL, head.reqid, head.src, head.dst)
        if behind is not None and behind.id < head.id and behind.alive.newest is not None:
            engine.sa_changed(behind.alive.newest)  # hidden so far


def end(engine: KeyEngine, sa: SecurityAssociation) -> None:
    """A hard limit of the SA has passed."""
    message = expire(sa, True, SASTATE_DEAD)
    engine.remove_sa(sa)
    engine.delivery.to_registered(message)


def _fire(engine: KeyEngine, due: list[SecurityAssociation], now: int) -> None:
    """Ends or ages the SAs whose time has come; messages in FreeBSD's order: hard ones first, oldest SA first."""
    due.sort(key=lambda sa: (sa.head.id, sa.order))
    dying: list[SecurityAssociation] = []
    for sa in due:
        if not sa.alive:
            continue
        hard, soft = hard_due(sa), soft_due(sa)
        if hard is not None and hard <= now:
            end(engine, sa)
        elif soft is not None and soft <= now:
            dying.append(sa)
        else:
            engine.timers.watch(sa)
    for sa in dying:
        sa.state = SASTATE_DYING
        engine.store_sa(sa)
        engine.timers.watch(sa)
        engine.delivery.to_registered(expire(sa, False, SASTATE_DYING))
        engine.sa_changed(sa)
