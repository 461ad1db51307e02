"""SAs for the tests: every combination of algorithms, with room to send and receive."""

from __future__ import annotations

from ipsectools.esp.drops import Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS

SPI = 0x2710
ENC_KEYS = [
    (constants.EALG_NULL, 0),
    (constants.EALG_AESCBC, 16),
    (constants.EALG_AESCBC, 24),
    (constants.EALG_AESCBC, 32),
    (constants.EALG_AESCTR, 20),
    (constants.EALG_AESCTR, 28),
    (constants.EALG_AESCTR, 36),
    (constants.EALG_CHACHA20POLY1305, 36),
    (constants.EALG_AESGCM16, 20),
    (constants.EALG_AESGCM16, 28),
    (constants.EALG_AESGCM16, 36),
]
AUTH_KEYS = [
    (constants.AALG_NONE, 0),
    (constants.AALG_SHA1HMAC, 20),
    (constants.AALG_SHA2_256, 32),
    (constants.AALG_SHA2_384, 48),
    (constants.AALG_SHA2_512, 64),
    (constants.AALG_NULL, 5),
]


class Transform:
    """One combination of algorithms with fixed keys."""

    def __init__(self, enc: int, enc_length: int, auth: int, auth_length: int) -> None:
        self.enc = ENCRYPTIONS[enc]
        self.auth = auth
        self.enc_key = bytes(range(7, 7 + enc_length))
        self.auth_key = bytes(range(90, 90 + auth_length))
        self.authentic = self.enc.aead or auth not in (constants.AALG_NONE, constants.AALG_NULL)

    def __str__(self) -> str:
        name = f"{self.enc.name}-{len(self.enc_key) * 8}"
        return f"{name}+{AUTHENTICATIONS[self.auth].name}" if self.auth else name

    def sa(
        self,
        flags: int = 0,
        window: int = 64,
        *,
        traffic: Traffic | None = None,
        ctr_compatibility: bool = True,
        outer_header: int = 20,
    ) -> EspSA:
        return EspSA(
            SPI,
            self.enc.id,
            self.enc_key,
            self.auth,
            self.auth_key,
            flags,
            window,
            traffic or roomy(),
            ctr_compatibility,
            outer_header=outer_header,
        )


TRANSFORMS = [
    Transform(enc, enc_length, auth, auth_length)
    for enc, enc_length in ENC_KEYS
    for auth, auth_length in AUTH_KEYS
    if not (ENCRYPTIONS[enc].aead and auth)
]
FEW = [
    Transform(constants.EALG_NULL, 0, constants.AALG_SHA2_256, 32),
    Transform(constants.EALG_AESCBC, 16, constants.AALG_NONE, 0),
    Transform(constants.EALG_AESCBC, 32, constants.AALG_SHA2_512, 64),
    Transform(constants.EALG_AESCTR, 20, constants.AALG_SHA1HMAC, 20),
    Transform(constants.EALG_CHACHA20POLY1305, 36, constants.AALG_NONE, 0),
    Transform(constants.EALG_AESGCM16, 36, constants.AALG_NONE, 0),
]
"""One of each kind, where all would take too long."""


def roomy() -> Traffic:
    """Counters of a new SA with a million numbers reserved in both directions."""
    traffic = Traffic()
    traffic.sequence_limit = traffic.iv_limit = traffic.received_limit = 1_000_000
    return traffic


def sealed(sa: EspSA, inner: bytes) -> bytes:
    packet = sa.seal(inner)
    assert not isinstance(packet, Drop), packet
    return packet


def opened(sa: EspSA, esp: bytes | memoryview) -> tuple[bytes, int]:
    result = sa.open(esp)
    assert not isinstance(result, Drop), result
    return result
