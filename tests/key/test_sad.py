"""Order, heads, and which SA is chosen; what records say."""

from __future__ import annotations

import struct

import pytest

from ipsectools.errno import EINVAL
from ipsectools.kernel.key.sad import ORDER_STEP
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EALG_AESGCM16,
    EALG_CHACHA20POLY1305,
    MODE_ANY,
    MODE_TRANSPORT,
    MODE_TUNNEL,
    SADB_ADD,
    SADB_DELETE,
    SADB_DUMP,
    SADB_FLUSH,
    SADB_GET,
    SADB_GETSPI,
    SADB_UPDATE,
    SASTATE_LARVAL,
    SASTATE_MATURE,
)
from ipsectools.pfkey.message import build, extensions
from tests.key.driver import KEY, A, B, C, Client, Driver, add, address, pair


@pytest.fixture
def client() -> Client:
    return Driver().client()


def getspi(spi: int, mode: int = MODE_TUNNEL, reqid: int = 100, pid: int = 0) -> bytes:
    return build(SADB_GETSPI, 3, ext.sa2(mode, reqid) + pair() + ext.spirange(spi, spi), pid=pid)


def dumped(client: Client, satype: int = 0) -> list[int]:
    """SPIs in the order of a dump, whose numbers have to count down to 0."""
    records = client.ask(build(SADB_DUMP, satype, pid=9))
    assert [struct.unpack_from("=I", record, 8)[0] for record in records] == list(range(len(records) - 1, -1, -1))
    assert all(struct.unpack_from("=I", record, 12)[0] == 9 for record in records)
    if records[0][2]:
        return []
    return [ext.read_sa(dict(extensions(record))[1])[0] for record in records]


def test_dump_order(client: Client) -> None:
    """Heads newest first; in each larval SAs, then alive ones, newest first."""
    for request in (
        add(0x1001, A, B),
        add(0x1002, A, C),
        add(0x1003, A, B),
        getspi(0x1004),
        add(0x1005, A, B),
        getspi(0x1006),
        build(SADB_ADD, 2, ext.sa(0x1007, auth=3) + pair() + ext.key(8, KEY)),
    ):
        assert client.errno(request) == 0
    assert dumped(client) == [0x1007, 0x1002, 0x1006, 0x1004, 0x1005, 0x1003, 0x1001]
    assert dumped(client, 2) == [0x1007]
    client.ask(add(0x1004, type=SADB_UPDATE))  # mature: moves to the front of the alive ones
    assert dumped(client, 3) == [0x1002, 0x1006, 0x1004, 0x1005, 0x1003, 0x1001]
    assert client.errno(build(SADB_FLUSH, 3)) == 0
    assert dumped(client) == [0x1007]


def test_an_sa_joins_the_newest_head_that_matches(client: Client) -> None:
    def index(spi: int) -> tuple[int, int]:
        (record,) = client.ask(build(SADB_GET, 3, ext.sa(spi) + pair()))
        mode, _, reqid = ext.read_sa2(dict(extensions(record))[19])
        return mode, reqid

    client.ask(add(1001, mode=MODE_ANY, reqid=5))
    client.ask(add(1002, mode=MODE_TRANSPORT, reqid=5))  # joins the one of mode any
    client.ask(add(1003, mode=MODE_TUNNEL, reqid=6))
    client.ask(add(1004, mode=MODE_TUNNEL, reqid=0))  # any reqid will do, the newest head is the tunnel's
    client.ask(add(1005, mode=MODE_ANY, reqid=6))  # a search for any does not match a stored tunnel
    client.ask(add(1006, mode=MODE_TUNNEL, reqid=6))  # two match: the newer one
    client.ask(add(1007, mode=None))  # mode any, reqid 0
    assert [index(spi) for spi in range(1001, 1008)] == [(0, 5), (0, 5), (2, 6), (2, 6), (0, 6), (0, 6), (0, 6)]


def test_an_empty_head_captures_until_the_timer_removes_it(client: Client) -> None:
    client.ask(add(1001, reqid=7))
    client.ask(build(SADB_DELETE, 3, ext.sa(1001) + pair()))
    client.ask(add(1002, reqid=0))
    (record,) = client.ask(build(SADB_DUMP, 3))
    assert ext.read_sa2(dict(extensions(record))[19])[2] == 7
    client.ask(build(SADB_DELETE, 3, ext.sa(1002) + pair()))
    client.driver.tick()
    client.ask(add(1003, reqid=0))
    (record,) = client.ask(build(SADB_DUMP, 3))
    assert ext.read_sa2(dict(extensions(record))[19])[2] == 0


