"""The traffic page: counters go on exactly after every end of a process, and a page that is damaged is not believed."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from ipsectools.datapath.kept_traffic import kept
from ipsectools.esp.replay import ACCEPTED, ReplayWindow, ring_length
from ipsectools.esp.traffic import COUNTERS, NO_LIMIT, Traffic
from ipsectools.kernel.key import page as pages
from ipsectools.kernel.key.dispatch import Dispatcher
from ipsectools.kernel.key.page import Page, make_page, open_page
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.kernel.key.tables import FIRST_BLOCK
from ipsectools.kernel.store import Store
from ipsectools.pfkey.constants import EALG_AESGCM16, SADB_FLUSH
from ipsectools.pfkey.message import build
from tests.key.driver import A, B, Driver, add

ID = bytes(range(16))
NOTHING = (0,) * len(COUNTERS)

KNOWN_MACHINE = os.path.exists("/etc/machine-id") and os.path.getsize("/etc/machine-id") > 0
"""A bare machine may not have an id."""


def gcm(spi: int = 0x1000) -> bytes:
    return add(spi, key=bytes(range(20)), encrypt=EALG_AESGCM16)


def inbound(spi: int = 0x2000, window: int = 8) -> bytes:
    return add(spi, B, A, replay=window)


def sa_of(driver: Driver, spi: int = 0x1000) -> SecurityAssociation:
    return driver.engine.sad.by_spi[spi]


def window_of(sa: SecurityAssociation) -> ReplayWindow:
    return ReplayWindow(sa.window_packets, esn=sa.esn, traffic=sa.traffic)


def take(window: ReplayWindow, number: int) -> bool:
    return window.check(number & 0xFFFFFFFF) >= 0 and window.update(number & 0xFFFFFFFF) == ACCEPTED


# --- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "traffic")


def test_slots_are_found_again(path: str) -> None:
    page = make_page(path, ID)
    given = {id: (id, id + 1, id, id, id, 7, 8, 9) for id in range(1, 2000)}
    slots = {id: page.take(id, id * 3, 0x1000 + id, 128, counters) for id, counters in given.items()}
    for id in range(1, 2000, 3):
        page.release(slots.pop(id))
    again = open_page(path, ID)
    assert again.slots == {id * 3: slot for id, slot in slots.items()}
    for id, slot in slots.items():
        assert again.counters(slot, id, id * 3, 0x1000 + id, 128) == given[id]
        for other in ((id + 1, id * 3, 0x1000 + id, 128), (id, id * 3 + 1, 0x1000 + id, 128)):
            assert again.counters(slot, *other) is None
        assert again.counters(slot, id, id * 3, 0x1001 + id, 128) is None
        assert again.counters(slot, id, id * 3, 0x1000 + id, 64) is None
    before = os.stat(path).st_blocks
    fresh = {again.take(id, 1, 2, 128, NOTHING) for id in range(5000, 5667)}
    assert not fresh & set(slots.values()) and len(fresh) == 667
    assert os.stat(path).st_blocks == before  # in the room of those that are gone


def test_bitmaps_do_not_meet(path: str) -> None:
    page = make_page(path, ID)
    spans: list[tuple[int, int]] = []
    for id, length in enumerate([8, 16, 32, 64, 128, 1024, 4096, 8192, 1 << 15, 1 << 16] * 20, 1):
        address, ring, size, _ = page.place(page.take(id, id, id, length, NOTHING))
        assert size == length
        spans.append((address, address + 96))
        spans.append((ring, ring + length))
        inside = address <= ring < address + 128
        assert inside == (length <= 32)
        assert length > 4096 or ring // 4096 == (ring + length - 1) // 4096
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_a_reused_bitmap_is_empty(path: str) -> None:
    page = make_page(path, ID)
    slot = page.take(1, 1, 1, 256, NOTHING)
    traffic = kept(Traffic(), page.place(slot))
    assert traffic.ring is not None
    traffic.ring[:] = b"\xff" * 256
    page.release(slot)
    again = kept(Traffic(), page.place(page.take(2, 2, 2, 256, NOTHING)))
    assert again.ring is not None and bytes(again.ring) == bytes(256)


def test_a_large_window_is_not_kept(path: str) -> None:
    page = make_page(path, ID)
    slot = page.take(1, 1, 1, 1 << 17, (0, 0, 500, 500, 0, 0, 0, 0))
    assert page.place(slot)[1:3] == (0, 0)
    assert page.counters(slot, 1, 1, 1, 1 << 17) == (0, 0, 500, 500, 0, 0, 0, 0)


def test_the_file_takes_little_room(path: str) -> None:
    page = make_page(path, ID)
    assert os.stat(path).st_blocks * 512 <= 8192
    for id in range(1, 10_001):
        page.take(id, id, id, 0, NOTHING)
    assert os.stat(path).st_blocks * 512 < 10_000 * 128 * 1.05 + 65536
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_what_was_interrupted_while_the_file_grew(path: str) -> None:
    page = make_page(path, ID)
    slot = page.take(1, 1, 1, 0, NOTHING)
    size = os.path.getsize(path)
    os.truncate(path, size + 65536)  # its head was not written
    assert open_page(path, ID).slots == {1: slot}
    assert os.path.getsize(path) == size


def damage_truncated(path: str) -> None:
    os.truncate(path, os.path.getsize(path) - 4096)


def damage_truncated_to_no_chunk(path: str) -> None:
    os.truncate(path, 65536)


def damage_emptied_but_for_the_head(path: str) -> None:
    size = os.path.getsize(path)
    os.truncate(path, 4096)
    os.truncate(path, size)


def damage_truncated_to_head(path: str) -> None:
    os.truncate(path, 20)


def damage_head(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(30)
        file.write(b"\xff")


def damage_chunk(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(65536 + 8)
        file.write(b"\xff")


def damage_all(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(os.path.getsize(path)))


def damage_copied(path: str) -> None:
    shutil.copy2(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


def damage_removed(path: str) -> None:
    os.unlink(path)


def damage_link(path: str) -> None:
    os.rename(path, f"{path}.real")
    os.symlink(f"{path}.real", path)


def damage_mode(path: str) -> None:
    os.chmod(path, 0o644)


DAMAGES = [
    damage_truncated,
    damage_truncated_to_no_chunk,
    damage_emptied_but_for_the_head,
    damage_truncated_to_head,
    damage_head,
    damage_chunk,
    damage_all,
    damage_copied,
    damage_removed,
    damage_link,
    damage_mode,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_page_that_is_not_as_it_was_left_is_refused(path: str, damage: object) -> None:
    page = make_page(path, ID)
    page.take(1, 1, 1, 4096, NOTHING)
    assert callable(damage)
    damage(path)
    with pytest.raises(ValueError):
        open_page(path, ID)
    assert make_page(path, ID).slots == {}


def test_a_page_that_cannot_be_mapped_again_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_page(path, ID).take(1, 1, 1, 0, NOTHING)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(pages, "mmap", refuse)
    with pytest.raises(ValueError, match="Cannot allocate"):
        open_page(path, ID)


def test_many_bitmaps_take_few_descriptors(path: str) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    page = make_page(path, ID)
    slots = {id: page.take(id, id, id, 4096, NOTHING) for id in range(1, 3001)}
    assert descriptors() - before < 30
    for id in range(1, 3001, 7):
        page.release(slots.pop(id))
    rings = {page.place(slot)[1] - page.place(slot)[0] for slot in slots.values()}
    assert len(rings) == len(slots)
    again = open_page(path, ID)
    assert again.slots == slots
    taken = {again.take(id, id, id, 4096, NOTHING) for id in range(5000, 6000)}
    assert len(taken) == 1000 and not taken & set(slots.values())
    spans = sorted(again.place(slot)[1] for slot in (*slots.values(), *taken))
    assert all(end - start >= 4096 for start, end in pairwise(spans))


def test_counters_that_nobody_counted_are_not_believed(path: str) -> None:
    """The state file could not hold them, second after second."""
    page = make_page(path, ID)
    slot = page.take(1, 1, 1, 0, (1, 2, 3, 3, 3, 1 << 63, 5, 6))
    assert page.counters(slot, 1, 1, 1, 0) is None


def test_of_another_boot_or_state_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_page(path, ID)
    with pytest.raises(ValueError, match="another state file"):
        open_page(path, bytes(16))
    monkeypatch.setattr(pages, "boot_id", lambda: bytes(16))
    with pytest.raises(ValueError, match="another boot"):
        open_page(path, ID)


def lose_block(path: str, number: int) -> None:
    with open(path, "r+b") as file:
        file.seek(number * 4096)
        file.write(bytes(4096))


def test_no_lost_block_lets_a_replay_in(path: str) -> None:
    """Whatever block of the file comes back as zeros: the page or the SA is refused, or all is as it was."""
    for number in range(16, 48):
        page = make_page(path, ID)
        slot = page.take(1, 1, 1, ring_length(2040), NOTHING)
        window = ReplayWindow(2040, traffic=kept(Traffic(), page.place(slot)))
        for each in (1, 5, 9000, 9001, 8000):
            assert take(window, each)
        del page
        lose_block(path, number)
        try:
            again = open_page(path, ID)
        except ValueError:
            continue
        if again.slots.get(1) != slot or again.counters(slot, 1, 1, 1, ring_length(2040)) is None:
            continue
        window = ReplayWindow(2040, traffic=kept(Traffic(), again.place(slot)))
        assert not any(take(window, each) for each in (1, 5, 9000, 9001, 8000)), number


def test_the_disk_is_full(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = make_page(path, ID)
    page.take(1, 1, 1, 0, NOTHING)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError):
            for id in range(2, 100):
                page.take(id, id, id, 0, NOTHING)
    assert page.take(100, 100, 100, 64, NOTHING)
    assert len(open_page(path, ID).slots) >= 2


@pytest.mark.parametrize("lacking", [128, 1024])
def test_what_finds_no_room_takes_none(path: str, monkeypatch: pytest.MonkeyPatch, lacking: int) -> None:
    """It is tried again each second, as long as the disk is full."""
    page = make_page(path, ID)
    for id in range(1, 39):
        page.take(id, id, id, 1024, NOTHING)
    piece = page._piece

    def full(size: int) -> int:
        if size == lacking:
            raise OSError(28, "No space left on device")
        return piece(size)

    with monkeypatch.context() as patch:
        patch.setattr(page, "_piece", full)
        for _ in range(100):
            with pytest.raises(OSError):
                page.take(40, 40, 40, 1024, NOTHING)
    size = os.path.getsize(path), os.stat(path).st_blocks
    slot = page.take(40, 40, 40, 1024, NOTHING)
    assert (os.path.getsize(path), os.stat(path).st_blocks) == size
    assert open_page(path, ID).slots[40] == slot


# --- the window between any two instructions -----------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class Slot:
    """Counters and a bitmap that end the process before the n-th write."""

    def __init__(self, length: int) -> None:
        object.__setattr__(self, "left", 1 << 60)
        object.__setattr__(self, "ring", Ring(length, self))
        for name in COUNTERS:
            object.__setattr__(self, name, 0)

    def spend(self) -> None:
        if self.left == 0:
            raise Killed
        object.__setattr__(self, "left", self.left - 1)

    def __setattr__(self, name: str, value: int) -> None:
        self.spend()
        object.__setattr__(self, name, value)


class Ring(bytearray):
    def __init__(self, length: int, slot: Slot) -> None:
        super().__init__(length)
        self.slot = slot

    def __setitem__(self, key: object, value: object) -> None:
        self.slot.spend()
        super().__setitem__(key, value)  # type: ignore[index]


@pytest.mark.parametrize("size", [8, 64, 480])
@pytest.mark.parametrize("esn", [False, True])
def test_killed_between_any_two_writes(size: int, esn: bool) -> None:
    """Afterwards nothing that was delivered is taken again, and everything else that a window takes still is."""
    import random

    source = random.Random(size)
    for turn in range(400):
        slot = Slot(ring_length(size))
        start = (1 << 32) - 300 if esn and turn % 2 else 0
        object.__setattr__(slot, "received_high", start)
        object.__setattr__(slot, "advancing", start)
        object.__setattr__(slot, "received_floor", start)
        window = ReplayWindow(size, esn=esn, traffic=slot)  # type: ignore[arg-type]
        delivered: set[int] = set()
        lost: set[int] = set()
        for _ in range(6):
            object.__setattr__(slot, "left", source.choice((0, 1, 2, 3, 4, 5, 8, 13, 21)))
            try:
                while True:
                    reach = source.choice((1, 2, 9, size // 2, size, 3 * size))
                    number = max(1, slot.received_high + source.randint(-min(reach, size - 1), reach))  # type: ignore[attr-defined]
                    if window.check(number & 0xFFFFFFFF) == number >> 32 and take(window, number):
                        assert number not in delivered
                        delivered.add(number)
            except Killed:
                lost.add(number)  # under way: it may count as taken, but was not delivered
                object.__setattr__(slot, "left", 1 << 60)
                window = ReplayWindow(size, esn=esn, traffic=slot)  # type: ignore[arg-type]
        last = window.last
        bottom = max(start + 1, last - size + 1)
        for number in range(bottom, last + 1):
            high = window.check(number & 0xFFFFFFFF)
            if number in delivered:
                assert high != number >> 32 or window.update(number & 0xFFFFFFFF) != ACCEPTED, number
            elif number not in lost:
                assert take(window, number), (number, last)


def test_killed_while_a_jump_clears_the_bitmap(path: str) -> None:
    page = make_page(path, ID)
    slot = page.take(1, 1, 1, 128, NOTHING)
    traffic = kept(Traffic(), page.place(slot))
    window = ReplayWindow(480, traffic=traffic)
    assert take(window, 5)
    assert traffic.ring is not None
    traffic.advancing = 100_000
    traffic.ring[:] = bytes(128)
    again = open_page(path, ID)
    assert again.counters(slot, 1, 1, 1, 128) is not None
    window = ReplayWindow(480, traffic=kept(Traffic(), again.place(slot)))
    assert window.last == 100_000
    assert not take(window, 5) and not take(window, 100_000) and take(window, 99_999) and take(window, 100_001)


# --- through the key engine ----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the state directory seems to be on."""
    monkeypatch.setattr(pages, "is_in_memory", lambda directory: request.param == "memory")
    return str(request.param)


