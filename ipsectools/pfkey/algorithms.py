"""The algorithms as PF_KEY numbers them: the one table of their words, lengths, limits, and who offers them.

Facts are FreeBSD's (setkey(8), ipsec(4), RFC 2404, 3602, 3686, 4106, 4868, 7634). All lengths are bytes unless the name
says bits. What is done with them stands in `esp`.
"""

from __future__ import annotations

from ipsectools.pfkey.constants import (
    AALG_AES128GMAC,
    AALG_AES192GMAC,
    AALG_AES256GMAC,
    AALG_AES_XCBC_MAC,
    AALG_CHACHA20POLY1305,
    AALG_NULL,
    AALG_SHA1HMAC,
    AALG_SHA2_256,
    AALG_SHA2_384,
    AALG_SHA2_512,
    AALG_TCP_MD5,
    CALG_DEFLATE,
    CALG_LZS,
    CALG_OUI,
    EALG_AESCBC,
    EALG_AESCTR,
    EALG_AESGCM16,
    EALG_AESGMAC,
    EALG_CHACHA20POLY1305,
    EALG_NULL,
)

_AES_KEYS = (16, 24, 32)


class Encryption:
    """One encryption algorithm.

    `name`: what output calls it. `words`: what setkey takes for it (None: the name). `key_lengths`: what the cipher
    itself takes (without salt), None for anything (NULL). `salt`: bytes at the end of the key material that are not
    key. `iv`: bytes of IV in the packet; `counter_iv`: it counts and must never repeat under one key, instead of being
    random. `block`: ciphertext must be a multiple of it on input. `icv`: the tag of an AEAD, else 0. `nonce`,
    `min_bits`, `max_bits`: what REGISTER advertises. `usable`: False for what is advertised but refused in an SA.
    `wireshark`: its name there, empty if it has none.
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
        "wireshark",
        "words",
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
        wireshark: str = "",
        words: tuple[str, ...] | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.words = (name,) if words is None else words
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
        self.wireshark = wireshark

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
        if self.id == EALG_AESCTR:
            return 16 if ctr_compatibility else 4
        return max(self.block, 4)


class Authentication:
    """One authentication algorithm.

    `name`, `words`, `wireshark`, `min_bits`, `max_bits`: as for encryption. `icv`: bytes of ICV in the packet.
    `max_key`: longest key (FreeBSD takes any length from 1 up to it), None for any. `hash`: the hash of an HMAC by
    hashlib's name, else empty. `offered`: REGISTER advertises it. `usable`: False for what makes no SA of ESP by
    itself, as the ids that only an AEAD cipher brings along.
    """

    __slots__ = (
        "hash",
        "icv",
        "id",
        "max_bits",
        "max_key",
        "min_bits",
        "name",
        "offered",
        "usable",
        "wireshark",
        "words",
    )

    def __init__(
        self,
        id: int,
        name: str,
        icv: int,
        *,
        max_key: int | None = None,
        hash: str = "",
        min_bits: int = 0,
        max_bits: int = 0,
        offered: bool = True,
        usable: bool = True,
        wireshark: str = "",
        words: tuple[str, ...] | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.words = (name,) if words is None else words
        self.icv = icv
        self.max_key = max_key
        self.hash = hash
        self.min_bits = min_bits
        self.max_bits = max_bits
        self.offered = offered
        self.usable = usable
        self.wireshark = wireshark

    def accepts_key(self, length: int) -> bool:
        """Whether a key of `length` bytes makes an SA (NULL also takes none)."""
        if self.id == AALG_NULL:
            return True
        return length > 0 and (self.max_key is None or length <= self.max_key)


ENCRYPTIONS: dict[int, Encryption] = {
    algorithm.id: algorithm
    for algorithm in (
        Encryption(
            EALG_NULL, "null", None, words=("null", "simple"), block=4, min_bits=0, max_bits=2048, wireshark="NULL"
        ),
        Encryption(
            EALG_AESCBC,
            "aes-cbc",
            _AES_KEYS,
            words=("aes-cbc", "rijndael-cbc"),
            iv=16,
            block=16,
            nonce=16,
            wireshark="AES-CBC [RFC3602]",
        ),
        Encryption(
            EALG_AESCTR,
            "aes-ctr",
            _AES_KEYS,
            salt=4,
            iv=8,
            counter_iv=True,
            nonce=16,
            wireshark="AES-CTR [RFC3686]",
        ),
        Encryption(
            EALG_CHACHA20POLY1305,
            "chacha20-poly1305",
            (32,),
            salt=4,
            iv=8,
            counter_iv=True,
            icv=16,
            nonce=12,
            min_bits=256,
        ),
        Encryption(
            EALG_AESGCM16,
            "aes-gcm-16",
            _AES_KEYS,
            salt=4,
            iv=8,
            counter_iv=True,
            icv=16,
            nonce=12,
            wireshark="AES-GCM with 16 octet ICV [RFC4106]",
        ),
        Encryption(
            EALG_AESGMAC, "aes-gmac", _AES_KEYS, words=(), salt=4, iv=8, counter_iv=True, icv=16, nonce=12, usable=False
        ),
    )
}
"""By PF_KEY number, ascending (the order in which REGISTER lists them)."""

AUTHENTICATIONS: dict[int, Authentication] = {
    algorithm.id: algorithm
    for algorithm in (
        Authentication(
            AALG_SHA1HMAC,
            "hmac-sha1",
            12,
            max_key=64,
            hash="sha1",
            min_bits=160,
            max_bits=160,
            wireshark="HMAC-SHA-1-96 [RFC2404]",
        ),
        Authentication(
            AALG_SHA2_256,
            "hmac-sha2-256",
            16,
            max_key=64,
            hash="sha256",
            min_bits=256,
            max_bits=256,
            wireshark="HMAC-SHA-256-128 [RFC4868]",
        ),
        Authentication(
            AALG_SHA2_384,
            "hmac-sha2-384",
            24,
            max_key=128,
            hash="sha384",
            min_bits=384,
            max_bits=384,
            wireshark="HMAC-SHA-384-192 [RFC4868]",
        ),
        Authentication(
            AALG_SHA2_512,
            "hmac-sha2-512",
            32,
            max_key=128,
            hash="sha512",
            min_bits=512,
            max_bits=512,
            wireshark="HMAC-SHA-512-256 [RFC4868]",
        ),
        Authentication(AALG_AES_XCBC_MAC, "aes-xcbc-mac", 12, offered=False, usable=False),
        Authentication(
            AALG_AES128GMAC, "aes-gmac-128", 16, words=(), max_key=16, min_bits=128, max_bits=128, usable=False
        ),
        Authentication(
            AALG_AES192GMAC, "aes-gmac-192", 16, words=(), max_key=24, min_bits=128, max_bits=128, usable=False
        ),
        Authentication(
            AALG_AES256GMAC, "aes-gmac-256", 16, words=(), max_key=32, min_bits=128, max_bits=128, usable=False
        ),
        Authentication(
            AALG_CHACHA20POLY1305, "chacha20-poly1305", 16, max_key=32, min_bits=128, max_bits=128, usable=False
        ),
        Authentication(
            AALG_NULL,
            "null",
            12,
            min_bits=8,
            max_bits=2048,
            wireshark="ANY 96 bit authentication [no checking]",
        ),
        Authentication(AALG_TCP_MD5, "tcp-md5", 16, max_key=80, offered=False, usable=False),
    )
}
"""By PF_KEY number, ascending. AALG_NONE (0) means no ICV at all, unlike AALG_NULL, whose ICV is 12 zero bytes."""

COMPRESSIONS = {CALG_OUI: "oui", CALG_DEFLATE: "deflate", CALG_LZS: "lzs"}
"""setkey's words by PF_KEY number; only deflate makes an SA."""
