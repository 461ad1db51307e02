"""Packet counters of SAs in the state file: what is reserved before use, what is saved from time to time.

Nothing is sent beyond `sequence_limit` and `iv_limit`, nothing accepted beyond `received_limit`; each limit is in the
state file before it is in force. After an end without warning every SA continues at its limits, after a clean one at
exactly what it had used.

A counter-mode SA gets its first block of IVs when its first packet asks for it: most SAs, the inbound ones for a start,
never need any, and a new SA is one row. Where the block lies says the ledger.

An SA that continued at its limits and then did nothing is still uncertain at a clean end: its row is as old as before.
`UNCERTAIN` keeps it so, for nobody knows what it used before the first end.
"""

from __future__ import annotations

from ipsectools.kernel.key.ledger import Ledger
from ipsectools.kernel.key.shared_keys import SharedKeys
from ipsectools.kernel.key.tables import FIRST_BLOCK, META, TRAFFIC, UNCERTAIN, fill_traffic, limits_of, traffic_row
from ipsectools.kernel.key.validate import COUNTER_MODE
from ipsectools.pfkey.constants import IPPROTO_ESP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.store import Store

RECEIVE_BLOCK = 64
RECEIVE_BLOCK_QUIET = 8
RECEIVE_BLOCK_MAX = 1 << 16
SAVED_PER_TICK = 1000
"""Rows a timer writes at most for plain statistics; the rest has its turn later."""

LAST_SEQUENCE, LAST_ESN = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

_CLEAN = "clean"
_FRESH = (FIRST_BLOCK, 0)
_OLD_ESP = "ESP as of RFC 1827 (flag OLD) is not supported"


