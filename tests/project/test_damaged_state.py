"""A state file that must not be touched: every command that needs it says so in one line and changes no byte."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools import preload
from ipsectools.lab.host import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS = """
ifconfig
ifconfig -l
ifconfig ipsec1 create
ifconfig ipsec0 destroy
setkey -c
setkey -D
setkey -DP
setkey -F
setkey -FP
sysctl net.inet.ipsec.def_policy
sysctl net.inet.ipsec.def_policy=1
netstat -I ipsec0
kldload if_ipsec
ipsecd --foreground
ipsectools why 10.0.0.1 10.0.0.2
ipsectools stats
ipsectools export wireshark -o keys
ipsectools pfkey-run true
"""


def overwritten(path: Path) -> None:
    path.write_bytes(b"no database, and not meant to be one".ljust(8192, b"."))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def bits_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096::7] = bytes(byte ^ 0x5A for byte in data[4096::7])
    path.write_bytes(data)


def newer(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 9999")
    database.close()


def foreign(path: Path) -> None:
    path.unlink()
    path.touch(0o600)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


LONG = [pytest.param(harm, marks=pytest.mark.long) for harm in (cut, bits_flipped, foreign)]


@pytest.mark.parametrize("harm", [overwritten, newer, *LONG])
def test_every_command_refuses(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    state = tmp_path / "state"
    environment = {"PATH": "/usr/bin:/bin", "IPSECTOOLS_HOST": "simulated", "IPSECTOOLS_STATE": str(state)}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = line.split()
        return subprocess.run(
            [os.path.join(CHECKOUT, "bin", program), *arguments],
            cwd=tmp_path,
            env=environment,
            input="flush;\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("ifconfig ipsec0 create").returncode == 0
    run("ipsecd --stop")
    path = state / "state.db"
    harm(path)
    before = path.read_bytes()
    for line in COMMANDS.strip().splitlines():
        if "pfkey-run" in line and preload.library() is None:
            continue  # it stops before it looks for the state
        result = run(line)
        assert result.returncode != 0, line
        assert result.stderr.count("\n") == 1 and "state.db: " in result.stderr, (line, result.stderr)
        assert result.stdout == "", line
        assert path.read_bytes() == before, line
        assert not (state / "state.db-wal").exists(), line
