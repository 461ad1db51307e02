"""Sessions in manual pages: what the EXAMPLES section of an mdoc page would have one type, and on which host.

The convention of the pages in man/: a `.Bd -literal` display is a session if it has a line that begins with `# `. Such
a line is typed at a root shell; if a line `^D` follows before the next one, the lines between are typed into the
command and ^D ends its input; else they are what the command prints. The text before the display names the host,
"host A", "host B" (without a name: the host of the display before, at first A).
"""

from __future__ import annotations

import os
import re

END_LINE = "^D"
_ESCAPES = {r"\e": "\\", r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\&": ""}
_ESCAPE = re.compile("|".join(re.escape(e) for e in _ESCAPES))


class Step:
    """One command of a session: the host's letter, the line, the lines typed into it (None: it reads nothing), and the
    lines that the page shows as its output."""

    __slots__ = ("host", "input", "line", "shown")

    def __init__(self, host: str, line: str) -> None:
        self.host = host
        self.line = line
        self.input: list[str] | None = None
        self.shown: list[str] = []

    def __repr__(self) -> str:
        return f"Step({self.host}: {self.line!r}, {self.input})"


def section(page: str, name: str) -> list[str]:
    """The lines of one section of an mdoc page."""
    lines: list[str] = []
    inside = False
    for line in page.splitlines():
        if line.startswith(".Sh "):
            inside = line[4:].strip().strip('"') == name
        elif inside:
            lines.append(line)
    return lines


def steps(page: str) -> list[Step]:
    """All commands of the sessions in a page's EXAMPLES, in order."""
    found: list[Step] = []
    host = "A"
    display: list[str] | None = None
    for line in section(page, "EXAMPLES"):
        if display is None:
            if line.startswith(".Bd") and "-literal" in line:
                display = []
            else:
                names = re.findall(r"\b[Hh]ost ([A-Z])\b", line)
                host = names[-1] if names else host
        elif line.startswith(".Ed"):
            found += _session(host, display)
            display = None
        else:
            display.append(_ESCAPE.sub(lambda m: _ESCAPES[m[0]], line))
    return found


def _session(host: str, lines: list[str]) -> list[Step]:
    found: list[Step] = []
    for line in lines:
        if line.startswith("# "):
            found.append(Step(host, line[2:]))
        elif found and line == END_LINE:
            found[-1].input, found[-1].shown = found[-1].shown, []
        elif found:
            found[-1].shown.append(line)
    return found


def page_path(name: str) -> str:
    """The source of a manual page of this project, `if_ipsec.4`: in the checkout, else installed beside the package."""
    here = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.join(here, "..", "..", "man", name)
    if os.path.exists(checkout):
        return os.path.normpath(checkout)
    prefix = here.partition("/lib/ipsectools/")[0]
    return os.path.join(prefix, "share", "man", "man" + name[-1], name)