class Counters:
    """Reservations and saved traffic of all SAs."""

    def __init__(self, store: Store, make_ledger: Callable[[Store], Ledger] = Ledger) -> None:
        self._store = store
        self.ledger = make_ledger(store)
        self.shared_keys = SharedKeys()
        self._started = False
        self._clean = True
        self._moves_traffic = True
        self._uncertain: dict[int, SecurityAssociation] = {}
        self._was_uncertain: frozenset[object] = frozenset()
        self._ivs_void = False
        """What was reserved of IVs was reserved elsewhere."""

    def load(self, meta: Mapping[str, Any], moves_traffic: bool) -> None:
        """Before the SAs are loaded: finds out how the last owner of the state file ended, marks ours as running."""
        self.shared_keys.clear()
        if self._started:
            self._ivs_void = False
            self.ledger.load(meta)
            return
        self._started = True
        self._ivs_void = self.ledger.enter(meta)
        self.ledger.load({} if self._ivs_void else meta)
        self._moves_traffic = moves_traffic
        self._clean = bool(meta.get(_CLEAN, 1))
        self._was_uncertain = frozenset(row[0] for row in self._store.rows(UNCERTAIN))
        if moves_traffic and self._clean:
            self._set_clean(False)

    def _set_clean(self, clean: bool) -> None:
        self._store.put(META, (_CLEAN, int(clean)))

    def restore(self, sa: SecurityAssociation, row: tuple[Any, ...] | None) -> None:
        """Sets the counters of an SA that comes from the state file (`row`: its traffic, None if it has not moved)."""
        traffic = sa.traffic
        sa.traffic_row = row is not None
        if row is not None:
            fill_traffic(sa, row)
            sa.saved_packets = traffic.packets
            if self._ivs_void and traffic.iv_limit:
                traffic.iv = traffic.iv_limit = 0
                self._store.put(TRAFFIC, traffic_row(sa))
        else:
            traffic.sequence_limit = FIRST_BLOCK
        self._enter(sa)
        self._hold_key(sa)
        if sa.alive and (not self._clean or sa.id in self._was_uncertain):
            self._continue_at_limits(sa)

    def _continue_at_limits(self, sa: SecurityAssociation) -> None:
        """Nobody knows how much of what was reserved has been used."""
        traffic = sa.traffic
        self._uncertain[sa.id] = sa
        saved = traffic.sequence
        if traffic.received_limit:  # an inbound SA: its sequence only counts what it accepted
            traffic.received_high = traffic.received_limit
        else:
            traffic.sequence = max(saved, traffic.sequence_limit)
        traffic.iv = traffic.iv_limit
        sa.resumed = (traffic.sequence, saved) if saved else _FRESH

    def keep(self, sa: SecurityAssociation, row: tuple[Any, ...] | None) -> None:
        """After a rollback: an SA's counters stay as the data path left them, its limits are what was committed."""
        traffic = sa.traffic
        sa.traffic_row = row is not None
        sa.ledger_key = b""
        sa.saved_packets = row[3] if row is not None else 0
        if sa.resumed is not None:  # the row that made it certain may be among what was undone
            self._uncertain[sa.id] = sa
        if row is None:
            traffic.sequence_limit, traffic.iv_limit, traffic.received_limit = FIRST_BLOCK, 0, 0
        else:
            traffic.sequence_limit, traffic.received_limit, traffic.iv_limit = limits_of(row)
        self._enter(sa)
        self._hold_key(sa)

    def start(self, sa: SecurityAssociation) -> None:
        """An SA has become mature."""
        sa.traffic.sequence_limit = FIRST_BLOCK
        self._enter(sa)

    def _enter(self, sa: SecurityAssociation) -> None:
        self._find_obstacle(sa)
        self.shared_keys.add(sa)

    def _find_obstacle(self, sa: SecurityAssociation) -> None:
        """Finds out why nothing may be sent with the SA."""
        if sa.protocol != IPPROTO_ESP:
            return
        if not sa.usable:
            sa.no_send_reason = _OLD_ESP if sa.alive else ""
        elif sa.encrypt in COUNTER_MODE:
            sa.no_send_reason = self.ledger.unreadable

    def _hold_key(self, sa: SecurityAssociation) -> None:
        """Keeps the ledger from forgetting the key of an SA that has taken IVs, if it has not been made to."""
        if sa.traffic.iv_limit and not sa.ledger_key and not sa.no_send_reason:
            sa.ledger_key = self.ledger.fingerprint(sa.encryption_key)
            self.ledger.hold(sa.ledger_key)
            if (self.ledger.mark(sa.ledger_key) or 0) < sa.traffic.iv_limit:
                self.ledger.unreadable = "the ledger of used counter values has lost some"
                sa.no_send_reason = self.ledger.unreadable

    def end(self, sa: SecurityAssociation) -> None:
        """The SA is gone."""
        self._uncertain.pop(sa.id, None)
        self.shared_keys.remove(sa)
        if sa.traffic_row:
            self._store.delete(TRAFFIC, sa.id)
            sa.traffic_row = False
        if sa.ledger_key:
            self.ledger.release(sa.ledger_key)
            sa.ledger_key = b""

    def reserve(self, sa: SecurityAssociation) -> None:
        """Extends what may be sent with the SA by a block of sequence numbers and, if it counts IVs, of IVs.

        In force for the data path at once, so the caller commits before it sends. If another SA with the same key took
        the IVs behind ours, the next block is given only when ours is used up.
        """
        traffic = sa.traffic
        if traffic.sequence_limit - traffic.sequence <= FIRST_BLOCK // 2:
            traffic.sequence_limit = max(traffic.sequence_limit, traffic.sequence) + FIRST_BLOCK
        if sa.encrypt in COUNTER_MODE and traffic.iv_limit - traffic.iv <= FIRST_BLOCK // 2:
            sa.no_send_reason = sa.no_send_reason or self.ledger.unreadable
            if not sa.no_send_reason:
                self._reserve_ivs(sa)
        self._write(sa)

    def _reserve_ivs(self, sa: SecurityAssociation) -> None:
        traffic = sa.traffic
        fingerprint = sa.ledger_key or self.ledger.fingerprint(sa.encryption_key)
        used_up = traffic.iv >= traffic.iv_limit
        if used_up or self.ledger.mark(fingerprint) == traffic.iv_limit:
            first, traffic.iv_limit = self.ledger.reserve(fingerprint, traffic.iv)
            if used_up:
                traffic.iv = first
        self._hold_key(sa)

    def reserve_received(self, sa: SecurityAssociation, high: int, now: float) -> None:
        """Lets the data path accept sequence numbers up to and somewhat beyond `high`, once the caller has committed.

        The block grows while it runs out within a second and shrinks when it lasts: what an end without warning costs
        is at most the packets of about a second.
        """
        passed = now - sa.received_at
        block = sa.receive_block or RECEIVE_BLOCK
        if sa.received_at and 0 <= passed < 1:
            block = min(block * 2, RECEIVE_BLOCK_MAX)
        elif passed > 60:
            block = RECEIVE_BLOCK
        sa.receive_block = block
        sa.received_at = now
        # Not beyond the last number: a window that continued there would take all numbers for those of a second round.
        limit = min(high + block, LAST_ESN if sa.esn else LAST_SEQUENCE)
        sa.traffic.received_limit = max(sa.traffic.received_limit, limit)
        self._write(sa)

    def lower_received(self, sa: SecurityAssociation, limit: int) -> None:
        """Gives back what is reserved beyond `limit`, above which the data path must not accept any more."""
        if limit < sa.traffic.received_limit:
            sa.traffic.received_limit = limit
            # The next block is of that size too: one stray packet must not reserve what a flood needed.
            sa.receive_block = max(RECEIVE_BLOCK_QUIET, limit - sa.traffic.received_high)
            self._write(sa)

    def _write(self, sa: SecurityAssociation) -> None:
        self._store.put(TRAFFIC, traffic_row(sa))
        sa.traffic_row = True
        sa.saved_packets = sa.traffic.packets
        self._uncertain.pop(sa.id, None)

    def save(self, moved: Iterable[SecurityAssociation], most: int | None = SAVED_PER_TICK) -> None:
        """Writes the counters of these SAs, `most` of them at the most."""
        for count, sa in enumerate(moved):
            if count == most:
                return
            self._write(sa)

    def finish(self, moved: Iterable[SecurityAssociation]) -> None:
        """Writes all counters exactly, and that they are exact: the clean end. Nothing may move after it."""
        self.save(moved, None)
        if not self._moves_traffic:
            return  # what the last one that moved packets left uncertain is so still
        self._store.clear(UNCERTAIN)
        for id in self._uncertain:
            self._store.put(UNCERTAIN, (id,))
        self._set_clean(True)
