"""The algorithms of ESP as PF_KEY numbers them: the one place of their lengths and limits.

Facts are FreeBSD's (setkey(8), ipsec(4), RFC 2404, 3602, 3686, 4106, 4868, 7634). Nothing here encrypts; see `ciphers`.
All lengths are bytes unless the name says bits.
"""

from __future__ import annotations

SADB_X_EXT_OLD = 0x0001
SADB_X_EXT_CYCSEQ = 0x0040
SADB_X_EXT_PSEQ = 0x0000
SADB_X_EXT_PRAND = 0x0100
SADB_X_EXT_PZERO = 0x0200
SADB_X_EXT_PMASK = 0x0300
SADB_X_SAFLAGS_ESN = 0x0400

ENC_NULL = 11
ENC_AES_CBC = 12
ENC_AES_CTR = 13
ENC_CHACHA20_POLY1305 = 15
ENC_AES_GCM_16 = 20
ENC_AES_GMAC = 23

AUTH_NONE = 0
AUTH_SHA1 = 3
AUTH_SHA2_256 = 5
AUTH_SHA2_384 = 6
AUTH_SHA2_512 = 7
AUTH_AES_128_GMAC = 11
AUTH_AES_192_GMAC = 12
AUTH_AES_256_GMAC = 13
AUTH_CHACHA20_POLY1305 = 14
AUTH_NULL = 251

_AES_KEYS = (16, 24, 32)


class Encryption:
    """One encryption algorithm.

    `key_lengths`: what the cipher itself takes (without salt), None for anything (NULL). `salt`: bytes at the end of
    the key material that are not key. `iv`: bytes of IV in the packet; `counter_iv`: it counts from 0 instead of being
    random. `block`: ciphertext must be a multiple of it on input. `icv`: the tag of an AEAD, else 0. `usable`: False
    for what is advertised to PF_KEY but refused in an SA. `nonce`, `min_bits`, `max_bits`: what REGISTER advertises.
    """

    __slots__ = (
        "block",
        "counter_iv",
        "icv",
        "id",
        "iv",
        "key_lengths",
        "max_bits",
        "min_bits",
        "name",
        "nonce",
        "salt",
        "usable",
    )

    def __init__(
        self,
        id: int,
        name: str,
        key_lengths: tuple[int, ...] | None,
        *,
        salt: int = 0,
        iv: int = 0,
        counter_iv: bool = False,
        block: int = 1,
        icv: int = 0,
        nonce: int = 0,
        min_bits: int = 128,
        max_bits: int = 256,
        usable: bool = True,
    ) -> None:
        self.id = id
        self.name = name
        self.key_lengths = key_lengths
        self.salt = salt
        self.iv = iv
        self.counter_iv = counter_iv
        self.block = block
        self.icv = icv
        self.nonce = nonce
        self.min_bits = min_bits
        self.max_bits = max_bits
        self.usable = usable

    @property
    def aead(self) -> bool:
        return self.icv > 0

    def accepts_key(self, length: int) -> bool:
        """Whether key material (key and salt) of `length` bytes makes an SA."""
        if self.key_lengths is None:
            return self.min_bits <= length * 8 <= self.max_bits
        return length - self.salt in self.key_lengths

    def pad_to(self, ctr_compatibility: bool = True) -> int:
        """The multiple to which payload and trailer are padded (AES-CTR: by net.inet.esp.ctr_compatibility)."""
        if self.id == ENC_AES_CTR:
            return 16 if ctr_compatibility else 4
        return max(self.block, 4)


