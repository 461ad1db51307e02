"""What processes cost: processor time, memory, context switches, read from /proc."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = os.sysconf("SC_CLK_TCK")
TOOLS = frozenset(["iperf3", "ping", "python", "python3"])
"""Names of processes on a lab host that are not the tunnel: load, and the lab's own server."""

KERNEL_THREADS = 2
"""The pid of kthreadd."""


class Times(NamedTuple):
    """A process: its parent, name, and ticks of its own and of its children that have ended."""

    parent: int
    name: str
    user: int
    system: int
    children: int

    @property
    def all(self) -> int:
        return self.user + self.system + self.children


def times_of(pid: int) -> Times:
    """Raises OSError when the process is gone."""
    text = Path(f"/proc/{pid}/stat").read_text()
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return Times(int(rest[1]), name, int(rest[11]), int(rest[12]), int(rest[13]) + int(rest[14]))


def all_times() -> dict[int, Times]:
    found = {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found[int(entry)] = times_of(int(entry))
        except (OSError, ValueError):
            continue
    return found


def family(roots: Iterable[int], times: dict[int, Times]) -> set[int]:
    """The processes `roots` and all that descend from them."""
    found = {pid for pid in roots if pid in times}
    while more := {pid for pid, each in times.items() if each.parent in found} - found:
        found |= more
    return found


def memory(pids: Iterable[int]) -> tuple[int, int]:
    """Resident memory now and at its highest, in KiB, in sum."""
    now = most = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+)", text))
        now += int(found.get("VmRSS", 0))
        most += int(found.get("VmHWM", 0))
    return now, most


class Usage(NamedTuple):
    """What was used between two moments. Seconds of processor time, KiB.

    `tunnel` is the processes of the tunnel at both ends, `foreign` what the machine spent on neither the tunnel, nor
    kernel threads, nor this benchmark, and what its hypervisor took: if it is not small, the figure is disturbed.
    """

    wall: float
    tunnel_user: float
    tunnel_system: float
    foreign: float
    resident: int
    peak: int

    @property
    def tunnel(self) -> float:
        return self.tunnel_user + self.tunnel_system


class Meter:
    """Measures the processes below `roots` (the lab hosts) from `start` to `stop`."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = list(roots)

    def start(self) -> None:
        self._since = time.monotonic()
        self._before = self._look()[1]

    def _look(self) -> tuple[set[int], tuple[int, int, int]]:
        times = all_times()
        tunnel = {pid for pid in family(self._roots, times) if times[pid].name not in TOOLS}
        ours = family([os.getpid()], times) | tunnel | family([KERNEL_THREADS], times)
        user = sum(times[pid].user for pid in tunnel)
        system = sum(times[pid].system for pid in tunnel)
        foreign = machine_ticks() - sum(times[pid].all for pid in ours)
        return tunnel, (user, system, foreign)

    def stop(self) -> Usage:
        wall = time.monotonic() - self._since
        tunnel, after = self._look()
        user, system, foreign = ((b - a) / TICKS for a, b in zip(self._before, after, strict=True))
        return Usage(wall, user, system, max(0.0, foreign), *memory(tunnel))


def machine_ticks() -> int:
    """Ticks that all processes took and that the hypervisor withheld; interrupts belong to nobody."""
    user, nice, system, _, _, _, _, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return user + nice + system + steal
