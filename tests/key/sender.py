"""A data path that only counts."""

from __future__ import annotations

from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.kernel.key.validate import COUNTER_MODE
from tests.key.driver import Driver


class Sender:
    """A data path that sends with every SA it is given and remembers what it has used."""

    def __init__(self, driver: Driver, ivs: set[tuple[bytes, int]] | None = None) -> None:
        """`ivs`: of others too, as (key, IV)."""
        self.driver = driver
        self.sequences: set[tuple[int, int]] = set()
        self.ivs: set[tuple[bytes, int]] = set() if ivs is None else ivs

    def send(self, sa: SecurityAssociation, packets: int = 1) -> None:
        for _ in range(packets):
            self._send(sa)

    def _send(self, sa: SecurityAssociation) -> None:
        traffic = sa.traffic
        counts = sa.encrypt in COUNTER_MODE
        if traffic.sequence >= traffic.sequence_limit or (counts and traffic.iv >= traffic.iv_limit):
            self.driver.engine.reserve(sa)
            self.driver.store.commit()
        traffic.sequence += 1
        assert traffic.sequence <= traffic.sequence_limit
        assert (sa.id, traffic.sequence) not in self.sequences
        self.sequences.add((sa.id, traffic.sequence))
        if counts:
            assert traffic.iv < traffic.iv_limit
            assert (sa.encryption_key, traffic.iv) not in self.ivs
            self.ivs.add((sa.encryption_key, traffic.iv))
            traffic.iv += 1
        traffic.packets += 1
