"""The inbound half of an SA: functions from ESP to the inner packet, made once per SA.

FreeBSD's order: lengths, replay check, authentication, decryption, replay update, padding. The checks of the padding
come after the update, so a packet that is authentic but malformed has used up its sequence number.
"""

from __future__ import annotations

from hmac import compare_digest

from ipsectools.esp.ciphers import InvalidTag
from ipsectools.esp.drops import (
    IN_DUMMY,
    IN_ICV,
    IN_LATE_REPLAY,
    IN_LENGTH,
    IN_PAD_LENGTH,
    IN_PADDING,
    IN_REPLAY,
    IN_SHORT,
    IN_WINDOW_UNRESERVED,
    IN_WRAP,
)
from ipsectools.esp.replay import UNRESERVED, WRAPPED
from ipsectools.esp.sealing import HEADER_ESN, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ipsectools.esp.ciphers import AeadCipher, Authenticate, SplitCipher
    from ipsectools.esp.drops import Drop
    from ipsectools.esp.replay import ReplayWindow
    from ipsectools.esp.traffic import Traffic

    Opened: TypeAlias = tuple[bytes, int]
    """Inner packet and next header: a plain tuple. Tell it from a Drop with `isinstance(result, Drop)`."""
    Open: TypeAlias = Callable[[bytes | memoryview], Opened | Drop]
    Finish: TypeAlias = Callable[[bytes, int], Opened | Drop]

NEXT_HEADER_NONE = 59


def finisher(window: ReplayWindow | None, traffic: Traffic, check_padding: bool) -> Finish:
    """What is done with the plaintext of an authentic packet and the low half of its sequence number."""

    def finish(plain: bytes, low: int) -> Opened | Drop:
        if window is not None:
            refused = window.update(low, traffic.received_limit)
            if refused:
                return IN_WINDOW_UNRESERVED if refused == UNRESERVED else IN_LATE_REPLAY
            traffic.sequence += 1
        # The length checks before decryption leave at least 4 bytes here.
        padding, next_header = plain[-2], plain[-1]
        end = len(plain) - 2 - padding
        if end < 0:
            return IN_PAD_LENGTH
        if padding and check_padding and plain[-3] != padding:
            return IN_PADDING
        if next_header == NEXT_HEADER_NONE:
            return IN_DUMMY
        return plain[:end], next_header

    return finish


def aead_opener(
    cipher: AeadCipher, icv_length: int, esn: bool, window: ReplayWindow | None, traffic: Traffic, check_padding: bool
) -> Open:
    """For ciphers that authenticate.

    Without a replay window FreeBSD does not know the high half of an extended sequence number and leaves it out of the
    AAD; such an SA opens nothing that a correct peer sends.
    """
    decrypt, salt, header_esn = cipher.decrypt, cipher.salt, HEADER_ESN.pack
    overhead = 16 + icv_length
    finish = finisher(window, traffic, check_padding)

    def open(esp: bytes | memoryview) -> Opened | Drop:
        length = len(esp)
        if length < 8:
            return IN_SHORT
        if length & 3 or length <= overhead:
            return IN_LENGTH
        aad = esp[:8]
        low = int.from_bytes(esp[4:8], "big")
        if window is not None:
            high = window.check(low)
            if high < 0:
                return IN_WRAP if high == WRAPPED else IN_REPLAY
            if esn:
                aad = header_esn(int.from_bytes(esp[:4], "big"), high << 32 | low)
        try:
            plain = decrypt(salt + esp[8:16], esp[16:], aad)
        except InvalidTag:
            return IN_ICV
        return finish(plain, low)

    return open


def split_opener(
    cipher: SplitCipher,
    iv_length: int,
    block: int,
    authenticate: Authenticate | None,
    icv_length: int,
    esn: bool,
    window: ReplayWindow | None,
    traffic: Traffic,
    check_padding: bool,
) -> Open:
    """For ciphers with a separate authenticator, or none (then the replay check waits for the update)."""
    decrypt, word = cipher.decrypt, WORD.pack
    overhead = 8 + iv_length + icv_length
    finish = finisher(window, traffic, check_padding)

    def open(esp: bytes | memoryview) -> Opened | Drop:
        length = len(esp)
        if length < 8:
            return IN_SHORT
        if length & 3 or length <= overhead or (length - overhead) % block:
            return IN_LENGTH
        low = int.from_bytes(esp[4:8], "big")
        end = length - icv_length
        if authenticate is not None:
            high = 0
            if window is not None:
                high = window.check(low)
                if high < 0:
                    return IN_WRAP if high == WRAPPED else IN_REPLAY
            covered = bytes(esp[:end]) + word(high) if esn else esp[:end]
            if not compare_digest(authenticate(covered), esp[end:]):
                return IN_ICV
        return finish(decrypt(esp[8:end]), low)

    return open
