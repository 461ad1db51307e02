"""Lifetimes, larval SAs, policies' lifetimes, ACQUIRE and its throttling."""

from __future__ import annotations

import struct

import pytest

from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    MODE_TRANSPORT,
    MODE_TUNNEL,
    SADB_ACQUIRE,
    SADB_DUMP,
    SADB_EXPIRE,
    SADB_GETSPI,
    SADB_REGISTER,
    SADB_UPDATE,
    SADB_X_SPDADD,
    SADB_X_SPDEXPIRE,
)
from ipsectools.pfkey.message import build, extensions
from tests.key.driver import EPOCH, A, B, Client, Driver, add, pair


@pytest.fixture
def client() -> Client:
    client = Driver().client()
    client.ask(build(SADB_REGISTER, 3))
    return client


def limits(**hard_and_soft: tuple[int, int]) -> bytes:
    """Soft and hard limits, e.g. addtime=(10, 20)."""
    return ext.lifetime(3, **{name: value[1] for name, value in hard_and_soft.items()}) + ext.lifetime(
        4, **{name: value[0] for name, value in hard_and_soft.items()}
    )


def expired(client: Client) -> list[tuple[int, str, int]]:
    """(SPI, hard or soft, state) of the EXPIRE messages that came."""
    found = []
    for message in client.take():
        assert message[1] == SADB_EXPIRE
        parts = dict(extensions(message))
        spi, _, state, _, _, _ = ext.read_sa(parts[1])
        found.append((spi, "hard" if 3 in parts else "soft", state))
    return found


def at(client: Client, seconds: float) -> list[tuple[int, str, int]]:
    client.driver.now = EPOCH + seconds
    client.driver.tick()
    return expired(client)


