"""How far ahead inbound numbers are reserved, where that is needed: enough for bursts, seldom enough for disks."""

from __future__ import annotations

from ipsectools.kernel.key.counters import RECEIVE_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsectools.kernel.key.counters import Counters
    from ipsectools.kernel.key.sad import SecurityAssociation

RESERVATIONS = 6
"""Times in a second that an SA gets more numbers: a peer that jumps ahead in its own must not keep the disk busy."""
QUIET = 10
"""Seconds after which numbers that were reserved and not needed are given back."""


class Edges:
    """The SAs that had inbound numbers reserved. Its methods are called within a request."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._ahead: dict[SecurityAssociation, _Ahead] = {}

    def reserve(self, sa: SecurityAssociation, wanted: int, now: float) -> bool:
        """A packet asked for `wanted` (0: for more). False if it has to wait, for at most a second."""
        ahead = self._ahead.setdefault(sa, _Ahead(sa, now))
        if ahead.reservations >= RESERVATIONS:
            ahead.wanted = max(ahead.wanted, wanted)
            return False
        ahead.reservations += 1
        self._counters.reserve_received(sa, max(wanted, ahead.wanted), now)
        ahead.wanted = 0
        return True

    def forget(self, sa: SecurityAssociation) -> None:
        self._ahead.pop(sa, None)

    def look(self, by_spi: Mapping[int, SecurityAssociation], now: float) -> list[SecurityAssociation]:
        """Once a second: who waits has more reserved (those are told). What is far beyond need for some time is given
        back, for the end of the machine would cost it."""
        looked_at, self._ahead = self._ahead, {}  # what fails is not tried again each second
        kept: dict[SecurityAssociation, _Ahead] = {}
        reserved = []
        for sa, ahead in looked_at.items():
            if by_spi.get(sa.spi) is not sa:
                continue
            kept[sa] = ahead
            ahead.reservations = 0
            if ahead.wanted:
                self._counters.reserve_received(sa, ahead.wanted, now)
                ahead.wanted = 0
                reserved.append(sa)
            elif not 0 <= now - ahead.since < QUIET:
                high = sa.traffic.received_high
                need = max(RECEIVE_BLOCK, 2 * (high - ahead.edge))
                if sa.traffic.received_limit > high + 2 * need:
                    self._counters.lower_received(sa, high + need)
                if high == ahead.edge:
                    del kept[sa]
                ahead.edge, ahead.since = high, now
        self._ahead = kept
        return reserved

    def __bool__(self) -> bool:
        return bool(self._ahead)


class _Ahead:
    """Where the edge was when last looked at and when that was, how often more was reserved in this second, and the
    number for which packets still wait (0: none)."""

    __slots__ = ("edge", "reservations", "since", "wanted")

    def __init__(self, sa: SecurityAssociation, since: float) -> None:
        self.edge = sa.traffic.received_high
        self.since = since
        self.reservations = 0
        self.wanted = 0