def driver_at(path: Path) -> Driver:
    return Driver(path=str(path / "state.db"))


@pytest.mark.parametrize("clean", [True, False])
def test_everything_goes_on_in_the_same_boot(tmp_path: Path, kind: str, clean: bool) -> None:
    driver = driver_at(tmp_path)
    client = driver.client()
    client.ask(gcm())
    client.ask(inbound())
    client.ask(add(0x3000))  # never moves
    driver.engine.reserve(sa_of(driver))
    driver.end()
    first = sa_of(driver).traffic.iv
    for turn in range(1, 4):
        traffic = sa_of(driver).traffic
        for _ in range(5):
            traffic.sequence += 1
            traffic.iv += 1
            traffic.packets += 1
            traffic.bytes += 100
            traffic.first_used = 77
        window = window_of(sa_of(driver, 0x2000))
        numbers = (turn * 100, turn * 100 - 7, turn * 100 - 1)
        assert all(take(window, number) for number in numbers)
        driver.restart(clean)
        traffic = sa_of(driver).traffic
        assert (traffic.sequence, traffic.iv, traffic.packets) == (5 * turn, first + 5 * turn, 5 * turn)
        assert (traffic.bytes, traffic.first_used) == (500 * turn, 77)
        if KNOWN_MACHINE:  # else what was reserved of IVs is void after each start
            assert traffic.iv < traffic.iv_limit
        assert sa_of(driver).shown_sequence == 5 * turn
        window = window_of(sa_of(driver, 0x2000))
        assert window.last == turn * 100
        assert not any(take(window, number) for number in numbers)
        assert take(window, turn * 100 - 3)
        assert sa_of(driver, 0x3000).traffic.sequence == 0
    limits = {sa.traffic.sequence_limit for sa in driver.engine.sad.by_spi.values()}
    assert limits == ({NO_LIMIT} if kind == "memory" else {FIRST_BLOCK})


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_the_page_a_disk_has_the_reserved_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object
) -> None:
    monkeypatch.setattr(pages, "is_in_memory", lambda directory: False)
    driver = driver_at(tmp_path)
    client = driver.client()
    client.ask(gcm())
    client.ask(inbound())
    driver.engine.reserve(sa_of(driver))
    driver.engine.reserve_received(sa_of(driver, 0x2000), 1000, driver.now)
    driver.end()
    sa_of(driver).traffic.sequence = 99
    window = window_of(sa_of(driver, 0x2000))
    limit = sa_of(driver, 0x2000).traffic.received_limit
    assert take(window, limit)
    assert callable(damage)
    driver.restart(False, lambda: damage(str(tmp_path / "traffic")))
    assert sa_of(driver).traffic.sequence >= FIRST_BLOCK
    assert sa_of(driver).traffic.sequence_limit > sa_of(driver).traffic.sequence
    window = window_of(sa_of(driver, 0x2000))
    assert not any(take(window, number) for number in range(limit - 70, limit + 1))
    assert take(window, limit + 1)
    assert sa_of(driver, 0x2000).traffic.received_limit > limit + 1
    assert len(driver.engine.counters.notices) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_the_page_nothing_remains_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object
) -> None:
    """Nothing was reserved there, so nobody knows what the SAs used: they go, as they would with the machine."""
    monkeypatch.setattr(pages, "is_in_memory", lambda directory: True)
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    driver.client().ask(inbound())
    sa_of(driver).traffic.sequence = 99
    assert callable(damage)
    driver.restart(False, lambda: damage(str(tmp_path / "traffic")))
    assert driver.engine.sad.by_spi == {}
    assert "removed for that: 2" in driver.engine.counters.notices[1]
    driver.client().ask(gcm())
    sa_of(driver).traffic.sequence = 5
    driver.restart(False)
    assert sa_of(driver).traffic.sequence == 5


