"""A peer whose authentic numbers jump ahead with each packet costs nobody else anything: none lost, none delayed."""

from __future__ import annotations

import os
import statistics
import sys
from typing import TYPE_CHECKING

import pytest

from ipsectools.datapath import core_status
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books
from tests.traffic.scene import CBC_SHA256, GCM, INNER, OUTER, tunnel

if TYPE_CHECKING:
    from pathlib import Path

    from ipsectools.lab.host import Host, Process

pytestmark = pytest.mark.traffic

SPI, KEY, AUTH_KEY = 20000, bytes(range(32)), bytes(range(32, 64))
ESN = 0x400
SECONDS = 4.0
PINGS = 100
ATTEMPTS = 6
"""Rounds, one of which has to be undisturbed by what else runs on the machine. None may lose a packet."""

_SENDER = """
import socket, sys, time
address, rate, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = sys.stdin.buffer.read()
count = len(data) // size
door = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
begin = time.monotonic()
sent = 0
while sent < count:
    due = min(count, int((time.monotonic() - begin) * rate) + 1)
    while sent < due:
        try:
            door.sendto(data[sent * size : (sent + 1) * size], (address, 0))
        except OSError:
            pass
        sent += 1
    time.sleep(0.0005)
"""


def jumps(count: int, esn: bool, first: int) -> tuple[bytes, int]:
    """So many packets as one piece, and the length of each: every number far ahead of the one before."""
    peer = EspSA(SPI, 12, KEY, 5, AUTH_KEY, ESN if esn else 0, 0, Traffic())
    inner = b"\x45\0\0\x1c\0\1\0\0\x40\x11\0\0" + bytes((10, 9, 9, 9)) + bytes((10, 9, 9, 8)) + bytes(8)
    step = (1 << 20) if esn else 10_000
    packets = [peer.seal_with(inner, first + number * step, os.urandom(16)) for number in range(1, count + 1)]
    return b"".join(packets), len(packets[0])


def start_hostile(host: Host, packets: bytes, size: int, rate: int) -> Process:
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        with os.fdopen(os.dup(files[0]), "wb") as file:
            file.write(packets)
        os.lseek(files[0], 0, os.SEEK_SET)
        return host.spawn([sys.executable, "-c", _SENDER, OUTER["inet"][1], str(rate), str(size)], *files)
    finally:
        for descriptor in files:
            os.close(descriptor)


def round_trips(host: Host) -> list[float]:
    """Of the neighbour's tunnel, one request at a time; none may be lost."""
    result = ping(host, INNER["inet"][1], count=PINGS, timeout=10, window=1)
    assert result, result
    return [each for each in result.times if each is not None]


@pytest.mark.parametrize("place", ["memory", pytest.param("disk", marks=pytest.mark.long)])
@pytest.mark.parametrize("esn", [False, pytest.param(True, marks=pytest.mark.long)], ids=["32 bits", "ESN"])
@pytest.mark.parametrize(
    ("core", "rate"), [("auto", 20_000), pytest.param("python", 2_000, marks=pytest.mark.long)], ids=["auto", "python"]
)
def test_the_neighbour_feels_nothing(
    hosts: tuple[Host, Host], tmp_path: Path, core: str, rate: int, esn: bool, place: str
) -> None:
    if core == "auto" and core_status()[0] != "compiled":
        pytest.skip("the compiled core was not built")
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
        if place == "disk":
            (tmp_path / host.name).mkdir(mode=0o700)
            host.environment["IPSECTOOLS_STATE"] = str(tmp_path / host.name)
    tunnel(a, b, GCM if core == "auto" else CBC_SHA256, more="-r 64")
    result = b.setkey(
        f"add {OUTER['inet'][0]} {OUTER['inet'][1]} esp {SPI} -m tunnel -u 300 -r 64 {'-esn' if esn else ''} "
        f"-E rijndael-cbc 0x{KEY.hex()} -A hmac-sha2-256 0x{AUTH_KEY.hex()};"
    )
    assert not result.output + result.errors, result
    quiet: list[float] = []
    disturbed: list[float] = []
    first = 0
    for _ in range(ATTEMPTS):
        count = int(rate * SECONDS)
        packets, size = jumps(count, esn, first)
        first += count * ((1 << 20) if esn else 10_000)
        if first >= 1 << 32 and not esn:
            break  # the SA has no number left
        quiet.append(statistics.median(round_trips(a)))
        books = Books(b)
        hostile = start_hostile(a, packets, size, rate)
        while books.counted()[0]["arrived"] < 100:
            assert hostile.poll() is None
        times = round_trips(a)
        while hostile.poll() is None and len(times) < 20_000:
            times += round_trips(a)
        assert hostile.wait(60) == 0
        disturbed.append(statistics.median(times))
        balance, drops = books.closed()
        assert balance["arrived"] >= count // 2
        if place == "memory":  # all were taken, though there is nobody to give them to
            assert set(drops) <= {"in-unclaimed", "in-no-interface"}, drops
        if disturbed[-1] < 3 * quiet[-1]:
            return
    raise AssertionError(f"round trips: quiet {quiet}, beside the hostile peer {disturbed}")
