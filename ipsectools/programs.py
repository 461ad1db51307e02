"""Runs a program of this package as a process of its own: its exit status, and what ends it from outside."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MODULES = {
    "ifconfig": "ipsectools.commands.ifconfig.main",
    "setkey": "ipsectools.commands.setkey.main",
    "ipsecd": "ipsectools.daemon.ipsecd",
    "sysctl": "ipsectools.commands.sysctl.main",
    "netstat": "ipsectools.commands.netstat.main",
    "kldload": "ipsectools.commands.kld.main",
    "kldstat": "ipsectools.commands.kld.main",
    "kldunload": "ipsectools.commands.kld.main",
    "ipsectools": "ipsectools.commands.ipsectools.main",
}
"""Where the `main(arguments) -> status` of each program is. A module that has several programs gets the name, too."""

_KEY_HOLDERS = frozenset(["setkey"])
"""Programs with keys in their input; others that come to hold some see to it themselves."""

_SHARED = frozenset(["ipsectools.commands.kld.main"])

_SIGINT, _SIGPIPE, _SIG_DFL = 2, 13, 0


def run(program: str, arguments: list[str]) -> NoReturn:
    """Runs a program and ends this process with its status, without the interpreter's slow tidying up."""
    sys.argv = [program, *arguments]
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _occupy_closed_descriptors()
    try:
        module = MODULES[program]
        if program in _KEY_HOLDERS:
            from ipsectools.daemon.secrecy import guard_memory

            guard_memory()
        # importlib would cost 2 ms; __import__ with a list of names returns the innermost module.
        main = __import__(module, fromlist=["main"]).main
        status = main([program, *arguments] if module in _SHARED else arguments)
        sys.stdout.flush()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            sys.stderr.write(f"{stop.code}\n")
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end_by(_SIGINT)
    except BrokenPipeError:  # our reader has seen enough, as in `setkey -D | head`
        _end_by(_SIGPIPE)
    except OSError as error:  # standard output is full or gone
        sys.stderr.write(f"{program}: {error.strerror or error}\n")
        status = 1
    limits = sys.modules.get("ipsectools.daemon.limits")
    if limits is not None and limits.advice:
        sys.stderr.write(f"{program}: {limits.advice}\n")
    sys.stderr.flush()
    os._exit(status)


def _occupy_closed_descriptors() -> None:
    """Puts /dev/null where 0, 1 or 2 are closed, so that no socket lands there. Reading such a 0 fails, too."""
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) < 3:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def _end_by(number: int) -> NoReturn:
    """Ends this process by a signal, as a program in C would have ended, so that the shell sees why."""
    import _signal  # type: ignore[import-not-found]  # the one in C, without enum

    _signal.signal(number, _SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
