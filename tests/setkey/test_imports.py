"""What a run of setkey loads: start-up is speed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = {
    "dataclasses",
    "typing",
    "enum",
    "re",
    "json",
    "socket",
    "lark",
    "rich",
    "ipaddress",
    "importlib.util",
    "inspect",
}

DUMP = """
from ipsectools.commands import bsdgetopt
from ipsectools.commands.setkey import main, output, kernel_door, exchange, dump_sa, dump_policy
"""
SCRIPT = (
    DUMP
    + """
from ipsectools.commands.setkey import script, lalr
assert len(lalr.load("grammar").rules) > 50
lalr.load("policy")
"""
)


@pytest.mark.parametrize(("program", "allowed"), [(DUMP, set()), (SCRIPT, {"re", "enum"})])
def test_imports(program: str, allowed: set[str]) -> None:
    """The site module is left out, as by bin/setkey; tables are made beforehand, as by the first run."""
    paths = f"import sys; sys.path += {[str(ROOT), *sys.path]!r}\n"
    code = paths + program + "print(*sys.modules)"
    subprocess.run([sys.executable, "-c", paths + SCRIPT], check=True, timeout=60)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = HEAVY & set(done.stdout.split())
    assert loaded <= allowed
