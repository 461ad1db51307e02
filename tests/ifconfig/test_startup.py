"""What a command imports, and the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
HEAVY = {
    "argparse",
    "collections",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "inspect",
    "ipaddress",
    "json",
    "re",
    "socket",
    "sqlite3",
    "subprocess",
    "typing",
    "cryptography",
    "lark",
    "pyroute2",
    "rich",
}


def test_import_budget() -> None:
    code = (
        f"import sys; sys.path.append({str(CHECKOUT)!r}); before = set(sys.modules);"
        "import ipsectools.commands.ifconfig.main, ipsectools.daemon.client; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert not imported & HEAVY
    others = [name for name in imported if not f"{name}.".startswith("ipsectools.commands.ifconfig.")]
    assert len(set(others) - {"ipsectools.commands"}) < 20


def program(arguments: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
    command = [str(CHECKOUT / "bin" / "ifconfig"), *arguments]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ}, **more)  # type: ignore[call-overload,no-any-return]


def test_the_program() -> None:
    made = program(["ipsec", "create", "reqid", "100", "descr", os.fsdecode(b"caf\xe9")])
    assert (made.returncode, made.stdout, made.stderr) == (0, b"ipsec0\n", b"")
    shown = program(["ipsec0"])
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"\tdescription: caf\xe9\n" in shown.stdout and b"\treqid: 100\n" in shown.stdout
    wrong = program(["ipsec0", "mtu", "1"])
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert wrong.stderr == b"ifconfig: ioctl SIOCSIFMTU (set mtu): Invalid argument\n"


def test_full_output() -> None:
    command = f"{CHECKOUT}/bin/ifconfig -a >/dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "ifconfig: No space left on device\n")


JAIL = """
import os, subprocess, sys
from ipsectools.commands.ifconfig import jail
other = subprocess.Popen(["unshare", "-n", "sh", "-c", "readlink /proc/self/ns/net; read end"], stdin=-1, stdout=-1)
there = other.stdout.readline().decode().strip()
os.symlink(f"/proc/{other.pid}/ns/net", sys.argv[1] + "/blue")
jail.DIRECTORY = sys.argv[1]
jail.check("blue")
jail.attach("blue")
print(os.readlink("/proc/self/ns/net") == there)
other.communicate(b"\\n")
"""


@pytest.mark.traffic
def test_jail(tmp_path: Path) -> None:
    """`-j` goes to the namespace of that name."""
    as_root = [] if os.geteuid() == 0 else ["unshare", "-Ur"]
    argv = [*as_root, sys.executable, "-c", JAIL, str(tmp_path)]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    if done.stderr.startswith("unshare"):
        pytest.skip(done.stderr.strip())
    assert (done.stdout, done.stderr) == ("True\n", "")
