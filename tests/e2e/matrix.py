"""Many tunnels between two hosts at once: each algorithm, outer family, NAT-T and ESN, on an interface of its own.

All interfaces of one outer family have the same end points, so this is also a test that the reqid tells them apart.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from tests.traffic.scene import ALGORITHMS, OUTER, Algorithm

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

NATT_PORTS = (4500, 4500), (5500, 45000)
"""A's port, B's port: the usual ones, and odd ones."""


class Tunnel(NamedTuple):
    """One cell of the matrix. `number` gives the interface, SPIs, reqid and inner addresses."""

    number: int
    algorithm: Algorithm
    outer: str
    ports: tuple[int, int] | None
    esn: bool

    def __str__(self) -> str:
        natt = f" in UDP {self.ports[0]}-{self.ports[1]}" if self.ports else ""
        return f"{self.algorithm} over {self.outer}{natt}{' ESN' if self.esn else ''}"

    @property
    def interface(self) -> str:
        return f"ipsec{self.number}"

    @property
    def spis(self) -> tuple[int, int]:
        """Of what A sends, of what B sends."""
        return 20000 + 2 * self.number, 20001 + 2 * self.number

    def inner(self, family: str, side: int) -> str:
        return f"10.9.{self.number}.{1 + side}" if family == "inet" else f"fd00:9:{self.number:x}::{1 + side}"

    def ifconfig(self, side: int) -> str:
        """The commands that make this end, for a shell."""
        local, remote = OUTER[self.outer][side], OUTER[self.outer][1 - side]
        name = self.interface
        return (
            f"ifconfig {name} create reqid {300 + self.number}\n"
            f"ifconfig {name} {self.outer} tunnel {local} {remote}\n"
            f"ifconfig {name} inet {self.inner('inet', side)}/32 {self.inner('inet', 1 - side)}\n"
            f"ifconfig {name} inet6 {self.inner('inet6', side)} {self.inner('inet6', 1 - side)} prefixlen 128\n"
        )

    def sas(self) -> str:
        """The two add statements, the same on both ends."""
        ends = OUTER[self.outer]
        lines = []
        for forth, spi in ((True, self.spis[0]), (False, self.spis[1])):
            source, destination = ends if forth else ends[::-1]
            extra = "-esn " if self.esn else ""
            if self.ports is not None:
                sport, dport = self.ports if forth else self.ports[::-1]
                extra += f"-natt {source} [{sport}] {destination} [{dport}]"
            lines.append(
                f"add {source} {destination} esp {spi} -m tunnel -u {300 + self.number} -r 8 {extra} "
                f"{self.algorithm.options(spi)};\n"
            )
        return "".join(lines)


def full() -> list[Tunnel]:
    """Every combination."""
    cells = itertools.product(ALGORITHMS, OUTER, (None, *NATT_PORTS), (False, True))
    return [Tunnel(number, *cell) for number, cell in enumerate(cells)]


def trimmed() -> list[Tunnel]:
    """Every algorithm without and with NAT-T; outer families and ESN change places, so that every pair of values of two
    dimensions is there."""
    chosen = []
    for place, algorithm in enumerate(ALGORITHMS):
        for natt in (False, True):
            number = len(chosen)
            ports = NATT_PORTS[place // 2 % 2] if natt else None
            outer = list(OUTER)[(place + natt) % 2]
            chosen.append(Tunnel(number, algorithm, outer, ports, esn=(place // 2 + natt) % 2 == 0))
    return chosen


def set_up(a: Host, b: Host, tunnels: list[Tunnel]) -> None:
    """Makes both ends of all tunnels."""
    scripts = [host.path("/run/interfaces") for host in (a, b)]
    for side, script in enumerate(scripts):
        with open(script, "w") as file:
            file.write("".join(tunnel.ifconfig(side) for tunnel in tunnels))
    with open("/dev/null", "rb") as nothing:
        running = [host.spawn(["sh", "-e", "/run/interfaces"], nothing.fileno(), 2, 2) for host in (a, b)]
    assert [process.wait(300) for process in running] == [0, 0]
    for host in (a, b):
        result = host.setkey("".join(tunnel.sas() for tunnel in tunnels))
        assert not result.output + result.errors, result
