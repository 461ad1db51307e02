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


def test_tcp_signatures_come_with_their_module(host: State) -> None:
    add = 'add 192.0.2.1 192.0.2.2 tcp 0x1000 -A tcp-md5 "secret";\n'
    refused = (0, "The result of line 1: Invalid argument.\n", "")
    tcpmd5 = " 3    1 0x0000000000000000        0 tcpmd5.ko\n"
    assert host.run("setkey", "-c", stdin=add) == refused
    assert host.run("kldload", "-v", "tcpmd5") == (0, "Loaded tcpmd5, id=3\n", "")
    assert host.run("kldload", "-n", "tcpmd5.ko") == (0, "", "")
    again = "kldload: can't load tcpmd5: module already loaded or in kernel\n"
    assert host.run("kldload", "tcpmd5") == (1, "", again)
    assert host.ok("kldstat") == HEADER + LINE + tcpmd5
    assert (
        host.ok("kldstat", "-n", "tcpmd5", "-v")
        == HEADER + tcpmd5 + "\tContains modules:\n\t\tId Name\n\t\t 3 tcpmd5\n"
    )
    assert host.ok("kldstat", "-i", "3") == HEADER + tcpmd5
    assert host.ok("kldstat", "-m", "tcpmd5") == "Id  Refs Name\n  3    1 tcpmd5\n"
    host.ok("setkey", "-c", stdin=add)
    assert host.ok("setkey", "-D").startswith(
        "192.0.2.1 192.0.2.2\n\ttcp mode=any spi=4096(0x00001000) reqid=0(0x00000000)\n\tA: tcp-md5  73656372 6574\n"
    )
    busy = "kldunload: can't unload file: Device busy\n"
    assert host.run("kldunload", "tcpmd5") == (1, "", busy)
    host.ok("kldunload", "ipsec")
    assert host.ok("kldstat") == HEADER
    host.ok("kldload", "ipsec")  # the state tells that the other one was loaded
    assert host.run("kldunload", "-i", "3") == (1, "", busy)
    host.ok("setkey", "-F")
    assert host.run("kldunload", "-v", "tcpmd5") == (0, "Unloading tcpmd5.ko, id=3\n", "")
    assert host.run("kldunload", "tcpmd5") == (1, "", "kldunload: can't find file tcpmd5\n")
    assert host.ok("kldstat") == HEADER + LINE
    assert host.run("setkey", "-c", stdin=add) == refused


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