@pytest.mark.parametrize("damage", DAMAGES)
def test_after_a_clean_end_the_page_is_not_needed(tmp_path: Path, kind: str, damage: object) -> None:
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    driver.client().ask(inbound())
    traffic = sa_of(driver).traffic
    traffic.sequence = traffic.packets = 99
    assert take(window_of(sa_of(driver, 0x2000)), 50)
    sa_of(driver, 0x2000).traffic.packets = 1
    assert callable(damage)
    driver.restart(True, lambda: damage(str(tmp_path / "traffic")))
    assert sa_of(driver).traffic.sequence == 99
    window = window_of(sa_of(driver, 0x2000))
    assert not any(take(window, number) for number in range(1, 51)) and take(window, 51)
    assert driver.engine.counters.notices == []
    sa_of(driver).traffic.sequence = 120
    driver.restart(False)
    assert sa_of(driver).traffic.sequence == 120


@pytest.mark.parametrize(("damage", "word"), [(damage_removed, "removed"), (damage_copied, "replaced")])
def test_a_page_that_the_next_start_would_not_find_is_told_once(tmp_path: Path, damage: object, word: str) -> None:
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    told: list[str] = []
    driver.store.report = told.append
    driver.engine.counters.check_page()
    assert told == []
    assert callable(damage)
    damage(str(tmp_path / "traffic"))
    for _ in range(3):
        driver.engine.counters.check_page()
    assert len(told) == 1 and f"traffic was {word}; restart ipsecd" in told[0]
    sa_of(driver).traffic.sequence = sa_of(driver).traffic.packets = 9
    driver.restart(True)
    assert sa_of(driver).traffic.sequence == 9


