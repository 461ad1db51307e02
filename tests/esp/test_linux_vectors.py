"""Every packet that Linux sent (tests/data/vectors): opens to its inner packet, and is the same sealed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipsectools.esp.drops import IN_REPLAY, Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import ENCRYPTIONS
from ipsectools.wire import ipv4, ipv6, udp

FILES = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.json"))
ENC = {
    "rijndael-cbc": constants.EALG_AESCBC,
    "aes-ctr": constants.EALG_AESCTR,
    "aes-gcm-16": constants.EALG_AESGCM16,
    "chacha20-poly1305": constants.EALG_CHACHA20POLY1305,
    "null": constants.EALG_NULL,
}
AUTH = {"hmac-sha1": constants.AALG_SHA1HMAC, "hmac-sha2-256": constants.AALG_SHA2_256}


def esp_sa(case: dict, entry: dict) -> EspSA:
    traffic = Traffic()
    traffic.received_limit = 1000
    auth = entry["auth"]
    return EspSA(
        entry["spi"],
        ENC[entry["enc"]["setkey"]],
        bytes.fromhex(entry["enc"]["key"]),
        AUTH[auth["setkey"]] if auth else constants.AALG_NONE,
        bytes.fromhex(auth["key"]) if auth else b"",
        constants.SA_FLAG_ESN if case["esn"] else 0,
        64,
        traffic,
        ctr_compatibility=False,  # Linux pads AES-CTR to 4
    )


def esp_of(outer: bytes) -> bytes:
    """What follows the outer IP header (and UDP header) of a recorded packet."""
    if outer[0] >> 4 == 6:
        header6 = ipv6.parse(outer)
        assert header6 is not None
        assert header6.next_header == 50
        return outer[40:]
    header = ipv4.parse(outer)
    assert header is not None
    payload = outer[header.header_length : header.total_length]
    if header.protocol == 50:
        return payload
    datagram = udp.parse(payload)
    assert datagram is not None
    assert (datagram.source, datagram.destination) == (4500, 4500)
    return payload[8:]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_packets(path: Path) -> None:
    case = json.loads(path.read_text())
    sas = {entry["spi"]: esp_sa(case, entry) for entry in case["sas"]}
    stated = 0
    assert case["packets"]
    for packet in case["packets"]:
        esp = esp_of(bytes.fromhex(packet["outer"]))
        sa = sas[int.from_bytes(esp[:4], "big")]
        opened = sa.open(esp)
        assert not isinstance(opened, Drop), opened
        inner, next_header = opened
        assert next_header == (4 if inner[0] >> 4 == 4 else 41)
        expected = packet.get("tshark_plaintext_with_trailer")
        if expected:
            stated += 1
            plain = bytes.fromhex(expected)
            if ENCRYPTIONS[sa.enc].aead:  # Wireshark decrypts the ICV along with the rest
                plain = plain[: -sa.icv_length]
            assert inner == plain[: len(plain) - 2 - plain[-2]]
            assert next_header == plain[-1]
        iv_length = ENCRYPTIONS[sa.enc].iv
        again = sa.seal_with(inner, int.from_bytes(esp[4:8], "big"), esp[8 : 8 + iv_length])
        assert again == esp
        assert sa.sealed_length(len(inner)) == len(esp)
        assert sa.open(esp) is IN_REPLAY or sa.auth == constants.AALG_NONE
    assert stated or case["name"] == "tun44-chacha"


def test_all_files_are_here() -> None:
    assert len(FILES) == 11
