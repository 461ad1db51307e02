"""The replay window against a numbered truth table, bulk runs and a slow model that keeps every number in a set."""

from __future__ import annotations

import random

import pytest

from ipsectools.esp.replay import ACCEPTED, REPLAYED, UNRESERVED, WRAPPED, ReplayWindow, ring_length

TOP = 0xFFFFFFFF


def take(window: ReplayWindow, low: int) -> bool:
    """Both steps, as for an authentic packet."""
    return window.check(low) >= 0 and window.update(low) == ACCEPTED


W = 64
# Step, number, accepted?
TRUTH = (
    (1, 0, False),  # never the first
    (2, 1, True),
    (3, 1, False),
    (4, 9, True),
    (5, 8, True),
    (6, 7, True),
    (7, 7, False),
    (8, 6, True),
    (9, 8, False),
    (10, W, True),
    (11, W, False),
    (12, W - 1, True),
    (13, 2, True),
    (14, W + 1, True),
    (15, 1, False),  # left the window
    (16, 2, False),  # seen
    (17, 3, True),  # in the window's middle, never seen
    (18, W + 16, True),
    (19, 16, False),  # left
    (20, 17, True),  # the left edge itself
    (21, 17, False),
    (22, 3 * W, True),
    (23, 2 * W, False),  # left
    (24, 2 * W + 1, True),  # the left edge
    (25, 3 * W - 1, True),
    (26, 100 * W, True),  # far ahead: everything before is gone
    (27, 3 * W + 1, False),
    (28, 99 * W, False),
    (29, 99 * W + 1, True),
    (30, 100 * W - 31, True),
    (31, 100 * W - 32, True),
    (32, TOP - 1, True),
    (33, TOP, True),
    (34, TOP - W, False),
    (35, TOP - W + 1, True),
    (36, TOP, False),
    (37, 0, False),  # without ESN there is nothing after the top
    (38, 1, False),
)


def test_truth_table() -> None:
    window = ReplayWindow(W)
    for step, number, accepted in TRUTH:
        assert take(window, number) is accepted, f"step {step}: {number}"


def test_zero_is_only_refused_as_the_first() -> None:
    window = ReplayWindow(W)
    assert (window.check(0), window.update(0)) == (REPLAYED, REPLAYED)
    assert take(window, 5)
    assert take(window, 0)  # FreeBSD's quirk
    assert not take(window, 0)


def test_after_the_last_number() -> None:
    assert ReplayWindow(W, edge=TOP).check(5) == WRAPPED
    circular = ReplayWindow(W, edge=TOP, cycseq=True)
    assert circular.check(5) >= 0  # CYCSEQ only moves the refusal behind the cryptography
    assert circular.update(5) == REPLAYED


def test_too_old_is_left_to_the_authentication() -> None:
    window = ReplayWindow(W, edge=1000)
    assert window.check(10) == 1  # passes the check before the cryptography
    assert window.update(10) == REPLAYED
    assert window.check(1000) == REPLAYED


@pytest.mark.parametrize("size", [8, 32, 64, 128, 480, 1024, 2040, 8192])
def test_bulk(size: int) -> None:
    window = ReplayWindow(size)
    assert all(take(window, number) for number in range(1, size + 1))
    assert not any(take(window, number) for number in range(1, size + 1))

    window = ReplayWindow(size)
    assert take(window, size + 1)
    assert all(take(window, number) for number in range(size, 1, -1))
    assert not any(take(window, number) for number in range(size + 1, 0, -1))

    window = ReplayWindow(size)
    assert all(take(window, number) for number in range(1, 9 * size, size))  # one number in each window
    assert not take(window, 1)


@pytest.mark.parametrize(
    ("window_bytes", "packets", "blocks"),
    [
        (1, 8, 2),
        (4, 32, 2),
        (8, 64, 4),
        (16, 128, 8),
        (32, 256, 16),
        (60, 480, 16),
        (64, 512, 32),
        (128, 1024, 64),
        (255, 2040, 128),
        (1024, 8192, 512),
    ],
)
def test_ring_sizes_are_freebsds(window_bytes: int, packets: int, blocks: int) -> None:
    assert packets == window_bytes * 8
    assert ring_length(packets) == blocks * 4


def test_window_is_rounded_up_to_bytes() -> None:
    assert ReplayWindow(1).window == 8
    assert ReplayWindow(65).window == 72