class Authentication:
    """One authentication algorithm.

    `icv`: bytes of ICV in the packet. `max_key`: longest key (FreeBSD takes any length from 1 up to it), None for any.
    `hash`: the hash of an HMAC by hashlib's name, else empty. `usable`: False for the ids that only an AEAD cipher
    brings along. `min_bits`, `max_bits`: what REGISTER advertises.
    """

    __slots__ = ("hash", "icv", "id", "max_bits", "max_key", "min_bits", "name", "usable")

    def __init__(
        self,
        id: int,
        name: str,
        icv: int,
        *,
        max_key: int | None = None,
        hash: str = "",
        min_bits: int,
        max_bits: int,
        usable: bool = True,
    ) -> None:
        self.id = id
        self.name = name
        self.icv = icv
        self.max_key = max_key
        self.hash = hash
        self.min_bits = min_bits
        self.max_bits = max_bits
        self.usable = usable

    def accepts_key(self, length: int) -> bool:
        """Whether a key of `length` bytes makes an SA (NULL also takes none)."""
        if self.id == AUTH_NULL:
            return True
        return length > 0 and (self.max_key is None or length <= self.max_key)


ENCRYPTIONS: dict[int, Encryption] = {
    algorithm.id: algorithm
    for algorithm in (
        Encryption(ENC_NULL, "null", None, block=4, min_bits=0, max_bits=2048),
        Encryption(ENC_AES_CBC, "aes-cbc", _AES_KEYS, iv=16, block=16, nonce=16),
        Encryption(ENC_AES_CTR, "aes-ctr", _AES_KEYS, salt=4, iv=8, counter_iv=True, nonce=16),
        Encryption(
            ENC_CHACHA20_POLY1305,
            "chacha20-poly1305",
            (32,),
            salt=4,
            iv=8,
            counter_iv=True,
            icv=16,
            nonce=12,
            min_bits=256,
        ),
        Encryption(ENC_AES_GCM_16, "aes-gcm-16", _AES_KEYS, salt=4, iv=8, counter_iv=True, icv=16, nonce=12),
        Encryption(ENC_AES_GMAC, "aes-gmac", _AES_KEYS, salt=4, iv=8, counter_iv=True, icv=16, nonce=12, usable=False),
    )
}
"""By PF_KEY number, ascending (the order in which REGISTER lists them)."""

AUTHENTICATIONS: dict[int, Authentication] = {
    algorithm.id: algorithm
    for algorithm in (
        Authentication(AUTH_SHA1, "hmac-sha1", 12, max_key=64, hash="sha1", min_bits=160, max_bits=160),
        Authentication(AUTH_SHA2_256, "hmac-sha2-256", 16, max_key=64, hash="sha256", min_bits=256, max_bits=256),
        Authentication(AUTH_SHA2_384, "hmac-sha2-384", 24, max_key=128, hash="sha384", min_bits=384, max_bits=384),
        Authentication(AUTH_SHA2_512, "hmac-sha2-512", 32, max_key=128, hash="sha512", min_bits=512, max_bits=512),
        Authentication(AUTH_AES_128_GMAC, "aes-gmac-128", 16, min_bits=128, max_bits=128, usable=False),
        Authentication(AUTH_AES_192_GMAC, "aes-gmac-192", 16, min_bits=128, max_bits=128, usable=False),
        Authentication(AUTH_AES_256_GMAC, "aes-gmac-256", 16, min_bits=128, max_bits=128, usable=False),
        Authentication(AUTH_CHACHA20_POLY1305, "chacha20-poly1305", 16, min_bits=128, max_bits=128, usable=False),
        Authentication(AUTH_NULL, "null", 12, min_bits=8, max_bits=2048),
    )
}
"""By PF_KEY number, ascending. AUTH_NONE (0) means no ICV at all, unlike AUTH_NULL, whose ICV is 12 zero bytes."""

_GMAC_BY_KEY_LENGTH = {16: AUTH_AES_128_GMAC, 24: AUTH_AES_192_GMAC, 32: AUTH_AES_256_GMAC}


def implicit_authentication(encryption: Encryption, key_length: int) -> int:
    """The auth id that the key engine gives an SA whose cipher authenticates by itself; AUTH_NONE for other ciphers.

    `key_length` counts the whole key material, salt included.
    """
    if encryption.id == ENC_AES_GCM_16:
        return _GMAC_BY_KEY_LENGTH[key_length - encryption.salt]
    if encryption.id == ENC_CHACHA20_POLY1305:
        return AUTH_CHACHA20_POLY1305
    return AUTH_NONE


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
