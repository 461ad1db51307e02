"""kldload(8), kldstat(8), kldunload(8): the module is a running ipsecd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.daemon.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = "Id Refs Address                Size Name\n"
LINE = " 2    1 0x0000000000000000        0 ipsec.ko\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state")
    yield state
    state.close()


def test_load_look_unload(host: State) -> None:
    assert host.run("kldstat") == (0, HEADER, "")
    assert host.run("kldstat", "-q", "-m", "ipsec") == (1, "", "")
    assert host.run("kldload", "-v", "if_ipsec") == (0, "Loaded if_ipsec, id=2\n", "")
    assert host.ok("ipsecd", "--status").startswith("ipsecd ")
    assert host.run("kldstat") == (0, HEADER + LINE, "")
    verbose = HEADER + LINE + "\tContains modules:\n\t\tId Name\n\t\t 1 ipsec\n\t\t 2 if_ipsec\n"
    assert host.run("kldstat", "-v") == (0, verbose, "")
    assert host.run("kldstat", "-qm", "if_ipsec") == (0, "", "")
    assert host.run("kldstat", "-m", "ipsec") == (0, "Id  Refs Name\n  1    1 ipsec\n", "")
    assert host.run("kldstat", "-n", "ipsec.ko", "-q") == (0, "", "")
    assert host.run("kldstat", "-i", "2") == (0, HEADER + LINE, "")
    assert host.run("kldload", "-n", "ipsec") == (0, "", "")
    again = "kldload: can't load ipsec: module already loaded or in kernel\n"
    assert host.run("kldload", "ipsec") == (1, "", again)
    assert host.run("kldunload", "-v", "ipsec") == (0, "Unloading ipsec.ko, id=2\n", "")
    assert host.run("kldunload", "ipsec") == (1, "", "kldunload: can't find file ipsec\n")
    assert host.run("ipsecd", "--status")[0] == 3


def test_it_cannot_be_unloaded_while_there_are_interfaces(host: State) -> None:
    host.ok("kldload", "ipsec")
    host.ok("ifconfig", "ipsec0", "create")
    assert host.run("kldunload", "ipsec") == (1, "", "kldunload: can't unload file: Device busy\n")
    host.ok("ifconfig", "ipsec0", "destroy")
    host.ok("kldunload", "-i", "2")
    assert host.run("kldstat", "-q", "-m", "ipsec")[0] == 1


@pytest.mark.parametrize(
    ("command", "errors"),
    [
        ("kldload nothing", "kldload: can't load nothing: No such file or directory\n"),
        ("kldload", "usage: kldload [-nqv] file ...\n"),
        ("kldload -x ipsec", "kldload: illegal option -- x\nusage: kldload [-nqv] file ...\n"),
        ("kldstat -m nothing", "kldstat: can't find module nothing: No such file or directory\n"),
        ("kldstat -n nothing", "kldstat: can't find file nothing: No such file or directory\n"),
        ("kldstat -i 7", "kldstat: can't stat file id 7: No such file or directory\n"),
        ("kldunload nothing", "kldunload: can't find file nothing\n"),
        ("kldunload", "usage: kldunload [-fnv] [-i id] [name ...]\n"),
    ],
)
def test_errors(host: State, command: str, errors: str) -> None:
    assert host.run(*command.split()) == (1, "", errors)