def test_the_largest_window_costs_only_what_is_used() -> None:
    size = (1 << 32) - 64
    window = ReplayWindow(size)
    assert take(window, 1)
    assert not take(window, TOP)  # with so large a window that is the epoch before
    assert take(window, 65)
    assert take(window, 2)
    assert not take(window, 1)
    # Half as large: jumps over more than the window, and over most of it.
    half = ReplayWindow(1 << 31, esn=True)
    for number in (1, 1 << 30, (1 << 30) + 5, (1 << 34) + 9, (1 << 34) + 8, (1 << 34) + (1 << 21), 1 << 35):
        last = half.last
        if number - last < 1 << 31:
            assert take(half, number & TOP)
            assert not take(half, number & TOP)
        else:
            assert half._advance(number, number) == ACCEPTED
        assert half._seen(number)
    assert not half._seen((1 << 35) - 7)
    far = ReplayWindow(size, esn=True, edge=5 << 32)
    assert take(far, 60)
    assert take(far, 7)
    assert not take(far, 7)


@pytest.mark.parametrize("edge", [1, 31, 32, 63, 64, 1000, TOP - 3, TOP, (5 << 32) - 1, 5 << 32, (5 << 32) + 7])
def test_everything_up_to_a_restored_edge_counts_as_seen(edge: int) -> None:
    window = ReplayWindow(W, esn=True, edge=edge)
    for number in range(max(0, edge - 2 * W), edge + 1):
        high = window.check(number & TOP)  # what is left of the window could only be of the next epoch
        assert high == REPLAYED or high == (number >> 32) + 1
    for number in range(edge + 1, edge + 100):
        assert take(window, number & TOP), number
        assert window.last == number


def test_the_reserved_mark() -> None:
    window = ReplayWindow(W)
    assert window.update(10, limit=10) == ACCEPTED
    assert window.update(11, limit=10) == UNRESERVED
    assert (window.last, window.needed) == (10, 11)
    assert window.update(9, limit=5) == ACCEPTED  # not ahead: what the mark is about has happened already
    assert window.update(11, limit=11) == ACCEPTED
    extended = ReplayWindow(W, esn=True, edge=TOP)
    assert extended.update(3, limit=TOP + 3) == UNRESERVED
    assert extended.needed == TOP + 4
    assert extended.update(3, limit=TOP + 4) == ACCEPTED


class Model:
    """A set of all numbers ever accepted: slow and obvious. Numbers are 64 bits; the caller knows the true one."""

    def __init__(self, size: int, edge: int) -> None:
        self.size = size
        self.last = edge
        self.edge = edge
        self.seen: set[int] = set()

    def accepts(self, number: int) -> bool:
        if number in self.seen or number <= self.edge or number <= self.last - self.size:
            return False
        self.seen.add(number)
        self.last = max(self.last, number)
        return True


@pytest.mark.parametrize("size", [8, 32, 64, 480, 2040])
@pytest.mark.parametrize(
    ("edge", "esn"), [(3, False), (1 << 20, False), (3, True), ((1 << 32) - 400, True), ((7 << 32) - 9000, True)]
)
def test_random_against_the_model(size: int, edge: int, esn: bool) -> None:
    source = random.Random(size * 31 + edge)
    window, model = ReplayWindow(size, esn=esn, edge=edge), Model(size, edge)
    steps = (1, 2, 30, size, 3 * size, 20 * size)
    accepted = 0
    for _ in range(3000):
        reach = source.choice(steps)
        number = max(1, model.last + source.randint(-reach, max(1, reach // 4)))
        expected = model.accepts(number)
        high = window.check(number & TOP)
        if expected:
            assert high == number >> 32, number
            assert window.update(number & TOP) == ACCEPTED
            accepted += 1
        elif high == number >> 32:
            assert window.update(number & TOP) == REPLAYED
        # else refused, or to be authenticated with another high half, which fails
        assert window.last == model.last
    assert accepted > 500


def test_esn_across_the_line() -> None:
    line = 1 << 32
    window = ReplayWindow(W, esn=True, edge=line - 10)
    assert [window.check(low) for low in (TOP, 0, 5)] == [0, 1, 1]
    assert take(window, 3)  # the first of the new epoch
    assert window.last == line + 3
    assert window.check(TOP) == 0  # still in the window, in the epoch before
    assert take(window, TOP)
    assert not take(window, TOP)
    assert window.last == line + 3
    assert window.check(0) == 1
    assert take(window, 0)
    assert not take(window, 0)
    left_edge = line + 3 - (W - 1)
    assert window.check(left_edge & TOP) == REPLAYED  # in the window, and restored as seen
    assert window.check((left_edge - 1) & TOP) == 1  # left of it: can only be ahead, in this epoch


def test_esn_ends_at_the_very_last_number() -> None:
    window = ReplayWindow(W, esn=True, edge=(1 << 64) - 3)
    assert take(window, TOP - 1)
    assert take(window, TOP)
    assert window.last == (1 << 64) - 1
    assert window.check(5) == WRAPPED
    assert window.update(5) == REPLAYED
