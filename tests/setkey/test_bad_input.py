"""What a script may be, and how setkey ends then: always soon, without a traceback, with what was before it done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .fakes import FakeDoor, Result, script
from .test_scripts import failing

ADD = "add -n 10.0.0.1 10.0.0.2 esp 5"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes(data: bytes) -> None:
    result = script("flush;" + data.decode("latin-1"), None, "--check")
    assert result.status in (0, 1)
    assert result.stdout.startswith("flush;\n")


def test_ten_megabytes_of_random_bytes() -> None:
    result = script("flush;" + random.Random(1).randbytes(10 << 20).decode("latin-1"))
    assert result.status == 1
    assert result.stdout.startswith("line 1: ")


@pytest.mark.parametrize("key", ['"' + "k" * (10 << 20) + '"', "0x" + "ab" * (5 << 20)], ids=["quoted", "hex"])
def test_ten_megabyte_key(key: str) -> None:
    door = FakeDoor()
    assert script(f"flush; {ADD} -E aes-cbc {key};", door) == failing(
        1, f"Invalid key length at [{key.strip(chr(34))}]"
    )
    assert len(door.sent) == 1


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('"' * 100_001, failing(1, "syntax error at []")),
        ('flush "' + "\n" * 100_000, Result(1, 'line 1: Syntax error at ["]\n', "")),
        ("[" * 100_000, failing(1, "syntax error at [[]")),
        ("add" * 100_000, failing(1, f"syntax error at [{'add' * 100_000}]")),
        ("add " * 100_000, failing(1, "syntax error at [add]")),
        ("#" * 100_000 + "\n" * 100_000, Result(0, "", "")),
        (";" * 100_000, failing(1, "syntax error at [;]")),
        ("add -4" + " -6" * 100_000, failing(1, "syntax error at []")),
        (ADD + " -u 5" * 100_000, failing(1, "syntax error at []")),
        (ADD + " -natt 1.1.1.1[1] 1.1.1.1[1]" * 10_000 + ";", failing(1, "syntax error at [;]")),
        ("spdadd ::1 ::1 any -P out ipsec" + " esp/transport" * 100_000, failing(1, "syntax error at []")),
        ("flush\0;", Result(1, "line 1: Syntax error at []\n", "")),
        ("flush;\0", Result(1, "line 1: Syntax error at []\n", "")),
        ("flush;\r\nflush;\r\n", Result(1, "line 1: Syntax error at [\r]\n", "")),
        (f"{ADD} -E null 9", failing(1, "syntax error at [9]")),
        ("add " + "9" * 100_000, failing(1, f"syntax error at [{'9' * 100_000}]")),
        (f"add ::1 ::1 esp {'9' * 100_000} -E null 0x00;", Result(0, "", "")),
        (f"add ::1 ::1 esp 0x{'9' * 100_000} -E null 0x00;", Result(0, "", "")),
    ],
    ids=range(18),
)
def test_much_of_something(text: str, result: Result) -> None:
    assert script(text) == result


def test_a_script_that_ends_in_mid_statement() -> None:
    name = "line 2: Name does not resolve at ["  # a piece of an address is one
    whole = f'flush;\n{ADD} -m tunnel -natt 1.1.1.1[1] 2.2.2.2 [2] -E null "abc" -A null ;'
    for end in range(len("flush;\n") + 1, len(whole)):
        door = FakeDoor()
        result = script(whole[:end], door)
        assert result.status == 1, whole[:end]
        assert result.stdout.startswith(("line 2: syntax error at [", "line 2: Syntax error", name)), whole[:end]
        assert len(door.sent) == 1


def test_zones_of_the_host_are_not_those_of_the_kernel() -> None:
    """`lo` is Linux's name for what the emulated kernel has as `lo0`."""
    assert script("get fe80::1%lo fe80::2 esp 5;") == failing(1, "Name does not resolve at [fe80::1%lo]")
    assert script("get fe80::1%lo0 fe80::2 esp 5;").status == 0


# The command as a process, with an emulated kernel of its own

LAUNCH = Path(__file__).parents[2] / "ipsectools" / "launch.py"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    environment = {"IPSECTOOLS_STATE": str(state), "IPSECTOOLS_HOST": "simulated", "PATH": os.environ["PATH"]}
    yield environment
    # An ipsecd that was started for this directory goes away with it.
    try:
        owner, role = (state / "lock").read_text().split()
        if role == "ipsecd":
            os.kill(int(owner), signal.SIGTERM)
    except (OSError, ValueError):
        pass


def command(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(LAUNCH), "setkey", *words]


def run(environment: dict[str, str], *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=environment, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


def test_a_session(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(f"{ADD} -E aes-cbc 0x{'07' * 16};\n{ADD} -E aes-cbc 0x{'07' * 16};\nspddump;\n")
    done = run(environment, "-f", str(tmp_path / "conf"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "The result of line 1: Invalid argument.",  # SPIs up to 255 are reserved
        "The result of line 2: Invalid argument.",
        "The result of line 3: No SPD entries.",
    ]


def test_standard_input_closed(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command("-c")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "input in flex scanner failed\n")


def test_all_descriptors_closed(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command("-D")], env=environment, timeout=60
    )
    assert done.returncode == 0


def test_output_to_a_closed_pipe(environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command("-D"), env=environment, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_output_to_a_full_disk(environment: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("-D"), env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, "setkey: No space left on device\n")


def test_interrupt_in_mid_script(environment: dict[str, str]) -> None:
    """From a pipe: what was given has been done, the rest is waited for, ^C ends it as it ends any program."""
    with subprocess.Popen(
        command("-c"), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write("dump; add 10.0.0.1")
        process.stdin.flush()
        assert process.stdout.readline() == "The result of line 1: No SAD entries.\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stderr.read() == ""


def test_each_statement_takes_effect_when_its_end_is_typed(environment: dict[str, str]) -> None:
    """On a terminal, with ^D as the end."""
    ours, theirs = os.openpty()
    with subprocess.Popen(command("-c"), env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""

        def expect(text: bytes) -> None:
            nonlocal seen
            deadline = time.monotonic() + 30
            while text not in seen:
                assert time.monotonic() < deadline, seen
                seen += os.read(ours, 4096)
            seen = seen.partition(text)[2]

        guard = threading.Timer(60, process.kill)
        guard.start()
        os.write(ours, b"dump;")
        os.write(ours, b"\n")
        expect(b"The result of line 1: No SAD entries.")
        os.write(ours, b"spddump\n;\n")
        expect(b"The result of line 3: No SPD entries.")
        os.write(ours, b"\x04")
        assert process.wait(30) == 0
        guard.cancel()
    os.close(ours)
