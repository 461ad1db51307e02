"""The data path: TUN <-> ESP.

`pump.Pump` is the whole of it for the rest of the program: tables of interfaces and SAs that the daemon keeps up to
date, one of two cores that move the packets (`plain`, in Python on `esp`; `_fast`, compiled, over libcrypto), threads,
events for the key engine, statistics. Both cores give the same bytes, the same drop reasons and the same counters.

Guarantees: a change to the tables is in force when the call returns; every packet that came in went out or has a named
drop reason (`esp.drops`); no exception for any packet. Knows nothing of the key engine's rules, the state file, PF_KEY.
"""

from __future__ import annotations

__all__ = ["core_status"]


def core_status() -> tuple[str, str]:
    """Which core the pump takes on this machine and why: ("compiled" | "python", reason)."""
    import os

    if os.environ.get("IPSECTOOLS_CORE") == "python":
        return "python", "IPSECTOOLS_CORE=python"
    try:
        from ipsectools.datapath import _fast
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            return "python", "the compiled helper was not built (a C compiler, OpenSSL and Python headers are needed)"
        return "python", f"the compiled helper does not load: {error}"
    return "compiled", f"compiled helper over {_fast.library_version()}"
