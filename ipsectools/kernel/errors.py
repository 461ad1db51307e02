"""Why a state directory or file is refused."""

from __future__ import annotations

import os
import stat


class StateError(Exception):
    """A state file or directory that this kernel must not touch; the text is one line for the user."""


def check_file(path: str) -> None:
    """Raises StateError unless `path` is a regular file of this user that nobody else can read."""
    info = os.lstat(path)
    if not stat.S_ISREG(info.st_mode):
        raise StateError(f"{path}: not a regular file")
    if info.st_nlink != 1:
        raise StateError(f"{path}: has more than one name")
    _check_owner(path, info, 0o600)


def check_directory(path: str) -> None:
    """Raises StateError unless `path` is a directory of this user that nobody else can enter."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise StateError(f"{path}: not a directory")
    _check_owner(path, info, 0o700)


def _check_owner(path: str, info: os.stat_result, wanted: int) -> None:
    if info.st_uid != os.geteuid():
        raise StateError(f"{path}: owned by another user (uid {info.st_uid})")
    if info.st_mode & 0o077:
        raise StateError(f"{path}: accessible by others (mode {stat.S_IMODE(info.st_mode):04o}, wanted {wanted:04o})")
