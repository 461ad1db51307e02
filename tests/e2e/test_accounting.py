"""Sent = received + named drops, to the packet: the books of both pumps, of the link, of the applications."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.faults import PERFECT, Faults, FaultyLink
from ipsectools.lab.flow import Counters
from tests.e2e.doors import Books, unread
from tests.traffic.scene import CBC_SHA256, GCM, INNER, Algorithm, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.capture import Seen
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Scene = tuple["Host", "Host", FaultyLink]

LOSS = Faults(loss=0.1)
REORDERING = Faults(reordering=0.2, depth=12)
DUPLICATION = Faults(duplication=0.2)
CORRUPTION = Faults(corruption=0.2)
EVERYTHING = Faults(loss=0.05, duplication=0.05, reordering=0.1, corruption=0.05, depth=20)
HONEST = {"in-replay", "in-late-replay", "in-icv", "in-unknown-spi", "in-length", "in-wrap"}
"""What a link that loses, repeats, reorders and flips bits may cause."""


def exchange(
    scene: Scene, forth: Faults, back: Faults, count: int, burst: int = 32
) -> tuple[dict[str, int], dict[str, int]]:
    """Numbered datagrams both ways over this link; checks all books. The drops at A and at B."""
    a, b, link = scene
    link.set(forth, back, seed=1)
    before = link.counters()
    books = Books(a), Books(b)
    with (
        Capture(a, "ipsec0") as inside_a,
        Capture(b, "ipsec0") as inside_b,
        Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters,
    ):
        counters.run(count, burst, timeout=0.03)  # longer than the link holds anything back
        link.set()  # what is held back goes on
        for _ in range(100):  # on a busy machine the pumps come to their packets late
            counters.collect(0.3)
            counters.drain()
            after = link.counters()
            crossed = {way: {key: after[way][key] - before[way][key] for key in after[way]} for way in after}
            if is_quiet(books, (inside_a, inside_b), counters, crossed):
                break
            time.sleep(0.1)
        (balance_a, drops_a), (balance_b, drops_b) = (book.closed() for book in books)
        taken = [sum(seen.outgoing for seen in capture.packets()) for capture in (inside_a, inside_b)]
        # Datagrams arrive in trains; what is no datagram (multicast listeners and the like) arrives alone.
        alone = [sum(not (s.outgoing or is_ipv4(s)) for s in capture.packets()) for capture in (inside_a, inside_b)]
    assert not unread(a) + unread(b), "the socket buffers of the product were too small for the test's load"
    for sender, way, receiver, into, others, arrivals in (
        (balance_a, "forth", balance_b, taken[0], alone[1], counters.forth),
        (balance_b, "back", balance_a, taken[1], alone[0], counters.back),
    ):
        link_books = crossed[way]
        assert into >= arrivals.sent == count
        assert sender["taken"] == into
        assert sender["sent"] == link_books["arrived"]
        assert link_books["arrived"] + link_books["duplicated"] == link_books["passed"] + link_books["lost"]
        assert link_books["passed"] == receiver["arrived"]
        assert receiver["delivered"] == len(arrivals.numbers) + others, "the application got less than was delivered"
        assert len(set(arrivals.numbers)) == len(arrivals.numbers), "a datagram arrived twice"
        assert not arrivals.altered
    return drops_a, drops_b


def is_quiet(
    books: tuple[Books, Books],
    inside: tuple[Capture, Capture],
    counters: Counters,
    crossed: dict[str, dict[str, int]],
) -> bool:
    """Nothing is under way: from tunnel to pump, over the link to the other pump, from there to the application."""
    a, b = (book.counted()[0] for book in books)
    seen_a, seen_b = (capture.packets() for capture in inside)
    return all(
        sender["taken"] == sum(seen.outgoing for seen in into)
        and sender["sent"] == crossed[way]["arrived"]
        and receiver["arrived"] == crossed[way]["passed"]
        and receiver["delivered"]
        == len(arrivals.numbers) + sum(not (seen.outgoing or is_ipv4(seen)) for seen in others)
        for sender, into, way, receiver, arrivals, others in (
            (a, seen_a, "forth", b, counters.forth, seen_b),
            (b, seen_b, "back", a, counters.back, seen_a),
        )
    )


def is_ipv4(seen: Seen) -> bool:
    return seen.packet[0] >> 4 == 4


@pytest.mark.parametrize("algorithm", [pytest.param(CBC_SHA256, marks=pytest.mark.long), GCM], ids=str)
def test_books_are_closed(faulty: Scene, algorithm: Algorithm) -> None:
    a, b, _ = faulty
    tunnel(a, b, algorithm, more="-r 64")
    assert exchange(faulty, PERFECT, PERFECT, 500) == ({}, {})
    # Loss: nobody drops anything but the link.
    assert exchange(faulty, LOSS, LOSS, 500) == ({}, {})
    # Order: within the window of 64 bytes = 512 packets, everything is accepted.
    assert exchange(faulty, REORDERING, REORDERING, 500) == ({}, {})
    # Copies: each is refused, and by its name.
    drops_a, drops_b = exchange(faulty, DUPLICATION, PERFECT, 500)
    assert drops_a == {}
    assert set(drops_b) <= {"in-replay", "in-late-replay"} and sum(drops_b.values()) > 50
    # Flipped bits: each is refused.
    drops_a, drops_b = exchange(faulty, PERFECT, CORRUPTION, 500)
    assert drops_b == {}
    assert set(drops_a) <= HONEST and sum(drops_a.values()) > 50
    assert drops_a["in-icv"] > 40
    drops_a, drops_b = exchange(faulty, EVERYTHING, EVERYTHING, 2000, burst=64)
    assert set(drops_a) | set(drops_b) <= HONEST
