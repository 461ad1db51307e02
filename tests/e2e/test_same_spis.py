"""A file for `setkey -f` that begins with `flush;` and adds the same SPIs again, under traffic, with replay windows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.flow import Counters
from tests.e2e.flood import Flood
from tests.traffic.scene import GCM, INNER, REQIDS, assert_pings, sas, tunnel

if TYPE_CHECKING:
    from pathlib import Path

    from ipsectools.lab.host import Host
    from tests.conftest import Failures

pytestmark = [pytest.mark.traffic, pytest.mark.long]


def test_flush_and_the_same_spis_again_and_again(hosts: tuple[Host, Host], tmp_path: Path, failures: Failures) -> None:
    a, b = hosts
    tunnel(a, b, GCM, more="-r 64")
    for reqid in REQIDS:
        (tmp_path / f"{reqid}.conf").write_text("flush;\n" + sas(reqid, GCM, more="-r 64"))
    with Counters(a, INNER["inet"][0], b, INNER["inet"][1]) as counters, Flood(counters) as flood:
        for turn in range(3):
            flood.go()
            time.sleep(1.5)  # the second's look at what is reserved has to see traffic before and after
            flood.pause()  # what an old SA sends would be ahead of the window of the other host's new one
            for host, reqid in zip(hosts, REQIDS, strict=True):
                result = host.run("setkey", "-f", str(tmp_path / f"{reqid}.conf"))
                assert not result.output + result.errors
            assert_pings(a, b)
            time.sleep(1.5)
            assert not failures.take(), f"turn {turn}"
