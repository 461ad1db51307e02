"""What all tests share: the lab, where the system allows one."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest

from ipsectools.daemon.log import FAILURE, FILE_VARIABLE
from ipsectools.lab.network import reason_without_packets, two_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host

# A shell's background job (`make test &`, nohup, some CI) starts with these ignored, and so would all that tests start.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


class Failures:
    """What every ipsecd of this test process, on whatever host, logs of mistakes in itself. None is forgiven."""

    def __init__(self) -> None:
        # Also for those of other users, who may write there and not look around.
        self._directory = tempfile.mkdtemp(prefix="ipsectools-tests-")
        os.chmod(self._directory, 0o711)
        self.path = os.path.join(self._directory, "log")
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o666))
        os.chmod(self.path, 0o666)
        self._seen = 0

    def take(self) -> list[str]:
        """Those since the last call."""
        with open(self.path, "rb") as file:
            file.seek(self._seen)
            new = file.read()
        whole = new.rpartition(b"\n")[0]
        self._seen += len(whole) + bool(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if f": {FAILURE}" in line]

    def close(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


_failures = Failures()
os.environ[FILE_VARIABLE] = _failures.path


@pytest.fixture(autouse=True)
def failures() -> Iterator[Failures]:
    """An internal error of an ipsecd fails the test in which it happens (or the next, if it happens between them)."""
    yield _failures
    found = _failures.take()
    assert not found, "\n".join(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Those of ipsecds that outlived the last test of their module."""
    found = _failures.take()
    if found:
        print("\n".join(found))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    _failures.close()


@functools.cache
def why_no_lab() -> str | None:
    """Asked once in each test process."""
    return reason_without_packets()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("traffic") and (reason := why_no_lab()):
        pytest.skip(reason)


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_open() -> Iterator[None]:
    """Kernels of tests are cycles of objects: their files are closed before there are too many for select(2)."""
    yield
    gc.collect()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Hosts A (192.168.0.3, 2001:db8::3) and B (.5, ::5), joined by a cable between their em0."""
    if reason := why_no_lab():
        pytest.skip(reason)
    with two_hosts() as pair:
        yield pair
