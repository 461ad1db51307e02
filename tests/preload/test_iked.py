"""Debian's openiked, a program nobody here wrote, on both hosts: it negotiates and renews the SAs of ipsec0."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools import preload
from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping

if TYPE_CHECKING:
    from ipsectools.lab.host import Host, Process

IKED = shutil.which("iked", path=os.environ.get("PATH", "") + ":/usr/sbin")
PATIENCE = 60
LIFETIME = 5
"""Seconds that a pair of SAs lives; iked renews it a little earlier."""

CONFIGURATION = """\
ikev2 "tunnel" {mode} esp from {inner} to {other_inner} local {outer} peer {other_outer} \\
    ikesa enc aes-256 auth hmac-sha2-256 group modp2048 \\
    childsa enc aes-256 auth hmac-sha1 \\
    srcid {name} dstid {other_name} lifetime {lifetime} psk "a secret of the two"
"""

pytestmark = [
    pytest.mark.traffic,
    pytest.mark.long,
    pytest.mark.skipif(IKED is None, reason="openiked is not installed"),
    pytest.mark.skipif(preload.library() is None, reason="the preload library was not built: no C compiler"),
]

NAMES, OUTER, INNER = ("a.lab", "b.lab"), ("192.168.0.3", "192.168.0.5"), ("172.16.0.3", "172.16.0.5")
REQIDS = ("100", "200")


def start_iked(host: Host, side: int) -> tuple[Process, str]:
    """Makes ipsec0, starts iked; the process and the path of its log."""
    other = 1 - side
    host.run("ifconfig", "ipsec0", "create", "reqid", REQIDS[side])
    host.run("ifconfig", "ipsec0", "inet", "tunnel", OUTER[side], OUTER[other])
    host.run("ifconfig", "ipsec0", "inet", INNER[side] + "/32", INNER[other])
    text = CONFIGURATION.format(
        mode="active" if side == 0 else "passive",
        inner=INNER[side],
        other_inner=INNER[other],
        outer=OUTER[side],
        other_outer=OUTER[other],
        name=NAMES[side],
        other_name=NAMES[other],
        lifetime=LIFETIME,
    )
    descriptor = os.open(host.path("/run/iked.conf"), os.O_WRONLY | os.O_CREAT, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    log = host.path("/run/iked.log")
    with open(log, "wb") as output, open(os.devnull, "rb") as nothing:
        assert IKED is not None
        command = ["ipsectools", "pfkey-run", IKED, "-dv", "-f", "/run/iked.conf"]
        return host.spawn(command, nothing.fileno(), output.fileno(), output.fileno()), log


def mature_spis(host: Host, reqid: str) -> set[str]:
    """SPIs of the mature SAs that the interface can use."""
    dump = host.run("setkey", "-D").output
    return set(re.findall(rf"esp mode=tunnel spi=(\d+)\S* reqid={reqid}\((?:.*\n)+?.*state=mature", dump))


def test_two_ikeds_negotiate_and_renew(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    (passive, log_b), (active, log_a) = start_iked(b, 1), start_iked(a, 0)

    def what_happened() -> str:
        return "".join(open(log).read()[-3000:] for log in (log_a, log_b))

    deadline = time.monotonic() + PATIENCE
    seen: set[str] = set()
    renewals = 0
    with Capture(a) as capture:
        while renewals < 3:
            assert time.monotonic() < deadline, what_happened()
            assert active.poll() is None and passive.poll() is None, what_happened()
            on_both = mature_spis(a, REQIDS[0]) & mature_spis(b, REQIDS[1])
            if len(on_both) < 2:
                time.sleep(0.1)
                continue
            result = ping(a, INNER[1], count=5)
            if not result and mature_spis(a, REQIDS[0]) & mature_spis(b, REQIDS[1]) != on_both:
                continue  # the daemons were in the middle of an exchange: one side may have had what the other had not
            assert result, (result, what_happened())
            if not on_both <= seen:
                seen |= on_both
                renewals += 1
        clear = [packet for packet in capture.packets() if packet.kind == "clear" and "172.16" in packet.source]
        assert not clear
        assert len({packet.spi for packet in capture.esp()} & {int(spi) for spi in seen}) >= 4
