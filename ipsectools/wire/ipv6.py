"""The IPv6 header (RFC 8200); extension headers belong to the payload."""

from __future__ import annotations

from struct import Struct

_FIXED = Struct(">IHBB16s16s")
HEADER_LENGTH = 40


class Ipv6Header:
    """The fields of an IPv6 header. `payload_length` in bytes, without this header."""

    __slots__ = ("dst", "flow_label", "hop_limit", "next_header", "payload_length", "src", "traffic_class")

    def __init__(
        self,
        src: bytes,
        dst: bytes,
        next_header: int,
        *,
        payload_length: int = 0,
        traffic_class: int = 0,
        flow_label: int = 0,
        hop_limit: int = 64,
    ) -> None:
        self.src = src
        self.dst = dst
        self.next_header = next_header
        self.payload_length = payload_length
        self.traffic_class = traffic_class
        self.flow_label = flow_label
        self.hop_limit = hop_limit

    def emit(self, payload: bytes = b"") -> bytes:
        """Header and payload; `payload_length` is not looked at."""
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return _FIXED.pack(first, len(payload), self.next_header, self.hop_limit, self.src, self.dst) + payload


def parse(data: bytes) -> Ipv6Header | None:
    """The header at the start of `data`; None if it is cut or of another version."""
    if len(data) < HEADER_LENGTH or data[0] >> 4 != 6:
        return None
    first, payload_length, next_header, hop_limit, src, dst = _FIXED.unpack_from(data)
    return Ipv6Header(
        src,
        dst,
        next_header,
        payload_length=payload_length,
        traffic_class=first >> 20 & 0xFF,
        flow_label=first & 0xFFFFF,
        hop_limit=hop_limit,
    )
