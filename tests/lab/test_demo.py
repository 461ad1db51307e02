"""`make demo`: with packets, without, on a terminal, in a pipe, interrupted."""

from __future__ import annotations

import itertools
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.host import CHECKOUT
from ipsectools.lab.manual import page_path, steps
from ipsectools.lab.network import reason_without_packets

if TYPE_CHECKING:
    from pathlib import Path

DEMO = [sys.executable, "-m", "ipsectools.lab"]


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        DEMO,
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def assert_page_is_played(output: str) -> None:
    with open(page_path("if_ipsec.4"), encoding="utf-8") as file:
        for step in steps(file.read()):
            lines = [f"{step.host}# {step.line}", *(step.input or []), *(["^D"] if step.input is not None else [])]
            assert "\n".join(lines) + "\n" in output


@pytest.mark.traffic
def test_with_packets_in_a_pipe() -> None:
    result = run_demo()
    assert result.returncode == 0, result
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert_page_is_played(result.stdout)
    for address in ("172.16.0.3", "172.16.0.5", "fd00::3", "fd00::5"):
        assert f"pings {address}: 3 of 3 answered" in result.stdout
    assert " 0 in clear text" in result.stdout
    assert "reqid: 100" in result.stdout
    assert "spi=10000(0x00002710) reqid=100(0x00000064)" in result.stdout


def test_simulated() -> None:
    result = run_demo(IPSECTOOLS_HOST="simulated")
    assert result.returncode == 0, result
    assert_page_is_played(result.stdout)
    assert "No packets can flow here" in result.stdout
    assert "flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP>" in result.stdout


@pytest.mark.traffic
def test_on_a_terminal() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(DEMO, cwd=CHECKOUT, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        assert process.wait(60) == 0
    os.close(master)
    assert b"\x1b[" in shown
    assert b"in clear text" in shown


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOMENTS = ("==", "A# ", "B# setkey -c", "== What")
INTERRUPTIONS = [
    ("linux", "==", signal.SIGINT, 3),
    ("linux", "B# setkey -c", signal.SIGINT, 1),
    ("linux", "== What", signal.SIGTERM, 1),
    ("simulated", "A# ", signal.SIGINT, 3),
]
MORE_INTERRUPTIONS = list(itertools.product(("linux", "simulated"), MOMENTS, SIGNALS, (2,)))


@pytest.mark.parametrize(
    ("host", "moment", "number", "times"),
    [*INTERRUPTIONS, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_INTERRUPTIONS)],
)
def test_interrupted_leaves_nothing_behind(
    host: str, moment: str, number: signal.Signals, times: int, tmp_path: Path
) -> None:
    if host == "linux" and (reason := reason_without_packets()):
        pytest.skip(reason)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    if host == "simulated":
        environment["IPSECTOOLS_HOST"] = host
    devices = os.listdir("/sys/class/net")
    with subprocess.Popen(
        DEMO,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith(moment):
                break
        mine = children(process.pid)
        for _ in range(times):  # to the whole group, as a terminal does
            os.killpg(process.pid, number)
        rest, errors = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 130
    assert "Interrupted" in rest
    assert errors == ""
    assert os.listdir(tmp_path) == []
    assert set(os.listdir("/sys/class/net")) <= set(devices)
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in mine if os.path.exists(f"/proc/{pid}")]


def test_interrupted_before_it_began() -> None:
    for _ in range(3):
        with subprocess.Popen(DEMO, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode in (-signal.SIGTERM, 130)


def test_whoever_reads_it_has_seen_enough(tmp_path: Path) -> None:
    with subprocess.Popen(
        DEMO,
        cwd=CHECKOUT,
        env=os.environ | {"TMPDIR": str(tmp_path), "IPSECTOOLS_HOST": "simulated"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141
    assert os.listdir(tmp_path) == []


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(child) for child in file.read().split()]
    return direct + [below for child in direct for below in children(child)]


@pytest.mark.traffic
@pytest.mark.skipif(os.geteuid() != 0, reason="is an ordinary user's already")
def test_as_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        try:
            result = subprocess.run(
                DEMO,
                cwd=CHECKOUT,
                env=os.environ | {"HOME": home, "PYTHONDONTWRITEBYTECODE": "1"},
                user=65534,
                group=65534,
                extra_groups=[],
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
        except PermissionError:
            pytest.skip("the checkout is not readable for others")
    assert result.returncode == 0, result
    assert_page_is_played(result.stdout)
