"""The table of algorithms, and what REGISTER and setkey make of it."""

from __future__ import annotations

import pytest

from ipsectools.esp import algorithms as alg
from ipsectools.kernel.key import validate
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS


def test_what_register_advertises() -> None:
    """FreeBSD's answer: (id, length of the nonce, fewest and most bits)."""
    assert validate.ENCRYPTION_ALGORITHMS == (
        (11, 0, 0, 2048),
        (12, 16, 128, 256),
        (13, 16, 128, 256),
        (15, 12, 256, 256),
        (20, 12, 128, 256),
        (23, 12, 128, 256),
    )
    assert validate.AUTH_ALGORITHMS == (
        (3, 0, 160, 160),
        (5, 0, 256, 256),
        (6, 0, 384, 384),
        (7, 0, 512, 512),
        (11, 0, 128, 128),
        (12, 0, 128, 128),
        (13, 0, 128, 128),
        (14, 0, 128, 128),
        (251, 0, 8, 2048),
    )


def test_which_ivs_count() -> None:
    assert {13, 15, 20} == validate.COUNTER_MODE


def test_setkeys_words() -> None:
    assert {word: row.id for row in ENCRYPTIONS.values() for word in row.words} == {
        "null": 11,
        "simple": 11,
        "aes-cbc": 12,
        "rijndael-cbc": 12,
        "aes-ctr": 13,
        "chacha20-poly1305": 15,
        "aes-gcm-16": 20,
    }
    assert {word: row.id for row in AUTHENTICATIONS.values() for word in row.words} == {
        "hmac-sha1": 3,
        "hmac-sha2-256": 5,
        "hmac-sha2-384": 6,
        "hmac-sha2-512": 7,
        "aes-xcbc-mac": 9,
        "chacha20-poly1305": 14,
        "null": 251,
        "tcp-md5": 252,
    }


@pytest.mark.parametrize(
    ("enc", "lengths"),
    [
        (constants.EALG_NULL, range(257)),
        (constants.EALG_AESCBC, (16, 24, 32)),
        (constants.EALG_AESCTR, (20, 28, 36)),
        (constants.EALG_CHACHA20POLY1305, (36,)),
        (constants.EALG_AESGCM16, (20, 28, 36)),
    ],
)
def test_key_lengths(enc: int, lengths: range | tuple[int, ...]) -> None:
    accepted = [length for length in range(300) if ENCRYPTIONS[enc].accepts_key(length)]
    assert accepted == list(lengths)


@pytest.mark.parametrize(
    ("enc", "auth", "icv", "pad_to", "iv", "block"),
    [
        (constants.EALG_NULL, constants.AALG_NONE, 0, 4, 0, 4),
        (constants.EALG_NULL, constants.AALG_NULL, 12, 4, 0, 4),
        (constants.EALG_AESCBC, constants.AALG_SHA1HMAC, 12, 16, 16, 16),
        (constants.EALG_AESCBC, constants.AALG_SHA2_256, 16, 16, 16, 16),
        (constants.EALG_AESCBC, constants.AALG_SHA2_384, 24, 16, 16, 16),
        (constants.EALG_AESCTR, constants.AALG_SHA2_512, 32, 16, 8, 1),
        (constants.EALG_AESGCM16, constants.AALG_AES128GMAC, 16, 4, 8, 1),
        (constants.EALG_CHACHA20POLY1305, constants.AALG_NONE, 16, 4, 8, 1),
    ],
)
def test_lengths(enc: int, auth: int, icv: int, pad_to: int, iv: int, block: int) -> None:
    encryption = ENCRYPTIONS[enc]
    assert alg.icv_length(encryption, auth) == icv
    assert (encryption.pad_to(), encryption.iv, encryption.block) == (pad_to, iv, block)
    assert encryption.pad_to(ctr_compatibility=False) == (4 if enc == constants.EALG_AESCTR else pad_to)


def test_implicit_authentication() -> None:
    gcm, chacha = ENCRYPTIONS[constants.EALG_AESGCM16], ENCRYPTIONS[constants.EALG_CHACHA20POLY1305]
    assert [alg.implicit_authentication(gcm, length) for length in (20, 28, 36)] == [11, 12, 13]
    assert alg.implicit_authentication(chacha, 36) == 14
    assert alg.implicit_authentication(ENCRYPTIONS[constants.EALG_AESCBC], 16) == constants.AALG_NONE
