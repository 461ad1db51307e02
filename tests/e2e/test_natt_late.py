"""NAT-T SAs that are there before the address that they speak of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipsectools.lab.ping import ping
from tests.e2e.test_natt import Pair, natt_tunnel, pytestmark
from tests.traffic.scene import INNER, OUTER, assert_pings

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

__all__ = ["pytestmark"]


def test_an_address_that_comes_after_its_sas(hosts: Pair) -> None:
    a: Host = hosts[0]
    address = OUTER["inet"][0]
    a.run("ifconfig", "em0", "inet", address, "delete")
    natt_tunnel(hosts, "inet", (4500, 4500))
    a.run("ifconfig", "em0", "inet", address + "/24")
    for _ in range(50):  # within two seconds or so
        if ping(a, INNER["inet"][1], count=1, timeout=0.1).received:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("no socket for NAT-T was opened once the address was there")
    assert_pings(*hosts)
