"""The UDP header (RFC 768) and what RFC 3948 puts behind it."""

from __future__ import annotations

from struct import Struct

from ipsectools.wire.checksum import checksum, pseudo_header

_FIXED = Struct(">HHHH")
HEADER_LENGTH = 8
PROTOCOL = 17
NON_ESP_MARKER = bytes(4)
"""In front of an IKE message on a port that also carries ESP: no SPI is 0."""
KEEPALIVE = b"\xff"

# What a UDP payload on an encapsulation port is.
ENCAPSULATED_ESP = "esp"
ENCAPSULATED_IKE = "ike"
ENCAPSULATED_KEEPALIVE = "keepalive"
ENCAPSULATED_SHORT = "short"


class UdpHeader:
    """The fields of a UDP header. `length` in bytes, header included; `checksum` 0: none."""

    __slots__ = ("checksum", "destination", "length", "source")

    def __init__(self, source: int, destination: int, *, length: int = HEADER_LENGTH, checksum: int = 0) -> None:
        self.source = source
        self.destination = destination
        self.length = length
        self.checksum = checksum

    def emit(self, payload: bytes, addresses: tuple[bytes, bytes] | None = None) -> bytes:
        """Header and payload; `length` and `checksum` are not looked at.

        With `addresses` (source, destination of the IP header) the checksum is computed, as IPv6 demands; without, it
        is 0, as FreeBSD sends ESP over IPv4.
        """
        length = HEADER_LENGTH + len(payload)
        datagram = _FIXED.pack(self.source, self.destination, length, 0) + payload
        if addresses is None:
            return datagram
        total = checksum(pseudo_header(*addresses, PROTOCOL, length) + datagram) or 0xFFFF
        return datagram[:6] + total.to_bytes(2, "big") + payload


def parse(data: bytes) -> UdpHeader | None:
    """The header at the start of `data`; None if it is cut or its length is impossible."""
    if len(data) < HEADER_LENGTH:
        return None
    source, destination, length, total = _FIXED.unpack_from(data)
    if length < HEADER_LENGTH:
        return None
    return UdpHeader(source, destination, length=length, checksum=total)


def encapsulated(payload: bytes) -> str:
    """What a UDP payload on an encapsulation port is (RFC 3948 section 2): one of ENCAPSULATED_*."""
    if len(payload) < 4:
        return ENCAPSULATED_KEEPALIVE if payload == KEEPALIVE else ENCAPSULATED_SHORT
    return ENCAPSULATED_IKE if payload[:4] == NON_ESP_MARKER else ENCAPSULATED_ESP
