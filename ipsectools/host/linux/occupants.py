"""Who is in a network namespace, and which ones are there at all: as far as /proc tells.

A namespace lives while a thread is in it, a name (a mount, see ip-netns(8)) or a descriptor stands for it. What of that
belongs to processes of another PID namespace is not seen here.
"""

from __future__ import annotations

import contextlib
import os
from errno import EINVAL, ENOENT, ESRCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST = "1"
_STARTED_BY_A_COMMAND = b"--ready-descriptor="


class Occupants:
    """Looks whether this process is alone in its network namespace. That takes no privilege."""

    __slots__ = ("_here", "_mark", "_own", "_witness")

    def __init__(self) -> None:
        self._own = _process()
        self._here = proc_inode(self._own)
        self._mark = b" net:[%d] " % os.stat("/proc/thread-self/ns/net").st_ino
        self._witness = _FIRST

    def has_name(self) -> bool:
        """Whether some process sees a name of the namespace. Those of mounts that are ours alone do not count."""
        seen = set()
        for process in self._others():
            mounts = _read(f"/proc/{process}/mountinfo")
            if mounts not in seen:
                if self._mark in mounts:
                    return True
                seen.add(mounts)
        return False

    def are_gone(self) -> bool:
        """True if nobody else is in the namespace, nor has a name for it; False also if that cannot be told.

        An ipsecd that a command started does not count: two of them would keep each other.
        """
        if self._own in ("", _FIRST):
            return False  # no /proc of ours; or the first process of a container, whose namespace others may share
        try:
            proc_inode(_FIRST)  # else others are hidden from us
            if proc_inode(self._witness) == self._here:
                return False
        except OSError as error:
            if self._witness == _FIRST or not _has_ended(error):
                return False
        self._witness = _FIRST
        try:
            for process in self._others():
                if self._is_here(process):
                    self._witness = process
                    return False
            return not self.has_name()
        except OSError:
            return False

    def _others(self) -> Iterator[str]:
        """The other processes, but for ipsecds that a command started. The first one first: it has most names."""
        for process in [_FIRST, *(name for name in os.listdir("/proc") if name.isdigit())]:
            if process != self._own and not _is_background_ipsecd(process):
                yield process

    def _is_here(self, process: str) -> bool:
        try:
            return any(
                proc_inode(f"{process}/task/{thread}") == self._here for thread in os.listdir(f"/proc/{process}/task")
            )
        except OSError as error:
            if _has_ended(error):
                return False
            raise


class Namespaces:
    """All network namespaces that a process in sight holds, by which number, and where they can be opened."""

    __slots__ = ("by_inode", "by_proc_inode", "complete")

    def __init__(self) -> None:
        self.by_inode: dict[int, list[str]] = {}
        """What names and descriptors hold, by the inode number of the namespace."""
        self.by_proc_inode: dict[int, list[str]] = {}
        """What threads are in, by `proc_inode`."""
        self.complete = _process() == str(os.getpid())
        """False if something is out of sight: descriptors are shown to root only."""
        seen: set[bytes] = set()
        try:
            proc_inode(_FIRST)
            for process in filter(str.isdigit, os.listdir("/proc")):
                self._look_at(f"/proc/{process}", seen)
        except OSError:
            self.complete = False

    def _look_at(self, process: str, seen: set[bytes]) -> None:
        for thread in _list(f"{process}/task"):
            with _while_it_lives():
                number = proc_inode(f"{process[6:]}/task/{thread}")
                self.by_proc_inode.setdefault(number, []).append(f"{process}/task/{thread}/ns/net")
        for descriptor in _list(f"{process}/fd"):
            with _while_it_lives():
                self._enter(os.readlink(f"{process}/fd/{descriptor}"), f"{process}/fd/{descriptor}")
        mounts = _read(f"{process}/mountinfo")
        if mounts not in seen:
            seen.add(mounts)
            for line in mounts.decode(errors="replace").splitlines():
                _id, _parent, _device, root, point = line.split(" ", 5)[:5]
                self._enter(root, f"{process}/root{point}")

    def _enter(self, text: str, place: str) -> None:
        if text.startswith("net:["):
            self.by_inode.setdefault(int(text[5:-1]), []).append(place)

    def places(self, inode: int, proc_inode: int) -> list[str]:
        """Where the namespace with these numbers can be opened, or a later one that was given them."""
        return self.by_proc_inode.get(proc_inode, []) + self.by_inode.get(inode, [])


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        if not _has_ended(error):
            raise
        return []


@contextlib.contextmanager
def _while_it_lives() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not _has_ended(error):
            raise


def proc_inode(process: str) -> int:
    """A number that is the same for all in one network namespace: files of /proc/net are made once for each.

    Unlike /proc/PID/ns/net it is shown to everybody.
    """
    return os.stat(f"/proc/{process}/net/dev").st_ino


def _process() -> str:
    """This process as /proc calls it; empty if it shows other processes than ours."""
    try:
        return os.readlink("/proc/self")
    except OSError:
        return ""


def _is_background_ipsecd(process: str) -> bool:
    return _read(f"/proc/{process}/comm") == b"ipsecd\n" and _STARTED_BY_A_COMMAND in _read(f"/proc/{process}/cmdline")


def _has_ended(error: OSError) -> bool:
    return error.errno in (ENOENT, ESRCH, EINVAL)  # the last one of a process that only waits to be taken note of


def _read(path: str) -> bytes:
    """A file of /proc; empty if its process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if not _has_ended(error):
            raise
        return b""
