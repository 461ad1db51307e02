"""A way in for programs that call socket(PF_KEY): a small library for LD_PRELOAD, and where to find it.

It turns `socket(PF_KEY, SOCK_RAW, PF_KEY_V2)` into a connection to the state directory's `pfkey` socket. It knows
nothing of PF_KEY's contents; the daemon translates for clients compiled on Linux.
"""

from __future__ import annotations

import os


def library() -> str | None:
    """The path of the built library, or None where it was not built (no C compiler at install time)."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pfkey_preload.so")
    return path if os.path.exists(path) else None
