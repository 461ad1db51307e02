"""What the capture says of a packet: nothing that is not surely harmless may pass as such."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from ipsectools.lab.capture import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, look

ESP = struct.pack(">II", 10000, 7) + bytes(32)


def ipv4(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    addresses = ipaddress.IPv4Address("192.168.0.3").packed + ipaddress.IPv4Address("192.168.0.5").packed
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0) + addresses + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    addresses = ipaddress.IPv6Address("2001:db8::3").packed + ipaddress.IPv6Address("2001:db8::5").packed
    return struct.pack(">IHBB", 0x60000000, len(payload), protocol, 64) + addresses + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload


@pytest.mark.parametrize(
    ("ethertype", "packet", "kind"),
    [
        (ETH_P_ARP, bytes(28), "neighbour"),
        (ETH_P_IP, ipv4(50, ESP), "esp"),
        (ETH_P_IP, ipv4(50, ESP) + bytes(6), "esp"),  # the link's own padding
        (ETH_P_IP, ipv4(50, ESP, 0x2000), "esp"),
        (ETH_P_IP, ipv4(50, ESP, 185), "fragment"),
        (ETH_P_IP, ipv4(50, ESP[:7]), "clear"),
        (ETH_P_IP, ipv4(1, bytes(64)), "clear"),
        (ETH_P_IP, ipv4(4, ipv4(1, bytes(64))), "clear"),
        (ETH_P_IP, ipv4(17, udp(4500, ESP)), "esp"),
        (ETH_P_IP, ipv4(17, udp(4500, b"\xff")), "keepalive"),
        (ETH_P_IP, ipv4(17, udp(4500, bytes(4) + ESP)), "clear"),  # IKE, by the non-ESP marker
        (ETH_P_IP, ipv4(17, udp(53, ESP)), "clear"),
        (ETH_P_IP, ipv4(1, bytes([3, 2]) + bytes(6) + ipv4(50, ESP)), "refusal"),
        (ETH_P_IP, ipv4(1, bytes([3, 2]) + bytes(6) + ipv4(17, udp(53, ESP))), "clear"),
        (ETH_P_IP, ipv4(1, bytes([8, 0]) + bytes(6) + ipv4(50, ESP)), "clear"),
        (ETH_P_IP, b"\x45", "clear"),
        (ETH_P_IPV6, ipv6(50, ESP), "esp"),
        (ETH_P_IPV6, ipv6(44, bytes([50, 0, 0, 1]) + bytes(4) + ESP), "esp"),
        (ETH_P_IPV6, ipv6(44, bytes([50, 0, 0, 9]) + bytes(4) + ESP), "fragment"),
        (ETH_P_IPV6, ipv6(58, bytes([135]) + bytes(23)), "neighbour"),
        (ETH_P_IPV6, ipv6(0, bytes([58, 0]) + bytes(6) + bytes([143]) + bytes(23)), "neighbour"),
        (ETH_P_IPV6, ipv6(58, bytes([128]) + bytes(23)), "clear"),
        (ETH_P_IPV6, ipv6(58, bytes([1, 4]) + bytes(6) + ipv6(50, ESP)), "refusal"),
        (ETH_P_IPV6, ipv6(58, bytes([1, 4]) + bytes(6) + ipv6(58, ESP)), "clear"),
        (ETH_P_IPV6, ipv6(41, ipv6(58, bytes([128]))), "clear"),
        (0x88CC, bytes(60), "clear"),
    ],
)
def test_kind(ethertype: int, packet: bytes, kind: str) -> None:
    seen = look(packet, ethertype)
    assert seen.kind == kind
    if kind == "esp":
        assert (seen.spi, seen.sequence) == (10000, 7)
        assert seen.payload == ESP
