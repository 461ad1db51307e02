"""The Internet checksum (RFC 1071)."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """Ones' complement sum of the big-endian 16-bit words of `data`, folded; an odd last byte is a word's high half.

    65536 is 1 modulo 65535, so the remainder of the whole as one number is the sum of its words: one division in C
    instead of a loop. Only 0 and 0xffff, which both stand for zero, have to be told apart.
    """
    if len(data) & 1:
        data = bytes(data) + b"\0"
    number = int.from_bytes(data, "big")
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: bytes) -> int:
    """The checksum to be stored in `data`, whose checksum field holds zero. Over data with a right checksum it is 0."""
    return ~ones_sum(data) & 0xFFFF


def pseudo_header(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """What TCP, UDP and ICMPv6 sum up beside their own bytes (RFC 9293, RFC 768, RFC 8200 section 8.1).

    `length` in bytes. IPv4's layout has 16 bits of length, IPv6's 32; both give the same sum.
    """
    return src + dst + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")
