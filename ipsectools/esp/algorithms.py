"""Lengths of ESP packets by the SA's algorithms."""

from __future__ import annotations

from ipsectools.pfkey.algorithms import AUTHENTICATIONS
from ipsectools.pfkey.algorithms import ENCRYPTIONS as ENCRYPTIONS
from ipsectools.pfkey.constants import (
    AALG_AES128GMAC,
    AALG_AES192GMAC,
    AALG_AES256GMAC,
    AALG_CHACHA20POLY1305,
    AALG_NONE,
    EALG_AESGCM16,
    EALG_CHACHA20POLY1305,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.pfkey.algorithms import Encryption

_GMAC_BY_KEY_LENGTH = {16: AALG_AES128GMAC, 24: AALG_AES192GMAC, 32: AALG_AES256GMAC}


def implicit_authentication(encryption: Encryption, key_length: int) -> int:
    """The auth id that the key engine gives an SA whose cipher authenticates by itself; AALG_NONE for other ciphers.

    `key_length` counts the whole key material, salt included.
    """
    if encryption.id == EALG_AESGCM16:
        return _GMAC_BY_KEY_LENGTH[key_length - encryption.salt]
    if encryption.id == EALG_CHACHA20POLY1305:
        return AALG_CHACHA20POLY1305
    return AALG_NONE


def icv_length(encryption: Encryption, auth: int) -> int:
    """Bytes of ICV at the end of each packet of an SA with this cipher and auth id."""
    if encryption.aead:
        return encryption.icv
    return AUTHENTICATIONS[auth].icv if auth else 0


def sealed_length(encryption: Encryption, auth: int, inner_length: int, ctr_compatibility: bool = True) -> int:
    """Bytes from SPI to ICV of the packet that carries an inner packet of `inner_length` bytes."""
    multiple = encryption.pad_to(ctr_compatibility)
    padded = -(-(inner_length + 2) // multiple) * multiple
    return 8 + encryption.iv + padded + icv_length(encryption, auth)


def largest_inner(encryption: Encryption, auth: int, room: int, ctr_compatibility: bool = True) -> int:
    """The longest inner packet whose ESP (SPI to ICV) fits into `room` bytes; negative if none does."""
    multiple = encryption.pad_to(ctr_compatibility)
    return (room - 8 - encryption.iv - icv_length(encryption, auth)) // multiple * multiple - 2
