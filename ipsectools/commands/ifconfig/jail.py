"""Jails are named network namespaces (ip-netns(8)): `-j NAME` runs the command inside one."""

from __future__ import annotations

import os

from ipsectools.commands.ifconfig.errors import fatal

DIRECTORY = "/run/netns"
_CLONE_NEWNET = 0x40000000


def check(name: str) -> None:
    """Refuses, in the jail library's words, a name that no namespace has. A number is an id: the kernel judges it."""
    if not exists(name) and not (name.isascii() and name.isdecimal()):
        raise _not_found(name)


def attach(name: str) -> None:
    """Moves this process into the namespace. Raises Fatal.

    A state directory that the environment names is the one of the namespace that is left: each has its own kernel.
    """
    if not exists(name):
        raise _not_found(name)
    try:
        descriptor = os.open(f"{DIRECTORY}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise fatal(f"cannot attach to jail: {_text(error)}") from None
    os.environ.pop("IPSECTOOLS_STATE", None)


def exists(name: str) -> bool:
    """Whether a namespace has that name."""
    return name not in ("", ".", "..") and "/" not in name and os.path.exists(f"{DIRECTORY}/{name}")


def _not_found(name: str) -> Exception:
    return fatal(f'jail "{name}" not found')


def _text(error: OSError) -> str:
    from ipsectools.errno import from_host, strerror

    return strerror(from_host(error.errno or 0))


def _setns(descriptor: int) -> None:
    setns = getattr(os, "setns", None)  # Python 3.12
    if setns is not None:
        setns(descriptor, _CLONE_NEWNET)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
