"""A person at a shell of a lab host: lines typed at a pseudo-terminal, the prompt and the screen read back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import time
from typing import TYPE_CHECKING

from ipsectools.lab.host import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    class _Process(Protocol):
        def poll(self, timeout: float = 0) -> int | None: ...
        def kill(self, number: int = signal.SIGTERM) -> None: ...

    class _Host(Protocol):
        """Whatever can start a shell: a lab host, a simulated one."""

        def spawn(
            self,
            argv: Sequence[str],
            stdin: int,
            stdout: int,
            stderr: int,
            *,
            terminal: bool,
            environment: Mapping[str, str],
        ) -> _Process: ...


_MARK = "\x1e"
_PROMPT = f"{_MARK}$?{_MARK}# "
END_OF_INPUT = "\x04"


class Typed:
    """One typed command: its line, the lines typed into it, everything the screen showed below the line (echo
    included), and the exit status."""

    __slots__ = ("input", "line", "screen", "status")

    def __init__(self, line: str, input: Sequence[str], screen: str, status: int) -> None:
        self.line = line
        self.input = input
        self.screen = screen
        self.status = status

    def __repr__(self) -> str:
        return f"Typed({self.line!r}, status {self.status}, {self.screen!r})"


class Terminal:
    """A root shell on a host. Every wait ends with LabError after `timeout` seconds."""

    def __init__(
        self, host: _Host, *, timeout: float = 30, columns: int = 200, environment: Mapping[str, str] | None = None
    ) -> None:
        self.timeout = timeout
        self._screen = ""
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        plain = {"PS1": _PROMPT, "PS2": "", "ENV": "", "TERM": "dumb"} | dict(environment or {})
        try:
            self._shell = host.spawn(["/bin/sh", "-i"], slave, slave, slave, terminal=True, environment=plain)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        try:
            self._until_prompt()
            self._shell_group = os.tcgetpgrp(self._master)
        except BaseException:
            self.close()
            raise

    def type(self, line: str, input: Sequence[str] = (), *, end: bool | None = None) -> Typed:
        """Types a command line, then, once the command has the terminal, its input lines; `end` (by default: if there
        is input) closes the input with ^D. Returns when the shell asks for the next command."""
        self._send(line + "\n")
        if (input or end) and self._until_foreground():
            for text in [*(text + "\n" for text in input), *([END_OF_INPUT] if end is not False else [])]:
                if os.tcgetpgrp(self._master) == self._shell_group:
                    break  # the command has ended early; the rest is not for the shell
                self._send(text)
        status, screen = self._until_prompt()
        echo, _, below = screen.partition("\n")
        assert echo == line, f"the terminal echoed {echo!r} for {line!r}"
        return Typed(line, input, below, status)

    def interrupt(self) -> None:
        """Types ^C."""
        self._send("\x03")

    def _send(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]

    def _read(self, until: float) -> None:
        remaining = until - time.monotonic()
        if remaining <= 0 or not select.select([self._master], [], [], remaining)[0]:
            raise LabError(f"nothing happens at the terminal; the screen: {self._screen!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:
            data = b""
        if not data:
            raise LabError(f"the shell has ended; the screen: {self._screen!r}")
        self._screen += data.decode(errors="replace").replace("\r\n", "\n")

    def _until_prompt(self) -> tuple[int, str]:
        until = time.monotonic() + self.timeout
        while not self._screen.endswith(_MARK + "# "):
            self._read(until)
        screen, status, _ = self._screen.rsplit(_MARK, 2)
        self._screen = ""
        return int(status), screen

    def _until_foreground(self) -> bool:
        """Waits until another program than the shell has the terminal. False if the shell asks again: it has ended."""
        until = time.monotonic() + self.timeout
        while os.tcgetpgrp(self._master) == self._shell_group:
            if self._screen.endswith(_MARK + "# "):
                return False
            with contextlib.suppress(LabError):
                self._read(time.monotonic() + 0.005)
            if time.monotonic() > until:
                raise LabError(f"no program takes the terminal; the screen: {self._screen!r}")
        return True

    def close(self) -> None:
        """Hangs up: the shell and what runs in it are ended."""
        os.close(self._master)
        self._shell.kill(signal.SIGHUP)
        if self._shell.poll(2) is None:
            self._shell.kill(signal.SIGKILL)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
