"""ipsecd's log lines: to standard error, or to syslog if there is no terminal or service manager behind it.

What is logged never holds a key: the callers pass texts about names, numbers and addresses, and `failure` tells where
an exception came from but not what it says.
"""

from __future__ import annotations

import contextlib
import os
import sys
import syslog
from time import monotonic

ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
"""Levels of syslog(3)."""

NAME = "ipsecd"

FILE_VARIABLE = "IPSECTOOLS_LOG"
"""Names a file in the environment to which all lines are appended as well."""

FAILURE = "internal error"
"""What the line of a mistake in this program begins with; the tests look for it."""

QUIET = 60.0
"""Seconds for which a line of `seldom` is not repeated."""
_MOST_QUIET = 256


class Log:
    """Writes lines of at most `level`. `to_syslog` chooses the destination."""

    __slots__ = ("_file", "_prefix", "_quiet", "_to_syslog", "level")

    def __init__(self, level: int = NOTICE, *, to_syslog: bool = False) -> None:
        self.level = level
        self._to_syslog = to_syslog
        self._prefix = "JOURNAL_STREAM" in os.environ  # systemd reads the level from `<N>` at the start of a line
        self._file = _open(os.environ.get(FILE_VARIABLE, ""))
        self._quiet: dict[str, tuple[float, int]] = {}
        """Lines of `seldom`: until when they are not repeated, and how often they would have been."""
        if to_syslog:
            syslog.openlog(NAME, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, level: int, text: str) -> None:
        if level > self.level:
            return
        line = text.replace("\n", " ")
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.write(self._file, f"{NAME}[{os.getpid()}]: {line}\n".encode(errors="replace"))
        if self._to_syslog:
            syslog.syslog(level, line)
            return
        try:
            sys.stderr.write(f"<{level}>{line}\n" if self._prefix else f"{NAME}: {line}\n")
            sys.stderr.flush()
        except OSError:
            pass  # nobody listens any more

    def error(self, text: str) -> None:
        self.write(ERROR, text)

    def warning(self, text: str) -> None:
        self.write(WARNING, text)

    def notice(self, text: str) -> None:
        self.write(NOTICE, text)

    def info(self, text: str) -> None:
        self.write(INFO, text)

    def seldom(self, level: int, text: str) -> None:
        """A line that may come again and again: once a minute, with how often it came meanwhile."""
        now = monotonic()
        until, times = self._quiet.get(text, (0.0, 0))
        if now < until:
            self._quiet[text] = until, times + 1
            return
        if len(self._quiet) >= _MOST_QUIET:
            self._quiet.clear()
        self._quiet[text] = now + QUIET, 0
        self.write(level, f"{text} ({times} times more since it was last said)" if times else text)

    def failure(self, error: BaseException) -> None:
        """A mistake in this program: the kind of the exception and the places it passed. Its text may hold a key."""
        places = []
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}")
            trace = trace.tb_next
        self.seldom(ERROR, f"{FAILURE}: {type(error).__name__} at {' > '.join(places)}")

    def catch(self) -> None:
        """Failures of threads, and those that Python only tells of, become lines as well."""
        import threading

        def of_thread(what: threading.ExceptHookArgs) -> None:
            if what.exc_value is not None:
                self.failure(what.exc_value)

        def ignored(what: sys.UnraisableHookArgs) -> None:
            if what.exc_value is not None:
                self.failure(what.exc_value)

        threading.excepthook = of_thread
        sys.unraisablehook = ignored


def _open(path: str) -> int:
    """The file to append to; -1 if none is wanted or it cannot be had."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600) if path else -1
    except OSError:
        return -1
