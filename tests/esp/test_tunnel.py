"""Outer header fields, sizes and what may come out of a tunnel; the recorded FreeBSD kernel as witness."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ipsectools.esp import drops, tunnel
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import ENCRYPTIONS
from tests.esp.sas import TRANSFORMS, Transform

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "recordings" / "kernel.json").read_text())


def ipv4(tos: int = 0, df: bool = False) -> bytes:
    return bytes((0x45, tos, 0, 20, 0, 0, 0x40 if df else 0, 0)) + bytes(12)


def ipv6(traffic_class: int) -> bytes:
    return (6 << 28 | traffic_class << 20 | 0xABCDE).to_bytes(4, "big") + bytes(36)


def test_header_fields_as_recorded() -> None:
    """FreeBSD's kernel under ping with several TOS and DF, at several settings of dfbit, ecn and ttl."""
    settings = {"net.inet.ipsec.dfbit": 0, "net.inet.ipsec.ecn": 0, "net.inet.ip.ttl": 64}
    inner, seen = b"", 0
    for step in RECORDED["scenarios"]["header_fields"]:
        words = step.get("ctl", "").split()
        if words[:1] == ["sysctl"] and "=" in words[1]:
            name, _, value = words[1].partition("=")
            settings[name] = int(value)
        elif words[:1] == ["ping"]:
            tos = re.search(r"tos (\S+)", step["ctl"])
            inner = ipv4(int(tos[1], 16) if tos else 0, "df" in words)
        elif "wire" in step:
            (packet,) = step["packets"]
            table = tunnel.tos_table(settings["net.inet.ipsec.ecn"])
            assert table[tunnel.inner_tos(inner)] == packet["tos"], step
            assert tunnel.outer_df(inner, settings["net.inet.ipsec.dfbit"]) == packet["df"], step
            cbc = ENCRYPTIONS[constants.EALG_AESCBC]
            assert tunnel.outer_length(cbc, 0, 84, outer_header=20, natt=False) == packet["len"]
            seen += 1
    assert seen > 30


@pytest.mark.parametrize(
    ("ecn", "outer"),
    [(0, (0, 0, 0, 0)), (-1, (0, 1, 2, 3)), (1, (0, 1, 2, 2)), (2, (0, 1, 2, 3)), (9, (0, 1, 2, 3))],
)
def test_ecn(ecn: int, outer: tuple[int, ...]) -> None:
    table = tunnel.tos_table(ecn)
    assert len(table) == 256
    for tos in range(256):
        assert table[tos] == (tos & 0xFC) + outer[tos & 3]
        assert tunnel.inner_tos(ipv4(tos)) == tunnel.inner_tos(ipv6(tos)) == tos


@pytest.mark.parametrize(
    ("dfbit", "inner", "df"),
    [
        (0, ipv4(), False),
        (0, ipv4(df=True), False),
        (0, ipv6(0), False),
        (1, ipv4(), True),
        (1, ipv6(0), True),
        (2, ipv4(), False),
        (2, ipv4(df=True), True),
        (2, ipv6(0), True),
        (-1, ipv4(df=True), True),
    ],
)
def test_df(dfbit: int, inner: bytes, df: bool) -> None:
    assert tunnel.outer_df(inner, dfbit) is df


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_inner_mtu_is_the_largest_that_fits(transform: Transform) -> None:
    for outer_header in (20, 40):
        for natt in (False, True):
            for outer_mtu in range(1280, 1300):
                inner = tunnel.inner_mtu(transform.enc, transform.auth, outer_mtu, outer_header=outer_header, natt=natt)
                sizes = [
                    tunnel.outer_length(transform.enc, transform.auth, length, outer_header=outer_header, natt=natt)
                    for length in (inner, inner + 1)
                ]
                assert sizes[0] <= outer_mtu < sizes[1]


def test_sizes_by_hand() -> None:
    gcm, cbc = ENCRYPTIONS[constants.EALG_AESGCM16], ENCRYPTIONS[constants.EALG_AESCBC]
    # 20 IP + 8 ESP + 8 IV + 1372 + 2 pad + 2 trailer + 16 ICV
    assert tunnel.outer_length(gcm, 0, 1372, outer_header=20, natt=False) == 1428
    assert tunnel.inner_mtu(gcm, 0, 1500, outer_header=20, natt=False) == 1446
    assert tunnel.inner_mtu(gcm, 0, 1500, outer_header=20, natt=True) == 1438
    assert tunnel.inner_mtu(gcm, 0, 1500, outer_header=40, natt=False) == 1426
    assert tunnel.inner_mtu(cbc, constants.AALG_SHA2_256, 1500, outer_header=20, natt=False) == 1438
    assert tunnel.inner_mtu(cbc, constants.AALG_SHA2_256, 50, outer_header=20, natt=False) < 0


@pytest.mark.parametrize(
    ("outer", "mode", "next_header", "length", "result"),
    [
        (4, tunnel.MODE_TUNNEL, 4, 20, tunnel.TUNNEL),
        (4, tunnel.MODE_TUNNEL, 4, 19, drops.IN_INNER_SHORT),
        (4, tunnel.MODE_TUNNEL, 41, 40, tunnel.TUNNEL),
        (4, tunnel.MODE_TUNNEL, 41, 39, drops.IN_INNER_SHORT),
        (4, tunnel.MODE_ANY, 4, 20, tunnel.TUNNEL),
        (4, tunnel.MODE_ANY, 41, 0, drops.IN_INNER_SHORT),
        (4, tunnel.MODE_TUNNEL, 1, 100, drops.IN_NEXT_HEADER),
        (4, tunnel.MODE_TUNNEL, 50, 100, drops.IN_NEXT_HEADER),
        (4, tunnel.MODE_ANY, 6, 100, tunnel.TRANSPORT),
        (4, tunnel.MODE_TRANSPORT, 4, 1, tunnel.TRANSPORT),
        (4, tunnel.MODE_TRANSPORT, 17, 1, tunnel.TRANSPORT),
        (6, tunnel.MODE_TUNNEL, 4, 20, tunnel.TUNNEL),
        (6, tunnel.MODE_ANY, 41, 40, tunnel.TUNNEL),
        (6, tunnel.MODE_TUNNEL, 41, 39, drops.IN_INNER_SHORT),
        (6, tunnel.MODE_TUNNEL, 17, 8, tunnel.TRANSPORT),
        (6, tunnel.MODE_TRANSPORT, 41, 8, tunnel.TRANSPORT),
    ],
)
def test_decapsulation(outer: int, mode: int, next_header: int, length: int, result: object) -> None:
    assert tunnel.decapsulation(outer, mode, next_header, length) == result


def test_inner_version_must_be_what_the_next_header_says() -> None:
    for first in range(256):
        inner = bytes((first,)) + bytes(39)
        for next_header, version in ((4, 4), (41, 6)):
            wanted = None if first >> 4 == version else drops.IN_INNER_VERSION
            assert tunnel.inner_refusal(inner, next_header) is wanted
    assert tunnel.inner_refusal(b"", 4) is drops.IN_INNER_VERSION
