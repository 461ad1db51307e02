"""One owner of a state directory at a time: an exclusive lock on the file `lock` in it."""

from __future__ import annotations

import fcntl
import os


class Ownership:
    """The lock, held. It ends with `release` or with the process, however that ends."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def is_current(self) -> bool:
        """False once the state directory was removed or replaced: the lock then keeps nobody out."""
        try:
            return os.path.samestat(os.stat(self._path, follow_symlinks=False), os.fstat(self._descriptor))
        except OSError:
            return False

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
    path = f"{directory}/lock"
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Ownership(descriptor, path)


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
