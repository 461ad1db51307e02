"""`ipsectools shell [--lab | --simulated] [COMMAND ...]`: a shell whose ifconfig, setkey and pages are FreeBSD's.

With --simulated the host is the simulated one, which everybody can have: all commands work, no packet flows.

With --lab it runs on host A of the lab: fresh network namespaces, joined by a cable with host B; `hostb COMMAND` runs a
command there (`hosta` the other way round). When it ends, all of that is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile

from ipsectools.commands.ipsectools import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.lab.host import Host

USAGE = "usage: ipsectools shell [--lab | --simulated] [COMMAND [ARGUMENTS]]\n"

FIRST_DESCRIPTOR = 200
"""Where the shell's children find the namespaces of the lab hosts."""

WELCOME = """\
You are on host A ({a}). Host B ({b}) is at the other end of em0: `hostb COMMAND' runs
a command there, `hostb' alone a shell. Leave with exit; nothing will be left of this. Start with: man if_ipsec
"""


def main(arguments: list[str]) -> int:
    """The exit status of the shell or command; 1 where there can be no lab, 2 for a wrong command line."""
    is_lab, is_simulated = arguments[:1] == ["--lab"], arguments[:1] == ["--simulated"]
    command = arguments[1:] if is_lab or is_simulated else arguments
    if command[:1] == ["--"]:
        command = command[1:]
    elif command and command[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 2
    command = command or [os.environ.get("SHELL") or "/bin/sh"]
    with tempfile.TemporaryDirectory(prefix="ipsectools-") as directory:
        environment = surroundings(places.man_directory(directory))
        if is_simulated:
            environment["IPSECTOOLS_HOST"] = "simulated"
        return _in_lab(command, environment) if is_lab else _run(command, environment, ())


def surroundings(man: str) -> dict[str, str]:
    """The environment of the shell: our bin first in PATH, our pages first in MANPATH."""
    path = [places.BIN, *(part for part in os.environ.get("PATH", "").split(":") if part and part != places.BIN)]
    # an empty part at the end stands for the system's own pages
    return {**os.environ, "PATH": ":".join(path), "MANPATH": f"{man}:{os.environ.get('MANPATH', '')}"}


def _run(command: list[str], environment: dict[str, str], descriptors: tuple[int, ...]) -> int:
    """Runs a command in the foreground; its exit status, 128 + N if signal N ended it."""
    import subprocess

    sys.stdout.flush()
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        # the shell itself must not ignore ^C
        process = subprocess.Popen(
            command, env=environment, pass_fds=descriptors, preexec_fn=_default_signals, restore_signals=True
        )
        status = process.wait()
    except OSError as error:
        sys.stderr.write(f"ipsectools: {command[0]}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _in_lab(command: list[str], environment: dict[str, str]) -> int:
    from ipsectools.lab.host import STATE, LabError
    from ipsectools.lab.network import two_hosts

    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        sys.stderr.write("ipsectools: no lab here: /dev/net/tun cannot be used (modprobe tun)\n")
        return 1
    environment |= {"IPSECTOOLS_STATE": STATE, "IPSECTOOLS_HOST": "linux", "PS1": "A# "}
    environment["PATH"] = f"/run/bin:{environment['PATH']}"
    for name in ("ENV", "PROMPT_COMMAND", "IPSECTOOLS_IDLE"):
        environment.pop(name, None)
    try:
        with two_hosts() as hosts:
            namespaces = [_keep(host, FIRST_DESCRIPTOR + 4 * place) for place, host in enumerate(hosts)]
            for host in hosts:
                for name, there in zip("ab", namespaces, strict=True):
                    _write_entrance(host, name, [there["mnt"], there["net"]])
            if sys.stdin.isatty():
                sys.stderr.write(WELCOME.format(a="192.168.0.3, 2001:db8::3", b="192.168.0.5, 2001:db8::5"))
            descriptors = tuple(number for each in namespaces for number in each.values())
            return _run([*_enter([*namespaces[0].values()]), *command], environment, descriptors)
    except LabError as error:
        sys.stderr.write(f"ipsectools: no lab here: {error}\n")
        return 1


def _keep(host: Host, first: int) -> dict[str, int]:
    """Opens the namespaces of a host, by kind, under descriptors from `first` on: those that are not ours."""
    kept: dict[str, int] = {}
    for kind in ("user", "mnt", "net", "pid"):  # the user namespace first: it gives the right to enter the others
        path = f"/proc/{host._inner_pid()}/ns/{kind}"
        if os.stat(path).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            kept[kind] = os.dup2(descriptor, first + len(kept))
            os.close(descriptor)
    return kept


def _enter(descriptors: list[int]) -> list[str]:
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "enter.py")
    return [sys.executable, "-I", "-S", script, ",".join(map(str, descriptors))]


def _write_entrance(host: Host, letter: str, descriptors: list[int]) -> None:
    """`hosta` or `hostb` for `host`: runs its arguments, or a shell, on that host of the lab."""
    os.makedirs(host.path("/run/bin"), exist_ok=True)
    path = host.path(f"/run/bin/host{letter}")
    words = " ".join(f"'{word}'" for word in _enter(descriptors))
    with open(path, "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\n[ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"\n')
        file.write(f'PS1="{letter.upper()}# " exec {words} "$@"\n')
    os.chmod(path, 0o755)
