"""The `ipsectools` command: finds the subcommand."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "doctor": "what works here, what is missing, and how to mend it",
    "dump": "the packets inside the tunnels, as pcap",
    "export": "the SAs for other programs (Wireshark)",
    "pfkey-run": "runs a program that speaks PF_KEY against this kernel",
    "shell": "a shell in which the commands are FreeBSD's",
    "stats": "counters as text, JSON or for Prometheus",
    "top": "interfaces, SAs, rates and drops, live",
    "why": "follows a packet through the running kernel without sending it",
}
"""The subcommands, each a module of `ipsectools.commands.ipsectools`, and what it is for."""


def main(arguments: list[str]) -> int:
    """Runs a subcommand; 0 done, 1 failed, 2 a command line that makes no sense."""
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        sys.stdout.write(usage())
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        if arguments:
            sys.stderr.write(f"ipsectools: no such command: {arguments[0]}\n")
        sys.stderr.write(usage())
        return 2
    from ipsectools.daemon.client import ClientError
    from ipsectools.errno import KernelError

    module = import_module("ipsectools.commands.ipsectools." + arguments[0].replace("-", "_"))
    try:
        return int(module.main(arguments[1:]))
    except (ClientError, KernelError) as error:
        sys.stderr.write(f"ipsectools: {error}\n")
        return 1


def usage() -> str:
    """The usage text."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: ipsectools COMMAND [ARGUMENTS]", "", *lines, ""])
