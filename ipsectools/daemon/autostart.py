"""Starts ipsecd from a command and waits until it is ready."""

from __future__ import annotations

import os
import sys
from _signal import SIG_SETMASK, pthread_sigmask  # type: ignore[import-not-found]
from fcntl import F_DUPFD, fcntl
from select import select

READY = b"ready\n"
"""What a starting ipsecd writes into the pipe of `--ready-descriptor`; anything else is the reason why it is not."""


class CannotStart(Exception):
    """ipsecd did not come up; the text is its own last words."""


def command(directory: str, ready: int) -> list[str]:
    """The command line of a background ipsecd for a state directory."""
    launcher = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launch.py")
    options = ["--foreground", f"--ready-descriptor={ready}", f"--state={directory}"]
    return [sys.executable, "-I", "-S", launcher, "ipsecd", *options]


def start(directory: str, patience: float) -> None:
    """Returns when an ipsecd serves `directory` (this one or one that was quicker). Raises CannotStart.

    The new process is nobody's child, has a session of its own, and holds none of the caller's files open.
    """
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            _become(directory, theirs)
        finally:
            os._exit(127)
    os.close(theirs)
    os.waitpid(child, 0)
    try:
        said = b""
        while select([ours], [], [], patience)[0]:
            part = os.read(ours, 4096)
            said += part
            if not part or said == READY:
                break
        else:
            raise CannotStart(f"not ready after {patience:.0f} seconds")
    finally:
        os.close(ours)
    if said != READY:
        raise CannotStart(said.decode(errors="replace").strip() or "it ended at once")


def _become(directory: str, ready: int) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    descriptor = 3
    ready = fcntl(ready, F_DUPFD, descriptor + 1)  # out of the way: it may be one of the four
    null = fcntl(os.open("/dev/null", os.O_RDWR), F_DUPFD, descriptor + 1)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(ready, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    pthread_sigmask(SIG_SETMASK, ())
    os.execv(sys.executable, command(directory, descriptor))
