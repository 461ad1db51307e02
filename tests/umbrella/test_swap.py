"""doctor's look at swap: what counts as readable later, and which file systems never get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.commands.ipsectools import doctor, swap

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/proc/swaps, /sys/class/block and /proc/self/mounts, without any swap."""
    for name, where in (("SWAPS", "swaps"), ("BLOCK_DEVICES", "block"), ("MOUNTS", "mounts")):
        monkeypatch.setattr(swap, name, str(tmp_path / where))
    (tmp_path / "swaps").write_text(HEADER)
    (tmp_path / "mounts").write_text(
        "/dev/sda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw,nosuid,size=1k 0 0\ntmpfs /run/ipsectools tmpfs rw,noswap 0 0\n"
    )
    for name, uuid in (("dm-0", "CRYPT-PLAIN-swap"), ("dm-1", "LVM-abcdef")):
        (tmp_path / "block" / name / "dm").mkdir(parents=True)
        (tmp_path / "block" / name / "dm" / "uuid").write_text(uuid + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("area", "is_readable"),
    [("/dev/sda2", True), ("/swapfile", True), ("/dev/dm-1", True), ("/dev/dm-0", False), ("/dev/zram0", False)],
)
def test_areas(machine: Path, area: str, is_readable: bool) -> None:
    assert swap.readable() == []
    (machine / "swaps").write_text(f"{HEADER}{area}\tpartition\t1000\t0\t-2\n")
    assert swap.readable() == ([area] if is_readable else [])


def test_file_systems(machine: Path) -> None:
    assert [swap.keeps_out(f"/run/{each}") for each in ("ipsectools/1", "ipsectools2", "user")] == [True, False, False]
    assert not swap.keeps_out("/var/lib/x")


def test_what_doctor_says(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPSECTOOLS_STATE", str(tmp_path / "state"))
    assert [verdict for verdict, _, _ in doctor._swap()] == [doctor.OK]
    (machine / "swaps").write_text(f"{HEADER}/dev/sda2\tpartition\t1000\t0\t-2\n")
    ((verdict, text, fix),) = doctor._swap()
    assert verdict == doctor.NOTE and "/dev/sda2" in text and "noswap" in fix
