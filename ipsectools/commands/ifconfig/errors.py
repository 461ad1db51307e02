"""The four shapes of ifconfig's complaints (err(3)): fatal or warning, with or without an error number's text."""

from __future__ import annotations

import sys

from ipsectools.errno import ENXIO, EPERM, KernelError, strerror


class Fatal(Exception):
    """Ends the command with status 1; the text is printed after the program's name."""


class UsageError(Exception):
    """Ends the command with the usage message and status 1; the text, if any, is printed before it."""


def complain(text: str) -> None:
    """Prints one line on stderr, as warnx(3) does."""
    sys.stderr.write(f"ifconfig: {text}\n")


def fatal(text: str, error: KernelError | None = None) -> Fatal:
    """The exception to raise for err(3), or errx(3) without `error`."""
    return Fatal(text if error is None else f"{text}: {strerror(error.errno)}")


def warn(text: str, error: KernelError | None = None) -> None:
    """Complains as warn(3) does, or warnx(3) without `error`; the command goes on and its status stays."""
    complain(text if error is None else f"{text}: {strerror(error.errno)}")


def refusal(command: str, error: KernelError) -> Fatal:
    """The exception to raise where ifconfig rewords the two commonest errors (flags, capabilities, addresses)."""
    if error.errno == ENXIO:
        return Fatal(f"{command}: no such interface")
    if error.errno == EPERM:
        return Fatal(f"{command}: permission denied")
    return fatal(command, error)


NO_ERROR = KernelError(0)
"""For messages to which FreeBSD appends the text of an errno that nobody set."""
