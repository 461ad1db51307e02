"""The state file: SQLite, written row by row, one transaction for each request to the kernel.

Whoever has rows declares a `Table`; the kernel opens one `Store` over all of them, loads everything once, and ends each
request with `commit()` or `rollback()`. A file that is not ours to use is refused before anything is written beside or
into it.
"""

from __future__ import annotations

import os
import sqlite3

from ipsectools.errno import EIO, ENOSPC, EROFS, KernelError
from ipsectools.kernel.errors import StateError, check_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

Value: TypeAlias = "int | str | bytes | float | None"
"""What a column may hold."""

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "StateError", "Store", "Table", "Value", "peek"]

APPLICATION_ID = 0x49505365  # "IPSe"
SCHEMA_VERSION = 1

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From a schema version to the function that makes the next one of it, in one transaction with the others."""

_MAGIC = b"SQLite format 3\0"
_JOURNAL_LIMIT = 4 << 20  # bytes of the write-ahead log that are kept between transactions


class Table:
    """A table: its name and its columns as SQL column definitions, the first of which is the primary key.

    Rows come back in the order in which their keys were first put; a row that is put again keeps its place. That needs
    a key that is not SQLite's row number: declare an integer key as `INT`. With `INTEGER` it is the row number, which
    saves an index, and rows come in the order of their keys.

    `secret`: a row that was deleted is gone from the disk, too, once that is committed.
    """

    __slots__ = ("columns", "delete_sql", "name", "put_sql", "secret", "select_sql")

    def __init__(self, name: str, *columns: str, secret: bool = False) -> None:
        self.name = name
        self.columns = columns
        self.secret = secret
        key, *others = names = [column.split()[0] for column in columns]
        change = f"UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in others)}" if others else "NOTHING"
        self.put_sql = (
            f"INSERT INTO {name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            f" ON CONFLICT ({key}) DO {change}"
        )
        self.delete_sql = f"DELETE FROM {name} WHERE {key} = ?"
        self.select_sql = f"SELECT {', '.join(names)} FROM {name} ORDER BY rowid"

    def create_sql(self) -> str:
        first, *rest = self.columns
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join([first + ' PRIMARY KEY', *rest])}) STRICT"


class Store:
    """Rows of the emulated kernel. `path` None keeps everything in memory (for tests)."""

    def __init__(
        self,
        path: str | None,
        tables: Sequence[Table],
        *,
        version: int = SCHEMA_VERSION,
        migrations: Mapping[int, Callable[[sqlite3.Connection], None]] = MIGRATIONS,
    ) -> None:
        """Opens or makes the file. Raises StateError, leaving the file as it was, if it is not ours to use."""
        self.path = path
        self.changed = False
        """True from the first change of a request until `commit` or `rollback`."""
        self._failed = 0
        # The log of a process that was killed may hold what it deleted.
        self._leaves_secrets = path is not None and os.path.lexists(f"{path}-wal")
        fresh = path is None or not os.path.lexists(path)
        if path is not None:
            for each in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
                if os.path.lexists(each):
                    check_file(each)
            if not fresh:
                fresh = _check_header(path, version)
            if not fresh:
                _check_contents(path)
        previous_mask = os.umask(0o077)
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0)
            try:
                self._open(fresh, tables, version, migrations)
                if self._leaves_secrets:
                    self._remove_log()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            if fresh and path is not None:
                _remove_if_empty(path)
            raise StateError(_explain(path, error)) from None
        finally:
            os.umask(previous_mask)

    def _open(
        self,
        fresh: bool,
        tables: Sequence[Table],
        version: int,
        migrations: Mapping[int, Callable[[sqlite3.Connection], None]],
    ) -> None:
        db = self._db
        # One process owns the file: no shared memory file is needed beside it, and nobody can write in between.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA synchronous = FULL")
        if fresh:
            # Before the write-ahead log is switched on, so that the marks are in the file's header from the start.
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {version}")
            for table in tables:
                db.execute(table.create_sql())
            db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT}")
        if fresh:
            return
        db.execute("BEGIN IMMEDIATE")
        found = older = int(db.execute("PRAGMA user_version").fetchone()[0])
        while found < version:
            migrations[found](db)
            found += 1
        for table in tables:
            db.execute(table.create_sql())
        if older < version:
            db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")

    def rows(self, table: Table) -> Iterator[tuple[Value, ...]]:
        """All rows, in the order that `Table` tells."""
        return self._db.execute(table.select_sql)

    def put(self, table: Table, row: Sequence[Value]) -> None:
        """Inserts a row (all columns, the key first), or replaces the one of that key. Raises KernelError."""
        self._execute(table.put_sql, row)

    def delete(self, table: Table, key: Value) -> None:
        self._execute(table.delete_sql, (key,))
        self._leaves_secrets |= table.secret

    def clear(self, table: Table) -> None:
        self._execute(f"DELETE FROM {table.name}", ())
        self._leaves_secrets |= table.secret

    def _execute(self, sql: str, values: Sequence[Value]) -> None:
        # After a failure SQLite may have ended the transaction: what follows must not be written on its own.
        if self._failed:
            raise KernelError(self._failed)
        try:
            if not self.changed:
                self._db.execute("BEGIN IMMEDIATE")
                self.changed = True
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            self._fail(error)

    def commit(self) -> None:
        """Makes the changes since the last commit permanent. Raises KernelError (ENOSPC, EIO); roll back then."""
        if self._failed:
            raise KernelError(self._failed)
        if not self.changed:
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        self.changed = False
        if self._leaves_secrets:
            self._remove_log()

    def _remove_log(self) -> None:
        """In the file SQLite overwrites what is deleted (`secure_delete`); its log, which keeps every page as it once
        was, is moved into the file and cut off. What is committed stays so if this fails; the next commit tries again.
        """
        try:
            busy, _pages, _moved = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:  # no room
            return
        self._leaves_secrets = bool(busy)

    def rollback(self) -> None:
        """Forgets the changes since the last commit."""
        self._failed = 0
        self.changed = False
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
            self._leaves_secrets = True  # a large transaction is in the log before it is committed

    def _fail(self, error: sqlite3.Error) -> None:
        self.changed = True
        self._failed = _errno_of(self.path, error)
        raise KernelError(self._failed) from None

    def close(self) -> None:
        """Forgets what was not committed and lets go of the file, which holds everything then."""
        self.rollback()
        self._db.close()


def _errno_of(path: str | None, error: sqlite3.Error) -> int:
    name = getattr(error, "sqlite_errorname", "")
    if _says_full(path, name):
        return ENOSPC
    return EROFS if name.startswith("SQLITE_READONLY") else EIO


def _explain(path: str | None, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return f"{path}: in use by another process"
    if _says_full(path, name):
        return f"{path}: no space left on device"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR")):
        return f"{path}: cannot be written ({error})"
    return f"{path}: not a usable state file ({error})"


def _says_full(path: str | None, name: str) -> bool:
    """SQLite calls it an I/O error when the room ends in the middle of a write."""
    return name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and path is not None and _is_full(path))


def _is_full(path: str) -> bool:
    try:
        return os.statvfs(path).f_bavail == 0
    except OSError:
        return False


def _check_header(path: str, version: int) -> bool:
    """Raises StateError if the file is not a state file of a version up to this one; True if it is empty.

    Read without SQLite, which would make files beside it. An empty file is what a crash leaves before the first commit.
    """
    with open(path, "rb") as file:
        header = file.read(100)
    if not header:
        return True
    ours = len(header) == 100 and header.startswith(_MAGIC) and int.from_bytes(header[68:72], "big") == APPLICATION_ID
    if not ours:
        raise StateError(f"{path}: not a state file of ipsectools")
    found = int.from_bytes(header[60:64], "big")
    if not 0 < found <= version:
        raise StateError(f"{path}: state of a newer version ({found}; this one knows up to {version})")
    return False


def _check_contents(path: str) -> None:
    """Raises StateError if the file is damaged. Leaves it, and what is beside it, as it was."""
    found = peek(path, "PRAGMA quick_check(1)")
    if found is None or found[0] != "ok":
        raise StateError(f"{path}: not a usable state file (damaged)")


def peek(path: str, sql: str) -> tuple[Value, ...] | None:
    """The first row that a query of the file gives, which nobody else may have open. Changes nothing on disk."""
    log, index = f"{path}-wal", f"{path}-shm"
    # Without a log the file is all there is: nothing needs to be made beside it. With one (of a process that was
    # killed) it has to be read through it; a read-only connection neither moves the log into the file nor removes it,
    # but makes an index of the log.
    recover = os.path.lexists(log) and os.path.getsize(log) > 0
    indexed = os.path.lexists(index)
    uri = f"file:{_quote(os.path.abspath(path))}?mode=ro" + ("" if recover else "&immutable=1")
    previous_mask = os.umask(0o077)
    try:
        db = sqlite3.connect(uri, uri=True, timeout=0)
        try:
            row: tuple[Value, ...] | None = db.execute(sql).fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StateError(_explain(path, error)) from None
    finally:
        os.umask(previous_mask)
        if recover and not indexed and os.path.lexists(index):
            os.unlink(index)
    return row


def _quote(path: str) -> str:
    return "".join(f"%{ord(each):02x}" if each in "%?#" else each for each in path)


def _remove_if_empty(path: str) -> None:
    """A file that could not be filled is not left behind."""
    try:
        if os.path.getsize(path) == 0:
            os.unlink(path)
    except OSError:
        return
