"""The part of ESP that can be read without keys (RFC 4303): SPI and sequence number."""

from __future__ import annotations

from struct import Struct

_FIXED = Struct(">II")
HEADER_LENGTH = 8
PROTOCOL = 50


class EspHeader:
    """`sequence` is the low half of an extended sequence number."""

    __slots__ = ("sequence", "spi")

    def __init__(self, spi: int, sequence: int) -> None:
        self.spi = spi
        self.sequence = sequence

    def emit(self, payload: bytes = b"") -> bytes:
        return _FIXED.pack(self.spi, self.sequence) + payload


def parse(data: bytes) -> EspHeader | None:
    """The header at the start of `data`; None if it is cut."""
    if len(data) < HEADER_LENGTH:
        return None
    return EspHeader(*_FIXED.unpack_from(data))
