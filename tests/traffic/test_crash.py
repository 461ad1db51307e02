"""kill -9 of ipsecd under traffic: nothing in clear, nothing twice, nothing lost but packets."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.flow import Counters
from ipsectools.lab.host import STATE, Host
from tests.traffic.scene import CBC_SHA256, GCM, INNER, Algorithm, assert_pings, assert_sequences, tunnel

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]


def kill_ipsecd(host: Host) -> None:
    """Kills the host's ipsecd and waits until it is gone."""
    (pid,) = host.processes("ipsecd")
    host.kill(pid, signal.SIGKILL)
    host.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do :; done", timeout=60)


def identity(host: Host) -> tuple[str, list[str], list[str]]:
    """What must survive: the interface as shown, the SPIs with reqids, the policies."""
    interface = host.run("ifconfig", "ipsec0").output
    sas = re.findall(r"spi=\S+ reqid=\S+", host.run("setkey", "-D").output)
    policies = re.findall(r"spid=\d+|unique:\d+", host.run("setkey", "-DP").output)
    return interface, sorted(sas), policies


def until_both_ways_work(counters: Counters) -> None:
    """What was sent into the dead end is lost; what is sent now arrives, as soon as all is up again."""
    for _ in range(50):
        sent = counters.forth.sent
        counters.send(20)
        counters.collect(0.1)
        if all(arrivals.numbers[-1] >= sent for arrivals in (counters.forth, counters.back)):
            return
    raise AssertionError(f"no traffic after the restart: {counters.forth} {counters.back}")


@pytest.mark.parametrize("algorithm", [CBC_SHA256, GCM], ids=str)
def test_kill_in_mid_traffic(hosts: Pair, algorithm: Algorithm) -> None:
    a, b = hosts
    tunnel(a, b, algorithm, more="-r 64")
    with Capture(a) as capture, Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters:
        before = identity(a), identity(b)
        assert len(before[0][1]) == 2
        counters.run(100)
        assert counters.forth.complete and counters.back.complete
        for victim in (a, b, a):
            counters.send(50)
            kill_ipsecd(victim)
            counters.send(50)  # into a tunnel whose one end is dead
            counters.collect(0.1)
            # The next command has it running again.
            victim.run("setkey", "-D")
            assert victim.processes("ipsecd")
            assert (identity(a), identity(b)) == before
            until_both_ways_work(counters)
            assert_pings(a, b)
        counters.drain()
        for numbers in (counters.forth.numbers, counters.back.numbers):
            assert len(set(numbers)) == len(numbers), "a packet arrived twice"
        assert not capture.clear()
        assert_sequences(capture.esp())


@pytest.mark.long
@pytest.mark.parametrize("core", ["auto", "python"])
def test_a_traffic_page_that_is_cut_off_under_ipsecd(hosts: Pair, tmp_path: Path, core: str) -> None:
    """It ends by SIGBUS rather than go on with numbers that are gone; the next one says so, once, and stays."""
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
    tunnel(a, b, GCM, more="-r 64")
    assert_pings(a, b)
    (pid,) = a.processes("ipsecd")
    a.run("truncate", "-s", "0", f"{STATE}/traffic")
    a.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do sleep 0.1; done", timeout=60)
    a.environment["IPSECTOOLS_LOG"] = str(tmp_path / "log")
    for _ in range(2):
        assert a.run("setkey", "-D").output == "No SAD entries.\n"
    assert len(a.processes("ipsecd")) == 1
    log = (tmp_path / "log").read_text()
    assert log.count("traffic: damaged: nobody knows which numbers were used last") == 1
    assert log.count("had to be removed for that: 2") == 1


def test_nothing_in_clear_while_ipsecd_is_down(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b)
    assert_pings(a, b)
    with Capture(a) as capture, Counters(a, INNER["inet6"][0], b, INNER["inet6"][1]) as counters:
        kill_ipsecd(a)
        counters.send(200)
        counters.collect(0.2)
        assert not capture.clear()
        assert not [seen for seen in capture.esp() if seen.outgoing]
        assert not counters.forth.numbers


def test_a_crash_after_a_quiet_while_costs_nothing(hosts: Pair) -> None:
    """Packets of the other end, which knows nothing of the crash, are accepted at once, those of a quiet SA, too."""
    a, b = hosts
    tunnel(a, b, GCM, more="-r 64")
    with Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters:
        counters.run(2000)
        time.sleep(1.5)  # the timer of a second has written all
        kill_ipsecd(b)
        b.run("setkey", "-D")
        counters.run(20, burst=5)
        assert counters.forth.numbers[-20:] == list(range(counters.forth.sent - 20, counters.forth.sent))
