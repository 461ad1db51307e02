"""The layout of firewall marks."""

from __future__ import annotations

import pytest

from ipsectools.host.marks import Marks, fib_in


def test_the_fields_are_where_the_masks_are() -> None:
    assert Marks().outer(0) == 0x01000000
    assert Marks().outer(5) == 0x01050000
    assert Marks().of_fib(255) == 0x00FF0000
    assert Marks().holds(255) and not Marks().holds(256)
    wide = Marks(0xFFFF, 0xF0000000)
    assert (wide.outer(300), wide.of_fib(300), wide.holds(65535)) == (0x10000000 | 300, 300, True)


@pytest.mark.parametrize(
    ("fib", "state", "word"),
    [
        (0xFF0000, 0xF000000, ""),
        (1, 0xF0, ""),
        (0, 0xF000000, "mark_fib: adjacent"),
        (0xF0F0, 0xF000000, "mark_fib: adjacent"),
        (1 << 32, 0xF000000, "mark_fib: adjacent"),
        (0xFF, 0x5000, "mark_state: adjacent"),
        (0xFF, 0x7000, "mark_state: 4 bits"),
        (0xFFF, 0xFF00, "mark_fib and mark_state overlap"),
    ],
)
def test_masks_that_can_be(fib: int, state: int, word: str) -> None:
    assert Marks(fib, state).refusal().startswith(word) and bool(Marks(fib, state).refusal()) == bool(word)


def test_numbers_in_marks_of_any_layout() -> None:
    assert fib_in(7, 0xFFFFFFFF) == 7
    assert fib_in(0x1070000, 0xFF0000) == 7
    assert fib_in(7, 0) == 0
