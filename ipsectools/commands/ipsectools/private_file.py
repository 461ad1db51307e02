"""A file for what nobody else shall read: keys, or the packets inside the tunnels."""

from __future__ import annotations

import os
import stat

_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: str) -> int:
    """A descriptor to write to. Raises OSError; its text says why a path is refused.

    A file that is there already is replaced by a new one, since others may have it open, or a name of their own for it.
    The path may also be a pipe or a device, as it is; of a pipe nobody but its owner may read. Symbolic links are
    refused: whoever may write to the directory could lead elsewhere with them.
    """
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return _new(path)
    if stat.S_ISLNK(there.st_mode):
        raise OSError(0, "is a symbolic link", path)
    if stat.S_ISREG(there.st_mode):
        os.unlink(path)
        return _new(path)
    descriptor = os.open(path, _FLAGS)
    try:
        opened = os.fstat(descriptor)
        if stat.S_ISFIFO(opened.st_mode):
            if opened.st_uid != os.geteuid():
                raise OSError(0, "is a pipe of another user", path)
            os.fchmod(descriptor, 0o600)
        elif not stat.S_ISCHR(opened.st_mode):
            raise OSError(0, "is no file, pipe or device", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _new(path: str) -> int:
    return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
