"""The state file: SQLite, written row by row, one transaction for each request to the kernel.

Whoever has rows declares a `Table`; the kernel opens one `Store` over all of them, loads everything once, and ends each
request with `commit()` or `rollback()`. A file that is not ours to use is refused before anything is written beside or
into it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

from ipsectools.errno import EIO, ENOSPC, EROFS, KernelError
from ipsectools.kernel.errors import StateError, check_file
from ipsectools.kernel.filewatch import FileWatch
from ipsectools.kernel.statefile import APPLICATION_ID, SCHEMA_VERSION, read_marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

Value: TypeAlias = "int | str | bytes | float | None"
"""What a column may hold."""

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA_VERSION", "StateError", "Store", "Table", "Value", "peek"]


def _give_kinds_their_rows(db: sqlite3.Connection) -> None:
    """1 -> 2: what only if_ipsec(4) has leaves the interface's row for a table of its own."""
    db.execute(
        "CREATE TABLE if_ipsec (position INTEGER PRIMARY KEY, reqid INTEGER NOT NULL, policies TEXT NOT NULL) STRICT"
    )
    db.execute("INSERT INTO if_ipsec SELECT position, reqid, policies FROM interface WHERE cloner = 'ipsec'")
    db.execute("ALTER TABLE interface ADD COLUMN moves_packets INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE interface SET moves_packets = 1 WHERE cloner = 'ipsec'")
    db.execute("ALTER TABLE interface DROP COLUMN reqid")
    db.execute("ALTER TABLE interface DROP COLUMN policies")


