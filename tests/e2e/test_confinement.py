"""What ipsecd may still do once it moves packets: every thread of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.traffic.scene import GCM, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic

KEPT = 1 << 10 | 1 << 12 | 1 << 13
"""CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW."""


def test_no_thread_keeps_what_it_does_not_need(hosts: tuple[Host, Host]) -> None:
    """Linux gives up capabilities for one thread, not for the process."""
    a, b = hosts
    tunnel(a, b, GCM)
    assert_pings(a, b)
    (pid,) = a.processes("ipsecd")
    threads = a.run("sh", "-c", f"cat /proc/{pid}/task/*/status").output.split("Name:")[1:]
    assert len(threads) > 1
    for thread in threads:
        status = dict(line.split(":\t", 1) for line in thread.splitlines() if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[name], 16) & ~KEPT == 0