def test_delete_all_spares_larval_sas(client: Client) -> None:
    for request in (add(1001), getspi(1002), add(1003, mode=MODE_TRANSPORT, reqid=9), add(1004, B, A)):
        client.ask(request)
    assert client.errno(build(SADB_DELETE, 3, pair())) == 0
    assert sorted(dumped(client)) == [1002, 1004]


def test_outbound_choice(client: Client) -> None:
    engine = client.driver.engine
    assert engine.outbound_sa(A, B, 100) is None

    def chosen(reqid: int = 100) -> int | None:
        sa = engine.outbound_sa(sockaddr.address(sockaddr.from_text(A)), B, reqid)
        return sa.spi if sa else None

    client.ask(add(1001))
    client.ask(add(1002))
    assert chosen() == 1001
    client.driver.sysctl["net.key.preferred_oldsa"] = 0
    assert chosen() == 1002
    assert chosen(101) is None
    assert chosen(0) == 1002
    client.ask(add(1003, mode=MODE_TRANSPORT))
    assert chosen() == 1002
    # only the newest matching head counts, usable or not
    client.ask(add(1004, mode=MODE_ANY))
    client.ask(build(SADB_DELETE, 3, ext.sa(1004) + pair()))
    assert chosen() is None
    client.driver.tick()
    assert chosen() == 1002
    client.ask(add(1005, mode=None, reqid=0))  # an SA without reqid is never an interface's
    assert chosen() == 1002


def test_inbound_lookup(client: Client) -> None:
    engine = client.driver.engine
    here = bytes((192, 168, 0, 5))
    client.ask(getspi(1001))
    client.ask(add(1002))
    client.ask(build(SADB_ADD, 2, ext.sa(1003, auth=3) + pair() + ext.key(8, KEY)))
    client.ask(add(1004, flags=1))
    found = engine.inbound_sa(1002, here)
    assert found is not None
    assert (found.spi, found.encryption_key, found.auth_key) == (1002, KEY, b"")
    assert engine.inbound_sa(1002, bytes((192, 168, 0, 3))) is None
    assert [engine.inbound_sa(spi, here) for spi in (1001, 1003, 1004, 9999)] == [None] * 4


def test_an_aead_brings_its_authentication(client: Client) -> None:
    for spi, (key, encrypt, auth) in enumerate(
        [
            (bytes(20), EALG_AESGCM16, 11),
            (bytes(28), EALG_AESGCM16, 12),
            (bytes(36), EALG_AESGCM16, 13),
            (bytes(36), EALG_CHACHA20POLY1305, 14),
        ],
        1000,
    ):
        client.ask(add(spi, key=key, encrypt=encrypt))
        (record,) = client.ask(build(SADB_GET, 3, ext.sa(spi) + pair()))
        assert ext.read_sa(dict(extensions(record))[1])[3:5] == (auth, encrypt)


def test_windows_and_flags_in_records(client: Client) -> None:
    def record(spi: int) -> dict[int, bytes]:
        (answer,) = client.ask(build(SADB_GET, 3, ext.sa(spi) + pair()))
        return dict(extensions(answer))

    client.ask(add(1001, replay=255))
    assert ext.read_sa(record(1001)[1])[1] == 255
    assert 26 not in record(1001)
    client.ask(add(1002, replay=4, extra=ext.sa_replay(2041)))
    assert ext.read_sa(record(1002)[1])[1] == 255
    assert ext.read_sa_replay(record(1002)[26]) == 2048
    client.ask(add(1003, replay=4, extra=ext.sa_replay(0), flags=0x440))
    assert ext.read_sa(record(1003)[1])[1] == 0
    assert ext.read_sa(record(1003)[1])[5] == 0x440


