"""An internal error in one task: the others do their work, the watchdog is fed, the log says it once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipsectools.daemon.log import ERROR, FAILURE, QUIET, Log
from ipsectools.daemon.loop import Loop
from ipsectools.errno import ENOSPC, KernelError
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.kernel.kernel import Kernel
from tests.conftest import Failures

from .state import PATIENCE, State

NOW = 1_700_000_000.0


def broken(*_arguments: object, **_names: object) -> None:
    raise ZeroDivisionError("secret")


def test_the_tasks_of_the_loop() -> None:
    done: list[str] = []
    errors: list[BaseException] = []

    def stop() -> None:
        done.append("last")
        loop.stop()

    loop = Loop((lambda: done.append("first"), broken, stop), lambda: None, errors.append)
    loop.run()
    loop.close()
    assert done == ["first", "last"] and [type(error) for error in errors] == [ZeroDivisionError]


@pytest.mark.parametrize("which", range(7))
def test_the_timers_of_the_kernel(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of them fails: all others are done, each change of theirs is kept."""
    kernel = Kernel(None, SimulatedHost(), NOW)
    done: list[int] = []

    def make(number: int) -> Callable[[], None]:
        def task() -> None:
            if number == which:
                broken()
            done.append(number)
            kernel.engine.count("reqid", kernel.engine.reqid + 1)

        return task

    monkeypatch.setattr(kernel.engine, "tasks", lambda now: [make(number) for number in range(6)])
    if which == 6:
        monkeypatch.setattr(kernel.host, "process_events", broken)
    first = kernel.engine.reqid
    errors: list[Exception] = []
    kernel.tick(NOW, errors.append)
    assert done == [number for number in range(6) if number != which]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert kernel.engine.reqid == first + len(done)
    with pytest.raises(ZeroDivisionError):
        kernel.tick(NOW)


def test_the_observers_of_the_kernel() -> None:
    class Observer:
        def __init__(self, mistaken: bool) -> None:
            self.mistaken = mistaken
            self.told: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return broken if self.mistaken else lambda *values: self.told.append(name)

    kernel = Kernel(None, SimulatedHost(), NOW)
    observers = [Observer(True), Observer(False)]
    kernel.observers += observers  # type: ignore[arg-type]
    for name in ("net.key.debug", "net.inet.ipsec.debug"):
        with pytest.raises(ZeroDivisionError):
            kernel.control("SYSCTLSET", {"name": name, "value": 1}, NOW)
    assert set(observers[1].told) == {"sysctl_changed"} and len(observers[1].told) >= 2


def test_a_line_that_comes_again_is_said_once_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    now = 100.0
    monkeypatch.setattr("ipsectools.daemon.log.monotonic", lambda: now)
    monkeypatch.delenv("IPSECTOOLS_LOG")
    log = Log()
    for second in range(int(QUIET) * 2 + 1):
        now = 100.0 + second
        log.seldom(ERROR, "again")
        if second == 3:
            log.seldom(ERROR, "other")
    assert capsys.readouterr().err.splitlines() == [
        "ipsecd: again",
        "ipsecd: other",
        "ipsecd: again (59 times more since it was last said)",
        "ipsecd: again (59 times more since it was last said)",
    ]


_BROKEN = """
import sys
from ipsectools.daemon import ipsecd, service
{patch}
sys.exit(ipsecd.main(["-f", "--idle", "0"]))
"""

_PATCHES = {
    "timers": "from ipsectools.kernel.key import timers; timers.TASKS = (lambda engine, now: 1 / 0, *timers.TASKS)",
    "host": "service.Service._woken = lambda self: 1 / 0",
    "thread": (
        "import threading; make = service.Service.run\n"
        "service.Service.run = lambda self: (threading.Thread(target=lambda: 1 / 0).start(), make(self))"
    ),
    "unraisable": (
        "import os\nclass Odd:\n    def __del__(self): 1 / 0\n"
        "make = service.Service.run\nservice.Service.run = lambda self: (Odd(), make(self))"
    ),
}


@pytest.mark.parametrize(
    "where", ["timers", *(pytest.param(each, marks=pytest.mark.long) for each in ("host", "thread", "unraisable"))]
)
def test_ipsecd_with_a_mistake_in_it(state: State, tmp_path: Path, failures: Failures, where: str) -> None:
    """It serves, ages SAs, feeds the watchdog and ends in order; the mistake is one line, which fails a test."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "manager"))
    manager.settimeout(PATIENCE)
    state.environment |= {
        "NOTIFY_SOCKET": str(tmp_path / "manager"),
        "WATCHDOG_USEC": "1000000",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = state.python(_BROKEN.format(patch=_PATCHES[where]))
    beats = 0
    while beats < 2:
        beats += b"WATCHDOG=1" in manager.recv(4096)
        assert process.poll() is None
    manager.close()
    script = 'add 192.0.2.1 192.0.2.2 esp 0x1000 -lh 1 -ls 1 -E rijndael-cbc "0123456789abcdef";\n'
    state.ok("setkey", "-c", stdin=script)
    deadline = time.monotonic() + PATIENCE
    while "No SAD entries" not in state.ok("setkey", "-D"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    state.ok("ipsecd", "--stop")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert errors.count(FAILURE) == 1 and "ZeroDivisionError at " in errors, errors
    assert len(failures.take()) == 1  # or this test would fail now


def test_a_disk_that_is_full_is_named_once(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from ipsectools.daemon.service import Service

    monkeypatch.delenv("IPSECTOOLS_LOG")
    service = object.__new__(Service)
    service.log = Log()
    for _ in range(3):
        service._timer_failed(KernelError(ENOSPC))
    assert capsys.readouterr().err == "ipsecd: timer: No space left on device\n"


def test_a_log_file_that_cannot_be_had_is_no_obstacle(state: State, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "missing" / "log", tmp_path / "link", tmp_path):
        state.ok("ipsecd", IPSECTOOLS_LOG=str(path))
        state.ok("ipsecd", "--stop")
    assert not (tmp_path / "elsewhere").exists()
    state.ok("ipsecd", IPSECTOOLS_LOG=str(tmp_path / "log"))
    state.ok("ipsecd", "--stop")
    assert f": serving {state.directory}" in (tmp_path / "log").read_text()
