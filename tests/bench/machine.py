"""The machine a benchmark ran on: what it is, what it has installed, how busy others keep it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ipsectools import __version__

VERSION_COMMANDS = {
    "strongSwan": ("swanctl", "--version"),
    "OpenVPN": ("openvpn", "--version"),
    "wireguard-go": ("wireguard-go", "--version"),
    "iperf3": ("iperf3", "--version"),
}


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def busy_share(seconds: float) -> float:
    """The share of all processor time that was not idle during the next `seconds`, 0 to 1."""

    def times() -> tuple[int, int]:
        user, nice, system, idle, waiting, irq, soft = map(
            int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8]
        )
        return user + nice + system + irq + soft, idle + waiting

    busy, idle = times()
    time.sleep(seconds)
    busy, idle = times()[0] - busy, times()[1] - idle
    return busy / max(1, busy + idle)


def wait_quiet(limit: float) -> float:
    """Returns when the machine idles, or after `limit` seconds; says how busy it was at the end."""
    end = time.monotonic() + limit
    share = busy_share(0.3)
    while share > 0.06 and time.monotonic() < end:
        share = busy_share(0.3)
    return round(share, 3)


def describe() -> dict[str, object]:
    """Machine, system and versions, as they go into each result."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ipsectools": f"{__version__} ({_commit()})",
        "openssl": _openssl(),
        "installed": {name: _first_line(command) for name, command in VERSION_COMMANDS.items()},
        "load": round(load(), 2),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.orig_argv[1:]),
    }


def in_words(machine: dict[str, object], load: str) -> str:
    """One line for below a table or plot."""
    return (
        f"{machine['processor']}, {machine['processors']} processors, {machine['kernel']}, Python {machine['python']}, "
        f"ipsectools {machine['ipsectools']}, {machine['time']}, load {load}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "no git"


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()


def _first_line(command: tuple[str, ...]) -> str | None:
    """The first line a program prints, None if it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return next((line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()), "?")