def test_add_time(client: Client) -> None:
    client.ask(add(1000, extra=limits(addtime=(10, 20)), seq=77))
    client.ask(add(1001, extra=limits(addtime=(0, 20))))
    assert at(client, 10) == []
    client.driver.now += 1
    client.driver.tick()
    (message,) = client.take()
    assert list(dict(extensions(message))) == [1, 19, 2, 4, 5, 6]
    assert struct.unpack_from("=BBBBHHII", message) == (2, 8, 0, 3, len(message) // 8, 2, 77, 0)
    assert at(client, 20.9) == []
    assert at(client, 21) == [(1000, "hard", 3), (1001, "hard", 3)]
    assert at(client, 22) == []


def test_both_at_once_is_hard(client: Client) -> None:
    client.ask(add(1000, extra=limits(addtime=(10, 10))))
    client.ask(add(1001, extra=limits(addtime=(20, 10))))
    assert at(client, 11) == [(1000, "hard", 3), (1001, "hard", 3)]


def test_order_of_expiry(client: Client) -> None:
    """Hard before soft, in each the oldest head's oldest SA first."""
    client.ask(add(1000, A, B, extra=limits(addtime=(5, 0))))
    client.ask(add(1001, B, A, extra=limits(addtime=(5, 0))))
    client.ask(add(1002, A, B, extra=limits(addtime=(0, 5))))
    client.ask(add(1003, A, B, extra=limits(addtime=(5, 0))))
    assert at(client, 6) == [(1002, "hard", 3), (1000, "soft", 2), (1003, "soft", 2), (1001, "soft", 2)]


def test_use_time(client: Client) -> None:
    client.ask(add(1000, extra=limits(usetime=(10, 20))))
    assert at(client, 100) == []
    traffic = client.driver.engine.sad.by_spi[1000].traffic
    traffic.packets, traffic.first_used = 1, EPOCH + 100
    assert at(client, 101) == []
    assert at(client, 110) == []
    assert at(client, 111) == [(1000, "soft", 2)]
    assert at(client, 121) == [(1000, "hard", 3)]


def test_bytes(client: Client) -> None:
    client.ask(add(1000, extra=limits(bytes=(100, 200))))
    traffic = client.driver.engine.sad.by_spi[1000].traffic
    traffic.packets, traffic.bytes = 1, 100
    assert at(client, 1) == []
    traffic.packets, traffic.bytes = 2, 101
    assert at(client, 2) == [(1000, "soft", 2)]
    traffic.packets, traffic.bytes = 3, 200
    assert at(client, 3) == []
    traffic.packets, traffic.bytes = 4, 201
    assert at(client, 4) == [(1000, "hard", 3)]


def test_allocations_are_not_enforced(client: Client) -> None:
    client.ask(add(1000, extra=limits(allocations=(1, 2))))
    client.driver.engine.sad.by_spi[1000].traffic.packets = 100
    assert at(client, 1000) == []


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("field", ["sequence", "received_high"])
@pytest.mark.parametrize("lifetimes", [b"", limits(bytes=(0, 0))])
def test_a_worn_out_sequence_number(client: Client, esn: bool, field: str, lifetimes: bytes) -> None:
    client.ask(add(1000, flags=0x400 if esn else 0, extra=lifetimes))
    traffic = client.driver.engine.sad.by_spi[1000].traffic
    traffic.packets = 1
    setattr(traffic, field, 0xCCCCCCCC)
    assert at(client, 1) == []
    traffic.packets = 2
    setattr(traffic, field, 0xCCCCCCCD)
    assert at(client, 2) == ([(1000, "soft", 2)] if lifetimes and not esn else [])


@pytest.mark.parametrize("lifetimes", [b"", limits(addtime=(5, 10))])
def test_an_sa_without_numbers_ends(client: Client, lifetimes: bytes) -> None:
    """So that the next packet takes another one."""
    engine = client.driver.engine
    client.ask(add(1000, extra=lifetimes))
    client.ask(add(1001))
    sa = engine.outbound_sa(A, B, 100)
    assert sa is not None
    engine.exhausted(sa, client.driver.now)
    client.driver.end()
    assert expired(client) == [(1000, "hard", 3)]
    other = engine.outbound_sa(A, B, 100)
    assert other is not None
    assert other.spi == 1001


def test_lifetimes_reach_over_a_restart() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(add(1000, extra=limits(addtime=(10, 20))))
    client.ask(add(1001, extra=limits(bytes=(100, 200))))
    traffic = driver.engine.sad.by_spi[1001].traffic
    traffic.packets, traffic.bytes = 9, 150
    driver.restart()
    client = driver.client()
    client.ask(build(SADB_REGISTER, 3))
    assert at(client, 5) == [(1001, "soft", 2)]
    driver.restart()
    client = driver.client()
    client.ask(build(SADB_REGISTER, 3))
    assert at(client, 500) == [(1000, "hard", 3)]


def test_the_clock_may_jump_back(client: Client) -> None:
    client.ask(add(1000, extra=limits(addtime=(10, 20))))
    assert at(client, -5000) == []
    assert at(client, 11) == [(1000, "soft", 2)]


def test_larval_sas_leave_in_silence(client: Client) -> None:
    client.ask(build(SADB_GETSPI, 3, pair() + ext.spirange(1000, 1000)))
    assert at(client, 29) == []
    assert 1000 in client.driver.engine.sad.by_spi
    assert at(client, 30) == []
    assert 1000 not in client.driver.engine.sad.by_spi


def spdadd(lifetime: int, validtime: int) -> bytes:
    return build(
        SADB_X_SPDADD, 0, policies.policy(1, 1) + ext.lifetime(3, addtime=lifetime, usetime=validtime) + pair()
    )


@pytest.mark.parametrize(("lifetime", "validtime"), [(10, 0), (0, 10), (10, 100)])
def test_a_policy_expires(client: Client, lifetime: int, validtime: int) -> None:
    client.ask(spdadd(lifetime, validtime))
    client.driver.restart()
    client = client.driver.client()
    client.ask(build(SADB_REGISTER, 3))
    assert at(client, 10) == []
    client.driver.now = EPOCH + 11
    client.driver.tick()
    (message,) = client.take()
    assert message[1] == SADB_X_SPDEXPIRE
    assert list(dict(extensions(message))) == [2, 3, 5, 6, 18]
    assert ext.read_lifetime(dict(extensions(message))[3]) == (0, 0, lifetime, validtime)
    assert not client.driver.engine.spd.by_id


def test_policies_that_expire_together_are_told_from_the_end_of_a_dump(client: Client) -> None:
    ids = {}
    for direction in (2, 1):
        for priority in (2, 1):
            extension = policies.policy(1, direction, priority=priority)
            (answer,) = client.ask(
                build(SADB_X_SPDADD, 0, extension + ext.lifetime(3, addtime=10) + pair(prefixlen=32 - priority))
            )
            ids[policies.read_policy(answer[16:])[3]] = (direction, priority)
    client.ask(build(SADB_REGISTER, 3))
    client.driver.now = EPOCH + 11
    client.driver.tick()
    told = [ids[policies.read_policy(dict(extensions(message))[18])[3]] for message in client.take()]
    assert told == [(2, 2), (2, 1), (1, 2), (1, 1)]


class Tunnel:
    """An interface without an SA, and the packets that are routed into it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        driver = client.driver
        self.policy = driver.engine.install_interface_policies(3, 0x12345, A, B, driver.now)[1]
        driver.end()
        client.take()

    def packet(self) -> list[bytes]:
        self.client.driver.engine.acquire_for_policy(self.policy, self.client.driver.now)
        self.client.driver.end()
        return self.client.take()


def seq(message: bytes) -> int:
    number: int = struct.unpack_from("=I", message, 8)[0]
    return number


def test_larval_sas_may_stay_for_ever(client: Client) -> None:
    client.driver.sysctl["net.key.larval_lifetime"] = -1
    client.ask(build(SADB_GETSPI, 3, pair()))
    at(client, 1000)
    assert len(client.driver.engine.sad.by_spi) == 1


def test_throttling(client: Client) -> None:
    tunnel = Tunnel(client)
    heard = [len(tunnel.packet()) for _ in range(26)]
    assert [number for number, messages in enumerate(heard) if messages] == [0, 12, 24]
    at(client, 24)
    (again,) = tunnel.packet() or [b""]
    assert seq(again) == 2  # forgotten after 20 s: a new request


def test_the_same_request_keeps_its_number(client: Client) -> None:
    tunnel = Tunnel(client)
    client.driver.sysctl["net.key.blockacq_count"] = 0
    numbers = [[seq(message) for message in tunnel.packet()] for _ in range(5)]
    assert numbers == [[1], [], [1], [], [1]]


def test_throttling_reaches_over_a_restart() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(build(SADB_REGISTER, 3))
    tunnel = Tunnel(client)
    assert len(tunnel.packet()) == 1
    for _ in range(11):
        driver.restart()
        tunnel.client = driver.client()
        tunnel.client.ask(build(SADB_REGISTER, 3))
        assert tunnel.packet() == []
    assert len(tunnel.packet()) == 1


def test_what_an_acquire_says(client: Client) -> None:
    tunnel = Tunnel(client)
    (message,) = tunnel.packet()
    assert len(message) == 536
    found = dict(extensions(message))
    assert list(found) == [5, 6, 18, 19, 13]
    assert ext.read_sa2(found[19]) == (MODE_TUNNEL, 0, 0x12345)
    assert found[13][8 + 1 :: 72] == bytes((11, 12, 13, 15, 20, 23))
    assert policies.read_policy(found[18]) == (2, 2, 0, tunnel.policy, 3)


def test_an_sa_for_the_request_ends_it(client: Client) -> None:
    tunnel = Tunnel(client)
    (message,) = tunnel.packet()
    number = seq(message)
    index = ext.sa2(MODE_TUNNEL, 0x12345)
    client.ask(build(SADB_GETSPI, 3, ext.sa2(MODE_TUNNEL, 7) + pair(), seq=number))  # another index: not for it
    at(client, 1)
    assert tunnel.packet() == []
    (larval,) = client.ask(build(SADB_GETSPI, 3, index + pair(), seq=number))
    at(client, 2)
    (message,) = tunnel.packet()
    assert seq(message) == number + 1
    spi = ext.read_sa(dict(extensions(larval))[1])[0]
    client.ask(add(spi, reqid=0x12345, type=SADB_UPDATE, seq=number))
    found = client.driver.engine.outbound_sa(A, B, 0x12345)
    assert found is not None
    assert found.seq == number


def test_a_daemons_failure_report(client: Client) -> None:
    """Starts the throttling anew: nothing at once, the same number later."""
    tunnel = Tunnel(client)
    number = seq(tunnel.packet()[0])
    for _ in range(5):
        assert tunnel.packet() == []
    client.driver.now += 15
    assert client.ask(build(SADB_ACQUIRE, 3, seq=number, errno=61)) == []
    client.driver.now += 15
    client.driver.tick()
    heard = [[seq(message) for message in tunnel.packet()] for _ in range(12)]
    assert heard == [*[[]] * 11, [number]]


PROPOSAL = ext.proposal(13, 32, ext.combination(encrypt=12))


@pytest.mark.parametrize(
    ("satype", "encrypt", "auth"), [(3, [11, 12, 13, 15, 20, 23], []), (2, [], [7, 6, 5, 3]), (9, [2], [])]
)
def test_an_acquire_of_a_daemon(client: Client, satype: int, encrypt: list[int], auth: list[int]) -> None:
    body = ext.sa2(MODE_TRANSPORT, 0) + pair() + PROPOSAL
    (message,) = client.ask(build(SADB_ACQUIRE, satype, body, seq=5, pid=6))
    assert struct.unpack_from("=BBBBHHII", message)[3] == satype
    assert (seq(message), message[12:16]) == (1, bytes(4))
    found = dict(extensions(message))
    assert list(found) == [5, 6, 13]
    ids = [(found[13][at + 1], found[13][at]) for at in range(8, len(found[13]), 72)]
    assert [each[0] for each in ids if each[0]] == encrypt
    assert [each[1] for each in ids if each[1]] == auth


def test_proposals_follow_the_sysctl_variables(client: Client) -> None:
    def algorithms() -> bytes:
        client.driver.now += 30
        client.driver.tick()
        (message,) = client.ask(build(SADB_ACQUIRE, 3, pair() + PROPOSAL))
        return dict(extensions(message))[13][8 + 1 :: 72]

    client.driver.sysctl["net.key.esp_auth"] = 1
    assert algorithms() == bytes(id for id in (11, 12, 13, 15, 20, 23) for _ in range(4))
    client.driver.sysctl["net.key.esp_auth"] = 0
    client.driver.sysctl["net.key.esp_keymin"] = 257
    assert algorithms() == b"\x0b"


def test_an_acquire_without_a_proposal(client: Client) -> None:
    """Where there is nothing to propose, there is no extension for it."""
    sysctl = client.driver.sysctl
    (message,) = client.ask(build(SADB_ACQUIRE, 11, pair() + PROPOSAL))  # TCP signatures
    assert list(dict(extensions(message))) == [5, 6]
    sysctl["net.key.ah_keymin"] = 513
    (message,) = client.ask(build(SADB_ACQUIRE, 2, pair() + PROPOSAL))
    assert list(dict(extensions(message))) == [5, 6]
    sysctl["net.key.esp_keymin"] = 2049
    (message,) = client.ask(build(SADB_ACQUIRE, 3, pair() + PROPOSAL))
    assert list(dict(extensions(message))) == [5, 6]


def test_ports_of_a_policy_in_an_acquire(client: Client) -> None:
    ends = sockaddr.from_text(A), sockaddr.from_text(B)
    request = policies.Request(50, MODE_TUNNEL, 2, 0, *ends).pack()
    selector = ext.address(5, sockaddr.from_text("10.0.0.0", 0), protocol=6, prefixlen=24) + ext.address(
        6, sockaddr.from_text("10.1.0.0", 80), protocol=6, prefixlen=16
    )
    (answer,) = client.ask(build(SADB_X_SPDADD, 0, policies.policy(2, 2, request) + selector))
    id = policies.read_policy(dict(extensions(answer))[18])[3]
    client.driver.engine.acquire_for_policy(id, client.driver.now)
    client.driver.end()
    (message,) = client.take()
    found = dict(extensions(message))
    assert list(found) == [5, 6, 18, 13]
    assert ext.read_address(found[5]) == (6, 32, sockaddr.from_text(A))
    assert ext.read_address(found[6]) == (6, 16, sockaddr.from_text(B, 80))


def test_nothing_listens() -> None:
    driver = Driver()
    client = driver.client()
    assert Tunnel(client).packet() == []
    assert client.errno(build(SADB_DUMP, 0)) == 2
