"""ipsecd's log lines: to standard error, or to syslog if there is no terminal or service manager behind it.

What is logged never holds a key: the callers pass texts about names, numbers and addresses, and `failure` tells where
an exception came from but not what it says.
"""

from __future__ import annotations

import os
import sys
import syslog

ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
"""Levels of syslog(3)."""

NAME = "ipsecd"


class Log:
    """Writes lines of at most `level`. `to_syslog` chooses the destination."""

    __slots__ = ("_prefix", "_to_syslog", "level")

    def __init__(self, level: int = NOTICE, *, to_syslog: bool = False) -> None:
        self.level = level
        self._to_syslog = to_syslog
        self._prefix = "JOURNAL_STREAM" in os.environ  # systemd reads the level from `<N>` at the start of a line
        if to_syslog:
            syslog.openlog(NAME, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, level: int, text: str) -> None:
        if level > self.level:
            return
        line = text.replace("\n", " ")
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

    def failure(self, error: BaseException) -> None:
        """A mistake in this program: the kind of the exception and the places it passed. Its text may hold a key."""
        places = []
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}")
            trace = trace.tb_next
        self.error(f"internal error: {type(error).__name__} at {' > '.join(places)}")
