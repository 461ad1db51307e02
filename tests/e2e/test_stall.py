"""The key engine stands still for a moment: a full disk queue, a busy machine. Packets wait, none is lost."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

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


FLOOD = 1.5
"""Seconds: more than packets wait for numbers."""


def test_what_arrives_does_not_wait_for_what_is_to_be_sent(hosts: Pair) -> None:
    """B may send nothing for want of reserved numbers; what comes to it, for which none are needed, gets through."""
    a, b = hosts
    tunnel(a, b, CBC_SHA256)
    (pid,) = b.processes("ipsecd")
    (address, other) = INNER["inet"]
    with (
        a.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        b.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        b.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder,
    ):
        receiver.bind((other, 4444))
        receiver.settimeout(5)
        longest = 0.0
        with main_thread_stopped(outer_pid(b, pid)):
            end = time.monotonic() + FLOOD
            while (now := time.monotonic()) < end:
                for _ in range(200):
                    with suppress(OSError):
                        flooder.sendto(b"x", (address, 4445))
                sender.sendto(b"y", (other, 4444))
                receiver.recv(10)
                longest = max(longest, time.monotonic() - now)
        assert longest < 0.4, longest
