"""The message to the sender of an inner packet that does not fit: RFC 1191 and RFC 8201 towards the inside."""

from __future__ import annotations

from ipsectools.datapath.checksum import checksum, pseudo_header

_ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))
_SMALLEST = {4: 68, 6: 1280}


def too_big(inner: bytes, mtu: int) -> bytes | None:
    """The ICMP (fragmentation needed) or ICMPv6 (packet too big) packet that answers `inner`, to be put into the TUN.

    `mtu`: the longest inner packet that fits, in bytes. The packet claims to come from where `inner` was going: the
    only address behind the tunnel that is sure to pass reverse-path filters. None where no ICMP may be sent (RFC 1122
    section 3.2.2, RFC 4443 section 2.4) or `inner` is no IP packet.
    """
    version = inner[0] >> 4 if inner else 0
    if version == 4:
        return _needs_fragmentation(inner, max(mtu, _SMALLEST[4]))
    if version == 6:
        return _packet_too_big(inner, max(mtu, _SMALLEST[6]))
    return None


def _needs_fragmentation(inner: bytes, mtu: int) -> bytes | None:
    header = (inner[0] & 15) * 4
    if header < 20 or len(inner) < header:
        return None
    src, dst = inner[12:16], inner[16:20]
    first_fragment = not (inner[6] << 8 | inner[7]) & 0x1FFF
    is_error = inner[9] == 1 and (len(inner) <= header or inner[header] in _ICMP_ERRORS)
    if not first_fragment or is_error or dst[0] >= 224 or src[0] in (0, 127) or src[0] >= 224:
        return None
    body = bytearray(b"\x03\x04\0\0\0\0" + mtu.to_bytes(2, "big") + inner[: 576 - 28])
    body[2:4] = checksum(bytes(body)).to_bytes(2, "big")
    ip = bytearray(
        b"\x45\xc0" + (20 + len(body)).to_bytes(2, "big") + b"\0\0\0\0\x40\x01\0\0" + dst + src
    )  # precedence 6, as routers send it
    ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
    return bytes(ip + body)


def _packet_too_big(inner: bytes, mtu: int) -> bytes | None:
    if len(inner) < 40:
        return None
    src, dst = inner[8:24], inner[24:40]
    is_error = inner[6] == 58 and (len(inner) <= 40 or inner[40] < 128)
    # Packet too big is the one error that also answers multicast, but from a multicast address nothing may come.
    if is_error or dst[0] == 0xFF or src[0] == 0xFF or not any(src):
        return None
    body = bytearray(b"\x02\0\0\0" + mtu.to_bytes(4, "big") + inner[: 1280 - 48])
    body[2:4] = checksum(pseudo_header(dst, src, 58, len(body)) + bytes(body)).to_bytes(2, "big")
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\x40" + dst + src + bytes(body)
