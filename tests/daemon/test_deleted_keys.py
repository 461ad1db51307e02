"""A key that was deleted is nowhere in the state directory: not in the file's free pages, nor in its log."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.kernel.key.tables import SAS
from ipsectools.kernel.store import Store, Table
from tests.daemon.state import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.state import State

MARK = b"a secret key of"
COUNT = 300
"""So many that their rows take many pages."""


def key(number: int) -> bytes:
    return MARK + b"%05d" % number


def add(numbers: range, more: str = "") -> str:
    return "".join(
        f"add 192.0.2.1 192.0.2.2 esp {0x1000 + n} -m tunnel -u 100 {more} -E aes-gcm-16 0x{key(n).hex()};\n"
        for n in numbers
    )


def holding(state: State, secret: bytes = MARK) -> list[str]:
    """Names of the files of the state directory with this in them."""
    files = [path for path in state.directory.iterdir() if path.is_file()]
    return [path.name for path in files if secret in path.read_bytes()]


def within(state: State, secret: bytes) -> list[str]:
    """As `holding`, once nothing is left or patience is."""
    deadline = time.monotonic() + PATIENCE
    while (found := holding(state, secret)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("how", ["setkey -F", "flush esp;", "deleteall 192.0.2.1 192.0.2.2 esp;"])
@pytest.mark.parametrize("served", [True, False], ids=["served", "embedded"])
def test_all_at_once(state: State, how: str, served: bool) -> None:
    if served:
        state.ok("ipsecd")
    state.ok("setkey", "-f", "/dev/stdin", stdin=add(range(COUNT)))
    assert holding(state)
    if how.startswith("setkey"):
        state.ok(*how.split())
    else:
        state.ok("setkey", "-e", how)
    assert state.ok("setkey", "-D") == "No SAD entries.\n"
    assert holding(state) == []


def test_one_by_one(state: State) -> None:
    state.ok("ipsecd")
    state.ok("setkey", "-c", stdin=add(range(9)))
    for number in range(9):
        state.ok("setkey", "-e", f"delete 192.0.2.1 192.0.2.2 esp {0x1000 + number};")
        assert holding(state, key(number)) == []
        assert bool(holding(state, key(8))) == (number < 8)


def test_at_the_end_of_its_life(state: State) -> None:
    state.ok("ipsecd")
    state.ok("setkey", "-c", stdin=add(range(5)) + add(range(5, 6), "-lh 1"))
    assert within(state, key(5)) == []
    assert holding(state, key(4))


@pytest.mark.parametrize("flushed", ["before", "after"])
def test_kill(state: State, flushed: str) -> None:
    """Whoever is killed leaves its log; the next owner takes that away."""
    state.ok("ipsecd")
    state.ok("setkey", "-f", "/dev/stdin", stdin=add(range(COUNT)))
    if flushed == "before":
        state.ok("setkey", "-F")
    os.kill(state.ipsecd(), signal.SIGKILL)
    state.wait_until_free()
    if flushed == "after":
        assert holding(state)
        state.ok("setkey", "-F")
    assert holding(state) == []


ROWS = Table("rows", "id INTEGER", "data BLOB", secret=True)


def test_what_was_never_committed(tmp_path: Path) -> None:
    """A transaction of more pages than SQLite's memory holds goes into the log before it is taken back."""
    store = Store(f"{tmp_path}/state.db", [ROWS])
    store._db.execute("PRAGMA cache_size = 100")  # as if there were not memory enough
    for number in range(3000):
        store.put(ROWS, (number, MARK * 200))
    log = tmp_path / "state.db-wal"
    assert MARK in log.read_bytes()
    store.rollback()
    store.put(ROWS, (1, b"harmless"))
    store.commit()
    assert not [path for path in tmp_path.iterdir() if MARK in path.read_bytes()]
    store.close()


def test_a_log_that_is_read_is_removed_later(tmp_path: Path) -> None:
    store = Store(f"{tmp_path}/state.db", [ROWS])
    store.put(ROWS, (1, MARK))
    store.put(ROWS, (2, b"harmless"))
    store.commit()
    log = tmp_path / "state.db-wal"
    rows = iter(store.rows(ROWS))
    next(rows)  # an open cursor: SQLite does not reset the log now
    store.delete(ROWS, 1)
    store.commit()
    assert MARK in log.read_bytes()
    list(rows)
    store.put(ROWS, (3, b"more"))
    store.commit()
    assert not [path for path in tmp_path.iterdir() if MARK in path.read_bytes()]
    store.close()


def test_a_full_disk_keeps_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cannot be moved: the deletion holds, and the log goes with the next commit."""
    store = Store(f"{tmp_path}/state.db", [ROWS])
    store.put(ROWS, (1, MARK))
    store.commit()
    real = store._db

    class Full:
        in_transaction = False

        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if "checkpoint" in sql:
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(sql, *values)

    monkeypatch.setattr(store, "_db", Full())
    store.delete(ROWS, 1)
    store.commit()
    assert list(store.rows(ROWS)) == []
    monkeypatch.setattr(store, "_db", real)
    store.put(ROWS, (2, b"harmless"))
    store.commit()
    assert not [path for path in tmp_path.iterdir() if MARK in path.read_bytes()]
    store.close()


def test_the_table_of_keys_is_marked() -> None:
    assert SAS.secret
