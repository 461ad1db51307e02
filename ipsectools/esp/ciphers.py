"""The algorithms of `esp.algorithms` on `cryptography`: one class per family, keyed once, called for every packet.

Objects are per SA and per direction of use, not safe for concurrent use, and must not survive a fork that both sides
use: CBC keeps a running context. No key shows in their repr.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from ipsectools.pfkey.algorithms import AUTHENTICATIONS
from ipsectools.pfkey.constants import (
    AALG_NULL,
    EALG_AESCBC,
    EALG_AESCTR,
    EALG_AESGCM16,
    EALG_CHACHA20POLY1305,
    EALG_NULL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Authenticate: TypeAlias = Callable[[bytes | memoryview], bytes]
    SplitCipher: TypeAlias = "Null | AesCbc | AesCtr"

__all__ = ["AeadCipher", "AesCbc", "AesCtr", "InvalidTag", "Null", "authenticator", "cipher"]

_POOL = 4096  # bytes of randomness drawn at a time


def random_blocks() -> Iterator[bytes]:
    """16 unpredictable bytes at a time, drawn in bulk: a system call per packet would cost as much as the cipher."""
    while True:
        pool = os.urandom(_POOL)
        for start in range(0, _POOL, 16):
            yield pool[start : start + 16]


class Null:
    """No encryption (RFC 2410)."""

    __slots__ = ()

    def encrypt(self, plain: bytes, counter: int) -> bytes:
        return plain

    def encrypt_with(self, plain: bytes, iv: bytes) -> bytes:
        return plain

    def decrypt(self, data: bytes | memoryview) -> bytes:
        return bytes(data)


class AesCbc:
    """AES-CBC (RFC 3602).

    One encryptor lives as long as the SA. Each packet is fed to it with 16 random bytes in front: their ciphertext is a
    fresh unpredictable IV, and what follows is the packet encrypted under that IV. The decryptor runs on in the same
    way, and what it makes of the IV is thrown away. A context per packet would cost three times as much.
    """

    __slots__ = ("_aes", "_decrypt", "_encrypt", "_random")

    def __init__(self, key: bytes) -> None:
        self._aes = AES(key)
        running = Cipher(self._aes, modes.CBC(os.urandom(16)))
        self._encrypt = running.encryptor().update
        self._decrypt = running.decryptor().update
        self._random = random_blocks().__next__

    def encrypt(self, plain: bytes, counter: int) -> bytes:
        """IV and ciphertext of whole blocks (`counter` is for the counter modes)."""
        return self._encrypt(self._random() + plain)

    def encrypt_with(self, plain: bytes, iv: bytes) -> bytes:
        return iv + Cipher(self._aes, modes.CBC(iv)).encryptor().update(plain)

    def decrypt(self, data: bytes | memoryview) -> bytes:
        """The plaintext of an IV and whole blocks."""
        return self._decrypt(data)[16:]


class AesCtr:
    """AES-CTR (RFC 3686): counter blocks are salt, IV and a 32-bit number from 1."""

    __slots__ = ("_reset", "_salt", "_update")

    def __init__(self, key: bytes, salt: bytes) -> None:
        context = Cipher(AES(key), modes.CTR(bytes(16))).encryptor()
        self._update = context.update
        self._reset = context.reset_nonce
        self._salt = salt

    def encrypt(self, plain: bytes, counter: int) -> bytes:
        """IV and ciphertext; the IV is the counter."""
        return self.encrypt_with(plain, counter.to_bytes(8, "big"))

    def encrypt_with(self, plain: bytes, iv: bytes) -> bytes:
        self._reset(self._salt + iv + b"\0\0\0\1")
        return iv + self._update(plain)

    def decrypt(self, data: bytes | memoryview) -> bytes:
        self._reset(self._salt + data[:8] + b"\0\0\0\1")
        return self._update(data[8:])


class AeadCipher:
    """AES-GCM (RFC 4106) or ChaCha20-Poly1305 (RFC 7634): `encrypt(nonce, data, aad)`, `decrypt(...)` or InvalidTag.

    The nonce is the salt and the packet's IV.
    """

    __slots__ = ("decrypt", "encrypt", "salt")

    def __init__(self, aead: AESGCM | ChaCha20Poly1305, salt: bytes) -> None:
        self.encrypt = aead.encrypt
        self.decrypt = aead.decrypt
        self.salt = salt


def cipher(enc: int, key: bytes) -> AeadCipher | SplitCipher:
    """The cipher with PF_KEY number `enc`, keyed with `key` (salt at its end). Lengths must have been checked."""
    if enc == EALG_NULL:
        return Null()
    if enc == EALG_AESCBC:
        return AesCbc(key)
    key, salt = key[:-4], key[-4:]
    if enc == EALG_AESCTR:
        return AesCtr(key, salt)
    if enc == EALG_AESGCM16:
        return AeadCipher(AESGCM(key), salt)
    if enc == EALG_CHACHA20POLY1305:
        return AeadCipher(ChaCha20Poly1305(key), salt)
    raise ValueError(f"no such encryption algorithm: {enc}")


_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def authenticator(auth: int, key: bytes) -> Authenticate | None:
    """A function from the authenticated bytes to the ICV; None if there is no ICV."""
    if not auth:
        return None
    algorithm = AUTHENTICATIONS[auth]
    length = algorithm.icv
    if auth == AALG_NULL:
        zeros = bytes(length)
        return lambda data: zeros
    keyed = hmac.HMAC(key, _HASHES[algorithm.hash]()).copy  # keyed once: copying is cheaper than keying

    def icv(data: bytes | memoryview) -> bytes:
        context = keyed()
        context.update(data)
        return context.finalize()[:length]

    return icv
