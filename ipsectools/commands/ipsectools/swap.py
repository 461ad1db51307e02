"""Whether what is in memory can get to a disk, where it would stay: swap."""

from __future__ import annotations

import os

SWAPS = "/proc/swaps"
BLOCK_DEVICES = "/sys/class/block"
MOUNTS = "/proc/self/mounts"


def readable() -> list[str]:
    """The swap areas in use that are neither encrypted nor in memory: what was swapped out can be read there later."""
    try:
        with open(SWAPS, encoding="utf-8", errors="replace") as file:
            areas = [line.split()[0] for line in file.readlines()[1:] if line.strip()]
    except OSError:
        return []
    return [area for area in areas if not _is_safe(area)]


def _is_safe(area: str) -> bool:
    name = os.path.basename(os.path.realpath(area))
    if name.startswith("zram"):
        return True
    try:
        with open(f"{BLOCK_DEVICES}/{name}/dm/uuid", encoding="ascii", errors="replace") as file:
            return file.read().startswith("CRYPT-")
    except OSError:
        return False


def file_system(directory: str) -> tuple[str, list[str]]:
    """Kind and mount options of the file system that a directory is on; empty if it cannot be told."""
    best: tuple[str, str, list[str]] = ("", "", [])
    try:
        with open(MOUNTS, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, place, kind, options = line.split()[:4]
                if (directory + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best[0]):
                    best = place, kind, options.split(",")
    except OSError:
        pass
    return best[1], best[2]


def keeps_out(directory: str) -> bool:
    """Whether the file system of a directory is one in memory that is never swapped."""
    kind, options = file_system(directory)
    return kind == "ramfs" or (kind == "tmpfs" and "noswap" in options)
