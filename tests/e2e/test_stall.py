"""The key engine stands still for a moment: a full disk queue, a busy machine. Packets wait, none is lost."""

from __future__ import annotations

import time

import pytest

from ipsectools.lab.flow import Counters
from ipsectools.lab.host import Host
from tests.e2e.doors import Books
from tests.e2e.stopping import main_thread_stopped, outer_pid
from tests.traffic.scene import CBC_SHA256, INNER, tunnel

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]

STALL = 0.4
"""Seconds."""


def test_a_stall_of_the_key_engine_costs_no_packet(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b, CBC_SHA256, more="-r 64")
    (pid,) = b.processes("ipsecd")
    ipsecd = outer_pid(b, pid)
    with Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters:
        counters.run(20)
        books = Books(b)
        with main_thread_stopped(ipsecd):
            counters.send(200)  # far more than the receiver may accept without a reservation of more numbers
            time.sleep(STALL)
        counters.collect(2)
        assert counters.forth.complete, (counters.forth, books.closed())
        assert counters.back.complete, counters.back
        assert books.closed()[1] == {}
