"""Holds one thread of a process still, as a slow disk or a busy machine may: ptrace(2) on that thread alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def outer_pid(host: Host, pid: int) -> int:
    """The number by which we know the process that the lab host knows by `pid`."""
    mine = os.readlink(host.path("/proc/1/ns/pid"))
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdecimal() and os.readlink(f"/proc/{entry}/ns/pid") == mine:
                with open(f"/proc/{entry}/status") as status:
                    numbers = next(line for line in status if line.startswith("NSpid:")).split()
                if int(numbers[-1]) == pid:
                    return int(entry)
    raise ProcessLookupError(pid)


@contextlib.contextmanager
def main_thread_stopped(pid: int) -> Iterator[None]:
    """The first thread of the process stands still meanwhile; the others run."""
    if _libc.ptrace(PTRACE_SEIZE, pid, None, None):
        pytest.skip(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
    try:
        assert not _libc.ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, WALL)
        yield
    finally:
        _libc.ptrace(PTRACE_DETACH, pid, None, None)
