"""Numbers as C's library reads them (strtoul(3), strtol(3), atoi(3), strtonum(3)), with the quirks scripts rely on."""

from __future__ import annotations

ULONG_MAX = (1 << 64) - 1
LONG_MAX = (1 << 63) - 1
INT_MAX = (1 << 31) - 1
UINT_MAX = (1 << 32) - 1

_SPACES = " \t\n\v\f\r"
_DIGITS = "0123456789abcdef"


def _scan(text: str, base: int) -> tuple[int, bool, str] | None:
    """Magnitude, negative?, rest; None when there is no digit. `base` 0 takes it from the prefix, as in C."""
    start = text.lstrip(_SPACES)
    negative = start[:1] == "-"
    if start[:1] in ("-", "+"):
        start = start[1:]
    if base == 0:
        base = 10
        if start[:1] == "0":
            base = 16 if start[1:2] in ("x", "X") and start[2:3] and start[2].lower() in _DIGITS else 8
            start = start[2:] if base == 16 else start
    digits = _DIGITS[:base]
    end = 0
    while end < len(start) and start[end].lower() in digits:
        end += 1
    if end == 0:
        return None
    # More digits than any 64-bit number has saturate anyway; Python would refuse to convert very long ones.
    significant = start[:end].lstrip("0")[:70] or "0"
    return int(significant, base), negative, start[end:]


def strtoul(text: str, base: int = 0) -> tuple[int, str]:
    """The unsigned 64-bit number at the beginning and the rest of the text: all of it if there is no number."""
    scanned = _scan(text, base)
    if scanned is None:
        return 0, text
    magnitude, negative, rest = scanned
    if magnitude > ULONG_MAX:
        return ULONG_MAX, rest
    return (-magnitude & ULONG_MAX if negative else magnitude), rest


def strtol(text: str) -> int:
    """The signed decimal number at the beginning; 0 if there is none."""
    scanned = _scan(text, 10)
    if scanned is None:
        return 0
    magnitude, negative, _ = scanned
    return max(-magnitude, -LONG_MAX - 1) if negative else min(magnitude, LONG_MAX)


def atoi(text: str) -> int:
    """The signed number cut to 32 bits."""
    return (strtol(text) + INT_MAX + 1 & UINT_MAX) - INT_MAX - 1


def strtonum(text: str, largest: int) -> tuple[int, str]:
    """A decimal number of 0..`largest` and an empty text, or 0 and what strtonum(3) says is wrong with it."""
    scanned = _scan(text, 10)
    if scanned is None or scanned[2]:
        return 0, "invalid"
    magnitude, negative, _ = scanned
    if negative and magnitude:
        return 0, "too small"
    return (0, "too large") if magnitude > largest else (magnitude, "")
