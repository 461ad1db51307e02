"""What both ways of the core in plain Python have: tables, counters, the wire, and asking for more numbers."""

from __future__ import annotations

import time

from ipsectools.datapath.events import RESERVE
from ipsectools.datapath.plain_tables import Tables, Worker
from ipsectools.datapath.statistics import Counters
from ipsectools.esp.traffic import NO_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.datapath.events import Events
    from ipsectools.host.api import Wire

AGAIN = 1.0
"""Seconds after which an SA without reserved numbers asks for some once more."""
LOOK_AGAIN = 16
"""Packets after which to look whether more was reserved."""


class Base(Tables):
    def __init__(self, wire: Wire, events: Events) -> None:
        super().__init__()
        self.counters = Counters()
        self._wire = wire
        self._events = events

    def _ask_at_limit(self, worker: Worker, kind: str, needed: int) -> None:
        """A packet was refused for want of reserved numbers: asks, once until there are more. Nobody waits."""
        traffic = worker.traffic
        limits = traffic.sequence_limit, traffic.iv_limit, traffic.received_limit
        now = time.monotonic()
        if worker.refused != limits or now >= worker.again_at:
            worker.refused = limits
            worker.again_at = now + AGAIN
            self._events.put(kind, (worker.sa.spi, worker.sa.id), needed)

    def _ask(self, worker: Worker, kind: str) -> None:
        """Asks for the next block when half of the present one is used, once per block."""
        traffic = worker.traffic
        if kind == RESERVE:
            used, limit = traffic.sequence, traffic.sequence_limit
        else:
            used, limit = traffic.received_high, traffic.received_limit
        if limit == NO_LIMIT:
            worker.ask_at = 1 << 65
            return
        if worker.asked != limit:  # a new block: its half is the next time to ask
            worker.asked = limit
            worker.half = used + (limit - used + 1) // 2
        elif worker.half < 0:  # asked already
            worker.ask_at = used + LOOK_AGAIN
            return
        worker.ask_at = worker.half
        if used >= worker.half:
            self._events.put(kind, (worker.sa.spi, worker.sa.id))
            worker.half = -1
            worker.ask_at = used + LOOK_AGAIN
