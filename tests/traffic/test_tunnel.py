"""The tunnel carries everything, whole and in order, and nothing else is on the wire."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from ipsectools.datapath import core_status
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


def switches(host: Host, thread: str) -> int:
    """How often a thread of the host's ipsecd has gone to sleep."""
    (pid,) = host.processes("ipsecd")
    for path in Path(host.path(f"/proc/{pid}/task")).iterdir():
        if (path / "comm").read_text().strip() == thread:
            found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (path / "status").read_text(), re.MULTILINE)
            assert found is not None
            return int(found[1])
    raise AssertionError(f"no thread {thread}")


@pytest.mark.skipif(core_status()[0] != "compiled", reason="the compiled core was not built")
@pytest.mark.parametrize("threads", ["auto", "split"])
def test_one_thread_moves_a_packet_and_its_answer(hosts: Pair, threads: str) -> None:
    """While traffic is light the thread of the way out sleeps; `split` is for comparison, and for tests of both."""
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_THREADS"] = threads
    tunnel(a, b, GCM)
    before = switches(b, "esp-out-0")
    assert ping(a, INNER["inet"][1], count=50)
    woken = switches(b, "esp-out-0") - before
    assert woken == 0 if threads == "auto" else woken >= 2, woken


@pytest.mark.skipif(core_status()[0] != "compiled", reason="the compiled core was not built")
def test_a_direction_that_passes_from_thread_to_thread(hosts: Pair) -> None:
    """Bursts with pauses in which the way out is given back each time: nothing is lost, or sent with a used number."""
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_THREADS"] = "split"
    with Capture(a) as capture:
        tunnel(a, b, GCM, more="-r 64")
        with Counters(a, INNER["inet"][0], b, INNER["inet"][1], size=200) as counters:
            for _ in range(40):
                counters.run(25, burst=25)
                time.sleep(0.015)
            assert counters.forth.complete, counters.forth
            assert counters.back.complete, counters.back
        assert tcp_stream(a, b, INNER["inet"][1], 3_000_000)
        assert_sequences(capture.esp())


@pytest.mark.parametrize(("core", "threads"), [("auto", "auto"), ("auto", "split"), ("python", "auto")])
def test_twenty_thousand_packets_each_way_in_order(hosts: Pair, core: str, threads: str) -> None:
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
        host.environment["IPSECTOOLS_THREADS"] = threads
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
