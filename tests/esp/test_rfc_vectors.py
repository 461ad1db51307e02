"""The published test vectors (tests/data/vectors/rfc/esp.json), at the cipher layer and as whole ESP packets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipsectools.esp.ciphers import AeadCipher, AesCbc, AesCtr, authenticator, cipher
from ipsectools.esp.drops import IN_ICV, Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS
from ipsectools.wire.checksum import checksum

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "vectors" / "rfc" / "esp.json").read_text())
AUTH_BY_NAME = {algorithm.name: algorithm.id for algorithm in AUTHENTICATIONS.values() if algorithm.hash}


def rows(name: str) -> Any:
    """Parametrizes with the cases of a set, hex made bytes."""
    cases = []
    for row in VECTORS[name]:
        texts = ("case", "mode", "algorithm", "key_length")
        cases.append({key: value if key in texts else bytes.fromhex(value) for key, value in row.items()})
    return pytest.mark.parametrize("v", cases, ids=lambda v: str(v.get("case", v.get("algorithm", ""))))


def received(edge: int = 0) -> Traffic:
    traffic = Traffic()
    traffic.received_high = edge
    traffic.received_limit = 1 << 64
    return traffic


@rows("rfc3602_cbc")
def test_rfc3602_aes_cbc(v: dict[str, Any]) -> None:
    keyed = AesCbc(v["key"])
    assert keyed.encrypt_with(v["plaintext"], v["iv"]) == v["iv"] + v["ciphertext"]
    for _ in range(3):  # the running contexts carry nothing from one packet into the next
        assert keyed.decrypt(v["iv"] + v["ciphertext"]) == v["plaintext"]
        assert AesCbc(v["key"]).decrypt(keyed.encrypt(v["plaintext"], 0)) == v["plaintext"]


@rows("rfc3602_esp")
def test_rfc3602_esp_packets(v: dict[str, Any]) -> None:
    spi, sequence = int.from_bytes(v["spi"], "big"), int.from_bytes(v["sequence"], "big")
    sa = EspSA(spi, constants.EALG_AESCBC, v["key"], 0, b"", 0, 0, Traffic())
    esp = v["spi"] + v["sequence"] + v["iv"] + v["ciphertext"]
    assert checksum(v["outer_header"]) == 0
    assert int.from_bytes(v["outer_header"][2:4], "big") == 20 + len(esp)
    if v["mode"] == "transport":
        assert sa.open(esp) == (v["ip_payload"], 1)
        return
    inner = v["ip_header"] + v["ip_payload"]
    assert sa.open(esp) == (inner, 4)
    assert sa.seal_with(inner, sequence, v["iv"]) == esp


@rows("rfc3686_ctr")
def test_rfc3686_aes_ctr(v: dict[str, Any]) -> None:
    keyed = AesCtr(v["key"], v["nonce"])
    for _ in range(2):
        assert keyed.encrypt_with(v["plaintext"], v["iv"]) == v["iv"] + v["ciphertext"]
        assert keyed.decrypt(v["iv"] + v["ciphertext"]) == v["plaintext"]
    keyed_as_freebsd = cipher(constants.EALG_AESCTR, v["key"] + v["nonce"])
    assert isinstance(keyed_as_freebsd, AesCtr)
    assert keyed_as_freebsd.encrypt(v["plaintext"], int.from_bytes(v["iv"], "big")) == v["iv"] + v["ciphertext"]


@rows("rfc7634_esp")
def test_rfc7634_chacha20_poly1305(v: dict[str, Any]) -> None:
    sa = EspSA(0x01020304, constants.EALG_CHACHA20POLY1305, v["key"] + v["salt"], 0, b"", 0, 64, received())
    assert sa.seal_with(v["inner"], 5, v["iv"]) == v["esp"]
    assert sa.open(v["esp"]) == (v["inner"], 4)
    assert v["esp"] == v["aad"] + v["iv"] + v["ciphertext"] + v["tag"]


@rows("gcm_draft")
def test_gcm_draft(v: dict[str, Any]) -> None:
    keyed = cipher(constants.EALG_AESGCM16, v["key"] + v["salt"])
    assert isinstance(keyed, AeadCipher)
    assert keyed.encrypt(v["salt"] + v["iv"], v["plaintext"], v["aad"]) == v["ciphertext"] + v["tag"]

    # As an ESP packet: 12 bytes of AAD mean ESN, and the window has to find the high half.
    esn = len(v["aad"]) == 12
    edge = int.from_bytes(v["aad"][4:], "big") - 1
    flags = constants.SA_FLAG_ESN if esn else 0
    spi = int.from_bytes(v["aad"][:4], "big")
    sa = EspSA(spi, constants.EALG_AESGCM16, v["key"] + v["salt"], 0, b"", flags, 64, received(edge))
    esp = v["aad"][:4] + v["aad"][-4:] + v["iv"] + v["ciphertext"] + v["tag"]
    padding = v["plaintext"][-2]
    assert sa.open(esp) == (v["plaintext"][: -2 - padding], 1)
    assert sa.traffic.received_high == edge + 1


@rows("hmac")
def test_hmac(v: dict[str, Any]) -> None:
    icv = authenticator(AUTH_BY_NAME[v["algorithm"]], v["key"])
    assert icv is not None
    assert icv(v["data"]) == icv(v["data"]) == v["icv"]


@rows("derived_esn")
def test_hmac_with_esn(v: dict[str, Any]) -> None:
    case = next(row for row in VECTORS["rfc3602_esp"] if row["case"] == 7)
    body = bytes.fromhex(case["spi"] + case["sequence"] + case["iv"] + case["ciphertext"])
    inner = bytes.fromhex(case["ip_header"] + case["ip_payload"])
    auth, key = AUTH_BY_NAME[v["algorithm"]], bytes(range(v["key_length"]))

    def sa(flags: int, edge: int) -> EspSA:
        return EspSA(0x8765, constants.EALG_AESCBC, bytes.fromhex(case["key"]), auth, key, flags, 64, received(edge))

    esn = constants.SA_FLAG_ESN
    for flags, high, icv in ((0, 0, v["icv"]), (esn, 0, v["icv_esn_0"]), (esn, 1, v["icv_esn_1"])):
        number = high << 32 | 2
        assert sa(flags, 0).seal_with(inner, number, bytes.fromhex(case["iv"])) == body + icv
        assert sa(flags, number - 1).open(body + icv) == (inner, 4)
    refused = sa(esn, 1).open(body + v["icv_esn_1"])
    assert isinstance(refused, Drop)
    assert refused is IN_ICV
