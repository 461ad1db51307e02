"""Scapy as an independent ESP: it opens what we seal, and we open what it seals."""

from __future__ import annotations

from typing import Any

import pytest

from ipsectools.pfkey import constants
from tests.esp.sas import SPI, TRANSFORMS, Transform, opened, roomy, sealed

pytest.importorskip("scapy")
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw

ENC_NAMES = {
    constants.EALG_NULL: "NULL",
    constants.EALG_AESCBC: "AES-CBC",
    constants.EALG_AESCTR: "AES-CTR",
    constants.EALG_AESGCM16: "AES-GCM",
    constants.EALG_CHACHA20POLY1305: "CHACHA20-POLY1305",
}
AUTH_NAMES = {
    constants.AALG_NONE: "NULL",
    constants.AALG_SHA1HMAC: "HMAC-SHA1-96",
    constants.AALG_SHA2_256: "SHA2-256-128",
    constants.AALG_SHA2_384: "SHA2-384-192",
    constants.AALG_SHA2_512: "SHA2-512-256",
}
KNOWN = [transform for transform in TRANSFORMS if transform.auth in AUTH_NAMES]
OUTER = {
    4: IP(src="192.168.0.3", dst="192.168.0.5", proto=50),
    6: IPv6(src="fd00:c0a8::3", dst="fd00:c0a8::5", nh=50),
}
INNERS = [
    IP(src="172.16.0.3", dst="172.16.0.5") / ICMP() / Raw(b"x" * 56),
    IP(src="172.16.0.3", dst="172.16.0.5") / UDP(sport=1, dport=2) / Raw(b"odd length: " + b"y" * 1301),
    IPv6(src="fd00:ac10::3", dst="fd00:ac10::5") / UDP(sport=1, dport=2) / Raw(b"z" * 100),
]


def scapy_sa(transform: Transform, outer: int, high: int | None) -> SecurityAssociation:
    """The same SA in scapy, its sequence numbers starting at `high` * 2**32 + 1 (None: without ESN)."""
    optional: dict[str, Any] = {}
    if transform.auth:
        optional["auth_key"] = transform.auth_key
    return SecurityAssociation(
        ESP,
        spi=SPI,
        seq_num=1,
        crypt_algo=ENC_NAMES[transform.enc.id],
        crypt_key=transform.enc_key if transform.enc.id != constants.EALG_NULL else None,
        auth_algo=AUTH_NAMES[transform.auth],
        tunnel_header=OUTER[outer].copy(),
        esn_en=high is not None,
        esn=high or 0,
        **optional,
    )


@pytest.mark.parametrize("transform", KNOWN, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("high", [None, 0, 7])
def test_both_directions(transform: Transform, outer: int, high: int | None) -> None:
    flags = 0 if high is None else constants.SA_FLAG_ESN
    sending, receiving = roomy(), roomy()
    sending.sequence = receiving.received_high = (high or 0) << 32
    sending.sequence_limit = receiving.received_limit = sending.sequence + 100
    ours_out, ours_in = transform.sa(flags, traffic=sending), transform.sa(flags, traffic=receiving)
    theirs = scapy_sa(transform, outer, high)
    header = OUTER[outer]
    for inner in INNERS:
        raw = bytes(inner)
        received = type(header)(bytes(header.copy() / Raw(sealed(ours_out, raw))))
        assert bytes(theirs.decrypt(received)) == raw
        sent = theirs.encrypt(type(inner)(raw))
        assert opened(ours_in, bytes(sent[ESP])) == (raw, 4 if raw[0] >> 4 == 4 else 41)
