"""What others make of our packets on the wire: scapy's ESP and Wireshark's."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.traffic.scene import OUTER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ipsectools.lab.capture import Seen
    from tests.e2e.matrix import Tunnel
    from tests.traffic.scene import Algorithm

LINKTYPE_RAW = 101

TSHARK_CIPHERS = {
    "AES-CBC": "AES-CBC [RFC3602]",
    "AES-CTR": "AES-CTR [RFC3686]",
    "AES-GCM": "AES-GCM with 16 octet ICV [RFC4106]",
    "NULL": "NULL",
}
"""Wireshark's names; it does not know ChaCha20-Poly1305."""

TSHARK_AUTHENTICATORS = {
    None: "NULL",
    "HMAC-SHA1-96": "HMAC-SHA-1-96 [RFC2404]",
    "SHA2-256-128": "HMAC-SHA-256-128 [RFC4868]",
    "SHA2-384-192": "HMAC-SHA-384-192 [RFC4868]",
    "SHA2-512-256": "HMAC-SHA-512-256 [RFC4868]",
}


def scapy_sa(algorithm: Algorithm, spi: int, *, esn: int | None = None, outer: str = "inet") -> Any:
    """scapy's SA; `esn`: the high half of its sequence numbers."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.ipsec import ESP, SecurityAssociation

    source, destination = OUTER[outer]
    header = IP(src=source, dst=destination) if outer == "inet" else IPv6(src=source, dst=destination)
    return SecurityAssociation(  # type: ignore[no-untyped-call]
        ESP,
        spi=spi,
        crypt_algo=algorithm.scapy_cipher,
        crypt_key=None if algorithm.scapy_cipher == "NULL" else algorithm.key(spi),
        auth_algo=algorithm.scapy_authenticator,
        auth_key=algorithm.auth_key(spi) if algorithm.scapy_authenticator else None,
        tunnel_header=header,
        esn_en=esn is not None,
        esn=esn or 0,
    )


def scapy_opens(tunnel: Tunnel, spi: int, seen: Seen, high: int = 0) -> bytes:
    """The inner packet; scapy checks the ICV, and raises if it is wrong."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    witness = scapy_sa(tunnel.algorithm, spi, esn=high if tunnel.esn else None, outer=tunnel.outer)
    # Without UDP: scapy knows ESP in UDP at port 4500 alone.
    header = IP(src=seen.source, dst=seen.destination, proto=50) if tunnel.outer == "inet" else None
    if header is None:
        header = IPv6(src=seen.source, dst=seen.destination, nh=50)
    packet = type(header)(bytes(header / seen.payload))
    return bytes(witness.decrypt(packet))


def need_tshark() -> str:
    found = shutil.which("tshark")
    if found is None:
        pytest.skip("no tshark here")
    return found


def write_pcap(path: Path, packets: Iterable[bytes]) -> None:
    """A pcap file of IP packets."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)


def esp_sa(algorithm: Algorithm, spi: int, outer: str, forth: bool) -> str | None:
    """A line of Wireshark's esp_sa table; None for what it does not know."""
    cipher = TSHARK_CIPHERS.get(algorithm.scapy_cipher)
    if cipher is None:
        return None
    source, destination = OUTER[outer] if forth else OUTER[outer][::-1]
    fields = [
        "IPv4" if outer == "inet" else "IPv6",
        source,
        destination,
        f"0x{spi:08x}",
        cipher,
        "" if cipher == "NULL" else "0x" + algorithm.key(spi).hex(),
        TSHARK_AUTHENTICATORS[algorithm.scapy_authenticator],
        "0x" + algorithm.auth_key(spi).hex() if algorithm.scapy_authenticator else "",
    ]
    return ",".join(f'"{field}"' for field in fields)


def tshark(path: Path, lines: Iterable[str], fields: Iterable[str], ports: Iterable[int] = ()) -> list[list[str]]:
    """What tshark says of each packet of a pcap: these fields, with the ESP SAs of these esp_sa lines."""
    argv = [need_tshark(), "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a"]
    for option in ("enable_encryption_decode", "enable_authentication_check"):
        argv += ["-o", f"esp.{option}:TRUE"]
    for line in lines:
        argv += ["-o", f"uat:esp_sa:{line}"]
    for port in ports:
        argv += ["-d", f"udp.port=={port},udpencap"]
    for field in fields:
        argv += ["-e", field]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return [line.split("\t") for line in result.stdout.split("\n") if line]
