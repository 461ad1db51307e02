"""The state file: SQLite, written row by row, one transaction for each request to the kernel.

Whoever has rows declares a `Table`; the kernel opens one `Store` over all of them, loads everything once, and ends each
request with `commit()` or `rollback()`.
"""

from __future__ import annotations

import os
import sqlite3
import stat

from ipsectools.errno import EIO, ENOSPC, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Value: TypeAlias = int | str | bytes | float | None

SCHEMA_VERSION = 1

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From a schema version to the function that makes the next one of it."""


class StateError(Exception):
    """A state file that this kernel must not touch; the text is one line for the user."""


class Table:
    """A table: its name and its columns as SQL column definitions, the first of which is the primary key."""

    __slots__ = ("columns", "delete_sql", "insert_sql", "name", "select_sql")

    def __init__(self, name: str, *columns: str) -> None:
        self.name = name
        self.columns = columns
        names = [column.split()[0] for column in columns]
        self.insert_sql = f"INSERT OR REPLACE INTO {name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        self.delete_sql = f"DELETE FROM {name} WHERE {names[0]} = ?"
        self.select_sql = f"SELECT {', '.join(names)} FROM {name} ORDER BY rowid"

    def create_sql(self) -> str:
        first, *rest = self.columns
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join([first + ' PRIMARY KEY', *rest])}) STRICT"


class Store:
    """Rows of the emulated kernel. `path` None keeps everything in memory (for tests)."""

    def __init__(self, path: str | None, tables: Sequence[Table]) -> None:
        """Opens or makes the file. Raises StateError, leaving the file as it was, if it is not ours to use."""
        self.path = path
        fresh = path is None or not os.path.lexists(path)
        if path is not None and not fresh:
            check_file(path)
        previous_mask = os.umask(0o077)
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StateError(f"{path}: {error}") from None
        finally:
            os.umask(previous_mask)
        try:
            self._open(fresh, tables)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StateError(f"{path}: not a usable state file ({error})") from None
        except StateError:
            self._db.close()
            raise
        self._pending = False

    def _open(self, fresh: bool, tables: Sequence[Table]) -> None:
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StateError(f"{self.path}: state of a newer version ({version}; this one knows up to {SCHEMA_VERSION})")
        if not fresh and version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StateError(f"{self.path}: not a state file of ipsectools")
        if not fresh and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise StateError(f"{self.path}: not a usable state file (damaged)")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        while 0 < version < SCHEMA_VERSION:
            MIGRATIONS[version](db)
            version += 1
        for table in tables:
            db.execute(table.create_sql())
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")

    def rows(self, table: Table) -> Iterator[tuple[Value, ...]]:
        """All rows, oldest insertion first (a replaced row counts as new)."""
        return self._db.execute(table.select_sql)

    def put(self, table: Table, row: Sequence[Value]) -> None:
        """Inserts or replaces a row (all columns, the key first)."""
        self._execute(table.insert_sql, row)

    def delete(self, table: Table, key: Value) -> None:
        self._execute(table.delete_sql, (key,))

    def clear(self, table: Table) -> None:
        self._execute(f"DELETE FROM {table.name}", ())

    def _execute(self, sql: str, values: Sequence[Value]) -> None:
        try:
            if not self._pending:
                self._db.execute("BEGIN IMMEDIATE")
                self._pending = True
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise KernelError(_errno_of(error)) from None

    def commit(self) -> None:
        """Makes the changes since the last commit permanent. Raises KernelError (ENOSPC, EIO); roll back then."""
        if not self._pending:
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise KernelError(_errno_of(error)) from None
        self._pending = False

    def rollback(self) -> None:
        """Forgets the changes since the last commit."""
        if self._pending:
            self._pending = False
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        self.rollback()
        self._db.close()


def _errno_of(error: sqlite3.Error) -> int:
    full = getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN")
    return ENOSPC if full else EIO


def check_file(path: str) -> None:
    """Raises StateError unless `path` is a regular file of this user that nobody else can read."""
    info = os.lstat(path)
    if not stat.S_ISREG(info.st_mode):
        raise StateError(f"{path}: not a regular file")
    if info.st_uid != os.geteuid():
        raise StateError(f"{path}: owned by another user (uid {info.st_uid})")
    if info.st_nlink != 1:
        raise StateError(f"{path}: has more than one name")
    if info.st_mode & 0o077:
        raise StateError(f"{path}: accessible by others (mode {stat.S_IMODE(info.st_mode):04o}, wanted 0600)")


def check_directory(path: str) -> None:
    """Raises StateError unless `path` is a directory of this user that nobody else can enter."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise StateError(f"{path}: not a directory")
    if info.st_uid != os.geteuid():
        raise StateError(f"{path}: owned by another user (uid {info.st_uid})")
    if info.st_mode & 0o077:
        raise StateError(f"{path}: accessible by others (mode {stat.S_IMODE(info.st_mode):04o}, wanted 0700)")
