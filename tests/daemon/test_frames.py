import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools.daemon import frames
from ipsectools.errno import EIO, ENOENT, KernelError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
@settings(max_examples=200, deadline=None)
def test_a_frame_is_json_and_comes_back(value):
    frame = frames.pack(value)
    body = frame[frames.HEADER_LENGTH :]
    assert int.from_bytes(frame[: frames.HEADER_LENGTH], "big") == len(body)
    assert json.loads(body) == value
    assert frames.unpack(body) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123e.-ntf \\u', max_size=40).map(str.encode))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_value_or_a_value_error(body):
    try:
        expected = json.loads(body.decode(), parse_constant=lambda word: int("no"))
    except ValueError:
        with pytest.raises(ValueError):
            frames.unpack(body)
    else:
        assert frames.unpack(body) == expected


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"", b"NaN", b"[1,]", b"{1:2}", b"1 2"]
)
def test_hostile_bodies_are_refused(body):
    with pytest.raises(ValueError):
        frames.unpack(body)


def test_bytes_are_not_a_plain_value():
    with pytest.raises(TypeError):
        frames.pack({"key": b"secret"})


def test_answers():
    assert frames.answer_value({"value": None}) is None
    with pytest.raises(KernelError) as caught:
        frames.answer_value({"errno": ENOENT, "detail": "why"})
    assert (caught.value.errno, caught.value.detail) == (ENOENT, "why")
    for nonsense in ({}, [], 3, {"errno": "x"}):
        with pytest.raises(KernelError) as caught:
            frames.answer_value(nonsense)
        assert caught.value.errno == EIO
