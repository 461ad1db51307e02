"""The host's own program of a name that we have too (sysctl, netstat, ...): for what is not the emulated kernel's."""

from __future__ import annotations

import os


def find(program: str) -> str | None:
    """The first `program` in PATH (and the system's directories) that is not one of our launchers, or None."""
    for directory in [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]:
        path = os.path.join(directory or ".", program)
        if os.access(path, os.X_OK) and os.path.isfile(path) and not _is_launcher(path):
            return path
    return None


def _is_launcher(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"ipsectools" in file.read(2048)
    except OSError:
        return False
