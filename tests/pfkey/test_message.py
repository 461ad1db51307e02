"""Messages, extensions and policies as bytes: round trips, and which flaws fail the write with which errno."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools.errno import EINVAL, ENOBUFS, EPROTONOSUPPORT, KernelError
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import message as messages
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))

ADDRESS = ext.address(5, sockaddr.from_text("10.0.0.1"))
ADD_OF_THE_SPECIFICATION = bytes.fromhex(
    "02030003130000000000000092100000"
    "03000900800000000001020304050607 08090a0b0c0d0e0f04000800a0000000"
    "000102030405060708090a0b0c0d0e0f 10111213000000000200010000001000"
    "0000030c40000000 0200130001000000 0000000000000000 03000500ff200000"
    "100200000a00000100000000000000000 3000600ff200000100200000a000002"
    "0000000000000000".replace(" ", "")
)


def header(units: int, type: int = 3, version: int = 2) -> bytes:
    return messages.HEADER.pack(version, type, 0, 3, units, 0, 0, 0)


def whole(*parts: bytes, type: int = 3, version: int = 2) -> bytes:
    body = b"".join(parts)
    return header(2 + len(body) // 8, type, version) + body


def extension(kind: int, units: int, body: bytes) -> bytes:
    return units.to_bytes(2, "little") + kind.to_bytes(2, "little") + body


def test_the_layout_of_an_add() -> None:
    built = messages.build(
        3,
        3,
        ext.key(9, bytes(range(16)))
        + ext.key(8, bytes(range(20)))
        + ext.sa(0x1000, auth=3, encrypt=12, flags=0x40)
        + ext.sa2(1, 0)
        + ext.address(5, sockaddr.from_text("10.0.0.1"))
        + ext.address(6, sockaddr.from_text("10.0.0.2")),
        pid=4242,
    )
    assert built == ADD_OF_THE_SPECIFICATION
    parsed = messages.parse(built)
    assert (parsed.type, parsed.satype, parsed.seq, parsed.pid, parsed.errno) == (3, 3, 0, 4242, 0)
    assert ext.read_sa(parsed.extensions[1]) == (0x1000, 0, 0, 3, 12, 0x40)
    assert ext.read_key(parsed.extensions[8]) == (160, bytes(range(20)))
    assert ext.read_address(parsed.extensions[6]) == (255, 32, sockaddr.from_text("10.0.0.2"))
    assert list(messages.extensions(built)) == list(parsed.extensions.items())


def test_the_layout_of_a_policy() -> None:
    request = policies.Request(50, 2, 2, 0, sockaddr.from_text("192.0.2.1"), sockaddr.from_text("192.0.2.2"))
    built = policies.policy(2, 2, request.pack())
    assert built.hex() == (
        "07001200020002000000000000000000280032000202000010020000c0000201000000000000000010020000c00002020000000000000000"
    )


FLAWS = {
    "shorter than a header": (header(2)[:15], EINVAL),
    "empty": (b"", EINVAL),
    "length field too small": (header(2) + bytes(8), EINVAL),
    "length field too large": (header(3), EINVAL),
    "longer than a cluster": (whole(ext.key(9, bytes(2040))), ENOBUFS),
    "extension 0": (whole(extension(0, 1, bytes(4))), EINVAL),
    "extension 17": (whole(extension(17, 1, bytes(4))), EINVAL),
    "extension 29, of hardware offload": (whole(extension(29, 4, bytes(28))), EINVAL),
    "extension 32": (whole(extension(32, 1, bytes(4))), EINVAL),
    "the same twice": (whole(ext.sa2(0, 0), ext.sa2(0, 0)), EINVAL),
    "length 0": (whole(extension(19, 0, bytes(12))), EINVAL),
    "SA too short": (whole(extension(1, 1, bytes(4))), EINVAL),
    "SA too long": (whole(extension(1, 3, bytes(20))), EINVAL),
    "lifetime too short": (whole(extension(3, 3, bytes(20))), EINVAL),
    "identity too short": (whole(extension(10, 1, bytes(4))), EINVAL),
    "policy too short": (whole(extension(18, 1, bytes(4))), EINVAL),
    "port too long": (whole(extension(21, 2, bytes(12))), EINVAL),
    "address without an address": (whole(extension(5, 1, bytes(4))), EINVAL),
    "address longer than its sockaddr": (whole(extension(5, 4, ADDRESS[4:] + bytes(8))), EINVAL),
    "address shorter than its sockaddr": (whole(extension(5, 2, ADDRESS[4:16])), EINVAL),
    "NAT original address of the wrong length": (whole(extension(23, 4, ADDRESS[4:] + bytes(8))), EINVAL),
    "new address of the wrong length": (whole(extension(27, 4, ADDRESS[4:] + bytes(8))), EINVAL),
    "identity of an address of the wrong length": (
        whole(extension(10, 4, bytes([4, 0]) + bytes(10) + ADDRESS[8:24])),
        None,
    ),
    "identity of an address, too long": (
        whole(extension(10, 5, bytes([4, 0]) + bytes(10) + ADDRESS[8:24] + bytes(8))),
        EINVAL,
    ),
    "beyond the end": (whole(extension(9, 4, bytes(12))), ENOBUFS),
    "address beyond the end": (whole(extension(5, 3, ADDRESS[4:16])), ENOBUFS),
    "address whose sockaddr is beyond the end": (whole(extension(5, 3, bytes(4))), ENOBUFS),
}


@pytest.mark.parametrize("name", FLAWS)
def test_flaws_that_fail_the_write(name: str) -> None:
    data, errno = FLAWS[name]
    if errno is None:
        messages.parse(data)
        return
    with pytest.raises(KernelError) as caught:
        messages.parse(data)
    assert caught.value.errno == errno


@pytest.mark.parametrize("data", [whole(bytes(8), version=1), whole(bytes(8), type=23), whole(bytes(4096), version=3)])
def test_a_wrong_version_or_type_goes_before_everything_behind_the_header(data: bytes) -> None:
    parsed = messages.parse(data)
    assert parsed.flaw == EINVAL
    assert not parsed.extensions


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), u8, u8)
def test_any_bytes_are_taken_or_refused(body: bytes, type: int, satype: int) -> None:
    body = ext.pad8(body)
    data = messages.HEADER.pack(2, type, 0, satype, 2 + len(body) // 8, 0, 0, 0) + body
    with contextlib.suppress(KernelError):
        parsed = messages.parse(data)
        if not parsed.flaw:
            assert b"".join(parsed.extensions.values()) == body
    list(messages.extensions(data))


@given(u32, u8, u8, u8, u8, u32, u32, u64, u64, u64)
@settings(max_examples=50, deadline=None)
def test_fixed_extensions_come_back(
    spi: int, replay: int, state: int, auth: int, encrypt: int, flags: int, small: int, one: int, two: int, three: int
) -> None:
    sa = ext.sa(spi, replay=replay, state=state, auth=auth, encrypt=encrypt, flags=flags)
    assert ext.read_sa(sa) == (spi, replay, state, auth, encrypt, flags)
    assert ext.read_sa2(ext.sa2(auth, small, flags)) == (auth, flags, small)
    lifetime = ext.lifetime(4, allocations=small, bytes=one, addtime=two, usetime=three)
    assert ext.read_lifetime(lifetime) == (small, one, two, three)
    assert ext.read_spirange(ext.spirange(small, flags)) == (small, flags)
    assert ext.read_sa_replay(ext.sa_replay(small)) == small
    assert ext.read_nat_t_port(ext.nat_t_port(21, small & 0xFFFF)) == small & 0xFFFF
    assert ext.read_nat_t_frag(ext.nat_t_frag(small & 0xFFFF)) == small & 0xFFFF


@given(st.binary(max_size=64), st.lists(st.tuples(u8, u8, u16, u16), max_size=5))
@settings(max_examples=50, deadline=None)
def test_variable_extensions_come_back(key: bytes, algorithms: list[tuple[int, int, int, int]]) -> None:
    built = ext.key(8, key)
    assert len(built) % 8 == 0
    assert ext.read_key(built) == (len(key) * 8, key)
    assert list(ext.read_supported(ext.supported(14, algorithms))) == algorithms


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), u16, u32)
@settings(max_examples=50, deadline=None)
def test_socket_addresses_come_back(address: bytes, port: int, scope_id: int) -> None:
    made = sockaddr.make(address, port, scope_id)
    assert sockaddr.is_valid(made)
    assert (sockaddr.address(made), sockaddr.port(made)) == (address, port)
    assert sockaddr.from_text(sockaddr.to_text(made), port) == made
    assert sockaddr.port(sockaddr.without_port(made)) == 0
    assert ext.read_address(ext.address(5, made)) == (255, len(address) * 8, made)


def test_zones() -> None:
    assert sockaddr.scope_id(sockaddr.from_text("fe80::1%3")) == 3
    named = sockaddr.from_text("fe80::1%em0", index_of={"em0": 7}.__getitem__)
    assert sockaddr.to_text(named, name_of={7: "em0"}.get) == "fe80::1%em0"
    for wrong in ("fe80::1%em0", "10.0.0", "10.0.0.1%3", "", "x"):
        with pytest.raises(ValueError):
            sockaddr.from_text(wrong)


V4 = sockaddr.from_text("10.0.0.1") + sockaddr.from_text("10.0.0.2")
V6 = sockaddr.from_text("fd00::1") + sockaddr.from_text("fd00::2")


def request(size: int | None = None, protocol: int = 50, mode: int = 2, level: int = 2, rest: bytes = V4) -> bytes:
    size = 8 + len(rest) if size is None else size
    return messages.HEADER.pack(0, 0, 0, 0, 0, 0, 0, 0)[:0] + b"".join(
        (
            size.to_bytes(2, "little"),
            protocol.to_bytes(2, "little"),
            bytes((mode, level)),
            bytes(2),
            rest,
        )
    )


REQUESTS = {
    "a good one": (request(), 0),
    "IPv6": (request(rest=V6), 0),
    "transport without addresses": (request(mode=1, rest=b""), 0),
    "four": (request(mode=1, rest=b"") * 4, 0),
    "five": (request(mode=1, rest=b"") * 5, EINVAL),
    "none": (b"", EINVAL),
    "shorter than a record": (request(size=7), EINVAL),
    "of length 0": (request(size=0), EINVAL),
    "longer than the policy": (request(size=48), EINVAL),
    "TCP": (request(protocol=6), EPROTONOSUPPORT),
    "mode any": (request(mode=0), EINVAL),
    "mode 3": (request(mode=3), EINVAL),
    "level 4": (request(level=4), EINVAL),
    "tunnel without addresses": (request(rest=b""), EINVAL),
    "addresses of two families": (request(rest=V4[:16] + V6[28:]), EINVAL),
    "one address": (request(rest=V4[:16]), EINVAL),
    "a sockaddr of length 0": (request(rest=bytes(32)), EINVAL),
    "a sockaddr of another family": (request(rest=b"\x10\x05" + V4[2:]), EINVAL),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_of_a_policy(name: str) -> None:
    body, errno = REQUESTS[name]
    extension = policies.policy(2, 2, ext.pad8(body))
    if not errno:
        found = policies.read_requests(extension)
        assert policies.pack_requests([each for _, each in found]) == body
        return
    with pytest.raises(KernelError) as caught:
        policies.read_requests(extension)
    assert caught.value.errno == errno
