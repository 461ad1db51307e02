"""netstat(1): `-s -p esp|ah|ipsec|ipsec6`, `-i`, `-I` and `-w`; every other call is the host's own netstat's."""

from __future__ import annotations

import os
import sys

from ipsectools.commands import bsdgetopt
from ipsectools.commands.netstat import statistics
from ipsectools.daemon import client
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import StructureName

OPTIONS = "46AaBbCcdF:f:ghI:iLlM:mN:nPp:Qq:RrSTsuWw:xz"
OURS = frozenset("46bdfhIinpqsWw")
"""The option letters of the calls that are ours. Addresses are always numeric (-n), numbers never shortened (-h)."""
EX_DATAERR = 65

FAMILIES = (None, "inet", "inet6", "link")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    argv = ["netstat", *arguments]
    letters: list[str] = []
    protocol = interface = family = wait = times = None
    parser = bsdgetopt.getopt(argv, OPTIONS)
    for letter, argument in parser:
        letters.append(letter)
        if letter == "p":
            protocol = argument
        elif letter == "I":
            interface = argument
        elif letter == "w":
            wait = argument
        elif letter == "q":
            times = argument
        elif letter in "46f":
            family = {"4": "inet", "6": "inet6", "f": argument}[letter]
    structure = next((name for name in statistics.TEXTS if "s" in letters and name == protocol), None)
    is_interfaces = ("i" in letters or interface is not None) and "s" not in letters and protocol is None
    is_rates = wait is not None and "s" not in letters and _is_number(wait) and _is_number(times or "1")
    is_ours = structure is not None or is_rates or (is_interfaces and family in FAMILIES)
    if not is_ours or not OURS.issuperset(letters) or parser.index < len(argv):
        return _hand_over(arguments)
    try:
        if structure is not None:
            return _show_statistics(structure, hide_zeros=letters.count("s") > 1)
        if is_rates:
            return _show_rates(interface, int(wait or 0), int(times or 0), "d" in letters)
        return _show_interfaces(interface, family, letters)
    except (client.ClientError, KernelError) as error:
        sys.stderr.write(f"netstat: {error}\n")
        return 1


def _show_statistics(protocol: StructureName, hide_zeros: bool) -> int:
    values = client.open_control().call("STATISTICS")[protocol]
    counters = len(statistics.TEXTS[protocol])
    histogram = values[counters:] if protocol in ("esp", "ah") else []
    for line in statistics.lines(protocol, values[:counters], histogram, hide_zeros):
        sys.stdout.write(line + "\n")
    return 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 9


def _show_rates(name: str | None, wait: int, times: int, drops: bool) -> int:
    from ipsectools.commands.netstat import rates

    door = client.open_control()
    arguments = {} if name is None else {"name": name}
    try:
        for line in rates.lines(lambda: door.call("LISTIF", **arguments), name, wait, times, drops):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except LookupError:
        sys.stderr.write(f"netstat: interface {name} not found\n")
        return EX_DATAERR
    return 0


def _show_interfaces(name: str | None, family: str | None, letters: list[str]) -> int:
    from ipsectools.commands.netstat import interfaces

    door = client.open_control()
    found = door.call("LISTIF", name=name) if name is not None else door.call("LISTIF")
    shown = interfaces.table(found, family=family, octets="b" in letters, drops="d" in letters)
    for line in shown:
        sys.stdout.write(line + "\n")
    return 0


def _hand_over(arguments: list[str]) -> int:
    from ipsectools.commands import hosttool

    program = hosttool.find("netstat")
    if program is not None:
        os.execv(program, ["netstat", *arguments])
    sys.stderr.write(
        "netstat: this host has no netstat of its own; here: -s -p esp|ah|ipsec|ipsec6, -i, -I interface, -w wait\n"
    )
    return 1
