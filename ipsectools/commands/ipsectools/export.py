"""`ipsectools export wireshark [-o FILE]`: the SAs as an esp_sa file, with which Wireshark opens a capture of the wire.

The file holds keys: it is written with mode 0600, and to standard output only if asked (`-o -`).
"""

from __future__ import annotations

import sys

from ipsectools.commands.ipsectools import private_file, sas
from ipsectools.esp import algorithms

USAGE = "usage: ipsectools export wireshark -o FILE\n"

CIPHERS = {
    11: "NULL",
    12: "AES-CBC [RFC3602]",
    13: "AES-CTR [RFC3686]",
    20: "AES-GCM with 16 octet ICV [RFC4106]",
}
"""Wireshark's names by PF_KEY's encryption ids. Its ESP dissector has no ChaCha20-Poly1305."""

AUTHENTICATORS = {
    0: "NULL",
    3: "HMAC-SHA-1-96 [RFC2404]",
    5: "HMAC-SHA-256-128 [RFC4868]",
    6: "HMAC-SHA-384-192 [RFC4868]",
    7: "HMAC-SHA-512-256 [RFC4868]",
    251: "ANY 96 bit authentication [no checking]",
}


def main(arguments: list[str]) -> int:
    """Writes the file; 0 done, 1 not written, 2 a command line that makes no sense."""
    if len(arguments) != 3 or arguments[0] != "wireshark" or arguments[1] != "-o":
        sys.stderr.write(USAGE)
        return 2
    lines: list[str] = []
    left_out = 0
    for sa in sas.read():
        line = esp_sa(sa)
        if line is None:
            left_out += 1
        else:
            lines.append(line)
    text = "".join(line + "\n" for line in lines)
    if arguments[2] == "-":
        sys.stdout.write(text)
    else:
        try:
            with open(private_file.create(arguments[2]), "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            sys.stderr.write(f"ipsectools: {arguments[2]}: {error.strerror}\n")
            return 1
    if left_out:
        what = (
            "SA left out: Wireshark does not know its"
            if left_out == 1
            else "SAs left out: Wireshark does not know their"
        )
        sys.stderr.write(f"ipsectools: {left_out} {what} algorithms\n")
    return 0


def esp_sa(sa: sas.Sa) -> str | None:
    """The line of Wireshark's esp_sa table for an SA: 8 quoted fields. None if it does not know the algorithm."""
    if sa.encrypt not in CIPHERS or (
        sa.auth and sa.encrypt != algorithms.ENC_AES_GCM_16 and sa.auth not in AUTHENTICATORS
    ):
        return None
    is_aead = sa.encrypt == algorithms.ENC_AES_GCM_16
    has_auth_key = sa.auth not in (algorithms.AUTH_NONE, algorithms.AUTH_NULL) and not is_aead
    fields = (
        "IPv6" if ":" in sa.src else "IPv4",
        sa.src.partition("%")[0],
        sa.dst.partition("%")[0],
        f"0x{sa.spi:08x}",
        CIPHERS[sa.encrypt],
        f"0x{sa.encryption_key().hex()}" if sa.encrypt != algorithms.ENC_NULL else "",
        AUTHENTICATORS[0 if is_aead else sa.auth],
        f"0x{sa.auth_key().hex()}" if has_auth_key else "",
    )
    return ",".join(f'"{field}"' for field in fields)
