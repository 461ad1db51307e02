"""The faulty link does what it is told, and counts it."""

from __future__ import annotations

import pytest

from ipsectools.lab.faults import Faults, faulty_hosts
from ipsectools.lab.flow import Counters
from ipsectools.lab.ping import ping

pytestmark = pytest.mark.traffic

A, B = "192.168.0.3", "192.168.0.5"


def test_faults_are_counted() -> None:
    with faulty_hosts() as (a, b, link):
        assert ping(a, B) and ping(b, "2001:db8::3")
        seen = []
        for seed in (1, 1):
            link.set(Faults(loss=0.1, duplication=0.1, reordering=0.2), seed=seed)
            before = link.counters()["forth"]
            with Counters(a, A, b, B) as counters:
                counters.run(400, timeout=0.03)
                link.set()
                counters.collect(0.1)
                counters.drain()
                assert counters.back.complete
                books = {key: value - before[key] for key, value in link.counters()["forth"].items()}
                assert books["arrived"] == 400
                assert books["arrived"] + books["duplicated"] == books["passed"] + books["lost"]
                assert len(counters.forth.numbers) == books["passed"]
                assert 400 - len(set(counters.forth.numbers)) == books["lost"] > 10
                assert books["duplicated"] > 10 and books["held"] > 20
                assert counters.forth.numbers != sorted(counters.forth.numbers)
                seen.append((books["lost"], books["duplicated"], books["held"]))
        assert seen[0] == seen[1], "the same seed does the same"


def test_a_smaller_mtu() -> None:
    with faulty_hosts() as (a, b, link):
        link.set(Faults(mtu=1000))
        assert ping(a, B, sizes=[500, 1300], timeout=0.2).lost == [1300]  # Linux sets DF, is told, and cuts by itself
        assert ping(a, B, sizes=[500, 1300])
        assert link.counters()["forth"]["too_big"] == 1
        with Counters(a, "2001:db8::3", b, "2001:db8::5", size=1400) as counters:
            link.set(Faults(mtu=1300))
            before = link.counters()["forth"]["too_big"]
            counters.run(5, burst=1, timeout=0.2)
            assert counters.forth.numbers == [1, 2, 3, 4], "the first is refused, then Linux cuts by itself"
            assert link.counters()["forth"]["too_big"] == before + 1
