"""The lock between the pump's turns and changes to its tables, for the core that is not its own master."""

from __future__ import annotations

import threading


class Gate:
    """Lets changes pass between two turns of the pump, before the next one even under full load.

    Used with `with`, by turns and by changes alike. Re-entrant: what relieves a turn in need may change tables.
    """

    def __init__(self) -> None:
        self._door = threading.RLock()
        self._inside = threading.RLock()

    def __enter__(self) -> None:
        # Whoever waits to get inside holds the door, so that a turn that follows on a turn has to queue behind it.
        with self._door:
            self._inside.acquire()

    def __exit__(self, *_: object) -> None:
        self._inside.release()
