"""Processes that hold keys: no core file, no look into their memory, no swap; and their children are as they were."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools import preload
from tests.daemon.state import PATIENCE, ROOT

if TYPE_CHECKING:
    from tests.daemon.state import State

REPORT = """
import ctypes, json, resource
def report():
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
    locked = int(status["VmLck"].split()[0])
    print(json.dumps([dumpable, resource.getrlimit(resource.RLIMIT_CORE)[0], locked]))
"""

HOLDERS = {
    "embedded": "from ipsectools.daemon import client\nclient.open_control().call('LISTIF')\n",
    "pfkey": "from ipsectools.daemon import client\nclient.open_pfkey()\n",
    "setkey": """
import sys
from ipsectools import programs
class Setkey:
    @staticmethod
    def main(arguments):
        report()
        return 0
sys.modules["no.such.module"] = Setkey
programs.MODULES["setkey"] = "no.such.module"
sys.modules["no"] = sys.modules["no.such"] = Setkey
programs.run("setkey", [])
""",
}


def run(state: State, code: str) -> list[int]:
    argv = [sys.executable, "-c", REPORT + code]
    done = subprocess.run(argv, env=state.environment, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout.splitlines()[0])
    return found


@pytest.mark.parametrize("holder", HOLDERS)
def test_whoever_holds_keys(state: State, holder: str) -> None:
    may_lock = run(state, "resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))\nreport()\n") if privileged() else None
    dumpable, core, locked = run(state, HOLDERS[holder] + ("" if holder == "setkey" else "report()\n"))
    assert (dumpable, core) == (0, 0)
    assert bool(locked) == (may_lock is not None)


def privileged() -> bool:
    """Whether a limit of locked memory is none to us."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_who_holds_none_is_as_ever(state: State) -> None:
    state.ok("ipsecd")
    dumpable, _, locked = run(
        state, "from ipsectools.daemon import client\nclient.open_control().call('LISTIF')\nreport()\n"
    )
    assert (dumpable, locked) == (1, 0)


@pytest.mark.parametrize("program", ["setkey", "ipsecd"])
def test_running_programs(state: State, program: str) -> None:
    if program == "setkey":
        process = state.start("setkey", "-c", stdin="")
        pid = process.pid
        deadline = time.monotonic() + PATIENCE
        while not (state.directory / "pfkey").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    else:
        state.ok("ipsecd")
        pid = state.ipsecd()
    try:
        with open(f"/proc/{pid}/status") as file:
            locked = next(int(line.split()[1]) for line in file if line.startswith("VmLck"))
        assert bool(locked) == privileged()
        with open(f"/proc/{pid}/limits") as file:
            assert next(line for line in file if line.startswith("Max core file")).split()[4] == "0"
        # An ordinary user's other processes may not look; of root's nobody else's may.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                open(f"/proc/{pid}/mem", "rb").close()
    finally:
        if program == "setkey":
            process.communicate("", timeout=PATIENCE)


@pytest.mark.skipif(preload.library() is None, reason="the preload library was not built")
def test_a_program_of_somebody_else_keeps_its_limits(state: State) -> None:
    here = [resource.getrlimit(each) for each in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK)]
    code = "import resource as r; print([r.getrlimit(each) for each in (r.RLIMIT_CORE, r.RLIMIT_MEMLOCK)])"
    assert state.ok("ipsectools", "pfkey-run", sys.executable, "-c", code) == f"{here}\n"