def test_the_record_of_a_moving_sa(client: Client) -> None:
    client.ask(add(1001, extra=ext.lifetime(3, bytes=10**12) + ext.lifetime(4)))
    sa = client.driver.engine.sad.by_spi[1001]
    sa.traffic.sequence = 2**32 + 7
    sa.traffic.packets = 2**32 + 8
    sa.traffic.bytes = 10**11
    sa.traffic.first_used = 1_700_000_001
    (answer,) = client.ask(build(SADB_GET, 3, ext.sa(1001) + pair()))
    found = dict(extensions(answer))
    assert list(found) == [1, 19, 3, 4, 2, 5, 6, 9]
    assert ext.read_sa2(found[19]) == (MODE_TUNNEL, 7, 100)
    assert ext.read_lifetime(found[2]) == (8, 10**11, 1_700_000_000, 1_700_000_001)


def natt(sport: int = 4500, dport: int = 4501) -> bytes:
    return ext.nat_t_type(2) + ext.nat_t_port(21, sport) + ext.nat_t_port(22, dport)


def test_nat_t_in_records(client: Client) -> None:
    original = address(23, "10.1.1.1") + address(24, B)
    client.ask(add(1001, mode=MODE_TRANSPORT, extra=natt() + original))
    (record,) = client.ask(build(SADB_DUMP, 3))
    assert list(dict(extensions(record))) == [1, 19, 2, 5, 6, 9, 20, 21, 22, 23]  # OAr is the SA's own destination
    client.ask(add(1002, mode=MODE_TUNNEL, extra=natt() + original))
    (record, _) = client.ask(build(SADB_DUMP, 3))
    assert list(dict(extensions(record))) == [1, 19, 2, 5, 6, 9, 20, 21, 22]


def test_an_sa_that_moves_takes_its_nat_t_data_from_the_request(client: Client) -> None:
    client.ask(add(1001, extra=natt()))
    moved = ext.sa(1001) + ext.sa2(2, 100) + pair() + address(27, A) + address(28, C)
    client.ask(build(SADB_UPDATE, 3, moved + natt(1, 2)))
    sa = client.driver.engine.sad.by_spi[1001]
    assert sa.natt == (1, 2)
    back = ext.sa(1001) + ext.sa2(2, 100) + pair(A, C) + address(27, A) + address(28, B)
    client.ask(build(SADB_UPDATE, 3, back + ext.nat_t_type(2)))
    assert sa.natt is None


def test_an_sa_moves_to_other_addresses(client: Client) -> None:
    """X_NEW_ADDRESS: the same SA, counters and age included, in another head, before the first older one."""
    driver = client.driver
    client.ask(add(1001, A, C))
    driver.now += 1
    client.ask(add(1002, A, B))
    driver.now += 1
    client.ask(add(1003, A, C))
    sa = driver.engine.sad.by_spi[1002]
    sa.traffic.packets = 5
    moved = build(SADB_UPDATE, 3, ext.sa(1002) + ext.sa2(2, 100) + pair() + address(27, A) + address(28, C))
    (answer,) = client.ask(moved)
    assert dict(extensions(answer)).keys() == {1, 19, 5, 6, 27, 28}
    driver.tick()
    assert dumped(client) == [1003, 1002, 1001]
    assert driver.engine.sad.by_spi[1002] is sa
    assert sa.traffic.packets == 5
    assert sa.dst == sockaddr.from_text(C)
    driver.restart()
    assert dumped(driver.client()) == [1003, 1002, 1001]


@pytest.mark.parametrize(("kind", "src", "dst"), [(27, C, B), (28, A, C)])
def test_one_new_address_is_enough(client: Client, kind: int, src: str, dst: str) -> None:
    client.ask(add(1001))
    (answer,) = client.ask(build(SADB_UPDATE, 3, ext.sa(1001) + ext.sa2(2, 100) + pair() + address(kind, C)))
    assert dict(extensions(answer)).keys() == {1, 19, 5, 6, kind}
    sa = client.driver.engine.sad.by_spi[1001]
    assert (sa.src, sa.dst) == (sockaddr.from_text(src), sockaddr.from_text(dst))


