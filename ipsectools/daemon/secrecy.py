"""What a process does before keys come into its memory, so that they stay there: no core file, no debugger, no swap.

ipsecd, setkey, a command that opens the state file itself, and whoever has a PF_KEY socket come through here. `_ctypes`
is what ctypes is made of; importing that would cost each command 2 ms.
"""

from __future__ import annotations

import _ctypes
import resource

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_NOW = 2

_refused: list[str] | None = None


def guard_memory() -> list[str]:
    """Does all of it, once in each process; returns the names of what this system refused.

    Before capabilities are given up: raising the limit of locked memory takes one.
    """
    global _refused
    if _refused is None:
        _refused = []
        _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        # What a process that is not dumpable has cannot be read through ptrace(2) or /proc, but by root.
        if _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            _refused.append("not dumpable")
        if not _lock_memory():
            _refused.append("memory kept out of swap")
    return _refused


def _lock_memory() -> bool:
    """Only without a limit: with one, whatever asks for memory later could fail."""
    endless = resource.RLIM_INFINITY
    try:
        if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != endless:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (endless, endless))
    except (OSError, ValueError):  # an ordinary user, or root of a user namespace
        return False
    return _call("mlockall", _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0


def _call(function: str, *arguments: int) -> int:
    libc = _ctypes.dlopen(None, _NOW)  # type: ignore[arg-type]  # None: what is loaded already
    return int(_ctypes.call_function(_ctypes.dlsym(libc, function), arguments))
