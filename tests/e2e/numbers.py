"""Puts the sequence numbers of SAs where a test needs them: in the state file of a host whose ipsecd does not run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ipsectools.lab.host import STATE
from tests.e2e.doors import control

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsectools.lab.host import Host


_SCRIPT = """
import os, sqlite3, sys
path, number, *spis = sys.argv[1:]
os.unlink(os.path.join(os.path.dirname(path), "traffic"))  # after a clean end the state file has everything
with sqlite3.connect(path) as database:
    for spi in spis:
        changed = database.execute(
            "UPDATE sa_traffic SET sequence = ?1, received_high = ?1 WHERE id = (SELECT id FROM sa WHERE spi = ?2)",
            (bytes.fromhex(number), int(spi)),
        )
        assert changed.rowcount == 1, f"SA {spi} has not moved yet"
database.close()
"""


def stop_ipsecd(host: Host) -> None:
    """Ends the host's ipsecd in good order."""
    (pid,) = host.processes("ipsecd")
    control(host, "IPSECDSTOP")
    host.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do :; done", timeout=20)


def set_sequence(host: Host, spis: Iterable[int], last: int) -> None:
    """These SAs have sent, and accepted, everything up to number `last`. ipsecd runs again when this returns."""
    stop_ipsecd(host)
    # In a process of the host: SQLite follows links, and a path into another mount namespace is one.
    host.run(sys.executable, "-c", _SCRIPT, f"{STATE}/state.db", last.to_bytes(8, "big").hex(), *map(str, spis))
    host.run("setkey", "-D")
    assert host.processes("ipsecd")
