"""The key sizes that the kernel named when setkey registered: what libipsec checks keys against."""

from __future__ import annotations

from ipsectools.commands.setkey import errors
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS
from ipsectools.pfkey.constants import EXT_SUPPORTED_AUTH, EXT_SUPPORTED_ENCRYPT
from ipsectools.pfkey.message import extensions


class Algorithms:
    """(fewest, most) bits of key by algorithm."""

    __slots__ = ("_authentication", "_encryption")

    def __init__(self, authentication: dict[int, tuple[int, int]], encryption: dict[int, tuple[int, int]]) -> None:
        self._authentication = authentication
        self._encryption = encryption

    @classmethod
    def of_reply(cls, message: bytes) -> Algorithms:
        """The algorithms of a SADB_REGISTER reply."""
        tables: dict[int, dict[int, tuple[int, int]]] = {EXT_SUPPORTED_AUTH: {}, EXT_SUPPORTED_ENCRYPT: {}}
        for kind, extension in extensions(message):
            if kind in tables:
                for number, _, fewest, most in ext.read_supported(extension):
                    tables[kind][number] = (fewest, most)
        return cls(tables[EXT_SUPPORTED_AUTH], tables[EXT_SUPPORTED_ENCRYPT])

    def check_encryption(self, algorithm: int, size: int) -> str:
        """What is wrong with a key of `size` bytes (without salt), or nothing."""
        return _check(self._encryption, algorithm, size)

    def check_authentication(self, algorithm: int, size: int) -> str:
        """What is wrong with a key of `size` bytes, or nothing."""
        return _check(self._authentication, algorithm, size)


FREEBSD = Algorithms(
    {row.id: (row.min_bits, row.max_bits) for row in AUTHENTICATIONS.values() if row.offered and row.words},
    {row.id: (row.min_bits, row.max_bits) for row in ENCRYPTIONS.values() if row.words},
)
"""What FreeBSD 14 names, for checks without a kernel."""


def _check(table: dict[int, tuple[int, int]], algorithm: int, size: int) -> str:
    bounds = table.get(algorithm)
    if bounds is None:
        return errors.NOT_SUPPORTED
    return "" if bounds[0] <= size * 8 <= bounds[1] else errors.INVALID_KEY_LENGTH
