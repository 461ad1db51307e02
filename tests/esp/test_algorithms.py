"""The table of algorithms, and that the key engine's list for REGISTER says the same."""

from __future__ import annotations

import pytest

from ipsectools.esp import algorithms as alg
from ipsectools.kernel.key import validate


def test_register_advertises_this_table() -> None:
    assert [(a.id, a.nonce, a.min_bits, a.max_bits) for a in alg.ENCRYPTIONS.values()] == list(
        validate.ENCRYPTION_ALGORITHMS
    )
    assert [(a.id, 0, a.min_bits, a.max_bits) for a in alg.AUTHENTICATIONS.values()] == list(validate.AUTH_ALGORITHMS)


@pytest.mark.parametrize(
    ("enc", "lengths"),
    [
        (alg.ENC_NULL, range(257)),
        (alg.ENC_AES_CBC, (16, 24, 32)),
        (alg.ENC_AES_CTR, (20, 28, 36)),
        (alg.ENC_CHACHA20_POLY1305, (36,)),
        (alg.ENC_AES_GCM_16, (20, 28, 36)),
    ],
)
def test_key_lengths(enc: int, lengths: range | tuple[int, ...]) -> None:
    accepted = [length for length in range(300) if alg.ENCRYPTIONS[enc].accepts_key(length)]
    assert accepted == list(lengths)


@pytest.mark.parametrize(
    ("enc", "auth", "icv", "pad_to", "iv", "block"),
    [
        (alg.ENC_NULL, alg.AUTH_NONE, 0, 4, 0, 4),
        (alg.ENC_NULL, alg.AUTH_NULL, 12, 4, 0, 4),
        (alg.ENC_AES_CBC, alg.AUTH_SHA1, 12, 16, 16, 16),
        (alg.ENC_AES_CBC, alg.AUTH_SHA2_256, 16, 16, 16, 16),
        (alg.ENC_AES_CBC, alg.AUTH_SHA2_384, 24, 16, 16, 16),
        (alg.ENC_AES_CTR, alg.AUTH_SHA2_512, 32, 16, 8, 1),
        (alg.ENC_AES_GCM_16, alg.AUTH_AES_128_GMAC, 16, 4, 8, 1),
        (alg.ENC_CHACHA20_POLY1305, alg.AUTH_NONE, 16, 4, 8, 1),
    ],
)
def test_lengths(enc: int, auth: int, icv: int, pad_to: int, iv: int, block: int) -> None:
    encryption = alg.ENCRYPTIONS[enc]
    assert alg.icv_length(encryption, auth) == icv
    assert (encryption.pad_to(), encryption.iv, encryption.block) == (pad_to, iv, block)
    assert encryption.pad_to(ctr_compatibility=False) == (4 if enc == alg.ENC_AES_CTR else pad_to)


def test_implicit_authentication() -> None:
    gcm, chacha = alg.ENCRYPTIONS[alg.ENC_AES_GCM_16], alg.ENCRYPTIONS[alg.ENC_CHACHA20_POLY1305]
    assert [alg.implicit_authentication(gcm, length) for length in (20, 28, 36)] == [11, 12, 13]
    assert alg.implicit_authentication(chacha, 36) == 14
    assert alg.implicit_authentication(alg.ENCRYPTIONS[alg.ENC_AES_CBC], 16) == alg.AUTH_NONE
