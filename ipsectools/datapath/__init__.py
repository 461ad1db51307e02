"""The data path: TUN <-> ESP.

`pump.Pump` is the whole of it for the rest of the program: tables of interfaces and SAs that the daemon keeps up to
date, one of two cores that move the packets (`plain`, in Python on `esp`; `_fast`, compiled, over libcrypto), threads,
events for the key engine, statistics. Both cores give the same bytes, the same drop reasons and the same counters.

Guarantees: a change to the tables is in force when the call returns; every packet that came in went out or has a named
drop reason (`esp.drops`); no exception for any packet. Knows nothing of the key engine's rules, the state file, PF_KEY.

Theory of operation: told here, and nowhere else.

**Stages.** Each is a function that passes the packet on or gives the reason to drop it; their order is FreeBSD's, which
decides what is counted before (`esp.drops`). What a device's packets go through is its *way*, prepared when tables
change and replaced as a whole: why nothing leaves, the mark, the SA, the socket.

- out: *decide* (is there a way, is it our own packet come back, is there an SA), *number* (may the SA send: sequence
  number, IV), *seal* (RFC 4303), *wrap* (outer header: TOS, DF, path MTU), *send* (a batch at once).
- in: *find* (the SA by SPI and destination), *check* (length, replay window), *open* (verify, decrypt), *commit* (the
  window moves; padding comes off), *deliver* (to the interface with the SA's reqid and ends, else to the host).

They are in `fast/out.c`, `seal.c`, `send.c`, `in.c`, `open.c`; in `plain_out` and `plain_in`, where what `esp` does in
a row (number and seal; check, open and commit) is one call, and most packets take a loop with the same outcome.

**Locks**, always taken in this order; whoever needs Python inside takes the GIL last:

1. the tables' (`fast/tables.h`): workers read them for a batch, changes write. Writers go first, so a change waits for
   one batch, and what it replaced is in nobody's hands when it returns. Changes are made without the GIL, because a
   worker may wait for it in a hook;
2. the SA's traffic (`fast/traffic.h`): whoever seals or opens with it; Python for a moment, without the GIL too;
3. a UDP socket's (`fast/tables.h`, `endpoint`): while a train leaves, because its options are the train's.

The plain core has one lock, its driver's `Gate`: a turn and a change exclude each other.

**Reserve, commit, grant.** A number that would not survive the end of what keeps it must not be used before it is kept.
The data path asks for more with an event, at half of a block (RESERVE: sequence numbers and IVs, EDGE: the window's
edge), and once a second at its end, where packets are dropped by name: nobody waits. The key engine *reserves*: it
raises the limits in `esp.traffic.Traffic`, in a request that is *committed* to the state file with them. Only then are
they *granted*: the compiled core moves within the granted copies of the limits; the plain one reads the limits
themselves, so its gate is closed from reservation to commit (`Pump.pause_for_reservation`). A lower limit of what may
be received is in force at once, but not below what was accepted.
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
