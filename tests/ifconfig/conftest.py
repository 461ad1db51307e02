"""A kernel of its own on a simulated host for every test, and no name service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.commands.ifconfig import names
from tests.ifconfig.harness import FakeDoor, install, interface, run

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = {"gateway.example": (2, "192.0.2.1"), "six.example": (10, "2001:db8::6")}


@pytest.fixture(autouse=True)
def name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts have names; everything else does not resolve."""

    def lookup(word: str, family: int) -> tuple[int, str]:
        found = HOSTS.get(word)
        if found is None or family not in (0, found[0]):
            raise names.Unresolved("Name does not resolve")
        return found

    monkeypatch.setattr(names, "lookup", lookup)
    monkeypatch.setattr(names, "reverse", lambda address, full: {"10.0.0.1": "a.example" if full else "a"}.get(address))


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state directory: a simulated host with lo0 and em0."""
    directory = tmp_path / "state"
    monkeypatch.setenv("IPSECTOOLS_STATE", str(directory))
    monkeypatch.setenv("IPSECTOOLS_HOST", "simulated")
    monkeypatch.delenv("IFCONFIG_FORMAT", raising=False)
    return directory


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> FakeDoor:
    """A door with ipsec0, just created."""
    return install(monkeypatch, FakeDoor(interface()))


@pytest.fixture
def ipsec0(state: Path) -> None:
    """em0 has 192.0.2.1/24; ipsec0 was just created."""
    assert run("ifconfig em0 inet 192.0.2.1/24").status == 0
    assert run("ifconfig ipsec0 create").status == 0
