"""Which counter values each counter-mode key may already have used: what makes (key, IV) pairs unique for ever.

A key (with salt) is known by HMAC-SHA256 under a random secret of this state file; its mark is the first
IV counter that nobody has been given. Marks survive deletion of the SA, flush, and the end of the process. Keys of an
IKE daemon come once and never again, so the ledger is trimmed: the oldest marks of keys without an SA are forgotten,
and from then on unknown keys start at the highest mark that was forgotten (the floor), which is just as safe.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from hmac import digest
from os import urandom
from sqlite3 import Error as DatabaseError

from ipsectools.kernel.key.tables import LEDGER, META, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.store import Store

BLOCK = 65536
"""IV counter values reserved at a time."""

LIMIT = 100_000
"""Keys without an SA that the ledger remembers."""

_SECRET, _FLOOR = "ledger_secret", "ledger_floor"


class Ledger:
    """Marks by fingerprint. `unreadable` says why no counter-mode SA may send, empty if all is well."""

    def __init__(self, store: Store, limit: int = LIMIT) -> None:
        self._store = store
        self._limit = limit
        self._marks: OrderedDict[bytes, int] = OrderedDict()
        self._users: dict[bytes, int] = {}  # SAs that hold a key
        self._secret = b""
        self._floor = 0
        self.unreadable = ""

    def load(self, secret: object, floor: object) -> None:
        """Reads the marks; `secret` and `floor` come from the state file's meta table (None: never written)."""
        self._marks.clear()
        self._users.clear()
        self.unreadable = ""
        try:
            self._marks.update((_bytes(row[0]), _mark(row[1])) for row in self._store.rows(LEDGER))
            self._floor = _mark(floor) if floor is not None else 0
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
            self._secret = urandom(32)
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

    def mark(self, fingerprint: bytes) -> int:
        """The first counter value of this key that is certainly unused."""
        return self._marks.get(fingerprint, self._floor)

    def reserve(self, fingerprint: bytes) -> tuple[int, int]:
        """A block for the key: its first value, and the first behind it. Written with the caller's transaction."""
        first = self.mark(fingerprint)
        behind = first + BLOCK
        if fingerprint not in self._marks:
            self._trim()
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
            forgotten = self._marks.pop(oldest)
            self._store.delete(LEDGER, oldest)
            if forgotten > self._floor:
                self._floor = forgotten
                self._store.put(META, (_FLOOR, u64(forgotten)))
            return


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise ValueError("a fingerprint of the wrong kind")
    return value


def _mark(value: object) -> int:
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError("a mark of the wrong kind")
    return int.from_bytes(value, "big")
