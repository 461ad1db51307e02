"""What the threads that move packets have in common."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

NICE = -10
"""On a busy machine what arrives must not wait for a time slice of others."""


def settle_in() -> None:
    """Gives the calling thread its priority, and its name for whoever looks (`ps -T`, `top -H`)."""
    with suppress(OSError):  # without CAP_SYS_NICE packets wait their turn like everybody
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    with suppress(OSError), open("/proc/thread-self/comm", "w") as name:
        name.write(threading.current_thread().name)
