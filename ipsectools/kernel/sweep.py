"""Removes state directories, with the keys in them, whose network namespace is no more.

Done by whoever opens a kernel as root (a command, ipsecd), once a minute at the most and only where there are
directories of others. Never touched are those that have an owner, and those of this boot while somebody may be in their
namespace out of our sight: unless all processes of the machine can be seen, only what was made among the processes that
can be seen is judged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from ipsectools.kernel.namespace import namespace_name, read_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STAMP = ".swept"
INTERVAL = 60.0
_TRIES = 3
ALL_PROCESSES = "4026531836"
"""The inode number of the PID namespace from which every process is seen; the same on every Linux."""


def sweep_now_and_then(root: str, own: str, mark: Sequence[str]) -> None:
    """`sweep`, unless that was done within the last minute or there is nobody else's directory."""
    stamp = f"{root}/{STAMP}"
    if not any(name != own for name in _directories(root)):
        return
    try:
        if 0 <= time.time() - os.stat(stamp, follow_symlinks=False).st_mtime < INTERVAL:
            return
    except OSError:
        pass
    with contextlib.suppress(OSError):
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        os.utime(stamp)
        sweep(root, own, mark)


def sweep(root: str, own: str, mark: Sequence[str]) -> None:
    """Removes what is dead among the directories in `root`; `own` and its `mark` are those of this process."""
    boot, *numbers, processes = mark
    dead: list[str] = []
    suspected: list[str] = []
    marks: dict[str, list[str]] = {}
    for name in _directories(root):
        found = marks[name] = read_mark(f"{root}/{name}")
        if name == own or not found:
            continue
        if found[0] != boot or found[1:3] == numbers:  # the number that we have now was that of another
            dead.append(name)
        elif processes in (ALL_PROCESSES, found[3]):
            suspected.append(name)
    for _ in range(2):  # a process that starts another and ends may be missed once
        if suspected:
            suspected = _without_living(suspected, marks)
    for name in [*dead, *suspected]:
        remove(f"{root}/{name}", marks[name])


def _without_living(suspected: list[str], marks: dict[str, list[str]]) -> list[str]:
    from ipsectools.host.linux.occupants import Namespaces

    seen = Namespaces()
    if not seen.complete:
        return []
    return [name for name in suspected if not _may_live(name, seen.places(int(marks[name][1]), int(marks[name][2])))]


def _may_live(name: str, places: list[str]) -> bool:
    """Numbers are given to later namespaces, names are not: the namespace is asked for its name, if it lets us in."""
    return bool(places) and all(_name_of(place) in (name, "") for place in places[:_TRIES])


def _name_of(place: str) -> str:
    """The name of the namespace that can be opened there; empty if it cannot be told."""
    from ipsectools.host.linux import namespaces

    out, into = os.pipe()
    child = os.fork()  # this process stays where it is
    if child == 0:
        try:
            namespaces.enter(os.open(place, os.O_RDONLY | os.O_CLOEXEC))
            os.write(into, namespace_name(make=False).encode())
        finally:
            os._exit(0)
    os.close(into)
    with open(out, encoding="ascii") as answer:
        name = answer.read()
    os.waitpid(child, 0)
    return name


def _directories(root: str) -> list[str]:
    return [name for name in os.listdir(root) if not name.startswith(".")]


def remove(directory: str, mark: list[str]) -> None:
    """Removes a state directory, and that of a simulated host in it, unless one of them has an owner.

    `mark`: what it was judged by. If that is another by now, somebody was quicker.
    """
    with contextlib.ExitStack() as locks:
        for lock in (f"{directory}/lock", f"{directory}/simulated/lock"):
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            except OSError:
                return
            locks.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
        if read_mark(directory) == mark:
            import shutil

            shutil.rmtree(directory, ignore_errors=True)
