"""Results as tables: with rich on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ipsectools.lab.show import presenter
from tests.bench.bars import judge
from tests.bench.machine import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.results import Results

COLUMNS = (
    ("TCP x1 Mbit/s", "tcp1", "mbit_s", "{:,.0f}"),
    ("TCP x4", "tcp4", "mbit_s", "{:,.0f}"),
    ("64 B pkt/s", "rate", "packets_s", "{:,.0f}"),
    ("RTT us", "ping", "rtt_us", "{:,.0f}"),
    ("p99", "ping", "rtt_p99_us", "{:,.0f}"),
    ("RTT us loaded", "loaded", "rtt_us", "{:,.0f}"),
    ("CPU s/GB", "tcp1", "cpu_seconds_per_gb", "{:,.2f}"),
    ("peak MiB", "tcp1", "peak_mib", "{:,.0f}"),
)
DISTURBED_MARK = "~"


class Report:
    """Writes headings, tables and notes to standard output."""

    def __init__(self) -> None:
        self._show = presenter(sys.stdout)

    def heading(self, text: str) -> None:
        self._show.heading(text)

    def note(self, text: str) -> None:
        self._show.note(text)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._show.table(heads, rows)

    def verdict(self, text: str, good: bool) -> None:
        self._show.verdict(text, good)


def show_tunnels(results: Results) -> None:
    """The tables of `make bench`."""
    report = Report()
    report.heading("Tunnels, medians")
    rows = []
    for peer in results.peers():
        cells = [_cell(results, peer, *column[1:]) for column in COLUMNS]
        rows.append((results.titles[peer], *cells))
    report.table(("", *(column[0] for column in COLUMNS)), rows)
    report.note(
        f"{DISTURBED_MARK}: other processes disturbed every round. RTT: medians. CPU and memory: both ends together."
    )
    report.heading("Bars")
    for verdict in judge(results):
        reached = "not measured" if verdict.reached is None else f"{verdict.reached:,.2f}"
        reached = (DISTURBED_MARK if verdict.disturbed else "") + reached
        report.verdict(f"{verdict.text}: {reached} (wanted {verdict.wanted})", verdict.met is True)
    for name, reason in results.skipped.items():
        report.note(f"not measured: {name}: {reason}")
    for failure in results.failures():
        report.note(f"failed: {failure}")
    report.note(in_words(results.machine, results.load()))


def _cell(results: Results, peer: str, test: str, value: str, form: str) -> str:
    found = results.median(peer, test, value)
    if found is None:
        return "-"
    return (DISTURBED_MARK if results.disturbed(peer, test) else "") + form.format(found)
