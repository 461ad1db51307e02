"""Which counter values each counter-mode key may already have used: what makes (key, IV) pairs unique for ever.

A key that the ledger does not know begins at random below 2^62: nobody can tell what was sent with it from an earlier
ledger, another namespace, another host or the other end of the tunnel, and a peer only asks that IVs be unique
(RFC 3686 section 2.1, RFC 4106 section 3.1; FreeBSD begins at 0). The 2^62 values are never run through to the end of
64 bits, and spans among them hardly ever meet: 1,000 of 2^32 packets each do so once in 1,000 cases, 1,000 of 2^24
once in 250,000.

A key (with salt) is known by HMAC-SHA256 under a random secret of this state file; its mark is the first
IV counter that nobody has been given. Marks survive deletion of the SA, flush, and the end of the process. They do not
survive the boot, the machine or the file in which they were written (`origin`): behind a restored copy of the file
there are IVs that it does not know of. Keys of an IKE daemon come once and never again, so the ledger is trimmed: the
oldest marks of keys without an SA are forgotten.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from hashlib import sha256
from hmac import digest
from sqlite3 import Error as DatabaseError

from ipsectools.kernel.key.tables import LEDGER, META, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipsectools.kernel.store import Store

BLOCK = 1 << 32
"""IV counter values given to an SA at a time: as many as an SA has sequence numbers, unless they are extended."""

LIMIT = 100_000
"""Keys without an SA that the ledger remembers."""

DRAWN_BITS = 62
"""A drawn IV counter is below 2 to this power, so that no key comes to the end of 64 bits."""

_SECRET, _ORIGIN = "ledger_secret", "ledger_origin"
_OLDER = ("ledger_floor",)
"""What earlier releases kept beside the secret."""

IDS = ("/proc/sys/kernel/random/boot_id", "/etc/machine-id")


def draw_iv() -> int:
    """Where the IVs of an unknown key begin."""
    return int.from_bytes(os.urandom(8), "big") >> 64 - DRAWN_BITS


def origin(path: str | None, ids: tuple[str, ...] = IDS) -> bytes:
    """This boot of this machine, and the state file there: where a ledger is at home. Empty if it cannot be told."""
    if path is None:
        return b"memory"
    try:
        file = os.stat(path)
        told = [_id(each) for each in ids]
    except OSError:
        return b""
    return b" ".join((*told, b"%d %d" % (file.st_dev, file.st_ino))) if all(told) else b""


def _id(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64).strip()


class Ledger:
    """Marks by fingerprint. `unreadable` says why no counter-mode SA may send, empty if all is well."""

    def __init__(
        self,
        store: Store,
        limit: int = LIMIT,
        draw: Callable[[], int] = draw_iv,
        find_origin: Callable[[str | None], bytes] = origin,
    ) -> None:
        """`draw` and `find_origin` are for tests, which want numbers that they know."""
        self._store = store
        self._limit = limit
        self._draw = draw
        self._find_origin = find_origin
        self._marks: OrderedDict[bytes, int] = OrderedDict()
        self._users: dict[bytes, int] = {}  # SAs that hold a key
        self._secret = b""
        self.unreadable = ""

    def enter(self, meta: Mapping[str, object]) -> bool:
        """Once, before the first `load`: forgets what was written elsewhere. True if so: IVs reserved there are void.

        `meta` is the state file's meta table. The caller commits.
        """
        here = self._find_origin(self._store.path)
        before = meta.get(_ORIGIN)
        if here and before == here:
            return False
        if next(self._store.rows(LEDGER), None) is not None:
            self._store.clear(LEDGER)
        for name in (_SECRET, *_OLDER):
            if name in meta:
                self._store.delete(META, name)
        if here:
            self._store.put(META, (_ORIGIN, here))
        elif before is not None:
            self._store.delete(META, _ORIGIN)
        return True

    def load(self, meta: Mapping[str, object]) -> None:
        """Reads the marks."""
        secret = meta.get(_SECRET)
        self._marks.clear()
        self._users.clear()
        self.unreadable = ""
        try:
            self._marks.update((_bytes(row[0]), _mark(row[1])) for row in self._store.rows(LEDGER))
            if secret is not None:
                self._secret = _bytes(secret)
            elif self._marks:
                raise ValueError("marks without their secret")
            else:
                self._secret = b""
        except (ValueError, DatabaseError) as error:
            self.unreadable = f"the ledger of used counter values cannot be read ({error})"

    def fingerprint(self, key: bytes) -> bytes:
        """Names a key (salt included) without telling it. CTR and GCM with one key make one key stream, so one name."""
        if not self._secret:
            self._secret = os.urandom(32)
            self._store.put(META, (_SECRET, self._secret))
        return digest(self._secret, key, sha256)

    def hold(self, fingerprint: bytes) -> None:
        """An SA with this key exists from now on: its mark is not forgotten."""
        self._users[fingerprint] = self._users.get(fingerprint, 0) + 1

    def release(self, fingerprint: bytes) -> None:
        users = self._users.get(fingerprint, 0) - 1
        if users > 0:
            self._users[fingerprint] = users
        else:
            self._users.pop(fingerprint, None)

    def mark(self, fingerprint: bytes) -> int | None:
        """The first counter value of this key that nobody has been given; None for an unknown key."""
        return self._marks.get(fingerprint)

    def reserve(self, fingerprint: bytes, least: int) -> tuple[int, int]:
        """A block for the key: its first value, and the first behind it. Written with the caller's transaction.

        Not below `least`: an SA's counter does not go back, not even after a reservation that could not be kept.
        """
        mark = self._marks.get(fingerprint)
        if mark is None:
            self._trim()
            mark = self._draw()
        first = max(mark, least)
        behind = first + BLOCK
        self._marks[fingerprint] = behind
        self._store.put(LEDGER, (fingerprint, u64(behind)))
        return first, behind

    def _trim(self) -> None:
        """Makes room for one more key: forgets one that no SA holds, unless the oldest few are all held."""
        if len(self._marks) - len(self._users) < self._limit:
            return
        for _ in range(8):
            oldest = next(iter(self._marks))
            if oldest in self._users:
                self._marks.move_to_end(oldest)
                continue
            del self._marks[oldest]
            self._store.delete(LEDGER, oldest)
            return


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise ValueError("a fingerprint of the wrong kind")
    return value


def _mark(value: object) -> int:
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError("a mark of the wrong kind")
    return int.from_bytes(value, "big")
