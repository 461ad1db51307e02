"""Options, modes, exit statuses, and on which stream what is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipsectools.commands.setkey import exchange
from ipsectools.commands.setkey.main import USAGE
from ipsectools.daemon.client import ClientError
from ipsectools.pfkey import constants as c

from .fakes import FakeDoor, Result, script, setkey, with_pid


def refusing(number: int) -> FakeDoor:
    """A kernel that refuses everything with this errno."""
    return FakeDoor(lambda message: [message[:2] + bytes([number]) + message[3:]])


def usage(stderr: str = "") -> Result:
    return Result(1, USAGE, stderr)


ONE_SOURCE = "setkey: only one -f/-e option is accepted: No error: 0\n"


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ([], usage()),
        (["-q"], usage("setkey: illegal option -- q\n")),
        (["-DH"], usage("setkey: illegal option -- H\n")),
        (["-?"], usage("setkey: illegal option -- ?\n")),
        (["-n"], usage("setkey: illegal option -- n\n")),
        (["--help"], usage("setkey: illegal option -- -\n")),
        (["-f"], usage("setkey: option requires an argument -- f\n")),
        (["-e"], usage("setkey: option requires an argument -- e\n")),
        (["-d"], usage()),
        (["-Dd"], usage()),
        (["-f", "/nonexistent/x"], Result(255, "", "setkey: fopen: No such file or directory\n")),
        (["-f", "/dev/null", "-f", "/dev/null"], Result(255, "", ONE_SOURCE)),
        (["-e", "flush;", "-f", "/dev/null"], Result(255, "", ONE_SOURCE)),
        (["-e", ""], Result(255, "", "setkey: fmemopen: Invalid argument\n")),
        (["-D", "-f", "/nonexistent/x", "-q"], Result(255, "", "setkey: fopen: No such file or directory\n")),
    ],
)
def test_wrong_usage(words: list[str], result: Result) -> None:
    door = FakeDoor()
    assert setkey(*words, door=door) == result
    assert door.served is None  # the kernel was not even asked


@pytest.mark.parametrize("words", [["-P"], ["-v"], ["-Pagltv"], ["foo", "-D"], ["--", "-D"], ["-"], ["--json"]])
def test_no_mode_is_found_after_opening(words: list[str]) -> None:
    door = FakeDoor()
    assert setkey(*words, door=door) == usage()
    assert door.closed
    assert door.sent == []


@pytest.mark.parametrize("words", [["-D"], ["-v"], ["-x"], ["-f", "/dev/null"]])
def test_no_kernel(words: list[str]) -> None:
    class Closed(FakeDoor):
        def open(self, served: bool) -> FakeDoor:
            raise ClientError("Operation not permitted")

    assert setkey(*words, door=Closed()) == (1, "", "pfkey_open: Operation not permitted\n")


@pytest.mark.parametrize("words", [["-D"], ["-F"], ["-e", "flush;"]])
def test_no_kernel_at_the_first_request(words: list[str]) -> None:
    class Closed(FakeDoor):
        def send(self, message: bytes) -> int:
            raise ClientError("state: in use by another process")

    door = Closed()
    door.opened = False
    assert setkey(*words, door=door) == (1, "", "pfkey_open: state: in use by another process\n")
    door.opened = True
    assert setkey(*words, door=door) == (255 if "-e" in words else 1, "", "setkey: state: in use by another process\n")


def header(kind: int, satype: int = 0) -> str:
    return f"02{kind:02x}00{satype:02x}0200000000000000" + "00000000"


@pytest.mark.parametrize(
    ("words", "number", "requests", "stdout"),
    [
        (["-D"], 2, [header(c.SADB_DUMP)], "No SAD entries.\n"),
        (["-D", "-g"], 2, [header(c.SADB_DUMP)], "No SAD entries.\n"),
        (["-DP"], 2, [header(c.SADB_X_SPDDUMP)], "No SPD entries.\n"),
        (["-P", "-D"], 2, [header(c.SADB_X_SPDDUMP)], "No SPD entries.\n"),
        (["-DPg"], 2, [header(c.SADB_X_SPDDUMP, 1)], "No SPD entries.\n"),
        (["-DPt"], 2, [header(c.SADB_X_SPDDUMP, 2)], "No SPD entries.\n"),
        (["-DPgt"], 22, [header(c.SADB_X_SPDDUMP, 3)], "Invalid argument.\n"),
        (["-F"], 0, [header(c.SADB_FLUSH)], ""),
        (["-FP"], 0, [header(c.SADB_X_SPDFLUSH)], ""),
        (["-F"], 1, [header(c.SADB_FLUSH)], "Operation not permitted.\n"),
        (["-D", "-F"], 0, [header(c.SADB_FLUSH)], ""),
        (["-F", "-D", "operand"], 2, [header(c.SADB_DUMP)], "No SAD entries.\n"),
        (["-D", "-e", "flush;"], 0, [header(c.SADB_FLUSH)], ""),
        (["-e", "flush;", "-F", "-P"], 0, [header(c.SADB_X_SPDFLUSH)], ""),
        (["-eflush;"], 0, [header(c.SADB_FLUSH)], ""),
        (["-P", "-e", "dump;"], 2, [header(c.SADB_DUMP)], "The result of line 1: No SAD entries.\n"),
    ],
)
def test_modes(words: list[str], number: int, requests: list[str], stdout: str) -> None:
    door = refusing(number)
    assert setkey(*words, door=door) == (0, stdout, "")
    assert [message.hex() for message in door.sent] == requests


def test_script_from_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """-c also takes the place of an earlier -f."""
    (tmp_path / "in").write_text("flush;")
    (tmp_path / "file").write_text("spdflush;")
    for words in (["-c"], ["-D", "-c"], ["-f", str(tmp_path / "file"), "-c"]):
        descriptor = os.open(tmp_path / "in", os.O_RDONLY)
        monkeypatch.setattr("ipsectools.commands.setkey.main._STDIN", descriptor)
        door = FakeDoor()
        assert setkey(*words, door=door) == (0, "", "")
        assert [message[1] for message in door.sent] == [c.SADB_FLUSH]
        os.close(descriptor)
    door = FakeDoor()
    assert setkey("-c", "-f", str(tmp_path / "file"), door=door).status == 0
    assert [message[1] for message in door.sent] == [c.SADB_X_SPDFLUSH]


def test_directory_as_script(tmp_path: Path) -> None:
    assert setkey("-f", str(tmp_path)) == (2, "", "input in flex scanner failed\n")


@pytest.mark.parametrize(
    ("words", "served"),
    [(["-D"], False), (["-F"], False), (["-e", "flush;"], False), (["-f", "/dev/null"], True), (["-x"], True)],
)
def test_who_waits_does_not_own_the_kernel(words: list[str], served: bool) -> None:
    door = FakeDoor()
    setkey(*words, door=door)
    assert door.served is served
    assert door.closed


# Answers


@pytest.mark.parametrize(
    ("statement", "number", "text"),
    [
        ("add ::1 ::1 esp 5 -E null 0x00;", 17, "File exists"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 2, "(null)"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 28, "No space left on device"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 43, "Protocol not supported"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 45, "Operation not supported"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 47, "Address family not supported by protocol family"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 55, "No buffer space available"),
        ("add ::1 ::1 esp 5 -E null 0x00;", 200, "Unknown error: 200"),
        ("get ::1 ::1 esp 5;", 3, "No such process"),
        ("get ::1 ::1 esp 5;", 2, "No entry"),
        ("delete ::1 ::1 esp 5;", 2, "No entry"),
        ("spddelete ::1 ::1 any -P in;", 2, "No entry"),
        ("spddelete ::1 ::1 any -P in;", 22, "Invalid argument"),
        ("dump;", 2, "No SAD entries"),
        ("spddump;", 2, "No SPD entries"),
    ],
)
def test_refusals_do_not_stop_a_script(statement: str, number: int, text: str) -> None:
    door = refusing(number)
    assert script(f"\n{statement}\n\n{statement}", door) == (
        0,
        f"The result of line 2: {text}.\nThe result of line 4: {text}.\n",
        "",
    )


def test_a_failing_write_is_not_the_end() -> None:
    door = FakeDoor(lambda message: 55 if message[1] == c.SADB_FLUSH else [message])
    assert script("flush; spdflush;", door) == (0, "", "send: No buffer space available\n")
    assert len(door.sent) == 2


def test_no_answer() -> None:
    assert script("flush; flush;", FakeDoor(lambda message: [])) == (
        0,
        "",
        "recv: Resource temporarily unavailable\n" * 2,
    )


def test_answer_of_wrong_length() -> None:
    for answer in (b"\2\x09", bytes(16), b"\2\x09\0\0\3\0\0\0" + bytes(8)):
        assert setkey("-F", door=FakeDoor(lambda message, answer=answer: [answer])) == (
            0,
            "",
            "setkey: invalid keymsg length\n",
        )


def test_whatever_comes_next_is_the_answer() -> None:
    """Neither pid nor type nor request is compared; messages are read until one has sequence number 0."""
    foreign = with_pid(bytes.fromhex("020d110002000000") + bytes(8))
    assert setkey("-F", door=FakeDoor(lambda message: [foreign])).stdout == "File exists.\n"
    more = bytes.fromhex("0203000302000000070000000a000000")
    door = FakeDoor(lambda message: [more, more, message, message])
    assert setkey("-F", door=door) == (0, "", "")
    assert len(door.inbox) == 1


def test_register_is_refused() -> None:
    class Refusing(FakeDoor):
        def send(self, message: bytes) -> int:
            return 1

    assert script("flush;", Refusing()) == (255, "", "setkey: Operation not permitted\n")


def test_answers_and_errors_come_in_the_order_of_the_statements() -> None:
    door = FakeDoor(lambda message: [message[:2] + b"\x11" + message[3:]])
    text = "flush;\nspdflush;\nadd 10.0.0.1 10.0.0.2 esp 4096 -E null junk;\nflush;\n"
    assert script(text, door).stdout == (
        "The result of line 1: File exists.\nThe result of line 2: File exists.\n"
        "line 3: syntax error at [junk]\nparse failed, line 3.\n"
    )


def test_a_dump_waits_for_the_answers_before_it() -> None:
    order: list[str] = []

    class Slow(FakeDoor):
        def send_ahead(self, message: bytes) -> None:
            order.append(f"send {message[1]}")
            super().send_ahead(message)

        def finish(self) -> int:
            order.append("finish")
            return super().finish()

    script("flush; spdflush; dump; flush;", Slow())
    flush, spdflush, dump = (f"send {kind}" for kind in (c.SADB_FLUSH, c.SADB_X_SPDFLUSH, c.SADB_DUMP))
    assert order == [flush, spdflush, "finish", "finish", dump, "finish", flush, "finish"]


def test_many_refusals_are_told_with_their_lines() -> None:
    door = FakeDoor(lambda message: [message[:2] + b"\x11" + message[3:]])
    expected = "".join(f"The result of line {line}: File exists.\n" for line in range(1, 201))
    assert script("flush;\n" * 200, door).stdout == expected


def test_the_kernel_goes_away() -> None:
    class Dying(FakeDoor):
        def receive(self, timeout: float | None) -> bytes | None:
            if len(self.sent) >= 2:
                raise ClientError("ipsecd ended")
            return super().receive(timeout)

    door = Dying()
    assert script("flush; flush; flush;", door) == (1, "", "setkey: ipsecd ended\n")
    assert len(door.sent) == 3  # the last ones were on their way
    assert door.closed


class EnoughError(Exception):
    """Ends what would go on for ever."""


def test_loop_never_leaves_its_first_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            raise EnoughError

    monkeypatch.setattr(exchange, "sleep", sleep)
    door = FakeDoor(lambda message: [message if len(door.sent) == 1 else message[:2] + b"\x11" + message[3:]])
    with pytest.raises(EnoughError):
        script("add ::1 ::1 esp 5 -E null 0x00; flush;", door, "-l")
    assert sleeps == [1, 1, 1]
    assert [message[1] for message in door.sent] == [c.SADB_ADD] * 3
    assert door.served
