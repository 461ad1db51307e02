"""What ipsecd gives up once it has started: other programs' privileges, capabilities it does not need."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 10, 12, 13
KEPT = (1 << CAP_NET_BIND_SERVICE) | (1 << CAP_NET_ADMIN) | (1 << CAP_NET_RAW)
"""Ports below 1024 for NAT-T; links, addresses, rules; raw sockets."""

_PR_SET_NAME, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 15, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_DESCRIPTORS = 1 << 16
_NICE = -10
"""Of threads that move packets: on a busy machine what arrives must not wait for a time slice of others."""


def name_process(name: str) -> None:
    """What ps(1) and the like call this process."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def allow_many_descriptors() -> None:
    """Each ipsec interface takes one. More than the hard limit only while we may raise that."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, _DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (OSError, ValueError):
            continue


@contextlib.contextmanager
def priority() -> Iterator[None]:
    """Threads that are started within go before others for good, and need no capability for it: it is inherited."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):  # without CAP_SYS_NICE packets wait their turn like everybody
        os.setpriority(os.PRIO_PROCESS, 0, min(before, _NICE))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def harden() -> list[str]:
    """Does all of it, for this thread and those that it starts later; returns the names of what this system refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # for good
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        refused.append("no new privileges")
    for capability in range(_LAST_CAPABILITY + 1):
        if not KEPT >> capability & 1:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails harmlessly without CAP_SETPCAP
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        return [*refused, "capabilities"]
    for word, part in enumerate(data):
        mask = KEPT >> (32 * word) & 0xFFFFFFFF
        part.effective &= mask
        part.permitted &= mask
        part.inheritable = 0
    if libc.capset(ctypes.byref(header), data) != 0:
        refused.append(f"capabilities ({os.strerror(ctypes.get_errno())})")
    return refused
