"""The Unix sockets of the state directory: made for the owner alone, or handed over by systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from ipsectools.daemon.owner import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 128
_ACCEPTS_AT_A_TIME = 16
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


def bind(directory: str, name: str, kind: int) -> socket.socket:
    """A listening socket of mode 0600 in the state directory. Replaces one that a dead ipsecd left. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/{name}")
    path, descriptor = socket_path(directory, name)
    listening = socket.socket(socket.AF_UNIX, kind)
    previous_mask = os.umask(0o177)
    try:
        listening.setblocking(False)
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(previous_mask)
        if descriptor >= 0:
            os.close(descriptor)
    return listening


def passed_sockets() -> dict[int, socket.socket]:
    """The listening Unix sockets that systemd gave this process (socket activation), by type; at most one each."""
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if process != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[int, socket.socket] = {}
    for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(count)):
        try:
            passed = socket.socket(fileno=descriptor)
        except OSError:
            continue
        if passed.family == socket.AF_UNIX and passed.type not in found:
            passed.set_inheritable(False)
            passed.setblocking(False)
            found[passed.type] = passed
        else:
            passed.close()
    return found


def accept(listening: socket.socket) -> Iterator[socket.socket]:
    """Connections that wait (some of them, if many) from processes of root's or our own user's; others are closed."""
    for _ in range(_ACCEPTS_AT_A_TIME):
        try:
            connection, _address = listening.accept()
        except OSError:  # nobody (else) waits, or there is no descriptor for it
            return
        _process, user, _group = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user in (0, os.geteuid()):
            connection.setblocking(False)
            yield connection
        else:
            connection.close()
