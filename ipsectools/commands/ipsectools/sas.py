"""The SAs of the running kernel, as a DUMP through the PF_KEY door tells them."""

from __future__ import annotations

import os

from ipsectools.daemon import client
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import message as messages
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_KEY_AUTH,
    EXT_KEY_ENCRYPT,
    EXT_LIFETIME_CURRENT,
    EXT_LIFETIME_HARD,
    EXT_SA,
    EXT_X_SA2,
    SADB_DUMP,
    SATYPE_ESP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 5.0
STATES = ("larval", "mature", "dying", "dead")


class Sa:
    """One ESP SA. `src`, `dst` are numeric texts; `hard_seconds` and `hard_bytes` are 0 without a limit."""

    __slots__ = (
        "_auth_key",
        "_encryption_key",
        "added",
        "auth",
        "bytes",
        "dst",
        "encrypt",
        "hard_bytes",
        "hard_seconds",
        "packets",
        "reqid",
        "spi",
        "src",
        "state",
    )

    def __init__(self, record: bytes) -> None:
        found = dict(messages.extensions(record))
        self.spi, _, state, self.auth, self.encrypt, _ = ext.read_sa(found[EXT_SA])
        self.state = STATES[state] if state < len(STATES) else str(state)
        self.src, self.dst = (
            sockaddr.to_text(ext.read_address(found[kind])[2]) for kind in (EXT_ADDRESS_SRC, EXT_ADDRESS_DST)
        )
        self.reqid = ext.read_sa2(found[EXT_X_SA2])[2] if EXT_X_SA2 in found else 0
        self.packets = self.bytes = self.added = self.hard_bytes = self.hard_seconds = 0
        if EXT_LIFETIME_CURRENT in found:
            self.packets, self.bytes, self.added, _ = ext.read_lifetime(found[EXT_LIFETIME_CURRENT])
        if EXT_LIFETIME_HARD in found:
            _, self.hard_bytes, self.hard_seconds, _ = ext.read_lifetime(found[EXT_LIFETIME_HARD])
        self._encryption_key = found.get(EXT_KEY_ENCRYPT)
        self._auth_key = found.get(EXT_KEY_AUTH)

    @property
    def algorithms(self) -> str:
        """Names of cipher and authenticator (an AEAD's is part of the cipher)."""
        encryption = ENCRYPTIONS.get(self.encrypt)
        names = [encryption.name if encryption else str(self.encrypt)]
        if self.auth in AUTHENTICATIONS and not (encryption and encryption.aead):
            names.append(AUTHENTICATIONS[self.auth].name)
        return " ".join(names)

    def encryption_key(self) -> bytes:
        """Key and salt; secret."""
        return ext.read_key(self._encryption_key)[1] if self._encryption_key is not None else b""

    def auth_key(self) -> bytes:
        """Secret."""
        return ext.read_key(self._auth_key)[1] if self._auth_key is not None else b""


def read() -> Iterator[Sa]:
    """Every ESP SA of the running kernel. Raises ClientError."""
    door = client.open_pfkey()
    try:
        door.send(messages.build(SADB_DUMP, SATYPE_ESP, pid=os.getpid()))
        while (record := door.receive(PATIENCE)) is not None:
            _, kind, errno, _, _, _, seq, _ = messages.HEADER.unpack_from(record)
            if kind != SADB_DUMP:
                continue
            if errno:
                return  # ENOENT: there are none
            yield Sa(record)
            if seq == 0:
                return
    finally:
        door.close()
