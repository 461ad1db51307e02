"""The owner of a state directory: the ipsecd that serves it, or this process, which opens the kernel in itself.

Every command runs through here: nothing is imported that costs time (see `tests/test_imports.py`).
"""

from __future__ import annotations

import _socket
import os
from time import monotonic, sleep

from ipsectools.daemon.doors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.daemon.embedded import EmbeddedKernel

LARGE_STATE = 8 << 20
"""Bytes of state file above which a command does not load it itself but starts ipsecd, which loads it once."""

PATIENCE = 60.0
"""Seconds to wait for another owner to let go, for ipsecd to start, and for ipsecd to answer."""


def socket_path(directory: str, name: str) -> tuple[str, int]:
    """A path of the socket that fits into a socket address, and a descriptor to close after use (-1: none)."""
    path = f"{directory}/{name}"
    if len(os.fsencode(path)) < 100:
        return path, -1
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}/{name}", descriptor


def connect(directory: str, name: str, kind: int) -> _socket.socket | None:
    """A connection to the ipsecd that serves `directory`, or None if there is none."""
    path, descriptor = socket_path(directory, name)
    connection = _socket.socket(_socket.AF_UNIX, kind)
    deadline = monotonic() + PATIENCE
    try:
        connection.settimeout(PATIENCE)
        while True:
            try:
                connection.connect(path)
                return connection
            except BlockingIOError:  # ipsecd is there, but many are waiting to be let in
                if monotonic() > deadline:
                    raise ClientError(f"ipsecd does not answer ({directory})") from None
                sleep(0.005)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except PermissionError:
        connection.close()
        raise ClientError(f"{directory}/{name}: Permission denied") from None
    except OSError as error:
        connection.close()
        raise ClientError(f"{directory}/{name}: {error.strerror or error}") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


_ours: EmbeddedKernel | None = None
"""The kernel that is (or was last) open in this process. All its doors share it."""


def attach(directory: str, name: str, kind: int, served: bool, changing: bool) -> _socket.socket | EmbeddedKernel:
    """A connection to the owner of the state directory, or the kernel itself if this process may own it.

    `served` demands ipsecd; `changing` says that the first request changes something. Without a `directory` it is a
    kernel without a past, to look at the machine.
    """
    global _ours
    if _ours is not None and not _ours.closed and _ours.directory == directory:
        # Another door of this process has the kernel open here; nobody else can have it.
        if not served and (_ours.may_change or not changing):
            _ours.users += 1
            return _ours
        _ours.shut()
    if not directory:
        from ipsectools.daemon.embedded import EmbeddedKernel

        _ours = EmbeddedKernel("", None)
        return _ours
    connection = connect(directory, name, kind)
    if connection is not None:
        return connection
    from ipsectools.daemon import ownership

    deadline = monotonic() + PATIENCE
    while True:
        try:
            lock = ownership.acquire(directory)
        except OSError as error:
            raise ClientError(f"{directory}/lock: {error.strerror}") from None
        if lock is not None:
            try:
                # Between the two looks an ipsecd may have come and gone; the lock is what counts.
                if not served and _may_embed(directory, name, changing):
                    from ipsectools.daemon.embedded import EmbeddedKernel

                    embedded, lock = lock, None
                    _ours = EmbeddedKernel(directory, embedded)
                    return _ours
            finally:
                if lock is not None:
                    lock.release()
            _start(directory)
        elif monotonic() > deadline:
            raise ClientError(f"{directory}: in use by another process{ownership.describe_owner(directory)}")
        else:
            sleep(0.005)
        connection = connect(directory, name, kind)
        if connection is not None:
            return connection


def _may_embed(directory: str, name: str, changing: bool) -> bool:
    from ipsectools.host import HostError, is_simulated, may_protect, missing
    from ipsectools.kernel import statedir

    try:
        if os.stat(f"{directory}/{statedir.STATE_FILE}").st_size > LARGE_STATE:
            return False
    except OSError:
        pass
    try:
        if is_simulated() or not (changing or statedir.moves_packets(directory)):
            return True
        # Where packets cannot flow ipsecd could do no more than we, who can say what is missing.
        return missing() is not None if name == "control" else not may_protect()
    except HostError as error:
        raise ClientError(str(error)) from None


def _start(directory: str) -> None:
    from ipsectools.daemon import autostart

    try:
        autostart.start(directory, PATIENCE)
    except autostart.CannotStart as error:
        raise ClientError(f"cannot start ipsecd: {error}") from None