def test_there_is_always_room_between_two_sas(client: Client) -> None:
    """Orders have gaps; when one is used up its head is numbered anew."""
    driver = client.driver
    client.ask(add(1001, A, C))
    driver.now += 10
    client.ask(add(1002, A, C))
    driver.now -= 5
    steps = ORDER_STEP.bit_length() + 5
    for spi in range(2000, 2000 + steps):
        client.ask(add(spi, A, B))
        client.ask(build(SADB_UPDATE, 3, ext.sa(spi) + ext.sa2(2, 100) + pair() + address(27, A) + address(28, C)))
    driver.tick()
    wanted = [1002, *range(2000, 2000 + steps), 1001]
    assert dumped(client) == wanted
    driver.restart()
    assert dumped(driver.client()) == wanted


def test_an_update_without_lifetimes(client: Client) -> None:
    """Takes a mature SA's lifetimes away, leaves a dying one's, and makes it mature again."""
    driver = client.driver
    limits = ext.lifetime(3, addtime=30) + ext.lifetime(4, addtime=10)
    client.ask(add(1001, extra=limits))
    plain = build(SADB_UPDATE, 3, ext.sa(1001) + ext.sa2(2, 100) + pair())
    client.ask(plain)
    sa = driver.engine.sad.by_spi[1001]
    assert sa.hard is None
    client.ask(build(SADB_UPDATE, 3, ext.sa(1001) + ext.sa2(2, 100) + pair() + limits))
    driver.now += 11
    driver.tick()
    assert sa.state == 2
    client.ask(plain)
    assert (sa.state, sa.hard) == (SASTATE_MATURE, (0, 0, 30, 0))


def test_a_failed_update_leaves_a_larval_sa(client: Client) -> None:
    client.ask(getspi(1001))
    client.ask(add(1001, type=SADB_UPDATE, key=bytes(5)))
    assert client.driver.engine.sad.by_spi[1001].state == SASTATE_LARVAL


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_failed_update_leaves(client: Client, restart: bool) -> None:
    """Algorithms and flags of the request, and neither key nor window; another UPDATE still completes the SA."""
    driver = client.driver
    client.ask(getspi(1001))
    secret = bytes(range(20)) + bytes(16)
    wrong = add(1001, type=SADB_UPDATE, key=secret, encrypt=EALG_AESGCM16, replay=4, flags=0x400, extra=natt(0, 1))
    assert client.errno(wrong) == EINVAL
    if restart:
        driver.restart()
        client = driver.client()
    (record,) = client.ask(build(SADB_DUMP, 0))
    assert dict(extensions(record)).keys() == {1, 19, 2, 5, 6}
    assert ext.read_sa(dict(extensions(record))[1]) == (1001, 0, SASTATE_LARVAL, 13, EALG_AESGCM16, 0x400)
    assert client.errno(add(1001, type=SADB_UPDATE)) == 0
    (record,) = client.ask(build(SADB_DUMP, 0))
    assert ext.read_sa(dict(extensions(record))[1]) == (1001, 0, SASTATE_MATURE, 0, 12, 0)


def test_original_addresses_are_kept_as_they_came(client: Client) -> None:
    """With their port; one whose address is the SA's own is not kept, whatever its port."""
    oai = ext.address(23, sockaddr.from_text(C, 7), protocol=255)
    client.ask(add(1001, mode=MODE_TRANSPORT, extra=natt() + oai + ext.address(24, sockaddr.from_text(B, 7))))
    (record,) = client.ask(build(SADB_DUMP, 0))
    found = dict(extensions(record))
    assert found[23] == oai
    assert 24 not in found


def test_many_heads_between_two_addresses(client: Client) -> None:
    sad = client.driver.engine.sad
    for reqid in range(1, 2001):
        client.driver.engine.head_for(50, 2, reqid, sockaddr.from_text(A), sockaddr.from_text(B))
    for reqid in (1, 1000, 2000):
        found = sad.find_head(50, 2, reqid, sockaddr.from_text(A), sockaddr.from_text(B))
        assert found is not None
        assert found.reqid == reqid
    newest = sad.find_head(50, 2, 0, sockaddr.from_text(A), sockaddr.from_text(B))
    assert newest is not None
    assert newest.reqid == 2000
    for head in list(sad.heads.values())[1990:]:
        sad.remove_head(head)
    newest = sad.find_head(50, 2, 0, sockaddr.from_text(A), sockaddr.from_text(B))
    assert newest is not None
    assert newest.reqid == 1990
    assert len(sad.heads_between(50, sockaddr.from_text(A), sockaddr.from_text(B))) == 1990
