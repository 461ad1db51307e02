"""One owner of a state directory at a time: an exclusive lock on the file `lock` in it."""

from __future__ import annotations

import fcntl
import os


class Ownership:
    """The lock, held. It ends with `release` or with the process, however that ends."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def sign(self, role: str) -> None:
        """Writes into the lock file who holds it, for messages to people."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()} {role}\n".encode(), 0)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire(directory: str) -> Ownership | None:
    """The lock of the state directory, or None if another process holds it. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(f"{directory}/lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Ownership(descriptor)


def owner(directory: str) -> tuple[int, str] | None:
    """Process id and role (`ipsecd`, `command`) of who last took the lock; None if it cannot be told."""
    try:
        with open(f"{directory}/lock", encoding="ascii") as file:
            process, _, role = file.read(64).strip().partition(" ")
        return int(process), role
    except (OSError, ValueError):
        return None


def describe_owner(directory: str) -> str:
    """A text to append to a message: ` (ipsecd, process 123)` or nothing."""
    found = owner(directory)
    return f" ({found[1]}, process {found[0]})" if found else ""
