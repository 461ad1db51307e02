"""The state directory: which one it is, and that it is ours.

`$IPSECTOOLS_STATE` if set; for root the directory of this network namespace under /run/ipsectools (a network namespace
is FreeBSD's vnet: each has its own kernel); else `$XDG_RUNTIME_DIR/ipsectools`. Every command comes through here: keep
its imports light.
"""

from __future__ import annotations

import os

from ipsectools.kernel.errors import StateError, check_directory

VARIABLE = "IPSECTOOLS_STATE"
ROOT = "/run/ipsectools"
STATE_FILE = "state.db"
_SO_NETNS_COOKIE = 71  # since Linux 5.14


def choose() -> str:
    """The absolute path of the state directory of this process. Raises StateError if none can be told."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted:
        return os.path.abspath(wanted)
    if os.geteuid() == 0:
        return f"{ROOT}/{namespace_name()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isabs(runtime):
        raise StateError(f"no place for the state: neither {VARIABLE} nor XDG_RUNTIME_DIR is set")
    return f"{runtime}/ipsectools"


def namespace_name() -> str:
    """A name of this network namespace that no other has until the next boot."""
    import _socket

    try:
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            return str(int.from_bytes(probe.getsockopt(_socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little"))
        finally:
            probe.close()
    except OSError:
        # An older Linux: its inode number, which another namespace may get after the end of this one.
        return f"net-{os.stat('/proc/thread-self/ns/net').st_ino}"


def prepare() -> str:
    """The state directory, made if it is missing, checked to be ours alone. Raises StateError."""
    path = choose()
    try:
        if os.path.dirname(path) == ROOT:
            _make(ROOT)
        _make(path)
    except OSError as error:
        raise StateError(f"{error.filename or path}: {error.strerror}") from None
    return path


def _make(path: str) -> None:
    previous_mask = os.umask(0o077)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    finally:
        os.umask(previous_mask)
    check_directory(path)


def has_ipsec_interfaces(directory: str) -> bool:
    """True if the state file there, which nobody owns now, knows an ipsec interface. False if it cannot be read."""
    path = f"{directory}/{STATE_FILE}"
    try:
        if os.path.getsize(path) == 0:
            return False
    except OSError:
        return False
    from ipsectools.kernel.store import peek

    try:
        return peek(path, "SELECT 1 FROM interface WHERE cloner = 'ipsec' LIMIT 1") is not None
    except StateError:
        return False
