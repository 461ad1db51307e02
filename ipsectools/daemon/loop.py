"""The event loop of ipsecd: one thread, epoll, one tick a second, and a way to be woken from other threads."""

from __future__ import annotations

import contextlib
import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["READ", "WRITE", "Loop"]

READ = EPOLLIN
WRITE = EPOLLOUT

TICK = 1.0
"""Seconds between two ticks."""

_FULL_PIPE = 4096


class Loop:
    """Calls handlers with the events (READ, WRITE) of their descriptors. A hang-up counts as READ."""

    def __init__(
        self,
        ticks: Sequence[Callable[[], None]],
        woken: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`ticks` are called once a second. `failed` is told of whatever any function raised; the others are called
        as if it had not."""
        self._ticks = ticks
        self._woken = woken
        self._failed = failed
        self._epoll = epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._soon: list[Callable[[], None]] = []
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.add(self._wake_out, self._drain)
        self._running = True

    @property
    def wake_descriptor(self) -> int:
        """For signal.set_wakeup_fd."""
        return self._wake_in

    def add(self, descriptor: int, handler: Callable[[int], None], events: int = READ) -> None:
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def modify(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        self._handlers.pop(descriptor, None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Calls `function` once, after the events that are already there."""
        self._soon.append(function)

    def wake(self) -> None:
        """Makes the loop call `woken`. May be called from any thread and any number of times."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"\0")

    def stop(self) -> None:
        """Makes `run` return after the present event. May be called from a signal handler."""
        self._running = False

    def run(self) -> None:
        next_tick = monotonic() + TICK
        while self._running:
            wait = 0.0 if self._soon else max(0.0, next_tick - monotonic())
            for descriptor, events in self._epoll.poll(wait, 64):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    self._guard(handler, events | (READ if events & (EPOLLHUP | EPOLLERR) else 0))
            soon, self._soon = self._soon, []
            for function in soon:
                self._guard(function)
            if monotonic() >= next_tick:
                for tick in self._ticks:
                    self._guard(tick)
                # Ticks missed in a long pause are not made up for: time is passed to whoever needs it.
                next_tick = max(next_tick + TICK, monotonic())

    def close(self) -> None:
        self._epoll.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _drain(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_out, _FULL_PIPE)) == _FULL_PIPE:
                pass
        self._woken()

    def _guard(self, function: Callable[..., None], *arguments: int) -> None:
        try:
            function(*arguments)
        except Exception as error:
            self._failed(error)
