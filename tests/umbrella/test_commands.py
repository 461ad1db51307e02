"""The `ipsectools` command: usage, shell, doctor, stats, export, top on simulated hosts."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools import __version__
from ipsectools.commands.ipsectools.main import COMMANDS, usage
from ipsectools.commands.ipsectools.stats import prometheus
from tests.daemon.state import ROOT, SCRIPT, State

if TYPE_CHECKING:
    from pathlib import Path


def test_usage(host: State) -> None:
    assert host.run("ipsectools", "--help") == (0, usage(), "")
    assert host.run("ipsectools") == (2, "", usage())
    assert host.run("ipsectools", "nothing") == (2, "", "ipsectools: no such command: nothing\n" + usage())


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_wrong_command_lines(host: State, command: str) -> None:
    status, output, errors = host.run("ipsectools", command, "--nonsense")
    assert (status, output) == (2, "")
    assert f"usage: ipsectools {command}" in errors


# shell


def test_a_shell_has_our_commands_and_pages_first(host: State) -> None:
    output = host.ok(
        "ipsectools", "shell", "sh", "-c", 'command -v ifconfig; echo "$MANPATH"; ls -L "${MANPATH%%:*}/man8"'
    )
    ours, manpath, *pages = output.splitlines()
    assert ours == str(ROOT / "bin" / "ifconfig")
    assert manpath.endswith(":")
    assert {"ifconfig.8", "ipsectools.8"} <= set(pages)
    assert not os.path.exists(manpath.split(":")[0]), "the links to the pages are gone"


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_the_status_of_a_shell(host: State, command: str, status: int) -> None:
    assert host.run("ipsectools", "shell", "sh", "-c", command) == (status, "", "")


def test_a_shell_that_is_not_there(host: State) -> None:
    expected = "ipsectools: /no/shell: No such file or directory\n"
    assert host.run("ipsectools", "shell", SHELL="/no/shell") == (127, "", expected)


@pytest.mark.traffic
def test_a_shell_in_the_lab(host: State) -> None:
    script = """
        ifconfig em0 | grep 'inet '
        hostb ifconfig em0 | grep 'inet '
        hostb hosta ifconfig -l
        hostb sh -c 'exit 5' || echo $?
        ifconfig ipsec0 create && hostb ifconfig ipsec1 create
        ifconfig -l; hostb ifconfig -l; hostb sh -c 'test -e /proc/$$ && echo proc'
        hostb nothing || echo $?
        exit 3
    """
    status, output, errors = host.run("ipsectools", "shell", "--lab", "sh", stdin=script)
    assert [line.strip() for line in output.splitlines()] == [
        "inet 192.168.0.3 netmask 0xffffff00",
        "inet 192.168.0.5 netmask 0xffffff00",
        "lo0 em0",
        "5",
        "lo0 em0 ipsec0",
        "lo0 em0 ipsec1",
        "proc",
        "127",
    ]
    assert (status, errors) == (3, "nothing: No such file or directory\n")


# doctor


def test_doctor_on_a_simulated_host(host: State) -> None:
    host.ok("ipsecd")
    status, output, errors = host.run("ipsectools", "doctor", PATH=f"{ROOT}/bin:{os.environ['PATH']}")
    lines = output.splitlines()
    verdicts = {line.split()[0] for line in lines}
    assert errors == ""
    assert verdicts <= {"ok", "note", "missing"}
    assert status == int("missing" in verdicts)
    forced = "note    simulated: everything but packets works (IPSECTOOLS_HOST says so); unset IPSECTOOLS_HOST"
    assert forced in lines
    assert any(line.startswith(f"ok      ipsecd {__version__} is running (process ") for line in lines)
    assert f"ok      the commands of {ROOT}/bin come first in PATH" in lines
    assert any(line.startswith(f"ok      state directory {host.directory}") for line in lines)


def test_doctor_says_what_is_wrong(host: State, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    environment = {"IPSECTOOLS_STATE": str(tmp_path / "open"), "IPSECTOOLS_HOST": "amiga", "IPSECTOOLS_CORE": "python"}
    (tmp_path / "open").chmod(0o777)
    status, output, _ = host.run("ipsectools", "doctor", PATH="/usr/bin:/bin", **environment)
    assert status == 1
    assert "missing IPSECTOOLS_HOST=amiga: not linux or simulated; unset IPSECTOOLS_HOST" in output.splitlines()
    assert any(line.startswith("missing state directory: ") for line in output.splitlines())
    assert "note    data path: plain Python, slower: IPSECTOOLS_CORE=python" in output.splitlines()
    assert f"not {ROOT}/bin/ifconfig; PATH={ROOT}/bin:$PATH, or: ipsectools shell" in output


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (b"garbage", "not a usable state file (file is not a database)"),
        (sqlite3.Connection, "not a state file of ipsectools"),
        (slice(0, -9000), "malformed"),
        (99, "written by a newer version"),
    ],
)
def test_doctor_looks_at_the_state_file(host: State, content: object, verdict: str) -> None:
    host.ok("ifconfig", "ipsec0", "create")
    path = host.directory / "state.db"
    good = path.read_bytes()
    assert f"missing {host.directory}" not in host.run("ipsectools", "doctor")[1]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, slice):
        path.write_bytes(good[content] + b"\xff" * 9000)
    else:
        database = sqlite3.connect(path)
        if isinstance(content, int):
            database.execute(f"PRAGMA user_version = {content}")
        else:
            database.execute("PRAGMA application_id = 1")
        database.close()
    broken = path.read_bytes()
    status, output, errors = host.run("ipsectools", "doctor")
    (line,) = (line for line in output.splitlines() if f"{path}: " in line)
    assert line.startswith(f"missing {path}: ") and verdict in line and "; move it away" in line
    assert (status, errors, path.read_bytes()) == (1, "", broken)
    path.write_bytes(good)
    assert "missing /" not in host.run("ipsectools", "doctor")[1]


# stats, export, top


@pytest.fixture
def filled(host: State) -> State:
    host.ok("ipsecd")
    host.ok("ifconfig", "ipsec0", "create", "reqid", "100")
    host.ok("setkey", "-c", stdin=SCRIPT)
    return host


ZEROS = {"ipackets": 0, "ibytes": 0, "ierrors": 0, "opackets": 0, "obytes": 0, "oerrors": 0}


def test_stats(filled: State) -> None:
    document = json.loads(filled.ok("ipsectools", "stats", "--json"))
    assert document["version"] == 1
    assert document["interfaces"] == {"ipsec0": ZEROS}
    assert {(sa["spi"], sa["reqid"], sa["state"], sa["packets"]) for sa in document["sas"]} == {
        (0x1000, 100, "mature", 0),
        (0x1001, 100, "mature", 0),
    }
    lines = filled.ok("ipsectools", "stats", "--prometheus").splitlines()
    assert 'ipsec_packets_total{interface="ipsec0",direction="in"} 0' in lines
    assert 'ipsec_sa_bytes_total{spi="0x00001000",src="192.0.2.1",dst="192.0.2.2",reqid="100"} 0' in lines
    metrics = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(metrics) == len(set(metrics)) >= 7
    assert filled.ok("ipsectools", "stats").startswith("ipsec0: 0 ipackets")


def test_names_in_prometheus_are_escaped() -> None:
    document = {"interfaces": {'a"b\\': ZEROS}, "sas": [], "balance": {}, "drops": {}}
    assert 'ipsec_errors_total{interface="a\\"b\\\\",direction="out"} 0' in list(prometheus(document))


def test_export(filled: State, tmp_path: Path) -> None:
    path = tmp_path / "esp_sa"
    filled.ok("ipsectools", "export", "wireshark", "-o", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.read_text().splitlines()) == [
        '"IPv4","192.0.2.1","192.0.2.2","0x00001000","AES-GCM with 16 octet ICV [RFC4106]",'
        '"0x0102030405060708091011121314151617181920","NULL",""',
        f'"IPv4","192.0.2.2","192.0.2.1","0x00001001","AES-CBC [RFC3602]","0x{b"0123456789abcdef".hex()}",'
        f'"HMAC-SHA-256-128 [RFC4868]","0x{b"0123456789abcdef0123456789abcdef".hex()}"',
    ]
    filled.ok("setkey", "-c", stdin="add 10.0.0.1 10.0.0.2 esp 5000 -E chacha20-poly1305 0x" + "11" * 36 + ";")
    status, output, errors = filled.run("ipsectools", "export", "wireshark", "-o", "-")
    assert (status, output) == (0, path.read_text())
    assert errors == "ipsectools: 1 SA left out: Wireshark does not know its algorithms\n"
    nowhere = filled.run("ipsectools", "export", "wireshark", "-o", "/no/where")
    assert nowhere == (1, "", "ipsectools: /no/where: No such file or directory\n")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    link = filled.run("ipsectools", "export", "wireshark", "-o", str(tmp_path / "link"))
    assert link == (1, "", f"ipsectools: {tmp_path}/link: is a symbolic link\n")
    assert not (tmp_path / "elsewhere").exists()


def test_top_in_a_pipe(filled: State) -> None:
    once = filled.ok("ipsectools", "top").splitlines()
    assert [line for line in once if line.endswith(":")] == ["interfaces:", "SAs:", "drops:"]
    assert once[2].split()[:4] == ["ipsec0", "down", "-", "100"]
    assert any(
        line.split()[:6] == ["0x00001000", "192.0.2.1", "192.0.2.2", "100", "mature", "aes-gcm-16"] for line in once
    )
    twice = filled.ok("ipsectools", "top", "-d", "0.1", "-n", "2")
    assert twice.count("interfaces:") == 2
    assert "in bit/s" in twice


def test_top_on_a_terminal(filled: State) -> None:
    command = [str(ROOT / "bin" / "ipsectools"), "top", "-n", "1", "-d", "0.1"]
    master, slave = os.openpty()
    process = subprocess.Popen(
        command, stdout=slave, stdin=slave, stderr=slave, env={**filled.environment, "TERM": "xterm", "COLUMNS": "160"}
    )
    os.close(slave)
    screen = b""
    try:
        while part := os.read(master, 65536):
            screen += part
    except OSError:  # the terminal has nobody left
        pass
    os.close(master)
    assert process.wait(20) == 0
    assert b"ipsec0" in screen and b"0x00001000" in screen


def test_dump_needs_packets(filled: State) -> None:
    expected = "ipsectools: there are no packets on a simulated host; see `ipsectools doctor'\n"
    assert filled.run("ipsectools", "dump", "ipsec0") == (1, "", expected)
