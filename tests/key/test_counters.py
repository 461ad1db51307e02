"""No sequence number, IV or received packet twice: reservations, the ledger of keys, restarts of both kinds."""

from __future__ import annotations

import pytest

from ipsectools.kernel.key.counters import RECEIVE_BLOCK, RECEIVE_BLOCK_MAX
from ipsectools.kernel.key.ledger import BLOCK
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.kernel.key.tables import FIRST_BLOCK, LEDGER, META, TRAFFIC
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import (
    EALG_AESCTR,
    EALG_AESGCM16,
    SADB_DUMP,
    SADB_FLUSH,
    SADB_GETSPI,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build
from tests.key.driver import A, B, Client, Driver, add, pair
from tests.key.sender import Sender


@pytest.fixture
def client() -> Client:
    return Driver().client()


def sa_of(client: Client, spi: int = 0x1000) -> SecurityAssociation:
    return client.driver.engine.sad.by_spi[spi]


def gcm(spi: int = 0x1000, key: bytes = bytes(20)) -> bytes:
    return add(spi, key=key, encrypt=EALG_AESGCM16)


def test_first_reservation(client: Client) -> None:
    client.ask(add())
    traffic = sa_of(client).traffic
    assert (traffic.sequence, traffic.sequence_limit, traffic.iv, traffic.iv_limit) == (0, FIRST_BLOCK, 0, 0)
    assert sa_of(client).ledger_key == b""


def test_a_new_sa_is_one_row(client: Client) -> None:
    """What only an SA that sends needs is written when it sends."""
    rows = client.driver.store.rows
    client.ask(gcm(0x1000))
    assert not list(rows(TRAFFIC)) and not list(rows(LEDGER))
    Sender(client.driver).send(sa_of(client))
    assert len(list(rows(TRAFFIC))) == len(list(rows(LEDGER))) == 1


@pytest.mark.parametrize("clean", [True, False])
def test_restart(client: Client, clean: bool) -> None:
    driver = client.driver
    sender = Sender(driver)
    client.ask(add(0x1000))
    client.ask(gcm(0x1001))
    client.ask(add(0x1002))  # never used
    for _ in range(5):
        sender.send(sa_of(client, 0x1000))
        sender.send(sa_of(client, 0x1001))
    for _ in range(3):
        driver.restart(clean)
        client = driver.client()
        for _ in range(5):
            sender.send(sa_of(client, 0x1000))
            sender.send(sa_of(client, 0x1001))
    if clean:
        assert sa_of(client, 0x1000).traffic.sequence == 20
        assert sa_of(client, 0x1001).traffic.iv == 20
        assert sa_of(client, 0x1000).traffic.packets == 20
        assert sa_of(client, 0x1002).traffic.sequence == 0
    else:
        assert sa_of(client, 0x1000).traffic.sequence == 3 * FIRST_BLOCK + 5


@pytest.mark.parametrize("ends", [(False, True), (False, True, True), (False, False, True), (True, False, True)])
def test_nothing_is_used_again_when_a_clean_end_follows_one_without_warning(ends: tuple[bool, ...]) -> None:
    """The owner in between sends nothing, so the rows are as old at its clean end as they were at its start."""
    driver = Driver()
    client = driver.client()
    sender = Sender(driver)
    client.ask(add(0x1000))
    client.ask(gcm(0x1001))
    client.ask(add(0x1002, B, A, replay=32))
    driver.engine.reserve_received(sa_of(client, 0x1002), 1, driver.now)
    driver.store.commit()
    for _ in range(5):
        sender.send(sa_of(client, 0x1000))
        sender.send(sa_of(client, 0x1001))
    received = sa_of(client, 0x1002).traffic
    received.received_high = received.received_limit
    last = received.received_high
    for clean in ends:
        driver.restart(clean)
        client = driver.client()
    for _ in range(5):
        sender.send(sa_of(client, 0x1000))
        sender.send(sa_of(client, 0x1001))
    assert sa_of(client, 0x1002).traffic.received_high >= last


def test_a_command_that_only_looks_does_not_make_an_end_without_warning_a_clean_one() -> None:
    driver = Driver()
    client = driver.client()
    sender = Sender(driver)
    client.ask(gcm(0x1001))
    sender.send(sa_of(client, 0x1001))
    driver.store.rollback()
    looking = type(driver.engine)(driver.store, driver.sysctl.__getitem__)
    looking.load(driver.now, moves_traffic=False)
    looking.save_traffic(driver.now, clean=True)
    driver.store.commit()
    driver.engine = driver.make_engine()
    sender.send(sa_of(driver.client(), 0x1001))


@pytest.mark.parametrize("clean_after", [False, True])
def test_an_end_without_warning_shows_in_no_dump_until_something_is_sent(client: Client, clean_after: bool) -> None:
    driver = client.driver
    client.ask(add(0x1000))
    client.ask(build(SADB_GETSPI, SATYPE_ESP, pair() + ext.spirange(0x2000, 0x2000) + ext.sa2(2, 9)))
    for packets in (0, 7):
        traffic = sa_of(client).traffic
        traffic.sequence, traffic.packets, traffic.sequence_limit = packets, packets, FIRST_BLOCK
        driver.tick()
        dump = client.ask(build(SADB_DUMP, 0))
        driver.restart(clean=False)
        client = driver.client()
        assert client.ask(build(SADB_DUMP, 0)) == dump
        driver.restart(clean=clean_after)
        client = driver.client()
        assert client.ask(build(SADB_DUMP, 0)) == dump
    Sender(driver).send(sa_of(client))
    assert sa_of(client).shown_sequence % FIRST_BLOCK == 1  # behind a block for each end
    assert sa_of(client, 0x2000).traffic.sequence == 0


def test_a_commit_that_fails_makes_nothing_certain(client: Client) -> None:
    driver = client.driver
    sender = Sender(driver)
    client.ask(gcm(0x1001))
    sender.send(sa_of(client, 0x1001))
    driver.restart(clean=False)
    client = driver.client()
    driver.engine.reserve(sa_of(client, 0x1001))
    driver.store.rollback()
    driver.engine.load(driver.now)
    driver.restart(clean=True)
    sender.send(sa_of(driver.client(), 0x1001))


def test_a_process_that_never_sends_may_end_without_warning() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(add())
    driver.engine.save_traffic(driver.now, clean=True)
    driver.store.commit()
    for _ in range(3):
        driver.engine = type(driver.engine)(driver.store, driver.sysctl.__getitem__)
        driver.engine.load(driver.now, moves_traffic=False)
    assert driver.engine.sad.by_spi[0x1000].traffic.sequence == 0


def test_blocks_run_out(client: Client) -> None:
    sender = Sender(client.driver)
    client.ask(gcm())
    traffic = sa_of(client).traffic
    client.driver.engine.reserve(sa_of(client))
    traffic.sequence, traffic.iv = FIRST_BLOCK - 3, BLOCK - 3
    for _ in range(10):
        sender.send(sa_of(client))
    assert (traffic.sequence, traffic.iv) == (FIRST_BLOCK + 7, BLOCK + 7)
    client.driver.restart(clean=False)
    assert sa_of(client).traffic.sequence == 2 * FIRST_BLOCK
    assert sa_of(client).traffic.iv == 2 * BLOCK


def test_asking_early_loses_nothing(client: Client) -> None:
    client.ask(gcm())
    traffic = sa_of(client).traffic
    client.driver.engine.reserve(sa_of(client))
    traffic.sequence, traffic.iv = FIRST_BLOCK // 2, BLOCK // 2
    client.driver.engine.reserve(sa_of(client))
    assert (traffic.sequence, traffic.sequence_limit) == (FIRST_BLOCK // 2, 2 * FIRST_BLOCK)
    assert (traffic.iv, traffic.iv_limit) == (BLOCK // 2, 2 * BLOCK)
    client.driver.engine.reserve(sa_of(client))
    assert (traffic.sequence_limit, traffic.iv_limit) == (2 * FIRST_BLOCK, 2 * BLOCK)


@pytest.mark.parametrize("end", ["flush", "flush and kill", "kill"])
def test_a_key_that_comes_back_continues(client: Client, end: str) -> None:
    driver = client.driver
    sender = Sender(driver)
    client.ask(gcm())
    for _ in range(7):
        sender.send(sa_of(client))
    if "flush" in end:
        client.ask(build(SADB_FLUSH, 0))
        sender.sequences.clear()  # the next SA is another one, which counts from 1 again
    if "kill" in end:
        driver.restart(clean=False)
        client = driver.client()
    if "flush" in end:
        client.ask(gcm())
    sender.send(sa_of(client))
    assert sa_of(client).traffic.iv == BLOCK + 1
    client.ask(gcm(0x2000, key=bytes(19) + b"x"))  # another salt: another key
    assert sa_of(client, 0x2000).traffic.iv == 0


def test_two_sas_with_one_key_share_its_counter(client: Client) -> None:
    sender = Sender(client.driver)
    client.ask(gcm(0x1000))
    client.ask(gcm(0x1001))
    one, two = sa_of(client, 0x1000), sa_of(client, 0x1001)
    client.driver.engine.reserve(one)
    client.driver.engine.reserve(two)
    assert (one.traffic.iv, two.traffic.iv) == (0, BLOCK)
    one.traffic.iv, two.traffic.iv = BLOCK - 2, 2 * BLOCK - 2
    client.driver.engine.reserve(one)  # nothing behind its block is free: it uses that up first
    assert (one.traffic.iv, one.traffic.iv_limit) == (BLOCK - 2, BLOCK)
    for _ in range(5):
        sender.send(one)
        sender.send(two)
    assert {iv for _, iv in sender.ivs} == {
        *range(BLOCK - 2, BLOCK),
        *range(2 * BLOCK - 2, 2 * BLOCK + 3),
        *range(3 * BLOCK, 3 * BLOCK + 3),
    }


def test_one_key_in_two_algorithms_shares_its_counter(client: Client) -> None:
    """AES-CTR and AES-GCM draw the same key stream from the same key, salt and IV."""
    client.ask(gcm(0x1000))
    client.ask(add(0x1001, key=bytes(20), encrypt=EALG_AESCTR))
    for spi in (0x1000, 0x1001):
        client.driver.engine.reserve(sa_of(client, spi))
    assert (sa_of(client, 0x1000).traffic.iv, sa_of(client, 0x1001).traffic.iv) == (0, BLOCK)


@pytest.mark.parametrize("damage", ["secret gone", "mark of another kind", "secret of another kind"])
def test_without_a_ledger_counter_keys_do_not_send(client: Client, damage: str) -> None:
    driver = client.driver
    client.ask(gcm())
    driver.engine.reserve(sa_of(client))
    client.ask(add(0x1001))
    if damage == "secret gone":
        driver.store.delete(META, "ledger_secret")
    elif damage == "secret of another kind":
        driver.store.put(META, ("ledger_secret", 5))
    else:
        driver.store.put(LEDGER, (bytes(32), b"abc"))
    driver.store.commit()
    driver.restart(clean=False)
    client = driver.client()
    assert "cannot be read" in sa_of(client).no_send_reason
    assert sa_of(client, 0x1001).no_send_reason == ""
    client.ask(gcm(0x1002, key=bytes(range(20))))
    assert "cannot be read" in sa_of(client, 0x1002).no_send_reason
    assert sa_of(client, 0x1002).traffic.iv_limit == 0


def test_a_mark_that_is_gone_is_noticed(client: Client) -> None:
    driver = client.driver
    client.ask(gcm(0x1000))
    client.ask(gcm(0x1001, key=bytes(range(20))))
    client.ask(gcm(0x1002, key=bytes(range(20))))
    for spi in (0x1000, 0x1002):
        driver.engine.reserve(sa_of(client, spi))
    key = driver.engine.counters.ledger.fingerprint(bytes(range(20)))
    driver.store.delete(LEDGER, key)
    driver.store.commit()
    driver.restart(clean=True)
    client = driver.client()
    engine = driver.engine
    assert sa_of(client, 0x1000).no_send_reason == ""  # what it has was reserved
    assert "lost" in sa_of(client, 0x1002).no_send_reason
    engine.reserve(sa_of(client, 0x1001))
    assert "lost" in sa_of(client, 0x1001).no_send_reason
    assert sa_of(client, 0x1001).traffic.iv_limit == 0
    client.ask(gcm(0x1003, key=bytes(range(1, 21))))
    assert "lost" in sa_of(client, 0x1003).no_send_reason


def test_keys_are_not_in_the_ledger_nor_in_texts(client: Client) -> None:
    key = bytes(range(20))
    client.ask(gcm(key=key))
    client.driver.engine.reserve(sa_of(client))
    assert list(client.driver.store.rows(LEDGER))
    assert all(key not in bytes(row[0]) for row in client.driver.store.rows(LEDGER))
    assert key.hex() not in repr(sa_of(client))


def test_old_esp_does_not_send(client: Client) -> None:
    client.ask(add(flags=1))
    assert "1827" in sa_of(client).no_send_reason


def test_received_packets_are_reserved_too(client: Client) -> None:
    driver = client.driver
    client.ask(add(replay=32))
    sa = sa_of(client)
    limits = []
    now = float(driver.now)
    for high in (1, 65, 200, 500, 1200):
        driver.engine.reserve_received(sa, high, now)
        limits.append(sa.traffic.received_limit - high)
        sa.traffic.received_high = high
        now += 0.5
    driver.store.commit()
    assert limits == [RECEIVE_BLOCK << 2 * times for times in range(5)]
    limit = sa.traffic.received_limit
    driver.restart(clean=False)
    assert sa_of(client).traffic.received_high == limit
    driver.engine.reserve_received(sa_of(client), limit + 1, now)
    assert sa_of(client).traffic.received_limit == limit + 1 + RECEIVE_BLOCK


def test_no_number_beyond_the_last_is_reserved_for_receiving(client: Client) -> None:
    """After an end without warning the window would begin in a second round, in which every old packet is new."""
    driver = client.driver
    client.ask(add(replay=4))
    driver.engine.reserve_received(sa_of(client), 0xFFFFFFF0, driver.now)
    driver.store.commit()
    driver.restart(clean=False)
    assert sa_of(client).traffic.received_high == 0xFFFFFFFF


def test_reservations_at_the_end_of_64_bits(client: Client) -> None:
    """What is reserved there is in the row as what it is, not as none."""
    driver = client.driver
    client.ask(add(replay=4, flags=0x400))
    traffic = sa_of(client).traffic
    traffic.sequence = traffic.sequence_limit = 2**64 - 100
    driver.engine.reserve(sa_of(client))
    driver.engine.reserve_received(sa_of(client), 2**64 - 100, driver.now)
    driver.store.commit()
    driver.restart(clean=False)
    assert sa_of(client).traffic.sequence > 2**64 - 100
    assert sa_of(client).traffic.received_high > 2**64 - 100


def test_the_receive_block_has_bounds(client: Client) -> None:
    driver = client.driver
    client.ask(add(replay=32))
    sa = sa_of(client)
    for high in range(100):
        driver.engine.reserve_received(sa, high, driver.now)
    assert sa.receive_block == RECEIVE_BLOCK_MAX
    driver.engine.reserve_received(sa, 100, driver.now + 100)
    assert sa.receive_block == RECEIVE_BLOCK


def test_clean_end_keeps_the_window(client: Client) -> None:
    driver = client.driver
    client.ask(add(replay=32))
    sa = sa_of(client)
    driver.engine.reserve_received(sa, 10, driver.now)
    sa.traffic.received_high, sa.traffic.packets = 10, 10
    driver.restart()
    assert sa_of(client).traffic.received_high == 10


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("sa", "hard", b"short"), ("sa", "natt", b"x"), ("sa", "head", 99), ("sa_head", "src", None)],
)
def test_rows_that_do_not_fit_are_noticed(client: Client, table: str, column: str, value: object) -> None:
    client.ask(add())
    client.driver.store._db.execute(f"UPDATE {table} SET {column} = ?", (value,))
    with pytest.raises((ValueError, KeyError)):
        client.driver.restart()


def test_big_numbers_survive(client: Client) -> None:
    driver = client.driver
    client.ask(add(flags=0x400))
    sa = sa_of(client)
    sa.traffic.sequence = sa.traffic.sequence_limit = 2**64 - 1
    sa.traffic.packets = 1
    driver.restart()
    assert sa_of(client).traffic.sequence == 2**64 - 1


def test_statistics_are_saved_bit_by_bit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick writes a bounded number of rows; in the end all are written."""
    monkeypatch.setattr("ipsectools.kernel.key.deadlines.SAVED_PER_TICK", 3)
    driver = client.driver
    save = driver.engine.counters.save
    monkeypatch.setattr(driver.engine.counters, "save", lambda moved: save(moved, 3))
    for spi in range(1000, 1010):
        client.ask(add(spi, A, B))
        sa_of(client, spi).traffic.packets = 7
    unsaved = []
    for _ in range(5):
        driver.tick()
        unsaved.append(sum(sa.saved_packets != 7 for sa in driver.engine.sad.by_spi.values()))
    assert unsaved == [7, 4, 1, 0, 0]


def test_an_sa_that_ends_in_the_second_in_which_it_moved_leaves_no_counters(client: Client) -> None:
    """Else the next SA with its number begins with them after a restart."""
    driver = client.driver
    client.ask(add(extra=ext.lifetime(3, bytes=10) + ext.lifetime(4, bytes=5)))
    sa = sa_of(client)
    sa.traffic.packets, sa.traffic.bytes = 3, 30
    driver.tick()
    assert driver.engine.sad.by_spi == {}
    assert list(driver.store.rows(TRAFFIC)) == []


def test_counters_of_no_sa_are_removed_at_the_start(client: Client) -> None:
    """As an earlier ipsecd may have left them."""
    driver = client.driver
    client.ask(add())
    sa = sa_of(client)
    sa.traffic.packets = 3
    driver.tick()
    (row,) = driver.store.rows(TRAFFIC)
    client.ask(build(SADB_FLUSH, 0))
    driver.store.put(TRAFFIC, row)
    driver.store.commit()
    driver.restart(clean=False)
    client = driver.client()
    client.ask(add())
    assert sa_of(client).id == sa.id
    driver.restart(clean=False)
    assert sa_of(driver.client()).traffic.packets == 0
