"""The cores with sockets of Linux's, where that is another thing than in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.traffic.scene import CBC_SHA256, INNER, OUTER, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host


@pytest.mark.traffic
@pytest.mark.parametrize("core", ["auto", "python"])
def test_the_outer_ttl_may_be_any_number(hosts: tuple[Host, Host], core: str) -> None:
    """FreeBSD takes 0, with which Linux sends nothing: 1 goes as far."""
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    tunnel(a, b, CBC_SHA256)
    for value, sent in ((0, 1), (255, 255)):
        answer = a.run("sysctl", f"net.inet.ip.ttl={value}").output
        assert answer.endswith(f"-> {value}\n")
        with Capture(a) as wire:
            assert ping(a, INNER["inet"][1], count=2).received == 2
            outer = {seen.packet[8] for seen in wire.esp() if seen.source == OUTER["inet"][0]}
        assert outer == {sent}
