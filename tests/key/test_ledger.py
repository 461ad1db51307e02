"""No (key, IV) pair twice, wherever the ledger comes from: new, of another boot, machine or file, trimmed, undone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from ipsectools.kernel.key.dispatch import Dispatcher
from ipsectools.kernel.key.ledger import BLOCK, IDS, Ledger, draw_iv, origin
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.kernel.key.tables import LEDGER, META
from ipsectools.kernel.store import Store
from ipsectools.pfkey.constants import EALG_AESCTR, EALG_AESGCM16, EALG_CHACHA20POLY1305, SADB_FLUSH
from ipsectools.pfkey.message import build
from tests.key.driver import A, B, Driver, add
from tests.key.sender import Sender

STEP = 1 << 40
COUNTER_KEYS = [(EALG_AESCTR, 20), (EALG_AESGCM16, 20), (EALG_CHACHA20POLY1305, 36)]
KEY = bytes(range(20))


def gcm(spi: int = 0x1000, src: str = A, dst: str = B) -> bytes:
    return add(spi, src, dst, key=KEY, encrypt=EALG_AESGCM16)


def sa_of(driver: Driver, spi: int = 0x1000) -> SecurityAssociation:
    return driver.engine.sad.by_spi[spi]


@pytest.mark.parametrize(("encrypt", "size"), COUNTER_KEYS)
def test_an_unknown_key_begins_where_the_draw_says(encrypt: int, size: int) -> None:
    driver = Driver(make_ledger=lambda store: Ledger(store, draw=lambda: 4711))
    driver.client().ask(add(key=bytes(size), encrypt=encrypt))
    traffic = sa_of(driver).traffic
    assert (traffic.iv, traffic.iv_limit) == (0, 0)
    driver.engine.reserve(sa_of(driver))
    assert (traffic.iv, traffic.iv_limit) == (4711, 4711 + BLOCK)


def test_draws_are_spread_below_2_to_the_62() -> None:
    draws = [draw_iv() for _ in range(2000)]
    assert max(draws) < 1 << 62
    assert len({draw >> 59 for draw in draws}) == 8  # each eighth is missed once in 10**115 runs
    assert len(set(draws)) == len(draws)


def test_a_thousand_fresh_ledgers_two_ways_with_kills_and_flushes() -> None:
    """One key for both directions, as FreeBSD's own tests have it, at two hosts which lose all they knew each time."""
    used: set[tuple[bytes, int]] = set()
    for turn in range(500):
        for spi, src, dst in ((0x1000, A, B), (0x1001, B, A)):
            driver = Driver(make_ledger=Ledger)
            sender = Sender(driver, used)
            driver.client().ask(gcm(spi, src, dst))
            sender.send(sa_of(driver, spi), 2)
            if turn % 4 == 1:
                driver.restart(clean=False)
            elif turn % 4 == 2:
                driver.client().ask(build(SADB_FLUSH, 0))
                driver.client().ask(gcm(spi, src, dst))
            elif turn % 4 == 3:
                driver.client().ask(gcm(spi + 2, src, dst))
                sender.send(sa_of(driver, spi + 2), 2)
            sender.send(sa_of(driver, spi), 2)
    assert len(used) == 500 * 2 * 4 + 125 * 2 * 2


def test_kill_and_flush_again_and_again() -> None:
    driver = Driver(make_ledger=Ledger)
    sender = Sender(driver)
    for turn in range(300):
        if turn % 3 != 1:
            driver.client().ask(build(SADB_FLUSH, 0))
            driver.client().ask(gcm())
            sender.sequences.clear()  # the next SA is another one, which counts from 1 again
        sender.send(sa_of(driver), 2)
        if turn % 3:
            driver.restart(clean=turn % 2 == 0)
    assert len(sender.ivs) == 600