def test_one_slot_that_is_damaged(tmp_path: Path, kind: str) -> None:
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    driver.client().ask(add(0x3000))
    sa_of(driver).traffic.sequence = 9
    sa_of(driver, 0x3000).traffic.sequence = 10
    slot = sa_of(driver).slot

    def damage() -> None:
        with open(tmp_path / "traffic", "r+b") as file:
            file.seek(slot + 64 + 16)  # its SPI
            file.write(b"\xff")

    driver.restart(False, damage)
    assert sa_of(driver, 0x3000).traffic.sequence == 10
    if kind == "memory":
        assert 0x1000 not in driver.engine.sad.by_spi
    else:
        assert sa_of(driver).traffic.sequence == FIRST_BLOCK
    driver.restart(False)
    assert sa_of(driver, 0x3000).traffic.sequence == 10
    assert kind == "memory" or sa_of(driver).traffic.sequence == FIRST_BLOCK
    assert driver.engine.counters.notices == []


def test_a_slot_is_not_taken_for_that_of_another_sa(tmp_path: Path, kind: str) -> None:
    """The same SPI, addresses and keys, and, after the restart, the same id."""
    driver = driver_at(tmp_path)
    for _ in range(3):
        driver.client().ask(gcm())
        before = sa_of(driver)
        assert before.traffic.sequence == 0
        before.traffic.sequence = 50
        slot = before.slot
        driver.engine.counters.leave = lambda sa: None  # type: ignore[method-assign]
        driver.client().ask(build(SADB_FLUSH, 0))  # and killed before its slot is free
        driver.restart(False)
        driver.client().ask(gcm())
        assert sa_of(driver).traffic.sequence == 0
        assert sa_of(driver).slot == slot
        driver.restart(False)
        assert sa_of(driver).traffic.sequence == 0
        driver.client().ask(build(SADB_FLUSH, 0))


