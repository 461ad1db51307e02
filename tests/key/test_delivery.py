"""Who gets which message, in which order; full buffers, dumps as streams, failing commits."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from ipsectools.errno import EEXIST, EINVAL, ENOBUFS, ENOSPC, EPROTONOSUPPORT, KernelError
from ipsectools.kernel.key.sockets import wrap
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EALG_AESGCM16,
    SADB_DELETE,
    SADB_DUMP,
    SADB_FLUSH,
    SADB_REGISTER,
    SADB_X_PROMISC,
    SADB_X_SPDADD,
    SADB_X_SPDDELETE,
    SADB_X_SPDDUMP,
    SADB_X_SPDFLUSH,
)
from ipsectools.pfkey.message import build, extensions
from tests.key.driver import A, B, C, Driver, add, pair

DUMP = build(SADB_DUMP, 0)
FLUSH = build(SADB_FLUSH, 0)


def test_the_requester_is_last() -> None:
    driver = Driver()
    order: list[str] = []
    first = driver.engine.open_socket(lambda message: order.append("first") or True)
    driver.engine.open_socket(lambda message: order.append("second") or True)
    driver.engine.open_socket(lambda message: order.append("third") or True)
    assert first.send(FLUSH, driver.now) == 0
    driver.end()
    assert order == ["second", "third", "first"]


def test_registration_is_for_anything_and_ends_with_the_socket() -> None:
    driver = Driver()
    a, b = driver.client(), driver.client()
    a.ask(build(SADB_REGISTER, 2))  # AH
    b.ask(build(SADB_REGISTER, 3))
    assert len(a.take()) == 1
    a.socket.close()
    b.ask(build(SADB_REGISTER, 9))
    assert a.take() == []


def test_a_closed_socket_hears_nothing_that_was_under_way() -> None:
    driver = Driver()
    client, other = driver.client(), driver.client()
    assert client.socket.send(FLUSH, driver.now) == 0
    other.socket.close()
    driver.end()
    assert (len(client.take()), other.take()) == (1, [])


def test_promiscuous_sockets_hear_dumps_and_refusals_wrapped() -> None:
    driver = Driver()
    client, spy = driver.client(), driver.client()
    spy.ask(build(SADB_X_PROMISC, 1))
    client.take()
    client.ask(add(1000))
    client.ask(add(1001))
    spy.take()
    records = client.ask(DUMP)
    assert spy.take() == [wrap(record) for record in records]
    refusal = client.ask(add(1000))
    assert spy.take() == [wrap(refusal[0])]
    assert spy.ask(DUMP) == [part for record in records for part in (wrap(record), record)]
    assert spy.ask(add(1000)) == [wrap(refusal[0]), refusal[0]]


def test_a_full_buffer() -> None:
    """Loses the message for that socket alone; the requester's write fails, but not for a dump."""
    driver = Driver()
    client, other = driver.client(), driver.client()
    other.room = 0
    assert client.send(add(1000)) == 0
    assert client.send(add(1001)) == 0
    assert (len(client.take()), other.take()) == (2, [])
    client.room = 0
    assert client.send(FLUSH) == ENOBUFS
    assert driver.engine.sad.by_spi == {}
    client.room = 10
    for spi in range(1000, 1020):
        client.send(add(spi))
        client.take()
    assert client.send(DUMP) == 0
    assert len(client.take()) == 10


def test_a_full_buffer_that_lost_only_the_wrapped_copy() -> None:
    """The write succeeds: the answer itself came."""
    driver = Driver()
    got: list[bytes] = []

    def take(message: bytes) -> bool:
        if message[1] == SADB_X_PROMISC and len(message) > 16:
            return False
        got.append(message)
        return True

    socket = driver.engine.open_socket(take)
    assert socket.send(build(SADB_X_PROMISC, 1), driver.now) == 0
    assert driver.engine.flush_outbox() == 0
    assert socket.send(FLUSH, driver.now) == 0
    assert driver.engine.flush_outbox() == 0
    assert got[1:] == [FLUSH]


def test_a_dump_as_a_stream() -> None:
    """The SAs of the moment of the request, made one by one as they are read."""
    driver = Driver()
    client = driver.client()
    for spi in range(1000, 1003):
        client.ask(add(spi))
    streams: list[Iterator[bytes]] = []
    client.socket.deliver_stream = streams.append
    assert client.send(DUMP) == 0
    client.ask(add(1003))
    client.ask(build(SADB_DELETE, 3, ext.sa(1001) + pair()))
    records = list(streams[0])
    assert [struct.unpack_from("=I", record, 8)[0] for record in records] == [2, 1, 0]
    assert [int.from_bytes(record[20:24], "big") for record in records] == [1002, 1001, 1000]


def test_interface_policies_are_announced() -> None:
    driver = Driver()
    client = driver.client()
    old = driver.engine.install_interface_policies(3, 5, A, B, driver.now)
    driver.end()
    client.take()
    new = driver.engine.install_interface_policies(3, 5, A, C, driver.now, old)
    driver.end()
    heard = [
        (
            message[1],
            policies.read_policy(message[64:])[1:] if message[4] == 15 else policies.read_policy(message[96:])[1:],
        )
        for message in client.take()
    ]
    assert (old, new) == ([1, 2, 3, 4], [5, 6, 7, 8])
    assert heard == [
        (type, (direction, scope, id, index))
        for type, ids, scope, index in ((SADB_X_SPDADD, new, 2, 3), (SADB_X_SPDDELETE, old, 1, 0))
        for id, direction in zip(ids, (1, 2, 1, 2), strict=True)
    ]
    assert client.errno(build(SADB_X_SPDFLUSH, 0)) == 0
    assert len(client.ask(build(SADB_X_SPDDUMP, 0))) == 4