class World:
    """A state file, and the files in which boot and machine are named. The n-th draw is n times 2^40."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.db"
        self.boot, self.machine = directory / "boot_id", directory / "machine-id"
        self.boot.write_text("one\n")
        self.machine.write_text("one\n")
        self.draws = count(0, STEP)
        self.driver = Driver(make_ledger=self.make_ledger, path=str(self.path))

    def make_ledger(self, store: Store) -> Ledger:
        ids = (str(self.boot), str(self.machine))
        return Ledger(store, draw=self.draws.__next__, find_origin=lambda path: origin(path, ids))

    def reboot(self) -> None:
        self.boot.write_text("two\n")

    def another_machine(self) -> None:
        self.machine.write_text("two\n")

    def restored_copy(self) -> None:
        copy = self.path.with_name("copy")
        shutil.copy2(self.path, copy)
        copy.replace(self.path)

    def no_boot_id(self) -> None:
        self.boot.unlink(missing_ok=True)

    def empty_machine_id(self) -> None:
        """As images of containers have it."""
        self.machine.write_text("")

    def older_release(self) -> None:
        store = Store(str(self.path), Dispatcher.TABLES)
        store.delete(META, "ledger_origin")
        store.put(META, ("ledger_floor", bytes(8)))
        store.commit()
        store.close()

    def marks_without_their_secret(self) -> None:
        store = Store(str(self.path), Dispatcher.TABLES)
        store.delete(META, "ledger_secret")
        store.commit()
        store.close()
        self.reboot()


@pytest.mark.parametrize("again", ["same SA", "same key"])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    "between",
    [
        World.reboot,
        World.another_machine,
        World.restored_copy,
        World.no_boot_id,
        World.empty_machine_id,
        World.older_release,
        World.marks_without_their_secret,
    ],
)
def test_what_was_written_elsewhere_is_void(
    tmp_path: Path, between: Callable[[World], None], clean: bool, again: str
) -> None:
    world = World(tmp_path)
    driver = world.driver
    driver.client().ask(gcm())
    Sender(driver).send(sa_of(driver), 3)
    assert sa_of(driver).traffic.iv == 3
    for turn, happens in ((1, partial(between, world)), (2, lambda: None)):
        driver.restart(clean, happens)
        if again == "same key":
            driver.client().ask(build(SADB_FLUSH, 0))
            driver.client().ask(gcm())
        Sender(driver).send(sa_of(driver))
        drawn, further = divmod(sa_of(driver).traffic.iv, STEP)
        if between in (World.no_boot_id, World.empty_machine_id):
            assert (drawn, further) == (turn, 1)  # nobody can tell where it was written: each start is a new one
        else:
            assert drawn == 1
            assert further == 1 if turn == 1 else 1 < further <= BLOCK + 1


def test_numbers_of_an_sa_go_on_where_its_ivs_do_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    driver = world.driver
    driver.client().ask(gcm())
    sender = Sender(driver)
    sender.send(sa_of(driver), 3)
    driver.restart(True, world.reboot)
    sender.send(sa_of(driver))
    assert (sa_of(driver).traffic.sequence, sa_of(driver).traffic.iv) == (4, STEP + 1)
    driver.restart(False, world.no_boot_id)
    sender.send(sa_of(driver))
    assert (sa_of(driver).traffic.sequence, sa_of(driver).traffic.iv) == (5, 2 * STEP + 1)


def test_a_start_in_the_same_place_reads_the_ledger(tmp_path: Path) -> None:
    world = World(tmp_path)
    driver = world.driver
    driver.client().ask(gcm())
    for _ in range(3):
        Sender(driver).send(sa_of(driver))
        driver.restart(True)
    assert sa_of(driver).traffic.iv == 3
    driver.client().ask(build(SADB_FLUSH, 0))
    driver.client().ask(gcm())
    Sender(driver).send(sa_of(driver))
    assert sa_of(driver).traffic.iv == BLOCK + 1


def test_the_origin_names_boot_machine_and_file(tmp_path: Path) -> None:
    """With the real files where there are such; the machine id may be missing, as in a container."""
    path = tmp_path / "state.db"
    path.touch()
    found = origin(str(path))
    if found:
        assert found.split()[0] == Path(IDS[0]).read_bytes().strip()
        assert found.endswith(b" %d" % path.stat().st_ino)
    assert origin(str(path)) == found
    assert origin(str(tmp_path / "missing")) == b""


def test_a_reservation_that_was_undone_leaves_no_counter_behind_its_limit() -> None:
    """The data path's counters only rise: what a draw set them to stays if the draw could not be kept."""
    draws = iter((5 * STEP, STEP, 0))
    driver = Driver(make_ledger=lambda store: Ledger(store, draw=draws.__next__))
    driver.client().ask(gcm())
    for _ in range(2):
        driver.engine.reserve(sa_of(driver))
        driver.store.rollback()
        driver.engine.load(driver.now)
        assert sa_of(driver).traffic.iv_limit == 0
    driver.engine.reserve(sa_of(driver))
    traffic = sa_of(driver).traffic
    assert (traffic.iv, traffic.iv_limit) == (5 * STEP, 5 * STEP + BLOCK)


def test_the_ledger_forgets_only_keys_without_an_sa() -> None:
    """A key that was forgotten is as good as one that was never seen."""
    store = Store(None, (META, LEDGER))
    draws = count(0, STEP)
    ledger = Ledger(store, limit=3, draw=draws.__next__)
    assert ledger.enter({})
    ledger.load({})
    held = ledger.fingerprint(b"held")
    ledger.hold(held)
    ledger.reserve(held, 0)
    old = ledger.fingerprint(b"old")
    for _ in range(3):
        ledger.reserve(old, 0)
    for number in range(10):
        ledger.reserve(ledger.fingerprint(b"%d" % number), 0)
    again = Ledger(store, limit=3, draw=draws.__next__)
    meta = {str(row[0]): row[1] for row in store.rows(META)}
    assert not again.enter(meta)
    again.load(meta)
    for each in (ledger, again):
        assert each.mark(held) == BLOCK
        assert each.mark(old) is None
        assert each.mark(each.fingerprint(b"0")) is None
        assert each.mark(each.fingerprint(b"9")) == 11 * STEP + BLOCK
    assert len(list(store.rows(LEDGER))) <= 5
    assert ledger.reserve(old, 0)[0] == 12 * STEP
