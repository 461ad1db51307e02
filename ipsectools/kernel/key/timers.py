"""Time: lifetimes of policies and SAs, larval SAs, empty heads, acquire requests; once a second."""

from __future__ import annotations

from ipsectools.kernel.key import acquire
from ipsectools.kernel.key.deadlines import hard_due, soft_due
from ipsectools.kernel.key.records import expire, policy_expire
from ipsectools.kernel.key.tables import HEADS
from ipsectools.pfkey.constants import MODE_TUNNEL, SASTATE_DEAD, SASTATE_DYING, SCOPE_GLOBAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sad import SecurityAssociation


def _expire_policies(engine: KeyEngine, now: int) -> None:
    """In FreeBSD's order, which is that of a dump from its end."""
    if not engine.spd.mortal:
        return
    expired = [policy for policy in engine.spd.walk(SCOPE_GLOBAL) if policy.expired(now)]
    for policy in reversed(expired):
        engine.remove_policy(policy)
        engine.delivery.to_registered(policy_expire(policy))


def _remove_heads(engine: KeyEngine, now: int) -> None:
    """Those that were empty at the last tick."""
    sad = engine.sad
    for head in list(sad.empty_heads.values()):
        sad.remove_head(head)
        engine.store.delete(HEADS, head.id)
        behind = sad.find_head(head.protocol, MODE_TUNNEL, head.reqid, head.src, head.dst)
        if behind is not None and behind.id < head.id and behind.alive.newest is not None:
            engine.sa_changed(behind.alive.newest)  # hidden so far


def _expire_larval(engine: KeyEngine, now: int) -> None:
    sad = engine.sad
    if sad.larval:
        lifetime = engine.sysctl("net.key.larval_lifetime") & 0xFFFFFFFF  # -1 is for ever
        for sa in list(sad.larval.values()):
            if now - sa.created >= lifetime:
                engine.remove_sa(sa)


def _age(engine: KeyEngine, now: int) -> None:
    moving = engine.timers.moving = engine.timers.moved(engine.sad)
    for sa in moving:
        engine.timers.watch(sa)
    _fire(engine, engine.timers.due(now), now)


def _save(engine: KeyEngine, now: int) -> None:
    moving = engine.timers.moving
    if moving is None:  # the last task failed
        moving = engine.timers.moved(engine.sad)
    engine.counters.save([sa for sa in moving if sa.state != SASTATE_DEAD])
    engine.timers.saved()


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


TASKS: tuple[Callable[[KeyEngine, int], None], ...] = (
    _expire_policies,
    _remove_heads,
    _expire_larval,
    _age,
    _save,
    acquire.tick,
)
"""Everything that may be due, in FreeBSD's order: policies first, then SAs, then acquire requests."""
