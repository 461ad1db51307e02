"""One key for both directions, as FreeBSD's own tests have it, and ledgers that are lost: no IV twice on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.host import STATE
from ipsectools.lab.ping import ping
from tests.e2e.numbers import stop_ipsecd
from tests.traffic.scene import GCM, INNER, OUTER, REQIDS, SPIS, Algorithm
from tests.traffic.test_crash import kill_ipsecd

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
CTR = Algorithm("aes-ctr", 20, "hmac-sha2-256", 32)
CHACHA = Algorithm("chacha20-poly1305", 36)


def configure(host: Host, side: int, algorithm: Algorithm) -> None:
    ends = OUTER["inet"]
    host.run("ifconfig", "ipsec0", "create", "reqid", str(REQIDS[side]))
    host.run("ifconfig", "ipsec0", "inet", "tunnel", ends[side], ends[1 - side])
    host.run("ifconfig", "ipsec0", "inet", INNER["inet"][side] + "/16", INNER["inet"][1 - side])
    add(host, side, algorithm)


def add(host: Host, side: int, algorithm: Algorithm) -> None:
    one_key = algorithm.options(SPIS[0])
    for spi, (source, destination) in zip(SPIS, (OUTER["inet"], OUTER["inet"][::-1]), strict=True):
        host.setkey(f"add {source} {destination} esp {spi} -m tunnel -u {REQIDS[side]} {one_key};\n")


@pytest.mark.parametrize(
    "algorithm", [GCM, *(pytest.param(each, marks=pytest.mark.long) for each in (CTR, CHACHA))], ids=str
)
def test_no_iv_twice_with_new_ledgers_and_one_key_both_ways(hosts: tuple[Host, Host], algorithm: Algorithm) -> None:
    used: set[bytes] = set()
    a = hosts[0]

    def send(what: str) -> None:
        capture.forget()
        assert ping(a, INNER["inet"][1], count=5), what
        packets = capture.esp()
        assert {seen.spi for seen in packets} == set(SPIS), what
        for seen in packets:
            iv = seen.payload[8:16]
            assert iv not in used, f"{what}: IV {iv.hex()} again"
            used.add(iv)

    def anew(host: Host, side: int, *, how: str) -> None:
        """The kernel of the host finds no state; what it had is gone from Linux too."""
        host.run("ifconfig", "ipsec0", "destroy")
        stop_ipsecd(host)
        host.run("sh", "-c", how)
        configure(host, side, algorithm)

    state = a.environment.get("IPSECTOOLS_STATE", STATE)
    for side, host in enumerate(hosts):
        configure(host, side, algorithm)
    with Capture(a) as capture:
        send("first")
        for side, host in enumerate(hosts):
            anew(host, side, how=f"mv {state}/state.db {state}/old.db")
        send("state file moved away")
        for side, host in enumerate(hosts):
            kill_ipsecd(host)
            host.setkey("flush;\n")
            add(host, side, algorithm)
        send("kill -9, flush and add")
        # A copy from before the last packets is put back.
        stop_ipsecd(a)
        a.run("sh", "-c", f"cp -p {state}/state.db {state}/copy.db")
        a.run("setkey", "-D")
        send("copied")
        stop_ipsecd(a)
        a.run("sh", "-c", f"mv {state}/copy.db {state}/state.db")
        a.run("setkey", "-D")
        send("copy put back")
        a.run("ifconfig", "ipsec0", "destroy")
        stop_ipsecd(a)
        a.environment["IPSECTOOLS_STATE"] = f"{state}/another"
        configure(a, 0, algorithm)
        send("another state directory")
