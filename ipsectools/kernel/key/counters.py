"""Packet counters of SAs: what is kept of them, and what is reserved where keeping them exactly is not possible.

While packets move, counters are in the traffic page (`kernel.key.page`), exactly, through every end of the process; a
start in the same boot goes on with them. The state file has them as of the last second, and exactly after a clean end.

Where the page cannot be had (another boot, a damaged file) and the end was not a clean one, nobody knows what was used.
On a file system in memory nothing remains of the SAs then, as nothing would remain of the state file after the end of
the machine, for which alone the page was not made. On a disk the end of the machine leaves the state file, so blocks of
numbers are reserved in it: nothing is sent beyond `sequence_limit`, nothing accepted beyond `received_limit`, each of
which is in the file before it is in force, and every SA continues at its limits.

IVs of counter modes are given to SAs in blocks by the ledger, everywhere: SAs with one key share its counter. An SA
gets its first block when it is to send: most, the inbound ones for a start, never need any, and a new SA is one row.

An SA that continued at its limits and then did nothing is still uncertain at a clean end: its row tells the number that
it sent last, as it is shown. `UNCERTAIN` keeps it so, for nobody knows what it used before the first end.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ipsectools.errno import ENOSPC, KernelError
from ipsectools.esp.traffic import NO_LIMIT
from ipsectools.kernel.key.ledger import BLOCK, Ledger
from ipsectools.kernel.key.shared_keys import SharedKeys
from ipsectools.kernel.key.tables import FIRST_BLOCK, META, TRAFFIC, UNCERTAIN, fill_traffic, limits_of, traffic_row
from ipsectools.kernel.key.validate import COUNTER_MODE
from ipsectools.pfkey.constants import IPPROTO_ESP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from ipsectools.esp.traffic import Place
    from ipsectools.kernel.key.page import Page
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.store import Store

RECEIVE_BLOCK = 1024
RECEIVE_BLOCK_MAX = 1 << 20
SAVED_PER_TICK = 1000
"""Rows a timer writes at most for plain statistics; the rest has its turn later."""

LAST_SEQUENCE, LAST_ESN = 0xFFFFFFFF, NO_LIMIT - 1
"""Up to which is reserved: the very last number of 64 bits would be no limit at all."""

_CLEAN, _PAGE, _EXACT = "clean", "traffic_page", "traffic_exact"
_FRESH = (FIRST_BLOCK, 0)
_OLD_ESP = "ESP as of RFC 1827 (flag OLD) is not supported"


class Counters:
    """Kept and reserved counters of all SAs. `notices`: what the administrator has to know of the start."""

    def __init__(self, store: Store, make_ledger: Callable[[Store], Ledger] = Ledger) -> None:
        self._store = store
        self.ledger = make_ledger(store)
        self.shared_keys = SharedKeys()
        self.reserves = True
        """Whether the end of the machine would leave the state file."""
        self.notices: list[str] = []
        self._lost: list[SecurityAssociation] = []
        self._page: Page | None = None
        self._page_continues = False
        self._page_harm = ""
        self._was_exact = False
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
        if moves_traffic:
            self._was_exact = bool(meta.get(_EXACT, 0))
            self._open_page(meta)
            if self._clean:
                self._set_clean(False)

    def _set_clean(self, clean: bool) -> None:
        self._store.put(META, (_CLEAN, int(clean)))

    def _open_page(self, meta: Mapping[str, Any]) -> None:
        path = self._store.path
        if path is None:
            return
        from ipsectools.kernel.key import page as pages

        directory = os.path.dirname(path) or "."
        file = os.path.join(directory, pages.FILE)
        id = meta.get(_PAGE)
        try:
            if not isinstance(id, bytes):
                raise ValueError("of another state file")
            self._page = pages.open_page(file, id)
            self._page_continues = True
        except ValueError as error:
            if isinstance(id, bytes) and not self._clean:
                self.notices.append(f"{file}: {error}: nobody knows which numbers were used last")
            id = os.urandom(16)
            try:
                self._page = pages.make_page(file, id)
                self._store.put(META, (_PAGE, id))
            except OSError as problem:
                self.notices.append(f"{file}: {problem.strerror}: numbers are reserved in blocks")
        self.reserves = self._page is None or not pages.is_in_memory(directory)
        if self._was_exact == self.reserves:
            self._store.put(META, (_EXACT, int(not self.reserves)))

    # the SAs' coming and going

    def restore(self, sa: SecurityAssociation, row: tuple[Any, ...] | None) -> None:
        """Sets the counters of an SA that comes from the state file (`row`: its traffic, None if it has not moved)."""
        traffic = sa.traffic
        sa.traffic_row = row is not None
        if row is not None:
            fill_traffic(sa, row)
            sa.saved_packets = traffic.packets
            if self._ivs_void and traffic.iv_limit:
                traffic.iv = traffic.iv_limit = 0
                self._store.put(TRAFFIC, row[:-2] + traffic_row(sa)[-2:])
        known = self._restore_from_page(sa)
        self._enter(sa)
        if not known:
            never_moved = self._page_continues and known is None and row is None
            known = never_moved or (self._clean and sa.id not in self._was_uncertain)
        if not known and sa.usable and self._was_exact and not traffic.sequence_limit:
            self._lost.append(sa)
            return
        if not known and sa.alive:
            if row is None:
                traffic.sequence_limit = FIRST_BLOCK
                traffic.received_limit = RECEIVE_BLOCK
            self._continue_at_limits(sa)
        self._hold_key(sa)
        if self._moves_traffic and sa.usable:
            self._set_limits(sa, row is not None)

    def _restore_from_page(self, sa: SecurityAssociation) -> bool | None:
        """True if the SA goes on with what the page has, False if that was damaged, None if it has nothing."""
        if self._page is None:
            return None
        slot = self._page.slots.pop(sa.stamp, None)
        if slot is None:
            return False if self._page.damaged else None
        found = self._page.counters(slot, sa.id, sa.stamp, sa.spi, sa.ring_length)
        if found is None:
            self._page.slots[sa.stamp] = slot
            return False
        traffic = sa.traffic
        given = traffic.iv  # where its last block began, if it had not used any of that yet
        traffic.sequence, traffic.iv, traffic.received_high, traffic.advancing, traffic.received_floor = found[:5]
        traffic.packets, traffic.bytes, traffic.first_used = found[5:]
        traffic.iv = max(traffic.iv, given)
        sa.slot = slot
        return True

    def settle(self) -> list[SecurityAssociation]:
        """All SAs are restored: forgets what the page has of others. Gives those of which nobody knows what they have
        used: they must not be used again, so the caller removes them."""
        if self._page is not None and (self._page.slots or self._page.damaged):
            self._page.settle()
        lost, self._lost = self._lost, []
        if lost:
            self.notices.append(f"security associations that had to be removed for that: {len(lost)}")
        return lost

    def _set_limits(self, sa: SecurityAssociation, moved: bool) -> None:
        """The SA may send and receive from now on: there is a place for its counters, if it has any, and room."""
        traffic = sa.traffic
        if moved and self._page is not None and not sa.slot:
            with suppress(KernelError):  # the data path tries again, and does not use the SA until it has one
                self.place(sa)
        if not self.reserves or (not moved and sa.id not in self._uncertain):
            self._set_first_limits(sa)
        elif traffic.sequence_limit - traffic.sequence < FIRST_BLOCK // 2 or (
            sa.window and traffic.received_limit - traffic.received_high < RECEIVE_BLOCK // 2
        ):
            self._reserve_first(sa)

    def _set_first_limits(self, sa: SecurityAssociation) -> None:
        """What may be used before anything is written."""
        traffic = sa.traffic
        traffic.sequence_limit = FIRST_BLOCK if self.reserves else NO_LIMIT
        traffic.received_limit = (RECEIVE_BLOCK if sa.window else 0) if self.reserves else NO_LIMIT

    def _reserve_first(self, sa: SecurityAssociation) -> None:
        """A block each way; the row goes on to tell the last number that is known to be used."""
        traffic = sa.traffic
        traffic.sequence_limit = max(traffic.sequence_limit, min(traffic.sequence + FIRST_BLOCK, LAST_ESN))
        if sa.window:
            traffic.received_limit = max(traffic.received_limit, self._last_received(sa, RECEIVE_BLOCK))
        self._write(sa)

    def _continue_at_limits(self, sa: SecurityAssociation) -> None:
        """Nobody knows how much of what was reserved has been used."""
        traffic = sa.traffic
        self._uncertain[sa.id] = sa
        saved = traffic.sequence
        traffic.sequence = max(saved, traffic.sequence_limit)
        if sa.window:
            traffic.received_high = max(traffic.received_high, traffic.received_limit)
        traffic.iv = traffic.iv_limit
        sa.resumed = (traffic.sequence, saved) if saved or traffic.sequence != FIRST_BLOCK else _FRESH

    def keep(self, sa: SecurityAssociation, row: tuple[Any, ...] | None) -> None:
        """After a rollback: an SA's counters stay as the data path left them, its limits are what was committed."""
        traffic = sa.traffic
        sa.traffic_row = row is not None
        sa.ledger_key = b""
        sa.saved_packets = row[3] if row is not None else 0
        if sa.resumed is not None:  # the row that made it certain may be among what was undone
            self._uncertain[sa.id] = sa
        sequence_limit, received_limit, traffic.iv_limit = limits_of(row) if row is not None else (0, 0, 0)
        if self.reserves and row is not None:
            traffic.sequence_limit, traffic.received_limit = sequence_limit, received_limit
        else:
            self._set_first_limits(sa)
        self._enter(sa)
        self._hold_key(sa)

    def start(self, sa: SecurityAssociation) -> None:
        """An SA has become mature."""
        self._set_first_limits(sa)
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

    # the page

    def place(self, sa: SecurityAssociation) -> Place | None:
        """Where the data path has to count for the SA, before it uses it; None if nothing is kept exactly. Raises
        KernelError if there is no room for it."""
        if self._page is None:
            return None
        if not sa.slot:
            traffic = sa.traffic
            high = traffic.received_high
            values = (traffic.sequence, traffic.iv, high, high, high, traffic.packets, traffic.bytes)
            try:
                counters = (*values, traffic.first_used)
                sa.slot = self._page.take(sa.id, sa.stamp, sa.spi, sa.ring_length, counters)
            except OSError:
                raise KernelError(ENOSPC) from None
        return self._page.place(sa.slot)

    def leave(self, sa: SecurityAssociation) -> None:
        """The data path does not count for the SA any more, which is gone from the state file."""
        if sa.slot and self._page is not None:
            self._page.release(sa.slot)
            sa.slot = 0

    def check_page(self) -> None:
        """Says once that a start would not find the page. It cannot be put back while the data path writes to it."""
        harm = self._page.harm() if self._page is not None else ""
        if harm and harm != self._page_harm:
            self._store.report(
                f"{harm}; restart ipsecd (ipsecd --stop): only a clean end keeps what the SAs have used now"
            )
        self._page_harm = harm

    # blocks

    def reserve(self, sa: SecurityAssociation) -> None:
        """Extends what may be sent with the SA by a block of IVs, if it counts them, and of sequence numbers.

        In force for the data path at once, so the caller commits before it sends. If another SA with the same key took
        the IVs behind ours, the next block is given only when ours is used up. Raises KernelError.
        """
        traffic = sa.traffic
        self.place(sa)
        if self.reserves and traffic.sequence_limit - traffic.sequence <= FIRST_BLOCK // 2:
            traffic.sequence_limit = min(max(traffic.sequence_limit, traffic.sequence) + FIRST_BLOCK, LAST_ESN)
        if sa.encrypt in COUNTER_MODE and traffic.iv_limit - traffic.iv <= BLOCK // 2:
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

        The block grows while half of it runs out within two seconds and shrinks when it lasts: what the end of the
        machine costs is about the packets of some seconds.
        """
        if not self.reserves:
            return
        passed = now - sa.received_at
        block = sa.receive_block or RECEIVE_BLOCK
        if sa.received_at and 0 <= passed < 2:
            block = min(block * 4, RECEIVE_BLOCK_MAX)
        elif passed > 60:
            block = RECEIVE_BLOCK
        sa.receive_block = block
        sa.received_at = now
        sa.traffic.received_limit = max(sa.traffic.received_limit, self._last_received(sa, block, high))
        self._write(sa)

    @staticmethod
    def _last_received(sa: SecurityAssociation, block: int, high: int = 0) -> int:
        # Not beyond the last number: a window that continued there would take all numbers for those of a second round.
        return min(max(high, sa.traffic.received_high) + block, LAST_ESN if sa.esn else LAST_SEQUENCE)

    def lower_received(self, sa: SecurityAssociation, limit: int) -> None:
        """Gives back what is reserved beyond `limit`, above which the data path must not accept any more."""
        if self.reserves and limit < sa.traffic.received_limit:
            sa.traffic.received_limit = limit
            # The next block is of that size too: one stray packet must not reserve what a flood needed.
            sa.receive_block = max(RECEIVE_BLOCK, limit - sa.traffic.received_high)
            self._write(sa)

    # rows

    def _write(self, sa: SecurityAssociation) -> None:
        self._store.put(TRAFFIC, traffic_row(sa))
        sa.traffic_row = True
        sa.saved_packets = sa.traffic.packets
        if sa.shown_sequence == sa.traffic.sequence:
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