def test_reqids_are_shared_with_policies() -> None:
    driver = Driver()
    assert driver.engine.allocate_reqid(()) == 0x4001
    driver.restart()
    assert driver.engine.allocate_reqid({0x4002, 0x4003}) == 0x4004
    with pytest.raises(KernelError) as caught:
        driver.engine.allocate_reqid(range(0x10000))
    assert caught.value.errno == EEXIST
    assert driver.engine.reqid == 0x4004 + 63
    driver.engine.reqid = 0xFFFFFFFF
    assert driver.engine.allocate_reqid(()) == 0x4000


def test_a_reqid_given_before_a_bad_request_stays_given_and_is_in_the_answer() -> None:
    client = Driver().client()
    unique = policies.Request(50, 2, 3, 0, sockaddr.from_text(A), sockaddr.from_text(B)).pack()
    tcp = policies.Request(6, 1, 2).pack()
    request = build(SADB_X_SPDADD, 0, pair() + policies.policy(2, 2, unique + tcp))
    (answer,) = client.ask(request)
    assert answer[2] == EPROTONOSUPPORT
    filled = policies.set_reqid(dict(extensions(request))[18], 16, 0x4001)
    assert answer[:2] + b"\0" + answer[3:] == build(SADB_X_SPDADD, 0, pair() + filled)
    # in a request FreeBSD gives the reqid before it looks at the addresses
    short = unique[:8] + bytes((16, 2)) + unique[10:24] + bytes((16, 28)) + unique[26:]
    (answer,) = client.ask(build(SADB_X_SPDADD, 0, pair() + policies.policy(2, 2, short)))
    assert answer[2] == EINVAL
    (answer,) = client.ask(build(SADB_X_SPDADD, 0, pair() + policies.policy(2, 2, unique)))
    assert policies.read_requests(dict(extensions(answer))[18])[0][1].reqid == 0x4003


def test_policy_ids_skip_those_in_use() -> None:
    driver = Driver()
    client = driver.client()
    driver.engine.install_interface_policies(3, 5, A, B, driver.now)
    driver.end()
    driver.engine.policy_id = 0xFFFFFFFE
    policy = policies.policy(1, 2)
    ids = []
    for dst in (A, B, C):
        client.take()
        (answer,) = client.ask(build(SADB_X_SPDADD, 0, policy + pair(A, dst)))
        ids.append(policies.read_policy(answer[16:])[3])
    assert ids == [0xFFFFFFFF, 5, 6]


# transactions


class Observer:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def sa_changed(self, sa: object) -> None:
        self.seen.append(("changed", sa.spi))  # type: ignore[attr-defined]

    def sa_removed(self, sa: object) -> None:
        self.seen.append(("removed", sa.spi))  # type: ignore[attr-defined]


def test_observers() -> None:
    driver = Driver()
    client = driver.client()
    observer = Observer()
    driver.engine.observers.append(observer)
    client.ask(add(1000, extra=ext.lifetime(3, addtime=20) + ext.lifetime(4, addtime=10)))
    client.ask(add(1001))
    client.ask(build(1, 3, pair() + ext.spirange(1002, 1002)))
    driver.now += 11
    driver.tick()
    client.ask(build(SADB_DELETE, 3, ext.sa(1001) + pair()))
    client.ask(build(SADB_FLUSH, 3))
    assert observer.seen == [
        ("changed", 1000),
        ("changed", 1001),
        ("changed", 1002),  # larval, in a head of its own: it hides the other
        ("changed", 1000),
        ("removed", 1001),
        ("removed", 1000),
    ]


@pytest.mark.parametrize("request_", [FLUSH, add(1001), build(SADB_DELETE, 3, pair())])
def test_a_rollback_undoes_a_request(request_: bytes) -> None:
    """What did not get into the state file did not happen; SAs keep their identity and their counters."""
    driver = Driver()
    client, other = driver.client(), driver.client()
    client.ask(build(SADB_REGISTER, 3))
    client.ask(add(1000, key=bytes(20), encrypt=EALG_AESGCM16))
    before = client.ask(DUMP)
    other.take()
    sa = driver.engine.sad.by_spi[1000]
    driver.engine.reserve(sa)
    driver.store.commit()
    sa.traffic.sequence, sa.traffic.packets, sa.traffic.iv = 5, 5, 5
    traffic = sa.traffic
    driver.engine.reserve(sa)
    assert client.socket.send(request_, driver.now) == 0
    driver.store.rollback()
    driver.engine.drop_outbox()
    driver.engine.load(driver.now)
    assert (client.take(), other.take()) == ([], [])
    assert driver.engine.sad.by_spi[1000] is sa
    assert sa.traffic is traffic
    assert (traffic.sequence, traffic.sequence_limit, traffic.iv_limit) == (5, 65536, 1 << 32)
    assert sa.ledger_key
    after = client.ask(DUMP)
    assert len(after) == len(before)
    assert client.socket.registered


def test_a_store_that_fails_is_not_a_refusal() -> None:
    """ENOSPC of the state file leaves `send` as an exception, so that the kernel rolls back."""
    driver = Driver()
    client = driver.client()

    def full(*_: object) -> None:
        raise KernelError(ENOSPC)

    put, driver.store.put = driver.store.put, full  # type: ignore[method-assign]
    with pytest.raises(KernelError):
        client.socket.send(add(1000), driver.now)
    driver.store.put = put  # type: ignore[method-assign]
    driver.store.rollback()
    driver.engine.drop_outbox()
    driver.engine.load(driver.now)
    assert client.errno(add(1000)) == 0
