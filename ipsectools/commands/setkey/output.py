"""Standard output and standard error as stdio has them: the first buffered (by line on a terminal), the second not.

Text is written as Latin-1: what came from a script goes back byte for byte.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LARGE = 1 << 15


class Output:
    """Text to a descriptor. Errors go to `error_descriptor`; what was written before them goes out first."""

    __slots__ = ("_by_line", "_descriptor", "_error_descriptor", "_parts", "_size")

    def __init__(self, descriptor: int = 1, error_descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._error_descriptor = error_descriptor
        self._by_line = os.isatty(descriptor)
        self._parts: list[str] = []
        self._size = 0

    @property
    def errors_are_read(self) -> bool:
        """Standard error is a terminal: somebody is there."""
        return os.isatty(self._error_descriptor)

    def write(self, text: str) -> None:
        """Writes to standard output. Raises OSError (as `flush`)."""
        self._parts.append(text)
        self._size += len(text)
        if self._size > _LARGE or (self._by_line and "\n" in text):
            self.flush()

    def flush(self) -> None:
        """Sends out what is buffered. Raises OSError; what could not be sent is dropped then."""
        if not self._parts:
            return
        data = "".join(self._parts).encode("latin-1", "replace")
        self._parts.clear()
        self._size = 0
        while data:
            data = data[os.write(self._descriptor, data) :]

    def write_error(self, text: str) -> None:
        """Writes to standard error at once; a standard error that cannot be written to is nobody's error."""
        self.flush()
        data = text.encode("latin-1", "replace")
        try:
            while data:
                data = data[os.write(self._error_descriptor, data) :]
        except OSError:
            pass


class InOrder:
    """An Output for who has to let others write first: calls `before`, then does the same to `output`."""

    __slots__ = ("_before", "_output")

    def __init__(self, output: Output, before: Callable[[], None]) -> None:
        self._output = output
        self._before = before

    def write(self, text: str) -> None:
        self._before()
        self._output.write(text)

    def write_error(self, text: str) -> None:
        self._before()
        self._output.write_error(text)

    def flush(self) -> None:
        self._before()
        self._output.flush()
