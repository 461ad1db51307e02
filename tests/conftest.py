"""What all tests share: the lab, where the system allows one."""

from __future__ import annotations

import functools
import gc
import signal
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.network import reason_without_packets, two_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host

# A shell's background job (`make test &`, nohup, some CI) starts with these ignored, and so would all that tests start.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


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
