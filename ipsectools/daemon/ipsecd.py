"""ipsecd(8): the process that owns an emulated kernel.

usage: ipsecd [-fv] [--idle seconds]
       ipsecd --status | --stop
"""

from __future__ import annotations

import os
import sys

from ipsectools.daemon.client import ClientError, state_directory, usable_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = "usage: ipsecd [-fqv] [--idle seconds]\n       ipsecd --status | --stop\n"

IDLE_VARIABLE = "IPSECTOOLS_IDLE"
IDLE_IN_BACKGROUND = 60.0
"""Seconds; in the foreground an ipsecd without --idle stays for ever."""


class Options:
    """The command line."""

    __slots__ = ("directory", "foreground", "idle", "ready", "verbosity", "what")

    def __init__(self) -> None:
        self.what = "serve"
        self.foreground = False
        self.verbosity = 0
        self.idle: float | None = None
        self.ready = -1
        """A pipe of who started us (see `autostart`); -1 if started by hand or by a service manager."""
        self.directory: str | None = None


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    from ipsectools.daemon import limits

    options = _parse(arguments)
    try:
        if options.what != "serve":
            directory = options.directory or usable_directory()
            return (_show_status if options.what == "status" else _stop)(directory)
        if options.ready < 0:
            limits.check_start()  # a command that starts it knows what can be done here
        directory = options.directory or state_directory()
        if not options.foreground:
            return _start_in_background(directory, options)
        return _serve(directory, options)
    except ClientError as error:
        return _fail(options, str(error))


def _parse(arguments: list[str]) -> Options:
    options = Options()
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--idle", "--ready-descriptor", "--state") and not equals:
            if not words:
                _usage()
            value = words.pop(0)
        if word in ("-f", "--foreground"):
            options.foreground = True
        elif word in ("-v", "--verbose"):
            options.verbosity += 1
        elif word in ("-q", "--quiet"):
            options.verbosity -= 1
        elif word in ("--status", "--stop"):
            options.what = word[2:]
        elif name == "--idle":
            options.idle = _seconds(value)
        elif name == "--ready-descriptor" and value.isdigit():
            options.ready = int(value)
        elif name == "--state":
            options.directory = os.path.abspath(value)
        elif len(word) > 2 and word[0] == "-" and word[1] != "-":  # a cluster of one-letter options
            words[:0] = [f"-{letter}" for letter in word[1:]]
        else:
            _usage()
    if options.idle is None and IDLE_VARIABLE in os.environ:
        options.idle = _seconds(os.environ[IDLE_VARIABLE])
    return options


def _seconds(text: str) -> float:
    if not text.isdigit() or len(text) > 9:
        sys.stderr.write(f"ipsecd: {text}: not a number of seconds\n")
        raise SystemExit(1)
    return float(text)


def _usage() -> NoReturn:
    sys.stderr.write(USAGE)
    raise SystemExit(1)


def _fail(options: Options, text: str) -> int:
    if options.ready >= 0:
        os.write(options.ready, text.encode()[:4000])
    else:
        sys.stderr.write(f"ipsecd: {text}\n")
    return 1


def _serve(directory: str, options: Options) -> int:
    from ipsectools.daemon import autostart, log, service

    background = options.ready >= 0
    idle = options.idle
    if idle is None:
        idle = IDLE_IN_BACKGROUND if background else 0.0
    writer = log.Log(log.NOTICE + options.verbosity, to_syslog=background and os.path.exists("/dev/log"))
    writer.catch()
    try:
        running = service.Service(directory, writer, idle, background=background)
    except service.AlreadyServed:
        if not background:
            return _fail(options, f"another ipsecd serves {directory}")
        os.write(options.ready, autostart.READY)
        return 0
    except service.CannotServe as error:
        return _fail(options, str(error))
    if background:
        os.write(options.ready, autostart.READY)
        os.close(options.ready)
    try:
        running.run()
    except Exception as error:
        writer.failure(error)
        raise
    finally:
        running.close()
    return 0


def _start_in_background(directory: str, options: Options) -> int:
    from ipsectools.daemon import manage

    if options.idle is not None:
        os.environ[IDLE_VARIABLE] = f"{options.idle:.0f}"
    manage.start(directory)
    return 0


def _show_status(directory: str) -> int:
    """Prints what the running ipsecd says; status 3 (as init scripts have it) if there is none."""
    from ipsectools.daemon import limits, manage

    found = manage.status(directory)
    if found is None:
        if manage.is_served_for_others():
            raise limits.refused_socket()
        sys.stdout.write("ipsecd is not running" + (f" ({directory})" if directory else "") + "\n")
        return 3
    sys.stdout.write(
        f"ipsecd {found['version']} is running, process {found['pid']}, for {found['uptime']} s\n"
        f"state: {found['directory']} ({found['kind']})\n"
        f"ipsec interfaces: {found['interfaces']}\n"
        f"clients: {found['clients']}\n"
    )
    return 0


def _stop(directory: str) -> int:
    from ipsectools.daemon import manage

    if not manage.stop(directory):
        sys.stderr.write("ipsecd: not running\n")
        return 1
    return 0
