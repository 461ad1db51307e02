"""What the header of a state file says, read without SQLite: that takes time, and the owner does not let it look."""

from __future__ import annotations

APPLICATION_ID = 0x49505365  # "IPSe"
SIMULATED_ID = 0x49505373  # "IPSs": of a simulated host. Schema 1 had "IPSe" for both
SCHEMA_VERSION = 3

_MAGIC = b"SQLite format 3\0"
_OF_SIMULATION = b"CREATE TABLE simulated_link"
_FIRST_PAGE = 4096  # there, in schema 1, are the names of all tables


def read_marks(header: bytes) -> tuple[int, int]:
    """Application id and schema version in the first 100 bytes of a state file; (0, 0) if it is none of ours."""
    mark = int.from_bytes(header[68:72], "big")
    if len(header) < 100 or not header.startswith(_MAGIC) or mark not in (APPLICATION_ID, SIMULATED_ID):
        return 0, 0
    return mark, int.from_bytes(header[60:64], "big")


def kind(path: str) -> str:
    """`linux` or `simulated`: the host whose state it is; empty if there is no state file of ours that can be read.

    What schema 1 calls simulated may since have been taken over by a real host.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(_FIRST_PAGE)
    except OSError:
        return ""
    mark, version = read_marks(start)
    if not mark:
        return ""
    return "simulated" if mark == SIMULATED_ID or (version == 1 and _OF_SIMULATION in start) else "linux"
