"""Millions of packets, honest and hostile, through a pump in memory: its size stays what it is."""

from __future__ import annotations

import random

import pytest

from ipsectools.host.api import OuterPacket
from tests.datapath.world import CORES, IN_SPI, World, ipv4, udp


def resident() -> int:
    """Kilobytes of this process in memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def churn(core: str, packets: int) -> None:
    world = World(core, algorithm="cbc-sha256", window=64)
    noise = random.Random(11)
    inner = ipv4(udp(b"x" * 40))
    spi = IN_SPI.to_bytes(4, "big")
    arrivals = [spi + noise.randbytes(noise.randint(0, 200)) for _ in range(400)]
    arrivals += [noise.randbytes(length) for length in range(200)]
    done = 0
    first = 0
    while done < packets:
        world.send(*[inner] * 400)
        world.receive(*(OuterPacket(world.remote, world.local, data) for data in arrivals))
        done += 400 + len(arrivals)
        world.wire.sent.clear()
        world.tun.written.clear()
        world.events.take()
        if not first and done >= packets // 10:
            first = resident()
    assert world.is_balanced()
    assert sum(world.drops.values()) == done // 1000 * len(arrivals)
    assert resident() - first < 4000, "kilobytes more than after a tenth of the packets"


@pytest.mark.parametrize("core", CORES)
def test_memory_stays_flat(core: str) -> None:
    churn(core, 60_000)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("core", CORES)
def test_memory_stays_flat_over_millions(core: str) -> None:
    churn(core, 10_000_000 if core == "compiled" else 2_000_000)
