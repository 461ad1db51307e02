"""Datagrams both ways without end, while the test does something else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsectools.lab.flow import Counters


class Flood:
    """Datagrams both ways without end, in a thread, with pauses on demand."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.error: BaseException | None = None
        self._going = threading.Event()
        self._idle = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        silent = 0
        try:
            while not self._over:
                if not self._going.is_set():
                    if not self._idle.is_set():
                        self._drain()
                        self._idle.set()
                    self._going.wait(0.2)
                    continue
                self._idle.clear()
                before = len(self.counters.forth.numbers), len(self.counters.back.numbers)
                self.counters.send(4)
                # Where nothing comes back, go slowly: the queue of an interface is no place for seconds of traffic.
                self.counters.collect(0.002 if silent < 25 else 0.01)
                after = len(self.counters.forth.numbers), len(self.counters.back.numbers)
                silent = silent + 1 if before == after else 0
        except BaseException as error:
            self.error = error
            self._idle.set()

    def _drain(self) -> None:
        """Books what is still under way, until nothing more comes."""
        booked = -1
        while booked != (booked := len(self.counters.forth.numbers) + len(self.counters.back.numbers)):
            time.sleep(0.1)
            self.counters.drain()

    def go(self) -> None:
        self._idle.clear()
        self._going.set()

    def pause(self) -> None:
        """Returns when nothing is under way any more."""
        self._going.clear()
        self._idle.clear()
        assert self._idle.wait(20)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self._over = True
        self._going.set()
        self._thread.join(20)

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
