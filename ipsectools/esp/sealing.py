"""The outbound half of an SA: functions from an inner packet to its ESP, made once per SA."""

from __future__ import annotations

import os
from struct import Struct

from ipsectools.esp.drops import OUT_MALFORMED, OUT_SEQUENCE_EXHAUSTED, OUT_SEQUENCE_UNRESERVED, OUT_TOO_BIG
from ipsectools.pfkey.constants import SA_FLAG_PMASK, SA_FLAG_PRAND, SA_FLAG_PZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from ipsectools.esp.ciphers import AeadCipher, Authenticate, SplitCipher
    from ipsectools.esp.drops import Drop
    from ipsectools.esp.traffic import Traffic

    Seal: TypeAlias = Callable[[bytes], bytes | Drop]
    SealWith: TypeAlias = Callable[[bytes, int, bytes], bytes]

    class Trailers(Protocol):
        """By number of pad bytes: the pad bytes, their number, the next header."""

        def __getitem__(self, padding: int, /) -> bytes: ...


HEADER = Struct(">II")
HEADER_ESN = Struct(">IQ")
WORD = Struct(">I")

LAST_SEQUENCE = 0xFFFFFFFF
LAST_SEQUENCE_ESN = 0xFFFFFFFFFFFFFFFF
_NEXT_HEADERS = {4: 4, 6: 41}  # by IP version


class RandomTrailers:
    """Trailers with random pad bytes (SA_FLAG_PRAND)."""

    __slots__ = ("_next_header",)

    def __init__(self, next_header: int) -> None:
        self._next_header = next_header

    def __getitem__(self, padding: int) -> bytes:
        return os.urandom(padding) + bytes((padding, self._next_header))


def trailers(pad_to: int, flags: int) -> tuple[Trailers | None, ...]:
    """By version nibble of the inner packet: its trailers, None where there is no such IP."""
    kinds: list[Trailers | None] = [None] * 16
    kind = flags & SA_FLAG_PMASK
    for version, next_header in _NEXT_HEADERS.items():
        if kind == SA_FLAG_PRAND:
            kinds[version] = RandomTrailers(next_header)
        else:
            pad = bytes(pad_to) if kind == SA_FLAG_PZERO else bytes(range(1, pad_to + 1))
            kinds[version] = tuple(pad[:length] + bytes((length, next_header)) for length in range(pad_to))
    return tuple(kinds)


def _refusal(length: int, longest: int, sequence: int, last: int) -> Drop:
    """Why a packet of `length` bytes does not get the number `sequence`."""
    if length > longest:
        return OUT_TOO_BIG
    return OUT_SEQUENCE_EXHAUSTED if sequence > last else OUT_SEQUENCE_UNRESERVED


def aead_sealer(
    spi: int, cipher: AeadCipher, esn: bool, flags: int, pad_to: int, longest: int, traffic: Traffic
) -> tuple[Seal, SealWith]:
    """For ciphers that authenticate: the AAD is SPI and sequence number, the IV a counter (RFC 4106, RFC 7634)."""
    encrypt, salt, header, header_esn = cipher.encrypt, cipher.salt, HEADER.pack, HEADER_ESN.pack
    kinds, mask = trailers(pad_to, flags), pad_to - 1
    last = LAST_SEQUENCE_ESN if esn else LAST_SEQUENCE

    def seal(inner: bytes) -> bytes | Drop:
        length = len(inner)
        try:
            kind = kinds[inner[0] >> 4]
        except IndexError:
            return OUT_MALFORMED
        if kind is None:
            return OUT_MALFORMED
        sequence = traffic.sequence + 1
        counter = traffic.iv
        if sequence > traffic.sequence_limit or counter >= traffic.iv_limit or sequence > last or length > longest:
            return _refusal(length, longest, sequence, last)
        try:
            iv = counter.to_bytes(8, "big")
        except OverflowError:
            return OUT_SEQUENCE_EXHAUSTED
        traffic.sequence = sequence
        traffic.iv = counter + 1
        head = header(spi, sequence & 0xFFFFFFFF)
        aad = header_esn(spi, sequence) if esn else head
        return head + iv + encrypt(salt + iv, inner + kind[-(length + 2) & mask], aad)

    def seal_with(inner: bytes, sequence: int, iv: bytes) -> bytes:
        kind = kinds[inner[0] >> 4]
        if kind is None:
            raise ValueError("neither IPv4 nor IPv6")
        head = header(spi, sequence & 0xFFFFFFFF)
        aad = header_esn(spi, sequence) if esn else head
        return head + iv + encrypt(salt + iv, inner + kind[-(len(inner) + 2) & mask], aad)

    return seal, seal_with


def split_sealer(
    spi: int,
    cipher: SplitCipher,
    authenticate: Authenticate | None,
    esn: bool,
    flags: int,
    pad_to: int,
    longest: int,
    traffic: Traffic,
    counter_iv: bool,
) -> tuple[Seal, SealWith]:
    """For ciphers with a separate authenticator, or none: encrypt, then authenticate from SPI to next header.

    With ESN the high half of the sequence number is authenticated after that, and not sent (RFC 4303 section 2.2.1).
    """
    encrypt, header, word = cipher.encrypt, HEADER.pack, WORD.pack
    kinds, mask = trailers(pad_to, flags), pad_to - 1
    last = LAST_SEQUENCE_ESN if esn else LAST_SEQUENCE

    def seal(inner: bytes) -> bytes | Drop:
        length = len(inner)
        try:
            kind = kinds[inner[0] >> 4]
        except IndexError:
            return OUT_MALFORMED
        if kind is None:
            return OUT_MALFORMED
        sequence = traffic.sequence + 1
        if sequence > traffic.sequence_limit or sequence > last or length > longest:
            return _refusal(length, longest, sequence, last)
        counter = 0
        if counter_iv:
            counter = traffic.iv
            if counter >= traffic.iv_limit:
                return OUT_SEQUENCE_UNRESERVED
            if counter >> 64:
                return OUT_SEQUENCE_EXHAUSTED
            traffic.iv = counter + 1
        traffic.sequence = sequence
        body = header(spi, sequence & 0xFFFFFFFF) + encrypt(inner + kind[-(length + 2) & mask], counter)
        if authenticate is None:
            return body
        return body + authenticate(body + word(sequence >> 32) if esn else body)

    def seal_with(inner: bytes, sequence: int, iv: bytes) -> bytes:
        kind = kinds[inner[0] >> 4]
        if kind is None:
            raise ValueError("neither IPv4 nor IPv6")
        plain = inner + kind[-(len(inner) + 2) & mask]
        body = header(spi, sequence & 0xFFFFFFFF) + cipher.encrypt_with(plain, iv)
        if authenticate is None:
            return body
        return body + authenticate(body + word(sequence >> 32) if esn else body)

    return seal, seal_with
