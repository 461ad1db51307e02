"""Network namespaces by name (ip-netns(8)): FreeBSD's vnets. Small enough for a command to import."""

from __future__ import annotations

import os
from errno import ENOENT

from ipsectools.errno import ENXIO, KernelError, from_host
from ipsectools.host.linux import rtnetlink

DIRECTORY = "/run/netns"
_CLONE_NEWNET = 0x40000000
_LOOPBACK = 1
"""The index that it has in every namespace."""
_NAME = "ipsectools-"


def open_namespace(name: str) -> int:
    """A descriptor of the namespace of that name. Raises KernelError: ENXIO if there is none."""
    if "/" in name or name in ("", ".", ".."):
        raise KernelError(ENXIO)
    try:
        return os.open(f"{DIRECTORY}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        raise KernelError(ENXIO) from None


def enter(descriptor: int) -> None:
    """Moves this thread into a namespace, which takes CAP_SYS_ADMIN. Raises OSError."""
    setns = getattr(os, "setns", None)  # Python 3.12
    if setns is not None:
        setns(descriptor, _CLONE_NEWNET)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def own_name(*, make: bool) -> str:
    """A name that this network namespace alone has, whatever comes after it: where Linux has no cookie for it.

    It is kept in the namespace itself: as a further name of the loopback device, with a random number in it, which is
    made if there is none (and `make`). Raises OSError if that cannot be done, ENOENT if there is none.
    """
    reader = rtnetlink.Reader()
    try:
        if not _own_names(reader) and make:
            reader.add_name(_LOOPBACK, _NAME + os.urandom(16).hex())
        for name in _own_names(reader):
            return name  # the first one: another that was made at the same moment comes after it
    finally:
        reader.close()
    raise OSError(ENOENT, os.strerror(ENOENT))


def _own_names(reader: rtnetlink.Reader) -> list[str]:
    return [name.removeprefix(_NAME) for name in reader.names(_LOOPBACK) if name.startswith(_NAME)]


def fetch_link(name: str, vnet: str) -> None:
    """Moves a link of the namespace `vnet` to the one of this thread.

    Raises KernelError: ENXIO if there is no such namespace, or no such link in it; EPERM if this process must not enter
    other namespaces (ipsecd must not: `manage.fetch_link` has the rights of whoever asks); EEXIST if the name is taken.
    """
    there = open_namespace(vnet)
    try:
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(there)
            try:
                reader = rtnetlink.Reader()  # its socket stays a socket of that namespace
            finally:
                enter(here)
            try:
                reader.move_link(rtnetlink.linux_name(name), here)
            finally:
                reader.close()
        finally:
            os.close(here)
    except OSError as error:
        number = error.errno or 0
        raise KernelError(ENXIO if number == _ENODEV else from_host(number)) from None
    finally:
        os.close(there)


_ENODEV = 19
