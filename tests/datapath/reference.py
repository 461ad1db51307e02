"""Linux's segmentation and checksum offload in plain Python: what a super-packet stands for."""

from __future__ import annotations

import struct

from ipsectools.wire.checksum import checksum, ones_sum, pseudo_header

TCPV4, TCPV6, UDP_L4, ECN = 1, 4, 5, 0x80
NEEDS_CSUM = 1
FIN, PSH, CWR = 1, 8, 128


def vnet_header(flags: int, kind: int, header: int, size: int, start: int, offset: int) -> bytes:
    """A virtio_net_hdr, whose fields are in the machine's order."""
    return struct.pack("=BBHHHH", flags, kind, header, size, start, offset)


def last_destination(packet: bytes) -> bytes:
    """Where an IPv6 packet goes in the end: what checksums are made with (RFC 8200 section 8.1)."""
    routed = packet[6] == 43 and packet[43]
    return packet[48:64] if routed else packet[24:40]


def finish_checksum(packet: bytes, start: int, offset: int) -> bytes:
    """The packet with the checksum that was left to the device; over what stands there already."""
    value = ~ones_sum(packet[start:]) & 0xFFFF or 0xFFFF
    at = start + offset
    return packet[:at] + value.to_bytes(2, "big") + packet[at + 2 :]


def segments(header: bytes, packet: bytes) -> list[bytes]:
    """The packets that Linux would have sent without offload. `header` and `packet` are well-formed."""
    flags, kind, _, size, start, offset = struct.unpack("=BBHHHH", header)
    if not kind:
        return [finish_checksum(packet, start, offset)] if flags & NEEDS_CSUM else [packet]
    tcp = kind & ~ECN in (TCPV4, TCPV6)
    body_at = start + (packet[start + 12] >> 4) * 4 if tcp else start + 8
    body = packet[body_at:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    result = []
    for number, piece in enumerate(pieces):
        upper = bytearray(packet[start:body_at])
        if tcp:
            seq = int.from_bytes(upper[4:8], "big") + number * size
            upper[4:8] = (seq & 0xFFFFFFFF).to_bytes(4, "big")
            if number:
                upper[13] &= ~CWR
            if number < len(pieces) - 1:
                upper[13] &= ~(FIN | PSH)
        else:
            upper[4:6] = (8 + len(piece)).to_bytes(2, "big")
        upper[offset : offset + 2] = b"\0\0"
        ip = bytearray(packet[:start])
        if ip[0] >> 4 == 4:
            ip[2:4] = (start + len(upper) + len(piece)).to_bytes(2, "big")
            ip[4:6] = (int.from_bytes(ip[4:6], "big") + number & 0xFFFF).to_bytes(2, "big")
            ip[10:12] = b"\0\0"
            ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
            src, dst = bytes(ip[12:16]), bytes(ip[16:20])
        else:
            ip[4:6] = (start - 40 + len(upper) + len(piece)).to_bytes(2, "big")
            src, dst = bytes(ip[8:24]), last_destination(packet)
        whole = bytes(upper) + piece
        value = checksum(pseudo_header(src, dst, 6 if tcp else 17, len(whole)) + whole)
        if not tcp and value == 0:
            value = 0xFFFF
        upper[offset : offset + 2] = value.to_bytes(2, "big")
        result.append(bytes(ip) + bytes(upper) + piece)
    return result
