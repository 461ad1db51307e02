"""Microseconds to seal and to open one packet, by algorithm: `python tests/bench/esp_speed.py [inner length]`."""

from __future__ import annotations

import os
import sys
import timeit
from typing import TYPE_CHECKING

from ipsectools.esp.drops import Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = (
    ("null", constants.EALG_NULL, 0, 0, 0),
    ("aes-cbc-128", constants.EALG_AESCBC, 16, 0, 0),
    ("aes-cbc-128 hmac-sha1", constants.EALG_AESCBC, 16, constants.AALG_SHA1HMAC, 20),
    ("aes-cbc-128 hmac-sha2-256", constants.EALG_AESCBC, 16, constants.AALG_SHA2_256, 32),
    ("aes-cbc-256 hmac-sha2-512", constants.EALG_AESCBC, 32, constants.AALG_SHA2_512, 64),
    ("aes-ctr-128 hmac-sha2-256", constants.EALG_AESCTR, 20, constants.AALG_SHA2_256, 32),
    ("aes-gcm-16-128", constants.EALG_AESGCM16, 20, 0, 0),
    ("aes-gcm-16-256", constants.EALG_AESGCM16, 36, 0, 0),
    ("chacha20-poly1305", constants.EALG_CHACHA20POLY1305, 36, 0, 0),
)
COUNT = 2000
ROUNDS = 15


def traffic() -> Traffic:
    marks = Traffic()
    marks.sequence_limit = marks.iv_limit = marks.received_limit = 1 << 31
    return marks


def microseconds(function: Callable[[bytes], object], packets: list[bytes]) -> float:
    return timeit.timeit(lambda: [function(packet) for packet in packets], number=1) / len(packets) * 1e6


def measure(length: int) -> None:
    inner = b"\x45" + os.urandom(length - 1)
    print(f"{'inner ' + str(length) + ' bytes, us':28}{'seal':>8}{'open':>8}{'open, window 64':>18}")
    for name, enc, enc_key, auth, auth_key in CASES:
        keys = (enc, os.urandom(enc_key), auth, os.urandom(auth_key))
        seal = EspSA(1000, *keys, 0, 0, traffic()).seal
        sealed = [packet for packet in (seal(inner) for _ in range(COUNT)) if not isinstance(packet, Drop)]
        rounds = [
            (
                microseconds(seal, [inner] * COUNT),
                microseconds(EspSA(1000, *keys, 0, 0, traffic()).open, sealed),
                microseconds(EspSA(1000, *keys, 0, 64, traffic()).open, sealed),
            )
            for _ in range(ROUNDS)
        ]
        best = [min(column) for column in zip(*rounds, strict=True)]
        print(f"{name:28}{best[0]:8.2f}{best[1]:8.2f}{best[2]:18.2f}")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1400)
