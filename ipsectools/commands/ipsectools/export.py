"""`ipsectools export wireshark [-o FILE]`: the SAs as an esp_sa file, with which Wireshark opens a capture of the wire.

The file holds keys: it is written with mode 0600, and to standard output only if asked (`-o -`).
"""

from __future__ import annotations

import sys

from ipsectools.commands.ipsectools import private_file, sas
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS

USAGE = "usage: ipsectools export wireshark -o FILE\n"


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
    cipher = ENCRYPTIONS.get(sa.encrypt)
    if cipher is None or not cipher.wireshark:
        return None
    is_aead = cipher.aead
    authenticator = "NULL"
    if sa.auth and not is_aead:
        known = AUTHENTICATIONS.get(sa.auth)
        if known is None or not known.wireshark:
            return None
        authenticator = known.wireshark
    has_auth_key = sa.auth not in (constants.AALG_NONE, constants.AALG_NULL) and not is_aead
    fields = (
        "IPv6" if ":" in sa.src else "IPv4",
        sa.src.partition("%")[0],
        sa.dst.partition("%")[0],
        f"0x{sa.spi:08x}",
        cipher.wireshark,
        f"0x{sa.encryption_key().hex()}" if sa.encrypt != constants.EALG_NULL else "",
        authenticator,
        f"0x{sa.auth_key().hex()}" if has_auth_key else "",
    )
    return ",".join(f'"{field}"' for field in fields)