def test_an_sa_that_a_command_made_has_nothing_of_one_that_had_its_id(tmp_path: Path, kind: str) -> None:
    """ipsecd was killed; a command that opens the state file itself deletes and adds; ipsecd starts."""
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    sa_of(driver).traffic.sequence = 50
    id = sa_of(driver).id

    def command(request: bytes) -> None:
        store = Store(driver.path, Dispatcher.TABLES)
        engine = Dispatcher(store, driver.sysctl.__getitem__)
        engine.load(driver.now, moves_traffic=False)
        assert engine.send(engine.open_socket(lambda message: True), request, driver.now) == 0
        for task in engine.tasks(driver.now):  # heads that are empty go
            task()
        engine.save_traffic(driver.now, clean=True)
        store.commit()
        store.close()

    def work() -> None:
        command(build(SADB_FLUSH, 0))
        command(gcm())

    driver.restart(False, work)
    assert sa_of(driver).id == id
    assert sa_of(driver).traffic.sequence == 0
    assert driver.engine.counters.notices == []


def test_a_reboot_with_the_state_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "is_in_memory", lambda directory: False)
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    sa_of(driver).traffic.sequence = 9
    for turn in range(1, 4):
        monkeypatch.setattr(pages, "boot_id", lambda turn=turn: bytes(15) + bytes((turn,)))
        driver.restart(False)
        assert sa_of(driver).traffic.sequence == turn * FIRST_BLOCK


def test_where_no_file_can_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, id: bytes) -> Page:
        raise OSError(19, "No such device")

    monkeypatch.setattr(pages, "is_in_memory", lambda directory: True)
    monkeypatch.setattr(pages, "make_page", refuse)
    driver = driver_at(tmp_path)
    driver.client().ask(gcm())
    assert sa_of(driver).traffic.sequence_limit == FIRST_BLOCK
    sa_of(driver).traffic.sequence = 9
    driver.restart(False)
    assert sa_of(driver).traffic.sequence == FIRST_BLOCK
    assert "numbers are reserved in blocks" in driver.engine.counters.notices[-1]


def test_tmpfs_is_told_from_a_disk() -> None:
    assert pages.is_in_memory("/dev/shm") or not Path("/dev/shm").is_dir()
    assert not pages.is_in_memory("/proc")
