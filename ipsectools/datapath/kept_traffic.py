"""Counters of an SA in memory that is shared, for the core in plain Python."""

from __future__ import annotations

from ctypes import Structure, c_ubyte, c_uint64

from ipsectools.esp.traffic import COUNTERS, Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.esp.traffic import Place


class _Counters(Structure):
    _fields_ = [(name, c_uint64) for name in COUNTERS]


class KeptTraffic(_Counters):
    """`esp.traffic.Traffic` at a place; what is set is there when the next thing happens."""

    __slots__ = ("iv_limit", "keeper", "received_limit", "ring", "sequence_limit")

    iv_limit: int
    received_limit: int
    sequence_limit: int
    ring: memoryview | None
    keeper: object


def kept(before: Traffic, place: Place) -> Traffic:
    """The counters of an SA at this place, which has them already, with the limits of `before`."""
    address, ring, length, keeper = place
    traffic = KeptTraffic.from_address(address)
    for name in COUNTERS:
        value = getattr(before, name)
        if value > getattr(traffic, name):
            setattr(traffic, name, value)
    traffic.iv_limit = before.iv_limit
    traffic.received_limit = before.received_limit
    traffic.sequence_limit = before.sequence_limit
    traffic.ring = memoryview((c_ubyte * length).from_address(ring)).cast("B") if ring else None
    traffic.keeper = keeper
    return traffic  # type: ignore[return-value]


def left(kept: Traffic) -> Traffic:
    """A copy of the counters and limits in memory of its own."""
    traffic = Traffic()
    for name in (*COUNTERS, "iv_limit", "received_limit", "sequence_limit"):
        setattr(traffic, name, getattr(kept, name))
    return traffic
