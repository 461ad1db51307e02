"""EspSA: what it seals it opens, and it opens nothing else; numbers, padding, checks in FreeBSD's order."""

from __future__ import annotations

import pytest

from ipsectools.esp import algorithms as alg
from ipsectools.esp import drops
from ipsectools.esp.drops import Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS
from tests.esp.sas import FEW, SPI, TRANSFORMS, Transform, opened, roomy, sealed

IPV4 = b"\x45" + bytes(range(1, 60))
IPV6 = b"\x60" + bytes(range(1, 60))
CBC = Transform(constants.EALG_AESCBC, 16, constants.AALG_NONE, 0)
CBC_SHA = Transform(constants.EALG_AESCBC, 16, constants.AALG_SHA2_256, 32)
CTR = Transform(constants.EALG_AESCTR, 20, constants.AALG_SHA1HMAC, 20)
GCM = Transform(constants.EALG_AESGCM16, 20, constants.AALG_NONE, 0)
NULL = Transform(constants.EALG_NULL, 0, constants.AALG_NONE, 0)
NULL_SHA = Transform(constants.EALG_NULL, 0, constants.AALG_SHA1HMAC, 20)
ESN = constants.SA_FLAG_ESN
PRAND = constants.SA_FLAG_PRAND
PZERO = constants.SA_FLAG_PZERO

all_transforms = pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
few_transforms = pytest.mark.parametrize("transform", FEW, ids=str)


def with_trailer(plain: bytes, sequence: int = 1, transform: Transform = NULL, flags: int = 0) -> bytes:
    """An ESP packet whose payload, padding, pad length and next header are `plain`, by NULL encryption."""
    body = SPI.to_bytes(4, "big") + sequence.to_bytes(4, "big") + plain
    if not transform.auth:
        return body
    from ipsectools.esp.ciphers import authenticator

    icv = authenticator(transform.auth, transform.auth_key)
    assert icv is not None
    return body + icv(body)


# --- round trips --------------------------------------------------------------------------------------------------


@all_transforms
@pytest.mark.parametrize("flags", [0, ESN, PRAND, PRAND | ESN])
def test_round_trip(transform: Transform, flags: int) -> None:
    out, back = transform.sa(flags), transform.sa(flags)
    for count, inner in enumerate((IPV4, IPV6, IPV4[:1], IPV6 * 20, IPV4[:41]), 1):
        esp = sealed(out, inner)
        assert esp[:8] == SPI.to_bytes(4, "big") + count.to_bytes(4, "big")
        assert len(esp) == out.sealed_length(len(inner))
        assert len(esp) == alg.sealed_length(transform.enc, transform.auth, len(inner))
        assert opened(back, esp) == (inner, 4 if inner[0] >> 4 == 4 else 41)
        assert back.traffic.sequence == back.traffic.received_high == count
        assert back.open(esp) in (drops.IN_REPLAY, drops.IN_LATE_REPLAY)


@few_transforms
def test_every_length_and_a_memoryview(transform: Transform) -> None:
    out, back = transform.sa(), transform.sa()
    for length in [*range(1, 140), 1372, 8192, 9000]:
        inner = b"\x45" + bytes(length - 1)
        esp = sealed(out, inner)
        assert len(esp) % 4 == 0
        assert len(esp) == out.sealed_length(length)
        assert opened(back, memoryview(bytearray(esp))) == (inner, 4)


def test_esn_takes_a_memoryview() -> None:
    for transform in (CBC_SHA, GCM):
        esp = sealed(transform.sa(ESN), IPV4)
        assert opened(transform.sa(ESN), memoryview(esp)) == (IPV4, 4)


