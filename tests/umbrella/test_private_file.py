"""Files for keys and clear packets: nobody else may lead them elsewhere or read along."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from ipsectools.commands.ipsectools import private_file

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path) -> None:
    with open(private_file.create(str(path)), "wb") as file:
        file.write(b"secret")


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_a_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") & ~0o600 == 0


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_symbolic_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"somebody's")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="is a symbolic link"):
        write(tmp_path / "link")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "there"]
    assert (tmp_path / "there").read_bytes() == b"somebody's"


def test_a_file_that_others_have_open(tmp_path: Path) -> None:
    old, other = tmp_path / "old", tmp_path / "other name"
    old.write_bytes(b"as it was")
    old.chmod(0o666)
    other.hardlink_to(old)
    with open(old, "rb") as reader:
        write(old)
        assert reader.read() == b"as it was"
    assert other.read_bytes() == b"as it was"
    assert (old.read_bytes(), mode(old)) == (b"secret", 0o600)


def test_a_file_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make one")
    old = tmp_path / "old"
    old.write_bytes(b"trap")
    os.chown(old, 65534, 65534)
    write(old)
    assert (os.lstat(old).st_uid, mode(old)) == (0, 0o600)


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o644)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path)
        assert os.read(reader, 100) == b"secret"
        assert mode(path) == 0o600
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            with pytest.raises(OSError, match="pipe of another user"):
                write(path)
    finally:
        os.close(reader)


def test_other_things(tmp_path: Path) -> None:
    with open(private_file.create(os.devnull), "wb") as file:
        file.write(b"gone")
    with pytest.raises(OSError):
        write(tmp_path)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "where")
