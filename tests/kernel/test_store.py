"""The state file: what is ours, what is refused without a trace, and what survives."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ipsectools.errno import EIO, ENOSPC, KernelError
from ipsectools.kernel import store as store_module
from ipsectools.kernel.store import SCHEMA_VERSION, StateError, Store, Table, peek

ORDERED = Table("ordered", "number INT", "text TEXT")
SORTED = Table("sorted", "number INTEGER", "data BLOB")
NAMES = Table("names", "name TEXT")
TABLES = (ORDERED, SORTED, NAMES)


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    return f"{tmp_path}/state.db"


def fill(path: str) -> None:
    store = Store(path, TABLES)
    store.put(ORDERED, (1, "one"))
    store.commit()
    store.close()


def test_order(path: str) -> None:
    store = Store(path, TABLES)
    for number in (5, 3, 9):
        store.put(ORDERED, (number, "old"))
        store.put(SORTED, (number, b""))
    store.put(ORDERED, (5, "new"))
    store.put(NAMES, ("b",))
    store.put(NAMES, ("a",))
    store.put(NAMES, ("b",))
    store.commit()
    store.close()
    store = Store(path, TABLES)
    assert list(store.rows(ORDERED)) == [(5, "new"), (3, "old"), (9, "old")]
    assert [number for number, _ in store.rows(SORTED)] == [3, 5, 9]
    assert list(store.rows(NAMES)) == [("b",), ("a",)]
    store.delete(ORDERED, 5)
    store.put(ORDERED, (5, "again"))
    store.commit()
    assert [number for number, _ in store.rows(ORDERED)] == [3, 9, 5]
    store.clear(ORDERED)
    store.commit()
    assert list(store.rows(ORDERED)) == []
    store.close()


def test_what_is_not_committed(path: str) -> None:
    store = Store(path, TABLES)
    store.put(ORDERED, (1, "one"))
    assert store.changed
    store.commit()
    assert not store.changed
    store.put(ORDERED, (2, "two"))
    store.rollback()
    assert not store.changed
    store.put(ORDERED, (3, "three"))
    store.close()
    assert list(Store(path, TABLES).rows(ORDERED)) == [(1, "one")]


def test_permissions(path: str) -> None:
    previous = os.umask(0)
    try:
        store = Store(path, TABLES)
        store.put(ORDERED, (1, "one"))
        store.commit()
        names = os.listdir(os.path.dirname(path))
        assert sorted(names) == ["state.db", "state.db-wal"]
        for name in names:
            assert os.stat(f"{os.path.dirname(path)}/{name}").st_mode & 0o777 == 0o600
    finally:
        os.umask(previous)
    store.close()
    assert os.listdir(os.path.dirname(path)) == ["state.db"]


def test_one_owner(path: str) -> None:
    store = Store(path, TABLES)
    store.put(ORDERED, (1, "one"))
    store.commit()
    code = """
import sys
from ipsectools.kernel.store import StateError, Store
try:
    Store(sys.argv[1], ())
except StateError as error:
    print(error)