def _stamp_sas(db: sqlite3.Connection) -> None:
    """2 -> 3: SAs have stamps, and where their counters are has changed, which no older release must overlook."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sa'").fetchone() is not None:
        db.execute("ALTER TABLE sa ADD COLUMN stamp INTEGER")
        db.execute("UPDATE sa SET stamp = (random() & 0xFFFFFFFFFFFFFF) | 1")


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _give_kinds_their_rows, 2: _stamp_sas}
"""From a schema version to the function that makes the next one of it, in one transaction with the others."""

_CACHE = -(1 << 20)  # KiB: all pages that were ever read stay in memory, whatever becomes of the file
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
        application_id: int = APPLICATION_ID,
    ) -> None:
        """Opens or makes the file. Raises StateError, leaving the file as it was, if it is not ours to use."""
        self.path = path
        self.changed = False
        """True from the first change of a request until `commit` or `rollback`."""
        self.is_ours: Callable[[], bool] = lambda: True
        """Set by who owns the state directory: False once it is somebody else's."""
        self.report: Callable[[str], None] = lambda text: None
        """Told, in a line for people, of what others did to the file and what came of it."""
        self._only_ours = False  # what a transaction that is under way has written
        self._failed = 0
        # The log of a process that was killed may hold what it deleted.
        self._leaves_secrets = path is not None and os.path.lexists(f"{path}-wal")
        self._watch: FileWatch | None = None
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
                self._open(fresh, tables, version, migrations, application_id)
                if path is not None:
                    with contextlib.suppress(OSError):
                        os.unlink(f"{path}.new")  # keys and all, of a process that was killed in `_put_back`
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
        self._watch_file()

    def _watch_file(self) -> None:
        if self.path is not None:
            self._watch = FileWatch(self.path, f"{self.path}-wal")

    def _open(
        self,
        fresh: bool,
        tables: Sequence[Table],
        version: int,
        migrations: Mapping[int, Callable[[sqlite3.Connection], None]],
        application_id: int,
    ) -> None:
        db = self._db
        # One process owns the file: no shared memory file is needed beside it, and nobody can write in between.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA cache_size = {_CACHE}")
        if fresh:
            # Before the write-ahead log is switched on, so that the marks are in the file's header from the start.
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA application_id = {application_id}")
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
            db.execute(f"PRAGMA application_id = {application_id}")
            db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
        if older < version:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # whoever reads the header only, sees it too
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            db.execute(f"SELECT count(*) FROM {name} NOT INDEXED").fetchone()  # into memory, see `_copy`

    def rows(self, table: Table) -> Iterator[tuple[Value, ...]]:
        """All rows, in the order that `Table` tells."""
        return self._db.execute(table.select_sql)

    def ascends(self, table: Table, column: str) -> bool:
        """Whether the rows, in the order of `rows`, are in that of this column too: then nobody needs to sort them."""
        before = f'SELECT "{column}" AS this, lag("{column}") OVER (ORDER BY rowid) AS before FROM {table.name}'
        return self._db.execute(f"SELECT 1 FROM ({before}) WHERE this <= before LIMIT 1").fetchone() is None

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
                if self._watch is not None and (harm := self._watch.harm()):
                    self._put_back(harm)
                self._db.execute("BEGIN IMMEDIATE")
                self.changed = self._only_ours = True
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            self._fail(error)

    def commit(self) -> None:
        """Makes the changes since the last commit permanent. Raises KernelError (ENOSPC, EIO); roll back then."""
        if self._failed:
            raise KernelError(self._failed)
        if not self.changed:
            return
        harm = self._watch.harm() if self._watch is not None else ""
        self._only_ours = not harm
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        self.changed = self._only_ours = False
        # What is permanent is so in the file that the next owner will find, before anybody is told.
        if self._watch is not None and (harm := harm or self._watch.harm(names_only=True)):
            self._put_back(harm)
        if self._leaves_secrets:
            self._remove_log()
        if self._watch is not None:
            self._watch.note()

    def _remove_log(self) -> None:
        """In the file SQLite overwrites what is deleted (`secure_delete`); its log, which keeps every page as it once
        was, is moved into the file and cut off. What is committed stays so if this fails; the next commit tries again.
        """
        try:
            busy, _pages, _moved = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:  # no room
            return
        self._leaves_secrets = bool(busy)

    def check(self) -> None:
        """Looks whether the file is still what this process made it, and puts it back if not. Raises KernelError.

        Between requests only. What the process knows is the truth: every change went through it.
        """
        if self._watch is not None and (harm := self._watch.harm()):
            try:
                self._put_back(harm)
            except KernelError:
                self.rollback()
                raise

    def _put_back(self, harm: str) -> None:
        path = self.path
        assert path is not None and self._watch is not None
        if not self.is_ours():
            self._fail_with(EIO)
        try:
            self._watch.lengthen()
            _copy(self._db, f"{path}.new")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}-wal")  # never beside a file that it does not belong to
            os.rename(f"{path}.new", path)
            self._db.close()
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
            self._open(False, (), SCHEMA_VERSION, {}, 0)  # its marks are there
        except (sqlite3.Error, OSError) as error:
            self.report(f"{harm}; it cannot be put back, so nothing can be changed: {error}")
            self._fail_with(_errno_of(path, error) if isinstance(error, sqlite3.Error) else EIO)
        self._watch_file()
        self.report(f"{harm}; it has been put back with all that there is")

    def rollback(self) -> None:
        """Forgets the changes since the last commit."""
        self._failed = 0
        self.changed = False
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
            self._leaves_secrets = True  # a large transaction is in the log before it is committed
        if self._only_ours and self._watch is not None and not self._watch.harm(names_only=True):
            self._watch.note()  # what there is of it is no other program's
        self._only_ours = False

    def _fail(self, error: sqlite3.Error) -> None:
        self._fail_with(_errno_of(self.path, error))

    def _fail_with(self, number: int) -> None:
        self.changed = True
        self._failed = number
        raise KernelError(number) from None

    def close(self) -> None:
        """Forgets what was not committed and lets go of the file, which holds everything then."""
        self.rollback()
        self._db.close()


def _copy(source: sqlite3.Connection, path: str) -> None:
    """A new file with all rows, on the disk when this returns. Reads nothing but tables: these are in memory."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    previous_mask = os.umask(0o077)
    try:
        copy = sqlite3.connect(path, isolation_level=None)
    finally:
        os.umask(previous_mask)
    with contextlib.closing(copy):
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = FULL")
        copy.execute("BEGIN")
        for mark in ("application_id", "user_version"):
            copy.execute(f"PRAGMA {mark} = {source.execute(f'PRAGMA {mark}').fetchone()[0]}")
        for name, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            copy.execute(sql)
            rows = source.execute(f"SELECT * FROM {name} ORDER BY rowid")
            copy.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows.description))})", rows)
        copy.execute("COMMIT")


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
    mark, found = read_marks(header)
    if not mark:
        raise StateError(f"{path}: not a state file of ipsectools")
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
