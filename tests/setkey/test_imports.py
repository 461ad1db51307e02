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
import ipsectools.commands.bsdgetopt, ipsectools.commands.setkey.main, ipsectools.commands.setkey.output, ipsectools.commands.setkey.kernel_door
import ipsectools.commands.setkey.exchange, ipsectools.commands.setkey.dump_sa, ipsectools.commands.setkey.dump_policy
"""
SCRIPT = (
    DUMP
    + """
import ipsectools.commands.setkey.script, ipsectools.commands.setkey.lalr
assert len(ipsectools.commands.setkey.lalr.load("grammar").rules) > 50
ipsectools.commands.setkey.lalr.load("policy")
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
