"""Numeric IPv4 and IPv6 addresses: texts to bytes and back, and what kinds there are."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from ipsectools.errno import EINVAL, KernelError

BITS = {"inet": 32, "inet6": 128}
"""Length of a family's addresses."""


def parse(text: str) -> tuple[str, bytes, str]:
    """Family (`inet`, `inet6`), packed address and zone (or empty) of a numeric text. Raises KernelError (EINVAL)."""
    text, _, zone = text.partition("%")
    family = "inet6" if ":" in text else "inet"
    try:
        packed = inet_pton(AF_INET6 if family == "inet6" else AF_INET, text)
    except (OSError, ValueError):
        raise KernelError(EINVAL) from None
    if zone and family == "inet":
        raise KernelError(EINVAL)
    return family, packed, zone


def unparse(packed: bytes) -> str:
    """The text of 4 or 16 bytes, as inet_ntop(3) writes it."""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def is_unspecified(packed: bytes) -> bool:
    return not any(packed)


def is_link_local(packed: bytes) -> bool:
    """fe80::/10 (RFC 4291 section 2.5.6)."""
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def is_multicast(packed: bytes) -> bool:
    return packed[0] == 0xFF if len(packed) == 16 else packed[0] & 0xF0 == 0xE0


def network_of(packed: bytes, prefixlen: int) -> bytes:
    """The address with zeros behind its prefix."""
    bits = 8 * len(packed) - prefixlen
    return (int.from_bytes(packed, "big") >> bits << bits).to_bytes(len(packed), "big")


def broadcast_of(packed: bytes, prefixlen: int) -> bytes:
    """The last address of an IPv4 network."""
    return (int.from_bytes(packed, "big") | (1 << 32 - prefixlen) - 1).to_bytes(4, "big")
