"""What must hold for any packet whatsoever.

1. `open` gives an inner packet or a Drop for any bytes, never an exception. 2. What authenticates was sealed with the
key. 3. `seal` then `open` gives the inner packet back. 4. Of any interleaving of sent packets, duplicates and
forgeries, each sent packet is accepted at most once, and exactly once if it comes in time.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools.esp.drops import Drop
from ipsectools.pfkey import constants
from tests.esp.sas import FEW, SPI, TRANSFORMS, Transform, opened, roomy, sealed

FLAGS = [0, constants.SA_FLAG_ESN, constants.SA_FLAG_PRAND]
few_transforms = pytest.mark.parametrize("transform", FEW, ids=str)
transforms = st.sampled_from(TRANSFORMS)


@given(transforms, st.integers(1, 9000), st.sampled_from([4, 6]), st.sampled_from(FLAGS))
@settings(max_examples=300, deadline=None)
def test_seal_then_open(transform: Transform, length: int, version: int, flags: int) -> None:
    inner = bytes((version << 4,)) + os.urandom(length - 1)
    esp = sealed(transform.sa(flags), inner)
    assert len(esp) % 4 == 0
    assert opened(transform.sa(flags), esp) == (inner, {4: 4, 6: 41}[version])


@given(transforms, st.binary(max_size=200), st.booleans(), st.sampled_from(FLAGS), st.sampled_from([0, 64]))
@settings(max_examples=500, deadline=None)
def test_any_bytes(transform: Transform, data: bytes, headed: bool, flags: int, window: int) -> None:
    if headed:
        data = SPI.to_bytes(4, "big") + b"\0\0\0\1" + data
    result = transform.sa(flags, window).open(data)
    if transform.authentic:
        assert isinstance(result, Drop)
    elif not isinstance(result, Drop):
        inner, next_header = result
        assert len(inner) < len(data)
        assert 0 <= next_header <= 255


@few_transforms
def test_random_damage(transform: Transform) -> None:
    """Thousands of damaged packets: nothing raises, and nothing that was changed authenticates."""
    source = random.Random(5)
    inner = b"\x45" + bytes(range(200))
    sa = transform.sa()
    esp = sealed(transform.sa(), inner)
    for _ in range(2000):
        damaged = bytearray(esp)
        for _ in range(source.randint(1, 4)):
            damaged[source.randrange(len(damaged))] ^= source.randint(1, 255)
        if source.random() < 0.2:
            damaged = damaged[: source.randrange(len(damaged))]
        elif source.random() < 0.1:
            damaged += bytes(source.randrange(32))
        if bytes(damaged) != esp:
            result = sa.open(bytes(damaged))
            assert isinstance(result, Drop) or not transform.authentic
    if transform.authentic:
        assert opened(sa, esp) == (inner, 4)


@few_transforms
@pytest.mark.parametrize("esn", [False, True])
def test_a_bad_network(transform: Transform, esn: bool) -> None:
    """Loss, duplicates, reordering within the window and corruption: sent = accepted + lost, nothing twice."""
    source = random.Random(11)
    flags = constants.SA_FLAG_ESN if esn else 0
    start = (1 << 32) - 500 if esn else 0
    sending, receiving = roomy(), roomy()
    sending.sequence = receiving.received_high = start
    sending.sequence_limit = receiving.received_limit = start + 10_000
    out, back = transform.sa(flags, traffic=sending), transform.sa(flags, 256, traffic=receiving)
    accepted: list[int] = []
    lost: set[int] = set()
    waiting: list[tuple[int, bytes]] = []
    packets = []
    for number in range(1500):
        packets.append(sealed(out, b"\x45" + number.to_bytes(4, "big") + bytes(30)))
        if source.random() < 0.05:
            lost.add(number)
        else:
            waiting.append((number, packets[-1]))
        while len(waiting) > 60 or (waiting and number == 1499):
            which, esp = waiting.pop(source.randrange(len(waiting)))
            if transform.authentic and source.random() < 0.1:
                forged = bytearray(esp)
                forged[source.randrange(8, len(forged))] ^= 1
                assert isinstance(back.open(bytes(forged)), Drop)
            result = back.open(esp)
            if isinstance(result, Drop):  # waited too long for its turn
                lost.add(which)
            else:
                accepted.append(int.from_bytes(result[0][1:5], "big"))
            if source.random() < 0.3:
                assert isinstance(back.open(packets[source.choice(accepted)]), Drop)
    assert len(set(accepted)) == len(accepted) == back.traffic.sequence
    assert set(accepted) | lost == set(range(1500))
    assert not set(accepted) & lost
    assert len(accepted) > 1300


def test_one_key_never_sees_an_iv_twice() -> None:
    """Through refusals of every kind, the IVs of what leaves are 0, 1, 2, ... without a repetition."""
    source = random.Random(3)
    for transform in TRANSFORMS:
        if not transform.enc.counter_iv:
            continue
        traffic = roomy()
        traffic.sequence_limit = traffic.iv_limit = 0
        sa = transform.sa(traffic=traffic)
        seen = []
        for _ in range(300):
            inner = source.choice([b"\x45" * 30, b"\x60" * 41, b"", b"\x50", b"\x45" * 70000])
            result = sa.seal(inner)
            if isinstance(result, Drop):
                if source.random() < 0.5:
                    traffic.sequence_limit += source.randint(0, 3)
                    traffic.iv_limit += source.randint(0, 3)
            else:
                seen.append((int.from_bytes(result[4:8], "big"), int.from_bytes(result[8:16], "big")))
        assert seen == [(number + 1, number) for number in range(len(seen))]
        assert len(seen) > 30
