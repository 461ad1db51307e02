"""The results of a run: rows of measurements, medians over the rounds, the JSON file."""

from __future__ import annotations

import json
import os
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DISTURBED = 0.10
"""Cores taken by other processes during a test, above which a measurement counts only if there is no better one."""


class Results:
    """What was measured: for each round, peer and test a dict of values, or the text of a failure."""

    def __init__(self, machine: dict[str, Any], titles: dict[str, str]) -> None:
        """`titles`: the peers' names and titles, in order."""
        self.machine = machine
        self.titles = titles
        self.skipped: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []

    def add(self, round_: int, peer: str, test: str, outcome: dict[str, float] | str, load: float) -> None:
        row: dict[str, Any] = {"round": round_, "peer": peer, "test": test, "load": round(load, 2)}
        row |= {"error": outcome} if isinstance(outcome, str) else outcome
        self.rows.append(row)

    def values(self, peer: str, test: str, value: str) -> list[float]:
        """What was read off in each round: of the undisturbed ones, of all if every one was disturbed."""
        rows = [row for row in self.rows if row["peer"] == peer and row["test"] == test and value in row]
        return [row[value] for row in rows if row["disturbed"] <= DISTURBED] or [row[value] for row in rows]

    def median(self, peer: str, test: str, value: str) -> float | None:
        found = self.values(peer, test, value)
        return median(found) if found else None

    def disturbed(self, peer: str, test: str) -> bool:
        """Whether no round of this test was undisturbed."""
        rows = [row for row in self.rows if row["peer"] == peer and row["test"] == test and "disturbed" in row]
        return bool(rows) and all(row["disturbed"] > DISTURBED for row in rows)

    def failures(self) -> list[str]:
        return [f"{row['peer']} {row['test']}: {row['error']}" for row in self.rows if "error" in row]

    def peers(self) -> list[str]:
        """The peers that were measured, in order."""
        seen = {row["peer"] for row in self.rows}
        return [name for name in self.titles if name in seen]

    def load(self) -> str:
        """The least and the highest load average beside the tests."""
        loads = [row["load"] for row in self.rows]
        return f"{min(loads):.1f} to {max(loads):.1f}" if loads else "-"


def save(results: Results, path: Path, **more: object) -> None:
    """Writes the JSON file, complete or not at all."""
    contents = {
        "machine": results.machine,
        "titles": results.titles,
        "skipped": results.skipped,
        **more,
        "rows": results.rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(contents, indent=1) + "\n")
    os.replace(partial, path)


def load(path: Path) -> Results:
    """Raises OSError, ValueError, KeyError."""
    contents = json.loads(path.read_text())
    results = Results(contents["machine"], contents["titles"])
    results.skipped, results.rows = contents["skipped"], contents["rows"]
    return results
