"""How the demo looks: colours and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


class Presenter(Protocol):
    """Shows the parts of a demo, one after the other."""

    def heading(self, text: str) -> None: ...
    def command(self, host: str, line: str, input: Sequence[str] | None, output: str) -> None:
        """A command as typed at a host, the lines typed into it (None: none, not even the end of input), its output."""
        ...

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...
    def verdict(self, text: str, good: bool) -> None: ...
    def note(self, text: str) -> None: ...


class Plain:
    """Plain text, for pipes and files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        self._print(f"\n== {text}\n")

    def command(self, host: str, line: str, input: Sequence[str] | None, output: str) -> None:
        self._print(f"{host}# {line}")
        if input is not None:
            self._print("\n".join([*input, "^D"]))
        if output:
            self._print(output)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(text) for text in column) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            first, *rest = zip(row, widths, strict=True)
            self._print("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]))

    def verdict(self, text: str, good: bool) -> None:
        self._print(f"{'ok  ' if good else 'FAIL'} {text}")

    def note(self, text: str) -> None:
        self._print(text)


class Rich:
    """Colours and tables, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, markup=False)

    def heading(self, text: str) -> None:
        self._console.print()
        self._console.rule(text, align="left", style="cyan")

    def command(self, host: str, line: str, input: Sequence[str] | None, output: str) -> None:
        from rich.text import Text

        colour = "green" if host == "A" else "magenta"
        self._console.print(Text.assemble((f"{host}# ", f"bold {colour}"), (line, "bold")))
        if input is not None:
            self._print("\n".join([*input, "^D"]))
        if output:
            self._print(output)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def verdict(self, text: str, good: bool) -> None:
        self._print(f"{'✔' if good else '✘'} {text}", "green" if good else "bold red")

    def note(self, text: str) -> None:
        self._print(text, "cyan")


def presenter(stream: TextIO) -> Presenter:
    """The presenter that suits the stream."""
    return Rich(stream) if stream.isatty() else Plain(stream)
