"""The tunnel carries everything, whole and in order, and nothing else is on the wire."""

from __future__ import annotations

import re

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.flow import Counters, tcp_stream
from ipsectools.lab.host import Host
from ipsectools.lab.ping import ping
from tests.traffic.scene import (
    ALGORITHMS,
    CBC_SHA256,
    GCM,
    INNER,
    OUTER,
    SPIS,
    Algorithm,
    assert_pings,
    assert_sequences,
    tunnel,
)

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]


@pytest.mark.parametrize("cores", [("auto", "auto"), ("auto", "python"), ("python", "python")], ids="-".join)
@pytest.mark.parametrize("outer", OUTER)
def test_four_family_combinations(hosts: Pair, outer: str, cores: tuple[str, str]) -> None:
    """Also between the two cores of the data path, compiled and plain Python, and with plain Python alone."""
    a, b = hosts
    for host, core in zip(hosts, cores, strict=True):
        host.environment["IPSECTOOLS_CORE"] = core
    with Capture(a) as capture:
        tunnel(a, b, CBC_SHA256, outer)
        assert_pings(a, b)
        for family in INNER:
            assert tcp_stream(a, b, INNER[family][1], 300_000), family
        assert not capture.clear()
        packets = capture.esp()
    assert {(s.source, s.destination, s.spi) for s in packets} == {
        (*OUTER[outer], SPIS[0]),
        (*reversed(OUTER[outer]), SPIS[1]),
    }
    assert_sequences(packets)
    for spi in SPIS:  # the first packet of an SA has the number 1, and none is left out (RFC 4303, 3.3.3)
        numbers = [s.sequence for s in packets if s.spi == spi]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_every_algorithm(hosts: Pair, algorithm: Algorithm) -> None:
    a, b = hosts
    with Capture(a) as capture:
        tunnel(a, b, algorithm)
        assert_pings(a, b)
        assert ping(a, INNER["inet"][1], sizes=range(0, 1373, 49))
        assert not capture.clear()
        assert_sequences(capture.esp())


@pytest.mark.parametrize("family", INNER)
def test_all_payload_sizes_in_one_flood(hosts: Pair, family: str) -> None:
    a, b = hosts
    with Capture(a) as capture:
        tunnel(a, b, CBC_SHA256)
        result = ping(a, INNER[family][1], sizes=range(1401), window=32)
        assert result, result
        assert not capture.clear()
        # MTU 1400: the largest are sent in two fragments, each a packet of its own in the tunnel.
        headers = 28 if family == "inet" else 48
        largest = 1400 - headers
        assert len(capture.esp()) >= 2 * (1401 + 1400 - largest)
        assert_sequences(capture.esp())


@pytest.mark.parametrize("core", ["auto", "python"])
def test_twenty_thousand_packets_each_way_in_order(hosts: Pair, core: str) -> None:
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
    tunnel(a, b, GCM, more="-r 64")
    with Counters(a, INNER["inet"][0], b, INNER["inet"][1], size=512) as counters:
        counters.run(20_000, burst=40)
        assert counters.forth.complete, counters.forth
        assert counters.back.complete, counters.back
    for host in hosts:
        # Linux adds a packet or two of its own: router solicitations go through the tunnel as well.
        allocated = [int(n) for n in re.findall(r"allocated: (\d+)", host.run("setkey", "-D").output)]
        assert len(allocated) == 2
        assert all(20_000 <= n < 20_010 for n in allocated), allocated


@pytest.mark.long
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_every_size_with_every_algorithm(hosts: Pair, algorithm: Algorithm, outer: str) -> None:
    a, b = hosts
    with Capture(a) as capture:
        tunnel(a, b, algorithm, outer)
        for family in INNER:
            result = ping(b, INNER[family][0], sizes=range(1401), window=32)
            assert result, result
        assert not capture.clear()
        assert_sequences(capture.esp())
