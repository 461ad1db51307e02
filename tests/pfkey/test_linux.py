"""Linux's dialect of PF_KEY: what goes in comes out again, and what differs is translated."""

from __future__ import annotations

import errno as host
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools import errno
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import linux, sockaddr
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey.message import build, extensions, parse

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings"


def recorded() -> list[bytes]:
    """Every message of the recorded setkey runs, and of the key engine's dialogues."""
    found: set[str] = set()
    for script in json.loads((RECORDINGS / "setkey.json").read_text())["scripts"].values():
        for part in ("script", "D", "DP"):
            found.update(message[2:] for message in script[part]["messages"])
    for steps in json.loads((RECORDINGS / "kernel.json").read_text())["scenarios"].values():
        for step in steps:
            found.update(message[2:] for message in step.get("messages", ()))
            for messages in step.get("got", {}).values():
                found.update(messages)
    return [bytes.fromhex(message) for message in sorted(found)]


def linux_sockaddr(address: bytes, port: int = 0) -> bytes:
    if len(address) == 4:
        return struct.pack("=H", 2) + port.to_bytes(2, "big") + address + bytes(8)
    return struct.pack("=H", 10) + port.to_bytes(2, "big") + bytes(4) + address + bytes(4)


def linux_address(kind: int, address: bytes) -> bytes:
    body = linux_sockaddr(address)
    return struct.pack("=HHBBH", (8 + len(body) + 7) // 8, kind, 255, len(address) * 8, 0) + ext.pad8(body)


def linux_request(reqid: int, src: bytes, dst: bytes, level: int = 3) -> bytes:
    pair = linux_sockaddr(src) + linux_sockaddr(dst)
    return struct.pack("=HHBBHII", 16 + len(pair), 50, 2, level, 0, reqid, 0) + pair


@pytest.mark.parametrize("size", [4, 16])
def test_a_policy_from_linux(size: int) -> None:
    src, dst = bytes(range(size)), bytes(range(1, size + 1))
    data = build(
        14,
        0,
        policies.policy(2, 2, linux_request(77, src, dst), scope=9) + linux_address(5, src) + linux_address(6, dst),
        seq=5,
        pid=6,
    )
    message = parse(linux.to_freebsd(data))
    assert ext.read_address(message.extensions[5])[2] == sockaddr.make(src)
    assert policies.read_policy(message.extensions[18]) == (2, 2, 0, 0, 0)
    ((_, request),) = policies.read_requests(message.extensions[18])
    assert (request.reqid, request.src, request.dst) == (77, sockaddr.make(src), sockaddr.make(dst))
    assert (
        linux.from_freebsd(message.data)
        == data[:16]
        + policies.policy(2, 2, linux_request(77, src, dst))
        + data[16 + 16 + 16 + 2 * len(linux_sockaddr(src)) :]
    )


def test_a_reqid_that_does_not_fit_asks_for_an_automatic_one() -> None:
    data = build(14, 0, policies.policy(2, 2, linux_request(0x10064, bytes(4), bytes(4))))
    ((_, request),) = policies.read_requests(parse(linux.to_freebsd(data)).extensions[18])
    assert request.reqid > 0x3FFF


def test_sa_fields() -> None:
    data = build(3, 3, ext.sa(5, replay=64, encrypt=15, auth=5, flags=0x80000041))
    assert ext.read_sa(parse(linux.to_freebsd(data)).extensions[1]) == (5, 8, 0, 5, 255, 0x40)
    back = build(10, 3, ext.sa(5, replay=8, state=1, encrypt=20, auth=12, flags=0x40) + ext.sa_replay(4096))
    assert dict(extensions(linux.from_freebsd(back))) == {1: ext.sa(5, replay=64, state=1, encrypt=20, flags=0x40)}
    assert ext.read_sa(dict(extensions(linux.from_freebsd(build(5, 3, ext.sa(5, replay=100)))))[1])[1] == 255


def test_algorithms_with_another_meaning_are_not_offered() -> None:
    supported = ext.supported(14, [(3, 0, 160, 160), (11, 0, 128, 128), (251, 0, 8, 2048)]) + ext.supported(
        15, [(12, 16, 128, 256), (15, 12, 256, 256), (20, 12, 128, 256)]
    )
    proposal = ext.proposal(13, 32, ext.combination(encrypt=12) + ext.combination(encrypt=15))
    found = dict(extensions(linux.from_freebsd(build(7, 3, supported + proposal))))
    assert [each[0] for each in ext.read_supported(found[14])] == [3, 251]
    assert [each[0] for each in ext.read_supported(found[15])] == [12, 20]
    assert found[13] == ext.proposal(13, 32, ext.combination(encrypt=12))


def test_extensions_of_linux_only_are_left_out() -> None:
    filter_extension = struct.pack("=HH", 5, 26) + bytes(36)
    assert linux.to_freebsd(build(10, 0, filter_extension)) == build(10, 0)


def test_errno() -> None:
    assert linux.errno_to_linux(errno.EOPNOTSUPP) == host.EOPNOTSUPP
    assert linux.errno_to_linux(errno.ENOBUFS) == host.ENOBUFS
    assert linux.errno_to_linux(errno.EINVAL) == host.EINVAL
    refused = build(14, 0, errno=errno.EPROTONOSUPPORT)
    assert linux.from_freebsd(refused)[2] == host.EPROTONOSUPPORT


def test_a_wrapped_message_is_translated_within() -> None:
    inner = build(4, 3, ext.address(5, sockaddr.from_text("fd00::1")), errno=errno.EPROTONOSUPPORT)
    wrapped = build(11, 0, inner)
    assert linux.from_freebsd(wrapped) == build(11, 0, linux.from_freebsd(inner))


def test_forward_policies_are_answered() -> None:
    forward = build(14, 0, policies.policy(2, 3, linux_request(1, bytes(4), bytes(4))), seq=9)
    assert linux.answer_without_kernel(forward) == forward
    assert linux.answer_without_kernel(build(14, 0, policies.policy(2, 2))) is None
    assert linux.answer_without_kernel(build(10, 0)) is None
    assert linux.answer_without_kernel(b"\2\x0e") is None


@pytest.mark.parametrize("number", range(0, len(recorded()), 10))
def test_recorded_messages_come_back(number: int) -> None:
    """What FreeBSD's kernel says, told to a Linux client and said back by it, loses only what Linux has no word for."""
    for message in recorded()[number : number + 10]:
        told = linux.from_freebsd(message)
        again = linux.from_freebsd(linux.to_freebsd(told)) if message[1] != 11 else told
        assert again[3:] == told[3:]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_pass_through(body: bytes) -> None:
    body = ext.pad8(body)
    for data in (body, build(14, 0, body), build(3, 3, body), build(11, 0, build(14, 0, body))):
        assert len(linux.to_freebsd(data)) % 8 == 0
        assert len(linux.from_freebsd(data)) % 8 == 0
