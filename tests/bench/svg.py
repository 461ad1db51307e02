"""A bar chart as SVG: readable on light and dark pages, no library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, LABELS, FIGURES = 960, 430, 90
ROW, BAR, GAP = 22, 14, 34
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } .note { font-size: 11px; fill: #656d76 }
.ours { fill: #1a7f64 } .rival { fill: #8c959f } .limit { fill: #d4a72c }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } }
"""


class Entry(NamedTuple):
    """One bar. `kind` is `ours`, `rival` or `limit`."""

    label: str
    value: float
    kind: str


class Group(NamedTuple):
    """Bars of one quantity below a title; all start at 0 and share a scale."""

    title: str
    entries: Sequence[Entry]


def chart(groups: Sequence[Group], note: str) -> str:
    """The SVG document; `note` goes below the bars, wrapped."""
    parts: list[str] = []
    y = 0
    for group in groups:
        y += GAP
        parts.append(f'<text class="title" x="10" y="{y}">{escape(group.title)}</text>')
        most = max((entry.value for entry in group.entries), default=0) or 1
        y += 10
        for entry in group.entries:
            length = max(1.0, entry.value / most * (WIDTH - LABELS - FIGURES))
            middle = y + BAR - 3
            parts.append(f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(entry.label)}</text>')
            parts.append(
                f'<rect class="{entry.kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{LABELS + length + 6:.1f}" y="{middle}">{entry.value:,.0f}</text>')
            y += ROW
    y += 20
    for line in _wrapped(note, 150):
        parts.append(f'<text class="note" x="10" y="{y}">{escape(line)}</text>')
        y += 15
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