"""
    root = str(Path(__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=root, timeout=60)
    assert run.stdout == f"{path}: in use by another process\n", run.stderr
    store.put(ORDERED, (2, "two"))
    store.commit()
    store.close()


def killed(path: str) -> None:
    """Leaves what a killed process leaves: a file and a log that is not yet in it."""
    fill(path)
    store = Store(path, TABLES)
    store.put(ORDERED, (2, "two"))
    store.commit()
    copies = {name: Path(name).read_bytes() for name in (path, f"{path}-wal")}
    store.close()
    for name, data in copies.items():
        Path(name).write_bytes(data)
        os.chmod(name, 0o600)


def test_after_a_kill(path: str) -> None:
    killed(path)
    assert peek(path, "SELECT count(*) FROM ordered") == (2,)
    assert sorted(contents(Path(path).parent)) == ["state.db", "state.db-wal"]
    store = Store(path, TABLES)
    assert list(store.rows(ORDERED)) == [(1, "one"), (2, "two")]
    store.close()


def foreign(path: str) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE precious (x)")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()


def newer(path: str) -> None:
    Store(path, TABLES, version=SCHEMA_VERSION + 1).close()


def garbage(path: str) -> None:
    Path(path).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)


def text(path: str) -> None:
    Path(path).write_text("not a database\n")


def truncated(path: str) -> None:
    fill(path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


def overwritten(path: str) -> None:
    """Pages of the tables are nonsense, the header is right."""
    fill(path)
    data = bytearray(Path(path).read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    Path(path).write_bytes(data)


def overwritten_with_log(path: str) -> None:
    killed(path)
    data = bytearray(Path(path).read_bytes())
    data[200:] = b"\x5a" * (len(data) - 200)
    Path(path).write_bytes(data)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (foreign, "not a state file of ipsectools"),
        (newer, f"state of a newer version ({SCHEMA_VERSION + 1}; this one knows up to {SCHEMA_VERSION})"),
        (garbage, "not a state file of ipsectools"),
        (text, "not a state file of ipsectools"),
        (truncated, "not a usable state file ("),
        (overwritten, "not a usable state file ("),
        (overwritten_with_log, "not a usable state file ("),
    ],
)
def test_refused(path: str, make: object, complaint: str) -> None:
    assert callable(make)
    make(path)
    os.chmod(path, 0o600)
    before = contents(Path(path).parent)
    with pytest.raises(StateError) as caught:
        Store(path, TABLES)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.startswith(f"{path}: {complaint}")
    assert contents(Path(path).parent) == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("fault", ["mode", "owner", "link", "symlink", "directory"])
def test_not_ours_alone(path: str, suffix: str, fault: str) -> None:
    fill(path)
    each = Path(path + suffix)
    each.touch(0o600)
    if fault == "mode":
        each.chmod(0o640)
    elif fault == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root can give files away")
        os.chown(each, 12345, 12345)
    elif fault == "link":
        os.link(each, f"{path}.second")
    else:
        each.unlink()
        if fault == "symlink":
            Path(f"{path}.target").touch(0o600)
            each.symlink_to(f"{path}.target")
        else:
            each.mkdir()
    listing = sorted(os.listdir(each.parent))
    with pytest.raises(StateError, match=f"^{each}: "):
        Store(path, TABLES)
    assert sorted(os.listdir(each.parent)) == listing


def test_empty_file(path: str) -> None:
    """What a crash leaves before the first commit."""
    Path(path).touch(0o600)
    store = Store(path, TABLES)
    assert list(store.rows(ORDERED)) == []
    store.close()


def test_no_directory(path: str) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        Store(f"{path}/state.db", TABLES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_directory(path: str) -> None:
    os.chmod(os.path.dirname(path), 0o500)
    with pytest.raises(StateError, match="cannot be written"):
        Store(path, TABLES)
    os.chmod(os.path.dirname(path), 0o700)
    assert not os.path.exists(path)


def test_odd_names(tmp_path: Path) -> None:
    path = f"{tmp_path}/a ?#%41.db"
    fill(path)
    assert list(Store(path, TABLES).rows(ORDERED)) == [(1, "one")]
    assert os.listdir(tmp_path) == ["a ?#%41.db"] or "a ?#%41.db-wal" in os.listdir(tmp_path)


def test_migration(path: str) -> None:
    fill(path)

    def second(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE ordered ADD COLUMN more TEXT")

    def third(db: sqlite3.Connection) -> None:
        db.execute("UPDATE ordered SET more = upper(text)")

    newest = (Table("ordered", "number INT", "text TEXT", "more TEXT"), *TABLES[1:])
    store = Store(
        path, newest, version=SCHEMA_VERSION + 2, migrations={SCHEMA_VERSION: second, SCHEMA_VERSION + 1: third}
    )
    assert list(store.rows(newest[0])) == [(1, "one", "ONE")]
    store.close()
    before = Path(path).read_bytes()
    with pytest.raises(StateError, match="newer version"):
        Store(path, TABLES)
    assert Path(path).read_bytes() == before


def test_failed_migration(path: str) -> None:
    fill(path)

    def fail(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE ordered")
        db.execute("SELECT nonsense")

    with pytest.raises(StateError):
        Store(path, TABLES, version=SCHEMA_VERSION + 1, migrations={SCHEMA_VERSION: fail})
    assert list(Store(path, TABLES).rows(ORDERED)) == [(1, "one")]


def test_what_was_written_and_taken_back_is_no_other_programs(path: str) -> None:
    """SQLite writes some of a large transaction, or of one for which there is no room, before it gives that up."""
    store = Store(path, TABLES)
    reports: list[str] = []
    store.report = reports.append
    store._db.execute("PRAGMA cache_size = 1")
    store.put(ORDERED, (1, "one"))
    store.commit()
    log = Path(f"{path}-wal")
    size = log.stat().st_size
    for number in range(200):
        store.put(SORTED, (number, bytes(1000)))
    store.rollback()
    assert log.stat().st_size > size
    store.check()
    assert not reports
    with open(log, "ab") as file:
        file.write(b"x")
    store.check()
    assert len(reports) == 1
    store.close()


def test_full(path: str) -> None:
    """After a failure nothing of the transaction is written, whatever the caller does next."""
    store = Store(path, TABLES)
    store.put(ORDERED, (1, "one"))
    store.commit()
    store._db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(KernelError) as caught:
        for number in range(2, 200):
            store.put(SORTED, (number, bytes(1000)))
        store.commit()
    assert caught.value.errno == ENOSPC
    for step in (lambda: store.put(ORDERED, (3, "three")), store.commit):
        with pytest.raises(KernelError) as caught:
            step()
        assert caught.value.errno == ENOSPC
    store.rollback()
    assert list(store.rows(ORDERED)) == [(1, "one")]
    assert list(store.rows(SORTED)) == []
    store.put(ORDERED, (3, "three"))
    store.commit()
    store.close()
    assert list(Store(path, TABLES).rows(ORDERED)) == [(1, "one"), (3, "three")]


def test_deleted_keys_are_gone(path: str) -> None:
    secret = b"VerySecretKey!!1"
    store = Store(path, TABLES)
    store.put(SORTED, (1, secret * 4))
    store.commit()
    store.delete(SORTED, 1)
    store.commit()
    store.close()
    assert secret not in Path(path).read_bytes()


def test_a_copy_that_was_not_finished_is_gone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the file was put back: keys that are deleted later would stay in there."""
    store = Store(path, TABLES)
    store.put(SORTED, (1, b"VerySecretKey!!1"))
    store.commit()
    os.unlink(path)

    def killed(before: str, after: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store.check()
    assert "state.db.new" in contents(Path(path).parent)
    store.close()
    Store(path, TABLES).close()
    assert list(contents(Path(path).parent)) == ["state.db"]


@pytest.mark.parametrize(
    ("name", "full", "errno"),
    [("SQLITE_IOERR_WRITE", True, ENOSPC), ("SQLITE_IOERR_WRITE", False, EIO), ("SQLITE_FULL", False, ENOSPC)],
)
def test_a_write_that_ends_in_the_middle(
    path: str, monkeypatch: pytest.MonkeyPatch, name: str, full: bool, errno: int
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    monkeypatch.setattr(store_module, "_is_full", lambda path: full)
    assert store_module._errno_of(path, error) == errno