def test_results_do_not_share_memory_with_the_input() -> None:
    buffer = bytearray(sealed(NULL_SHA.sa(), IPV4))
    inner, _ = opened(NULL_SHA.sa(), memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert inner == IPV4


@all_transforms
def test_lengths_are_as_the_tables_say(transform: Transform) -> None:
    for compatibility in (True, False):
        sa = transform.sa(ctr_compatibility=compatibility)
        for room in range(60, 130):
            inner = alg.largest_inner(transform.enc, transform.auth, room, compatibility)
            if inner >= 1:
                assert sa.sealed_length(inner) <= room < sa.sealed_length(inner + 1)
        assert sa.ciphertext_length(sa.sealed_length(50)) == sa.sealed_length(50) - sa.overhead


def test_ctr_compatibility() -> None:
    assert CTR.sa().sealed_length(20) == 8 + 8 + 32 + 12
    assert CTR.sa(ctr_compatibility=False).sealed_length(20) == 8 + 8 + 24 + 12
    assert opened(CTR.sa(), sealed(CTR.sa(ctr_compatibility=False), IPV4[:20])) == (IPV4[:20], 4)


# --- hostile packets ----------------------------------------------------------------------------------------------


@all_transforms
@pytest.mark.parametrize("flags", [0, ESN])
def test_every_short_length(transform: Transform, flags: int) -> None:
    """CVE-2002-0666: short packets crashed IPsec stacks."""
    sa = transform.sa(flags)
    minimum = sa.overhead
    head = SPI.to_bytes(4, "big") + b"\0\0\0\1"
    for filler in (b"\0", b"\xff", b"\x04", b"\x02"):
        for length in range(101):
            result = sa.open((head + filler * 100)[:length])
            if length < 8:
                assert result is drops.IN_SHORT
            elif length % 4 or length <= minimum or (length - minimum) % transform.enc.block:
                assert result is drops.IN_LENGTH
            elif transform.authentic:
                assert isinstance(result, Drop)


@few_transforms
def test_any_flipped_bit(transform: Transform) -> None:
    for flags in (0, ESN) if transform.authentic else ():
        esp = sealed(transform.sa(flags), IPV4)
        sa = transform.sa(flags)
        for bit in range(len(esp) * 8):
            if 32 <= bit < 64:
                continue  # the sequence number: see the next test
            flipped = bytearray(esp)
            flipped[bit // 8] ^= 0x80 >> bit % 8
            assert sa.open(bytes(flipped)) is drops.IN_ICV
        for bit in range(32, 64):
            flipped = bytearray(esp)
            flipped[bit // 8] ^= 0x80 >> bit % 8
            assert sa.open(bytes(flipped)) in (drops.IN_ICV, drops.IN_REPLAY)
        for cut in range(4, len(esp), 4):
            assert sa.open(esp[:-cut]) in (drops.IN_ICV, drops.IN_LENGTH, drops.IN_SHORT)
        assert sa.traffic.sequence == sa.traffic.received_high == 0
        assert opened(sa, esp) == (IPV4, 4)  # forgeries used nothing up


def test_null_authentication_wants_zeros() -> None:
    transform = Transform(constants.EALG_AESCBC, 16, constants.AALG_NULL, 0)
    esp = sealed(transform.sa(), IPV4)
    assert esp.endswith(bytes(12))
    assert transform.sa().open(esp[:-1] + b"\1") is drops.IN_ICV
    assert len(sealed(CBC.sa(), IPV4)) == len(esp) - 12


def test_wrong_key() -> None:
    for transform in TRANSFORMS:
        if transform.authentic:
            other = Transform(transform.enc.id, len(transform.enc_key), transform.auth, len(transform.auth_key))
            if other.enc.aead:
                other.enc_key = bytes(len(other.enc_key))
            else:
                other.auth_key = bytes(len(other.auth_key))
            assert other.sa().open(sealed(transform.sa(), IPV4)) is drops.IN_ICV


# --- the order of checks ------------------------------------------------------------------------------------------


def test_length_before_replay_before_icv_before_padding() -> None:
    sa = NULL_SHA.sa()
    good = with_trailer(b"abcdef\0\4", 5, NULL_SHA)
    assert opened(sa, good) == (b"abcdef", 4)
    assert sa.open(good + b"xx") is drops.IN_LENGTH
    assert sa.open(good) is drops.IN_REPLAY
    assert sa.open(good[:-1] + b"\0") is drops.IN_REPLAY  # a forgery of what was seen: not even authenticated
    forged = with_trailer(b"abcd\1\1\2\4", 6, NULL_SHA)
    assert sa.open(forged[:-1] + bytes((forged[-1] ^ 1,))) is drops.IN_ICV
    assert sa.open(forged) is drops.IN_PADDING
    assert sa.traffic.sequence == 2  # authentic: its number is used up
    assert sa.open(forged) is drops.IN_REPLAY


def test_too_old_is_authenticated_first() -> None:
    out, back = CBC_SHA.sa(), CBC_SHA.sa()
    old = sealed(out, IPV4)
    packets = [sealed(out, IPV4) for _ in range(100)]
    assert opened(back, packets[-1])
    assert back.open(old) is drops.IN_LATE_REPLAY
    assert back.open(old[:-1] + bytes((old[-1] ^ 1,))) is drops.IN_ICV
    # With ESN it can only be of the next epoch, so its authentication fails.
    out, back = CBC_SHA.sa(ESN), CBC_SHA.sa(ESN)
    old = sealed(out, IPV4)
    for _ in range(99):
        sealed(out, IPV4)
    assert opened(back, sealed(out, IPV4))
    assert back.open(old) is drops.IN_ICV


def test_replay_without_authentication_waits_for_the_update() -> None:
    out, back = CBC.sa(), CBC.sa()
    esp = sealed(out, IPV4)
    assert opened(back, esp)
    assert back.open(esp) is drops.IN_LATE_REPLAY
    assert back.traffic.sequence == 1


def test_no_window_no_replay_check() -> None:
    for transform in (CBC, CBC_SHA, GCM):
        back = transform.sa(window=0)
        back.traffic.received_limit = 0
        esp = sealed(transform.sa(), IPV4)
        assert opened(back, esp) == opened(back, esp)
        assert back.traffic.sequence == back.traffic.received_high == 0


@all_transforms
def test_no_duplicate_ever(transform: Transform) -> None:
    """FreeBSD-SA-06:11 and SA-20:02: a replay window that was not updated, or not asked."""
    for flags in (0, ESN):
        out, back = transform.sa(flags), transform.sa(flags)
        packets = [sealed(out, IPV4) for _ in range(150)]
        assert all(opened(back, esp) for esp in packets)
        assert all(isinstance(back.open(esp), Drop) for esp in packets)
        assert back.traffic.sequence == 150


# --- padding and next header --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "flags", "result"),
    [
        (b"abcdef\0\4", 0, (b"abcdef", 4)),
        (b"abcde\1\1\4", 0, (b"abcde", 4)),
        (b"abcde\2\1\4", 0, drops.IN_PADDING),
        (b"abcde\2\1\4", PRAND, (b"abcde", 4)),
        (b"abcd\7\2\2\4", 0, (b"abcd", 4)),  # only the last pad byte is looked at
        (b"abcd\0\0\2\4", PZERO, drops.IN_PADDING),  # a receiver's PZERO changes nothing
        (b"abcd\0\0\2\4", PZERO | PRAND, drops.IN_PADDING),  # the two bits are one field, and this is not PRAND
        (b"\1\2\3\4\5\6\6\4", 0, (b"", 4)),
        (b"\1\2\3\4\5\7\7\4", 0, drops.IN_PAD_LENGTH),
        (b"abcdef\xff\4", 0, drops.IN_PAD_LENGTH),
        (b"abcdef\xff\4", PRAND, drops.IN_PAD_LENGTH),
        (b"ab\0\4", 0, (b"ab", 4)),
        (b"ab\0\x3b", 0, drops.IN_DUMMY),
        (b"a\2\1\x3b", 0, drops.IN_PADDING),
        (b"abcdef\0\x29", 0, (b"abcdef", 41)),
        (b"abcdef\0\1", 0, (b"abcdef", 1)),
        (b"abc", 0, drops.IN_LENGTH),
        (b"", 0, drops.IN_LENGTH),
    ],
)
def test_padding(plain: bytes, flags: int, result: object) -> None:
    assert NULL.sa(flags).open(with_trailer(plain)) == result


def test_padding_bytes() -> None:
    for length in range(1, 40):
        inner = b"\x60" + bytes(length - 1)
        padding = -(length + 2) % 4
        plain = sealed(NULL.sa(), inner)[8:]
        assert plain == inner + bytes(range(1, padding + 1)) + bytes((padding, 41))
        plain = sealed(NULL.sa(PZERO), inner)[8:]
        assert plain == inner + bytes(padding) + bytes((padding, 41))
        plain = sealed(NULL.sa(PRAND), inner)[8:]
        assert (plain[:length], plain[length + padding :]) == (inner, bytes((padding, 41)))
    random_pads = {sealed(NULL.sa(PRAND), IPV4[:3])[11:14] for _ in range(20)}
    assert len(random_pads) > 5


def test_zero_padding_is_refused_by_a_default_receiver() -> None:
    esp = sealed(CBC.sa(PZERO), IPV4[:21])
    assert CBC.sa().open(esp) is drops.IN_PADDING
    assert opened(CBC.sa(PRAND), esp) == (IPV4[:21], 4)


# --- sequence numbers and IVs -------------------------------------------------------------------------------------


def test_nothing_is_sent_that_is_not_reserved() -> None:
    for transform in (CBC_SHA, CTR, GCM, NULL):
        sa = transform.sa(traffic=Traffic())
        assert sa.seal(IPV4) is drops.OUT_SEQUENCE_UNRESERVED
        sa.traffic.sequence_limit = sa.traffic.iv_limit = 2
        assert [sealed(sa, IPV4)[4:8] for _ in range(2)] == [b"\0\0\0\1", b"\0\0\0\2"]
        assert sa.seal(IPV4) is drops.OUT_SEQUENCE_UNRESERVED
        assert sa.traffic.sequence == 2
        sa.traffic.sequence_limit = 3
        if transform.enc.counter_iv:
            assert sa.traffic.iv == 2
            assert sa.seal(IPV4) is drops.OUT_SEQUENCE_UNRESERVED
            assert (sa.traffic.sequence, sa.traffic.iv) == (2, 2)
            sa.traffic.iv_limit = 3
        assert sealed(sa, IPV4)[4:8] == b"\0\0\0\3"


def test_without_esn_the_last_number_is_the_last() -> None:
    for transform in (CBC_SHA, CTR, GCM):
        for flags in (0, constants.SA_FLAG_CYCSEQ):
            sa = transform.sa(flags)
            sa.traffic.sequence = 0xFFFFFFFE
            sa.traffic.sequence_limit = 1 << 40
            assert sealed(sa, IPV4)[4:8] == b"\xff\xff\xff\xff"
            assert sa.seal(IPV4) is drops.OUT_SEQUENCE_EXHAUSTED
            assert sa.seal(IPV4) is drops.OUT_SEQUENCE_EXHAUSTED
            assert sa.traffic.sequence == 0xFFFFFFFF


@few_transforms
def test_esn_goes_on_behind_the_line(transform: Transform) -> None:
    line = 1 << 32
    sending, receiving = roomy(), roomy()
    sending.sequence = receiving.received_high = line - 6
    sending.sequence_limit = receiving.received_limit = line + 100
    out, back = transform.sa(ESN, traffic=sending), transform.sa(ESN, traffic=receiving)
    packets = [sealed(out, IPV4) for _ in range(12)]
    assert packets[5][4:8] == b"\0\0\0\0"
    for index in (3, 6, 0, 5, 11, 4, 1, 2, 7, 8, 9, 10):  # reordered across the line
        assert opened(back, packets[index]) == (IPV4, 4)
    assert back.traffic.received_high == line + 6
    assert back.traffic.sequence == 12
    for esp in packets:
        assert isinstance(back.open(esp), Drop)
    out.traffic.sequence = out.traffic.sequence_limit = (1 << 64) - 1
    out.traffic.sequence_limit = 1 << 65
    assert out.seal(IPV4) is drops.OUT_SEQUENCE_EXHAUSTED


def test_esn_is_in_the_icv() -> None:
    for transform in (CBC_SHA, CTR, GCM):
        plain, extended = transform.sa(), transform.sa(ESN)
        iv = bytes(transform.enc.iv)
        assert plain.seal_with(IPV4, 1, iv) != extended.seal_with(IPV4, 1, iv)
        assert extended.seal_with(IPV4, 1, iv) != extended.seal_with(IPV4, 1 << 32 | 1, iv)
        assert extended.seal_with(IPV4, 1, iv)[:-16] == extended.seal_with(IPV4, 1 << 32 | 1, iv)[:-16]


def test_esn_without_a_window() -> None:
    """As FreeBSD: HMAC with a high half of 0, an AEAD without it, so that the latter opens nothing."""
    esp = sealed(CBC_SHA.sa(ESN), IPV4)
    assert opened(CBC_SHA.sa(ESN, window=0), esp) == (IPV4, 4)
    assert GCM.sa(ESN, window=0).open(sealed(GCM.sa(ESN), IPV4)) is drops.IN_ICV


def test_counter_ivs_start_at_zero_and_count_by_themselves() -> None:
    for transform in TRANSFORMS:
        if not transform.enc.counter_iv:
            continue
        sa = transform.sa()
        sa.traffic.sequence = 40
        assert [sealed(sa, IPV4)[4:16] for _ in range(3)] == [
            (41 + n).to_bytes(4, "big") + n.to_bytes(8, "big") for n in range(3)
        ]
        sa.traffic.iv = (1 << 64) - 1
        sa.traffic.iv_limit = 1 << 70
        assert sealed(sa, IPV4)[8:16] == b"\xff" * 8
        before = sa.traffic.sequence
        assert sa.seal(IPV4) is drops.OUT_SEQUENCE_EXHAUSTED
        assert sa.traffic.sequence == before


def test_cbc_ivs_never_repeat() -> None:
    sa = CBC.sa()
    ivs = {sealed(sa, IPV4)[8:24] for _ in range(2000)}  # more than one draw of random bytes
    assert len(ivs) == 2000
    assert sa.traffic.iv == 0
    assert not ivs & {sealed(CBC.sa(), IPV4)[8:24] for _ in range(2000)}


def test_cbc_is_standard_cbc() -> None:
    """What the running context makes is what a fresh context makes of the same IV."""
    sa = CBC_SHA.sa()
    for sequence in range(1, 300):
        esp = sealed(sa, IPV4)
        assert sa.seal_with(IPV4, sequence, esp[8:24]) == esp


def test_a_receiver_waits_for_its_reserved_mark() -> None:
    for transform in (CBC, CBC_SHA, GCM):
        out, back = transform.sa(), transform.sa(traffic=Traffic())
        esp = sealed(out, IPV4)
        assert back.open(esp) is drops.IN_WINDOW_UNRESERVED
        assert back.traffic.sequence == 0
        assert back.window is not None
        assert back.window.needed == 1
        back.traffic.received_limit = back.window.needed
        assert opened(back, esp) == (IPV4, 4)
        if transform.authentic:  # only an authentic packet can ask for a higher mark
            assert back.open(sealed(out, IPV4)[:-4] + b"abcd") is drops.IN_ICV


def test_a_restarted_receiver_knows_what_it_may_have_seen() -> None:
    out, back = GCM.sa(), GCM.sa()
    packets = [sealed(out, IPV4) for _ in range(100)]
    for esp in packets[:50]:
        opened(back, esp)
    after = Traffic()
    after.received_high = 60  # what the state file holds as the reserved mark
    after.received_limit = 1000
    again = GCM.sa(traffic=after)
    for esp in packets[:60]:
        assert isinstance(again.open(esp), Drop)
    for esp in packets[60:]:
        assert opened(again, esp)


def test_a_window_can_be_handed_over() -> None:
    out, back = GCM.sa(), GCM.sa()
    packets = [sealed(out, IPV4) for _ in range(9)]
    opened(back, packets[8])
    successor = EspSA(SPI, GCM.enc.id, GCM.enc_key, 0, b"", 0, 64, back.traffic, window=back.window)
    assert successor.open(packets[8]) is drops.IN_REPLAY
    assert opened(successor, packets[2])


# --- what cannot be sealed ----------------------------------------------------------------------------------------


@all_transforms
def test_neither_ipv4_nor_ipv6(transform: Transform) -> None:
    sa = transform.sa()
    for first in range(256):
        if first >> 4 not in (4, 6):
            assert sa.seal(bytes((first,)) + IPV4) is drops.OUT_MALFORMED
    assert sa.seal(b"") is drops.OUT_MALFORMED
    assert (sa.traffic.sequence, sa.traffic.iv) == (0, 0)
    with pytest.raises(ValueError):
        sa.seal_with(b"\x50", 1, bytes(transform.enc.iv))


@few_transforms
@pytest.mark.parametrize("outer_header", [20, 40])
def test_too_big(transform: Transform, outer_header: int) -> None:
    sa = transform.sa(outer_header=outer_header)
    longest = alg.largest_inner(transform.enc, transform.auth, 65535 - outer_header)
    assert sa.seal(IPV4[:1] * (longest + 1)) is drops.OUT_TOO_BIG
    assert sa.traffic.sequence == 0
    inner = IPV4[:1] * longest
    esp = sealed(sa, inner)
    assert len(esp) + outer_header <= 65535
    assert opened(transform.sa(), esp) == (inner, 4)


# --- construction -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enc", "enc_length", "auth", "auth_length", "flags"),
    [
        (0, 0, 0, 0, 0),
        (2, 8, 0, 0, 0),
        (constants.EALG_AESGMAC, 20, 0, 0, 0),
        (constants.EALG_AESCBC, 0, 0, 0, 0),
        (constants.EALG_AESCBC, 20, 0, 0, 0),
        (constants.EALG_AESCTR, 16, 0, 0, 0),
        (constants.EALG_AESGCM16, 16, 0, 0, 0),
        (constants.EALG_AESGCM16, 21, 0, 0, 0),
        (constants.EALG_CHACHA20POLY1305, 32, 0, 0, 0),
        (constants.EALG_NULL, 257, 0, 0, 0),
        (constants.EALG_AESCBC, 16, 2, 16, 0),
        (constants.EALG_AESCBC, 16, constants.AALG_SHA1HMAC, 0, 0),
        (constants.EALG_AESCBC, 16, constants.AALG_SHA1HMAC, 65, 0),
        (constants.EALG_AESCBC, 16, constants.AALG_SHA2_512, 129, 0),
        (constants.EALG_AESCBC, 16, constants.AALG_AES128GMAC, 16, 0),
        (constants.EALG_AESGCM16, 20, constants.AALG_SHA1HMAC, 20, 0),
        (constants.EALG_AESGCM16, 20, constants.AALG_AES256GMAC, 0, 0),
        (constants.EALG_AESCBC, 16, 0, 0, constants.SA_FLAG_OLD),
    ],
)
def test_refused(enc: int, enc_length: int, auth: int, auth_length: int, flags: int) -> None:
    enc_key, auth_key = b"\xa5" * enc_length, b"\x5a" * auth_length
    with pytest.raises(ValueError) as caught:
        EspSA(SPI, enc, enc_key, auth, auth_key, flags, 0, Traffic())
    for key in (enc_key, auth_key):
        assert not key or (key.hex() not in str(caught.value) and repr(key)[2:10] not in str(caught.value))


def test_any_hmac_key_length_up_to_the_limit() -> None:
    for auth in AUTHENTICATIONS.values():
        if auth.hash and auth.max_key:
            for length in (1, 7, auth.max_key):
                transform = Transform(constants.EALG_NULL, 0, auth.id, length)
                assert opened(transform.sa(), sealed(transform.sa(), IPV4)) == (IPV4, 4)


def test_an_implicit_auth_id_is_as_good_as_none() -> None:
    for transform in TRANSFORMS:
        if transform.enc.aead:
            implicit = Transform(transform.enc.id, len(transform.enc_key), 0, 0)
            implicit.auth = alg.implicit_authentication(transform.enc, len(transform.enc_key))
            assert opened(implicit.sa(), sealed(transform.sa(), IPV4)) == (IPV4, 4)


def test_no_key_shows() -> None:
    for transform in TRANSFORMS:
        sa = transform.sa()
        texts = [repr(sa), str(sa), *(repr(getattr(sa, name)) for name in EspSA.__slots__)]
        for key in (transform.enc_key, transform.auth_key):
            assert not key or not any(repr(key)[2:-1] in text or key.hex() in text for text in texts)


def test_accounting() -> None:
    traffic = Traffic()
    traffic.account_out(140, 1700000000.7)
    traffic.account_out(92, 1700000009.9)
    assert (traffic.packets, traffic.bytes, traffic.first_used) == (2, 232, 1700000000)
    inbound = Traffic()
    inbound.account_in(84, 5)
    assert (inbound.packets, inbound.bytes, inbound.first_used) == (1, 84, 5)
