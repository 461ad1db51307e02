"""The IPv4 header (RFC 791)."""

from __future__ import annotations

from struct import Struct

from ipsectools.wire.checksum import checksum

_FIXED = Struct(">BBHHHBBH4s4s")
HEADER_LENGTH = 20
PROTOCOL_IPV4 = 4
PROTOCOL_UDP = 17
PROTOCOL_IPV6 = 41
PROTOCOL_ESP = 50


class Ipv4Header:
    """The fields of an IPv4 header. `fragment_offset` counts bytes; `options` are a multiple of 4 bytes."""

    __slots__ = (
        "df",
        "dst",
        "fragment_offset",
        "id",
        "mf",
        "options",
        "protocol",
        "src",
        "tos",
        "total_length",
        "ttl",
    )

    def __init__(
        self,
        src: bytes,
        dst: bytes,
        protocol: int,
        *,
        total_length: int = HEADER_LENGTH,
        tos: int = 0,
        ttl: int = 64,
        id: int = 0,
        df: bool = False,
        mf: bool = False,
        fragment_offset: int = 0,
        options: bytes = b"",
    ) -> None:
        self.src = src
        self.dst = dst
        self.protocol = protocol
        self.total_length = total_length
        self.tos = tos
        self.ttl = ttl
        self.id = id
        self.df = df
        self.mf = mf
        self.fragment_offset = fragment_offset
        self.options = options

    @property
    def header_length(self) -> int:
        return HEADER_LENGTH + len(self.options)

    def emit(self, payload: bytes = b"") -> bytes:
        """Header and payload; total length and checksum are made to fit, `total_length` is not looked at."""
        length = self.header_length
        flags = self.df << 14 | self.mf << 13 | self.fragment_offset >> 3
        header = _FIXED.pack(
            0x40 | length >> 2,
            self.tos,
            length + len(payload),
            self.id,
            flags,
            self.ttl,
            self.protocol,
            0,
            self.src,
            self.dst,
        )
        header += self.options
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def parse(data: bytes) -> Ipv4Header | None:
    """The header at the start of `data`; None if it is cut, of another version, or its lengths contradict each other.

    The checksum is not verified: `checksum(data[:header_length])` is 0 if it is right.
    """
    if len(data) < HEADER_LENGTH or data[0] >> 4 != 4:
        return None
    first, tos, total_length, id, flags, ttl, protocol, _, src, dst = _FIXED.unpack_from(data)
    length = (first & 15) * 4
    if length < HEADER_LENGTH or len(data) < length or total_length < length:
        return None
    return Ipv4Header(
        src,
        dst,
        protocol,
        total_length=total_length,
        tos=tos,
        ttl=ttl,
        id=id,
        df=bool(flags & 0x4000),
        mf=bool(flags & 0x2000),
        fragment_offset=(flags & 0x1FFF) << 3,
        options=bytes(data[HEADER_LENGTH:length]),
    )
