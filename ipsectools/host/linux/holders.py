"""Which processes hold a TUN device open, as far as this user may see."""

from __future__ import annotations

import os

_TUN_DEVICE = "/dev/net/tun"


def holders(name: str) -> list[tuple[int, str]]:
    """Process and command name of all in this network namespace that are attached to the TUN device `name`."""
    here = os.stat("/proc/self/ns/net").st_ino
    wanted = f"iff:\t{name}"
    found = []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        folder = f"/proc/{process}"
        try:
            if os.stat(f"{folder}/ns/net").st_ino == here and any(_attached(folder, wanted)):
                with open(f"{folder}/comm", encoding="utf-8", errors="replace") as file:
                    found.append((int(process), file.read().strip()))
        except OSError:
            continue  # it has ended, or is not for us to see
    return sorted(found)


def _attached(folder: str, wanted: str) -> list[bool]:
    answers = []
    for descriptor in os.listdir(f"{folder}/fd"):
        if os.readlink(f"{folder}/fd/{descriptor}").startswith(_TUN_DEVICE):
            with open(f"{folder}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as file:
                answers.append(wanted in file.read().splitlines())
    return answers
