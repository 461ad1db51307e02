"""The replay window: RFC 6479's ring of bits with RFC 4304's geometry for extended sequence numbers.

Two steps, as everywhere that gets it right: `check` before the cryptography (cheap, changes nothing, says which high
half the ICV must have been made with), `update` after it.

In the names below, top and high are the halves of `last`, and bottom is the low half of the window's left edge.
"""

from __future__ import annotations

from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, mmap

from ipsectools.esp.traffic import NO_LIMIT, Traffic

ACCEPTED = 0
REPLAYED = -1
"""The number was seen, or cannot be judged any more."""
WRAPPED = -2
"""The number space of this SA is used up."""
UNRESERVED = -3
"""The number is above the mark that the state file holds."""

_LOW = 0xFFFFFFFF
_LARGE = 1 << 20  # bytes; a ring above it is mapped, so that the half gigabyte of the largest costs what is used of it
_ZEROS = bytes(1 << 16)


def ring_length(window: int) -> int:
    """Bytes of the ring for a window of `window` packets (a multiple of 8).

    A power of two with at least one spare 32-bit block, so that clearing what lies ahead never clears a number that is
    still inside the window.
    """
    return 1 << (window // 8 + 3).bit_length()


class ReplayWindow:
    """What an inbound SA has seen. Not safe for concurrent use.

    `window` is its size in packets, `last` the highest number accepted (64 bits with ESN), `needed` the number for
    which `update` last returned UNRESERVED. An SA whose window is 0 checks nothing and has no use for one of these.
    """

    __slots__ = ("_cycseq", "_esn", "_mask", "_near", "_ring", "_traffic", "needed", "window")

    def __init__(
        self,
        window: int,
        *,
        esn: bool = False,
        cycseq: bool = False,
        edge: int = 0,
        traffic: Traffic | None = None,
    ) -> None:
        """A window of `window` packets, rounded up to a multiple of 8.

        `traffic` has the edge and, if its `ring` has the right length, the bitmap of an earlier life of the SA, which
        goes on. Without a bitmap everything up to the edge counts as seen, as without `traffic` everything up to
        `edge`. Raises ValueError if the system has no memory for it.
        """
        self.window = window = -(-window // 8) * 8
        if traffic is None:
            traffic = Traffic()
            traffic.received_high = edge
        self._traffic = traffic
        self.needed = 0
        self._esn = esn
        self._cycseq = cycseq
        self._near = window - 1  # while top is below it, the window reaches back into the epoch before
        length = ring_length(window)
        self._mask = length - 1
        self._ring: bytearray | memoryview | mmap
        if traffic.ring is not None and len(traffic.ring) == length:
            self._ring = traffic.ring
        else:
            self._ring = _memory(length)
            traffic.received_floor = traffic.received_high
        if traffic.advancing > traffic.received_high:
            self._advance(traffic.advancing, NO_LIMIT)

    @property
    def last(self) -> int:
        return self._traffic.received_high

    def check(self, low: int) -> int:
        """The high half of the number of which a packet carries the `low` 32 bits; REPLAYED or WRAPPED to drop it."""
        last = self._traffic.received_high
        top = last & _LOW
        high = last >> 32
        near = self._near
        if low > top >= near:  # ahead of `last`: nearly every packet
            return high
        if (low >= top - near) if top >= near else low < (top - near) & _LOW:
            if low <= top and (not last or self._seen(high << 32 | low)):
                return REPLAYED
            return high
        if top == _LOW and not self._esn and not self._cycseq:
            return WRAPPED
        if top < near:  # behind `last`, in the epoch before
            if not high or self._seen((high - 1) << 32 | low):
                return REPLAYED
            return high - 1
        if high == _LOW and not self._cycseq:
            return WRAPPED
        return (high + 1) & _LOW  # left of the window: can only be right in the next epoch

    def update(self, low: int, limit: int = NO_LIMIT) -> int:
        """Marks the number as seen, `last` moving up to it if it is ahead. ACCEPTED, REPLAYED or UNRESERVED.

        UNRESERVED: it is ahead of `last` and above `limit`; nothing was changed, and `needed` holds the number.
        """
        last = self._traffic.received_high
        top = last & _LOW
        near = self._near
        number = last - top + low
        if low > top >= near:  # ahead of `last`: nearly every packet
            return self._advance(number, limit)
        if (low >= top - near) if top >= near else low < (top - near) & _LOW:
            if low > top:
                return self._advance(number, limit)
            if not last:
                return REPLAYED
        elif not self._esn:
            return REPLAYED
        elif top < near:
            number -= 1 << 32
            if number < 0:
                return REPLAYED
        else:
            number += 1 << 32
            return REPLAYED if number > NO_LIMIT else self._advance(number, limit)
        if self._seen(number):
            return REPLAYED
        self._ring[(number >> 3) & self._mask] |= 1 << (number & 7)
        return ACCEPTED

    def _seen(self, number: int) -> bool:
        floor = self._traffic.received_floor
        return 0 != floor >= number or bool(self._ring[(number >> 3) & self._mask] & 1 << (number & 7))

    def _advance(self, number: int, limit: int) -> int:
        """Moves `last` up to `number`, clearing what it passes over, and marks it."""
        if number > limit:
            self.needed = number
            return UNRESERVED
        place = number >> 3
        traffic = self._traffic
        passed = place - (traffic.received_high >> 3)
        traffic.advancing = number
        if passed > 1:
            self._pass_over(place - passed, place)
        if passed:
            self._ring[place & self._mask] = 1 << (number & 7)
        else:
            self._ring[place & self._mask] |= 1 << (number & 7)
        traffic.received_high = number
        return ACCEPTED

    def _pass_over(self, before: int, place: int) -> None:
        """Clears the bytes of the ring after `before` and before `place` (both counted without end)."""
        ring, mask = self._ring, self._mask
        if place - before <= mask:
            start, end = (before + 1) & mask, place & mask
            if start <= end:
                _clear(ring, start, end)
            else:
                _clear(ring, start, mask + 1)
                _clear(ring, 0, end)
        elif isinstance(ring, mmap):
            ring.madvise(MADV_DONTNEED)  # private anonymous memory reads as zeros after it
        else:
            _clear(ring, 0, mask + 1)


def _memory(length: int) -> bytearray | mmap:
    if length <= _LARGE:
        return bytearray(length)
    try:
        return mmap(-1, length, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    except OSError:
        raise ValueError(f"no memory for a replay window of {length * 8} packets") from None


def _clear(ring: bytearray | memoryview | mmap, start: int, end: int) -> None:
    while end - start > len(_ZEROS):
        ring[start : start + len(_ZEROS)] = _ZEROS
        start += len(_ZEROS)
    ring[start:end] = bytes(end - start)
