"""`ipsectools top [-d SECONDS] [-n TIMES]`: interfaces, SAs, rates, lifetimes and drops.

On a terminal a live view, until ^C; elsewhere once, as plain text.
"""

from __future__ import annotations

import os
import sys
import time

from ipsectools.commands.ipsectools import sas
from ipsectools.daemon import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import RenderableType

    from ipsectools.answers import Interface

    Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

USAGE = "usage: ipsectools top [-d SECONDS] [-n TIMES]\n"

MOST_SAS = 200
"""SAs that are shown at the most; the rest is counted."""


class Snapshot:
    """What was counted at one moment."""

    __slots__ = ("counted", "interfaces", "more", "now", "sas")

    def __init__(self, door: client.ControlDoor) -> None:
        self.now = time.time()
        self.interfaces = [interface for interface in door.call("LISTIF") if interface["reqid"] is not None]
        self.counted = door.call("STATISTICS")
        self.sas: list[tuple[str, ...]] = []
        self.more = 0
        for sa in sas.read():
            if len(self.sas) < MOST_SAS:
                self.sas.append(_sa_row(sa, self.now))
            else:
                self.more += 1

    def tables(self, before: Snapshot | None) -> dict[str, Table]:
        """Heads and rows by title. Rates are per second since `before`."""
        heads = ("name", "state", "tunnel", "reqid", "in packets", "in bytes", "out packets", "out bytes", "errors")
        return {
            "interfaces": (
                (*heads, *(("in bit/s", "out bit/s") if before else ())),
                [self._interface_row(interface, before) for interface in self.interfaces],
            ),
            "SAs": (
                ("spi", "from", "to", "reqid", "state", "algorithms", "age", "hard limit", "bytes", "packets"),
                self.sas + ([(f"and {self.more} more",)] if self.more else []),
            ),
            "drops": (
                ("reason", "packets", *(("per second",) if before else ())),
                self._drop_rows(before),
            ),
        }

    def _interface_row(self, interface: Interface, before: Snapshot | None) -> tuple[str, ...]:
        counted = interface["statistics"]
        flags, tunnel = interface["flags"], interface["tunnel"]
        state = "down" if not flags & 0x1 else "running" if flags & 0x40 else "no source"
        row = (
            interface["name"],
            state,
            f"{tunnel['src']} > {tunnel['dst']}" if tunnel else "-",
            str(interface["reqid"]),
            *(str(counted[name]) for name in ("ipackets", "ibytes", "opackets", "obytes")),
            str(counted["ierrors"] + counted["oerrors"]),
        )
        if before is None:
            return row
        old = {each["index"]: each["statistics"] for each in before.interfaces}.get(interface["index"], counted)
        rates = (self._rate(counted[name] - old[name], before) * 8 for name in ("ibytes", "obytes"))
        return (*row, *(_scaled(rate) for rate in rates))

    def _drop_rows(self, before: Snapshot | None) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for reason, count in sorted(self.counted["drops"].items()):
            if count and before is not None:
                rate = self._rate(count - before.counted["drops"].get(reason, 0), before)
                rows.append((reason, str(count), _scaled(rate)))
            elif count:
                rows.append((reason, str(count)))
        return rows

    def _rate(self, difference: int, before: Snapshot) -> float:
        return max(0, difference) / max(0.001, self.now - before.now)


def _sa_row(sa: sas.Sa, now: float) -> tuple[str, ...]:
    limits = []
    if sa.hard_seconds:
        limits.append(_duration(sa.hard_seconds))
    if sa.hard_bytes:
        limits.append(_scaled(sa.hard_bytes) + "B")
    return (
        f"0x{sa.spi:08x}",
        sa.src,
        sa.dst,
        str(sa.reqid),
        sa.state,
        sa.algorithms,
        _duration(int(now) - sa.added) if sa.added else "-",
        " ".join(limits) or "-",
        str(sa.bytes),
        str(sa.packets),
    )


def _duration(seconds: int) -> str:
    seconds = max(0, seconds)
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02}"
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _scaled(value: float) -> str:
    for unit in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.0f}{unit}" if not unit or value >= 100 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}T"


def main(arguments: list[str]) -> int:
    """0: shown; 2: a command line that makes no sense."""
    from ipsectools.commands import bsdgetopt

    delay, times = 1.0, 0
    argv = ["ipsectools", *arguments]
    parser = bsdgetopt.getopt(argv, "d:n:", program="ipsectools")
    for letter, argument in parser:
        if letter == "d" and argument and argument.replace(".", "", 1).isdecimal() and 0.1 <= float(argument) <= 3600:
            delay = float(argument)
        elif letter == "n" and argument and argument.isdecimal() and 0 < int(argument) < 1 << 31:
            times = int(argument)
        else:
            return _usage()
    if parser.index < len(argv):
        return _usage()
    door = client.open_control()
    try:
        if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            _live(door, delay, times)
        else:
            _plain(door, delay, times or 1)
    finally:
        door.close()
    return 0


def _usage() -> int:
    sys.stderr.write(USAGE)
    return 2


def _plain(door: client.ControlDoor, delay: float, times: int) -> None:
    before = None
    for turn in range(times):
        if turn:
            time.sleep(delay)
            sys.stdout.write("\n")
        now = Snapshot(door)
        for title, (heads, rows) in now.tables(before).items():
            widths = [
                max(len(row[column]) for row in (heads, *rows) if column < len(row)) for column in range(len(heads))
            ]
            sys.stdout.write(f"{title}:\n")
            for row in (heads, *rows):
                cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
                sys.stdout.write(("  " + "  ".join(cells)).rstrip() + "\n")
        sys.stdout.flush()
        before = now


def _live(door: client.ControlDoor, delay: float, times: int) -> None:
    from rich.live import Live

    before = Snapshot(door)
    turns = 0
    with Live(_rich(before, before), screen=True, auto_refresh=False) as live:
        try:
            while not times or turns < times:
                time.sleep(delay)
                now = Snapshot(door)
                live.update(_rich(now, before), refresh=True)
                before = now
                turns += 1
        except KeyboardInterrupt:
            return


def _rich(now: Snapshot, before: Snapshot) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable

    parts = []
    for title, (heads, rows) in now.tables(before).items():
        table = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, expand=False)
        for head in heads:
            table.add_column(head, no_wrap=True)
        for row in rows:
            table.add_row(*row)
        parts.append(table)
    return Group(*parts)
