"""Where this installation's commands and manual pages are, in a checkout or under a prefix."""

from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PREFIX, _INSTALLED, _ = PACKAGE.partition("/lib/ipsectools/")
ROOT = _PREFIX if _INSTALLED else os.path.dirname(PACKAGE)
"""The checkout, or the prefix of `make install`."""

BIN = os.path.join(ROOT, "bin")
MAN = os.path.join(ROOT, "share", "man") if _INSTALLED else os.path.join(ROOT, "man")


def man_directory(directory: str) -> str:
    """A directory that man(1) can search: MAN itself, or `directory`, filled with links (a checkout has no man8/)."""
    if _INSTALLED:
        return MAN
    for page in sorted(os.listdir(MAN)):
        section = page.rpartition(".")[2]
        if section.isdigit():
            place = os.path.join(directory, f"man{section}")
            os.makedirs(place, exist_ok=True)
            os.symlink(os.path.join(MAN, page), os.path.join(place, page))
    return directory


def first_in_path(program: str) -> str | None:
    """The file that a shell would run for `program`."""
    for directory in os.environ.get("PATH", "").split(":"):
        path = os.path.join(directory or ".", program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None
