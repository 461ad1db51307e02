"""Kernels for setkey's tests, and a way to run the command against them in this process."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ipsectools.commands.setkey import main
from ipsectools.commands.setkey.output import Output
from ipsectools.pfkey import constants as c
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.message import build

PID = os.getpid()

REGISTER_REPLY = build(
    c.SADB_REGISTER,
    0,
    ext.supported(
        c.EXT_SUPPORTED_AUTH,
        [
            (3, 0, 160, 160),
            (5, 0, 256, 256),
            (6, 0, 384, 384),
            (7, 0, 512, 512),
            (11, 0, 128, 128),
            (12, 0, 128, 128),
            (13, 0, 128, 128),
            (14, 0, 128, 128),
            (251, 0, 8, 2048),
        ],
    )
    + ext.supported(
        c.EXT_SUPPORTED_ENCRYPT,
        [
            (11, 0, 0, 2048),
            (12, 16, 128, 256),
            (13, 16, 128, 256),
            (15, 12, 256, 256),
            (20, 12, 128, 256),
            (23, 12, 128, 256),
        ],
    ),
    pid=PID,
)


def without_pid(message: bytes) -> bytes:
    return message[:12] + bytes(4) + message[16:]


def with_pid(message: bytes) -> bytes:
    return message[:12] + PID.to_bytes(4, "little") + message[16:]


class FakeDoor:
    """A kernel that answers each message with what `answer` says: replies, or the errno of the write.

    `sent` has what came in, without the REGISTER with which a script begins and with the sender's pid made 0.
    """

    def __init__(self, answer: Callable[[bytes], Iterable[bytes] | int] | None = None) -> None:
        self.answer = answer or (lambda message: [message])
        self.sent: list[bytes] = []
        self.inbox: list[bytes] = []
        self.results: list[int] = []
        self.interfaces = {1: "em0", 2: "lo0", 5: "ipsec0"}
        self.served: bool | None = None
        self.closed = False
        self.opened = True

    def open(self, served: bool) -> FakeDoor:
        self.served = served
        return self

    def send_ahead(self, message: bytes) -> None:
        self.results.append(self.send(message))

    def finish(self) -> int:
        return self.results.pop(0)

    def send(self, message: bytes) -> int:
        if message[1] == c.SADB_REGISTER:
            self.inbox.append(REGISTER_REPLY)
            return 0
        self.sent.append(without_pid(message))
        answer = self.answer(message)
        if isinstance(answer, int):
            return answer
        self.inbox += answer
        return 0

    def receive(self, timeout: float | None) -> bytes | None:
        return self.inbox.pop(0) if self.inbox else None

    def interface_name(self, index: int) -> str | None:
        return self.interfaces.get(index)

    def interface_index(self, name: str) -> int:
        return next((index for index, known in self.interfaces.items() if known == name), 0)

    def close(self) -> None:
        self.closed = True


class Recording(FakeDoor):
    """A kernel that gives a recorded dialogue: lines `S hex` that must be sent and `R hex` that are received."""

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__()
        self.lines = list(lines)
        self.ahead: list[bytes] = []

    # It was recorded by a setkey that waited for each answer: what is sent ahead waits here for its turn.

    def send_ahead(self, message: bytes) -> None:
        self.ahead.append(message)
        if message[1] in (c.SADB_DUMP, c.SADB_X_SPDDUMP):
            self.results.append(self.send(self.ahead.pop()))

    def finish(self) -> int:
        return self.results.pop() if self.results else self.send(self.ahead.pop(0))

    def send(self, message: bytes) -> int:
        assert self.lines, f"not recorded: {message.hex()}"
        assert f"S {without_pid(message).hex()}" == self.lines.pop(0)
        return 0

    def receive(self, timeout: float | None) -> bytes | None:
        kind, data = self.lines.pop(0).split()
        assert kind == "R"
        return with_pid(bytes.fromhex(data))


class Result(NamedTuple):
    status: int
    stdout: str
    stderr: str


def setkey(*arguments: str, door: FakeDoor | None = None) -> Result:
    """Runs the command; what it prints with this process's pid is printed with PID."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        output = Output(out.fileno(), err.fileno())
        with contextlib.redirect_stderr(io.StringIO()) as complaints:  # of getopt
            status = main.run(list(arguments), output, (door or FakeDoor()).open)  # type: ignore[arg-type]
        output.write_error(complaints.getvalue())
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("latin-1").replace(f"pid={PID}", "pid=PID"))
        return Result(status, *texts)


def script(text: str, door: FakeDoor | None = None, *options: str) -> Result:
    """Runs a script (Latin-1) with `setkey -f`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode("latin-1"))
        file.flush()
        return setkey(*options, "-f", file.name, door=door)
