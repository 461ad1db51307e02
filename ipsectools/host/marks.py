"""The firewall mark (SO_MARK) of what is ours: one layout, within masks that the administrator may move.

Two fields, both on every socket for outer packets: the FIB, by which our rules choose a routing table, and the state.
The bits outside the masks are other people's: no rule of ours looks at them. Everything of ours asks here.
"""

from __future__ import annotations

FIB_MASK = 0x00FF0000
STATE_MASK = 0x0F000000
LEAST_STATE_BITS = 4

OWN = 1
"""State of our own outer packets. The other values are for what policies need."""


class Marks:
    """The layout as it is now."""

    __slots__ = ("fib_mask", "state_mask")

    def __init__(self, fib_mask: int = FIB_MASK, state_mask: int = STATE_MASK) -> None:
        self.fib_mask = fib_mask
        self.state_mask = state_mask

    def refusal(self) -> str:
        """Why these masks cannot be; empty if they can."""
        for name, mask in (("mark_fib", self.fib_mask), ("mark_state", self.state_mask)):
            if not 0 < mask < 1 << 32 or (mask >> _shift(mask)) & ((mask >> _shift(mask)) + 1):
                return f"{name}: adjacent bits of 32, one at least"
        if self.state_mask.bit_count() < LEAST_STATE_BITS:
            return f"mark_state: {LEAST_STATE_BITS} bits at least"
        return "mark_fib and mark_state overlap" if self.fib_mask & self.state_mask else ""

    def holds(self, fib: int) -> bool:
        """Whether there is a mark for the FIB."""
        return fib <= self.fib_mask >> _shift(self.fib_mask)

    def of_fib(self, fib: int) -> int:
        """The FIB's part of a mark. What rules match, with `fib_mask`."""
        return fib << _shift(self.fib_mask) & self.fib_mask

    def outer(self, fib: int) -> int:
        """The mark of our outer packets that are routed by this FIB."""
        return self.of_fib(fib) | OWN << _shift(self.state_mask) & self.state_mask


def fib_in(mark: int, mask: int) -> int:
    """The number in a mark under any mask of adjacent bits, as in rules of earlier layouts."""
    return (mark & mask) >> _shift(mask) if mask else 0


def _shift(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
