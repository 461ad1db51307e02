"""Notices what others do to the state file while one process has it open.

SQLite holds descriptors and looks at no name again: a file that was removed or replaced swallows every further change,
and one that was written into by somebody else is read as if it were ours.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Look: TypeAlias = "tuple[int, int, int, int] | None"


class FileWatch:
    """Some files as they were at the last `note`: to be called whenever this process has written to them."""

    __slots__ = ("_paths", "_seen")

    def __init__(self, *paths: str) -> None:
        self._paths = paths
        self._seen: list[Look] = []
        self.note()

    def note(self) -> None:
        self._seen = [_look(path) for path in self._paths]

    def harm(self, *, names_only: bool = False) -> str:
        """What somebody else has done since the last `note`, for people; empty if nothing.

        `names_only`: this process has written meanwhile, so that only another file under the name tells.
        """
        for path, before in zip(self._paths, self._seen, strict=True):
            if before is None:
                continue
            now = _look(path)
            if now == before:
                continue
            if now is None:
                return f"{path} was removed"
            if now[:2] != before[:2]:
                return f"{path} was replaced"
            if not names_only:
                return f"{path} was {'truncated' if now[2] < before[2] else 'written to by another program'}"
        return ""

    def lengthen(self) -> None:
        """Gives a file that was cut its length again: SQLite asks for that before it looks into its own memory."""
        for path, before in zip(self._paths, self._seen, strict=True):
            now = _look(path)
            if before is not None and now is not None and now[:2] == before[:2] and now[2] < before[2]:
                os.truncate(path, before[2])


def _look(path: str) -> Look:
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
