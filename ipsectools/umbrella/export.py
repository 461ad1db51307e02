"""`ipsectools export wireshark [-o FILE]`: the SAs as an esp_sa file, with which Wireshark opens a capture of the wire.

The file holds keys: it is written with mode 0600, and to standard output only if asked (`-o -`).
"""

from __future__ import annotations

import os
import sys

from ipsectools.daemon import client
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import message as messages
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_KEY_AUTH,
    EXT_KEY_ENCRYPT,
    EXT_SA,
    SADB_DUMP,
    SATYPE_ESP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
    for record in dump():
        line = esp_sa(record)
        if line is None:
            left_out += 1
        else:
            lines.append(line)
    text = "".join(line + "\n" for line in lines)
    if arguments[2] == "-":
        sys.stdout.write(text)
    else:
        try:
            descriptor = os.open(arguments[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            sys.stderr.write(f"ipsectools: {arguments[2]}: {error.strerror}\n")
            return 1
    if left_out:
        sys.stderr.write(f"ipsectools: {left_out} SAs left out: Wireshark does not know their algorithms\n")
    return 0


def dump() -> Iterator[bytes]:
    """The DUMP record of every ESP SA."""
    door = client.open_pfkey()
    try:
        door.send(messages.build(SADB_DUMP, SATYPE_ESP, pid=os.getpid()))
        while (record := door.receive(5)) is not None:
            _, kind, errno, _, _, _, seq, _ = messages.HEADER.unpack_from(record)
            if kind != SADB_DUMP:
                continue
            if errno:
                return  # ENOENT: there are none
            yield record
            if seq == 0:
                return
    finally:
        door.close()


def esp_sa(record: bytes) -> str | None:
    """The line of Wireshark's esp_sa table for an SA: 8 quoted fields. None if it does not know the algorithm."""
    found = dict(messages.extensions(record))
    spi, _, _, auth, encrypt, _ = ext.read_sa(found[EXT_SA])
    if encrypt not in CIPHERS:
        return None
    source, destination = (ext.read_address(found[kind])[2] for kind in (EXT_ADDRESS_SRC, EXT_ADDRESS_DST))
    encryption_key = _hexadecimal(found.get(EXT_KEY_ENCRYPT)) if encrypt != 11 else ""
    is_aead = encrypt == 20
    authenticator = AUTHENTICATORS[0 if is_aead else auth]
    authentication_key = "" if is_aead or not auth else _hexadecimal(found.get(EXT_KEY_AUTH))
    fields = (
        "IPv4" if len(sockaddr.address(source)) == 4 else "IPv6",
        sockaddr.to_text(source).partition("%")[0],
        sockaddr.to_text(destination).partition("%")[0],
        f"0x{spi:08x}",
        CIPHERS[encrypt],
        encryption_key,
        authenticator,
        authentication_key,
    )
    return ",".join(f'"{field}"' for field in fields)


def _hexadecimal(extension: bytes | None) -> str:
    return "0x" + ext.read_key(extension)[1].hex() if extension is not None else ""
