"""ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and the message to the sender of a packet that does not fit."""

from __future__ import annotations

from struct import Struct

from ipsectools.wire import ipv4, ipv6
from ipsectools.wire.checksum import checksum, pseudo_header

_FIXED = Struct(">BBHHH")
_TOO_BIG = Struct(">BBHI")
HEADER_LENGTH = 8
PROTOCOL = 1
PROTOCOL_V6 = 58

ECHO_REPLY = 0
UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
ECHO_REQUEST = 8
ECHO_REQUEST_V6 = 128
ECHO_REPLY_V6 = 129
PACKET_TOO_BIG_V6 = 2

_ERRORS = frozenset((3, 4, 5, 11, 12))
_LONGEST_V4 = 576  # RFC 1812 section 4.3.2.3
_LONGEST_V6 = 1280  # RFC 4443 section 3.2
_SMALLEST_MTU = 68
_SMALLEST_MTU_V6 = 1280
_PRECEDENCE = 0xC0  # internetwork control, as routers send their errors (RFC 1812 section 4.3.2.5)


class Echo:
    """An echo request or reply. `payload` is what comes back."""

    __slots__ = ("id", "payload", "reply", "sequence")

    def __init__(self, id: int, sequence: int, payload: bytes = b"", *, reply: bool = False) -> None:
        self.id = id
        self.sequence = sequence
        self.payload = payload
        self.reply = reply

    def emit(self) -> bytes:
        """The ICMP message."""
        return _summed(
            _FIXED.pack(ECHO_REPLY if self.reply else ECHO_REQUEST, 0, 0, self.id, self.sequence), self.payload
        )

    def emit_v6(self, src: bytes, dst: bytes) -> bytes:
        """The ICMPv6 message, whose checksum covers the addresses of the IPv6 header."""
        kind = ECHO_REPLY_V6 if self.reply else ECHO_REQUEST_V6
        return _summed(_FIXED.pack(kind, 0, 0, self.id, self.sequence), self.payload, (src, dst))


def parse_echo(message: bytes) -> Echo | None:
    """The echo in an ICMP message with a right checksum, else None."""
    if len(message) < HEADER_LENGTH or message[0] not in (ECHO_REPLY, ECHO_REQUEST) or checksum(message):
        return None
    kind, _, _, id, sequence = _FIXED.unpack_from(message)
    return Echo(id, sequence, bytes(message[HEADER_LENGTH:]), reply=kind == ECHO_REPLY)


def parse_echo_v6(message: bytes, src: bytes, dst: bytes) -> Echo | None:
    """The echo in an ICMPv6 message between these addresses with a right checksum, else None."""
    if len(message) < HEADER_LENGTH or message[0] not in (ECHO_REQUEST_V6, ECHO_REPLY_V6):
        return None
    if checksum(pseudo_header(src, dst, PROTOCOL_V6, len(message)) + message):
        return None
    kind, _, _, id, sequence = _FIXED.unpack_from(message)
    return Echo(id, sequence, bytes(message[HEADER_LENGTH:]), reply=kind == ECHO_REPLY_V6)


def too_big(packet: bytes, mtu: int, source: bytes | None = None) -> bytes | None:
    """The whole IP packet that tells the sender of `packet` that only `mtu` bytes fit; None if none may be sent.

    IPv4: destination unreachable, fragmentation needed (RFC 1191). IPv6: packet too big (RFC 8201). It comes from
    `source`, or, if that is None, claims to come from where `packet` was going: inside a tunnel that is the one address
    that passes every reverse-path filter. No error answers an error, a fragment other than the first, or what was not
    sent by and to one host (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
    """
    if packet[:1] and packet[0] >> 4 == 6:
        return _packet_too_big(packet, mtu, source)
    return _fragmentation_needed(packet, mtu, source)


def _fragmentation_needed(packet: bytes, mtu: int, source: bytes | None) -> bytes | None:
    header = ipv4.parse(packet)
    if header is None or header.fragment_offset:
        return None
    payload = packet[header.header_length :]
    if header.protocol == PROTOCOL and (not payload or payload[0] in _ERRORS):
        return None
    if header.dst[0] >= 224 or header.src[0] >= 224 or header.src[0] in (0, 127):
        return None
    head = _FIXED.pack(UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, min(max(mtu, _SMALLEST_MTU), 0xFFFF))
    message = _summed(head, packet[: _LONGEST_V4 - ipv4.HEADER_LENGTH - HEADER_LENGTH])
    return ipv4.Ipv4Header(source or header.dst, header.src, PROTOCOL, tos=_PRECEDENCE).emit(message)


def _packet_too_big(packet: bytes, mtu: int, source: bytes | None) -> bytes | None:
    header = ipv6.parse(packet)
    if header is None:
        return None
    payload = packet[ipv6.HEADER_LENGTH :]
    if header.next_header == PROTOCOL_V6 and (not payload or payload[0] < 128):
        return None
    # Path MTU discovery works for multicast too, but then the multicast address cannot be the answer's source.
    source = source or header.dst
    if source[0] == 0xFF or header.src[0] == 0xFF or not any(header.src):
        return None
    head = _TOO_BIG.pack(PACKET_TOO_BIG_V6, 0, 0, max(mtu, _SMALLEST_MTU_V6))
    quoted = packet[: _LONGEST_V6 - ipv6.HEADER_LENGTH - HEADER_LENGTH]
    message = _summed(head, quoted, (source, header.src))
    return ipv6.Ipv6Header(source, header.src, PROTOCOL_V6).emit(message)


def _summed(head: bytes, body: bytes, addresses: tuple[bytes, bytes] | None = None) -> bytes:
    """An ICMP (with `addresses`: ICMPv6) message of `head`, its checksum filled in, and `body`."""
    covered = head + body
    if addresses is not None:
        covered = pseudo_header(*addresses, PROTOCOL_V6, len(covered)) + covered
    return head[:2] + checksum(covered).to_bytes(2, "big") + head[4:] + body
