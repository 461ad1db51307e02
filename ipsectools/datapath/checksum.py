"""The Internet checksum (RFC 1071) in plain Python."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """Ones' complement sum of big-endian 16-bit words, folded; an odd last byte counts as the high half of a word."""
    if len(data) & 1:
        data += b"\0"
    total = int.from_bytes(data, "big")
    # 2**16 is 1 modulo 0xffff, so the remainder of the whole number is the folded sum; only "0 or 0xffff" is open.
    return total % 0xFFFF or (0xFFFF if total else 0)


def checksum(data: bytes) -> int:
    """The 16-bit checksum of `data`, whose own checksum field must be zero."""
    return ~ones_sum(data) & 0xFFFF


def pseudo_header(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    """The pseudo header of TCP and UDP (RFC 793, RFC 8200 section 8.1); both sum up alike."""
    return src + dst + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")
