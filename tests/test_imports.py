"""What may import what: the rooms of CONTRIBUTING.md, and the start-up budget of the commands."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ipsectools"

FRONT_END = {"errno", "bsdgetopt", "hosttool", "pfkey", "daemon.client", "daemon.manage"}

ALLOWED = {
    "errno": set(),
    "bsdgetopt": set(),
    "hosttool": set(),
    "wire": {"errno"},
    "pfkey": {"errno"},
    "esp": {"errno", "wire", "pfkey"},
    "host": {"errno", "wire"},
    "kernel": {"errno", "pfkey", "esp", "host", "wire"},
    "datapath": {"errno", "wire", "esp", "host"},
    "daemon": {"errno", "wire", "pfkey", "esp", "host", "kernel", "datapath"},
    "ifconfig": FRONT_END,
    "setkey": FRONT_END,
    "sysctl": FRONT_END,
    "netstat": FRONT_END,
    "kld": FRONT_END,
}
"""Room -> what else of the package it may import."""

HEAVY = {
    *("dataclasses", "typing", "enum", "re", "json", "socket", "sqlite3", "ipaddress", "subprocess", "logging"),
    *(
        "argparse",
        "asyncio",
        "selectors",
        "ctypes",
        "lark",
        "rich",
        "cryptography",
        "pyroute2",
        "ipsectools.kernel.kernel",
    ),
}
"""What a command that only talks to a running ipsecd must not import."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(path: Path) -> set[str]:
    """Full names of the package's modules that a file imports, inside functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            is_package = (ROOT / base.replace(".", "/")).is_dir()
            found.update(f"{base}.{name.name}" if is_package else base for name in node.names)
    return {name for name in found if name.startswith("ipsectools.")}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    allowed = {f"ipsectools.{name}" for name in (*ALLOWED[room], room)} | {"ipsectools.__version__"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if path.relative_to(PACKAGE).with_suffix("").parts[0] == room
        for name in imports_of(path)
        if not any(name == each or name.startswith(each + ".") for each in allowed)
    ]
    assert wrong == []


def test_only_the_linux_adapter_and_the_lab_import_pyroute2() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyroute2")
        or (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "pyroute2" for name in node.names))
    }
    assert {user for user in users if not user.startswith(("host/linux/", "lab/"))} == set()


@pytest.fixture(scope="module")
def served_state(tmp_path_factory: pytest.TempPathFactory):
    """The environment of a simulated host that an ipsecd serves, with one interface."""
    state = tmp_path_factory.mktemp("state") / "s"
    environment = {**os.environ, "IPSECTOOLS_STATE": str(state), "IPSECTOOLS_HOST": "simulated"}
    subprocess.run([ROOT / "bin/ipsecd", "--idle", "0"], env=environment, check=True, timeout=60)
    subprocess.run([ROOT / "bin/ifconfig", "ipsec0", "create"], env=environment, check=True, timeout=60)
    yield environment
    subprocess.run([ROOT / "bin/ipsecd", "--stop"], env=environment, check=True, timeout=60)


@pytest.mark.parametrize("command", [["ifconfig", "ipsec0"], ["ifconfig", "-l"], ["setkey", "-D"], ["setkey", "-DP"]])
def test_a_command_starts_light(command: list[str], served_state: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(PACKAGE / "launch.py"), *command],
        env=served_state,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "ipsectools.daemon.client" in imported
    assert imported & HEAVY == set()


def test_reading_a_live_host_without_ipsecd_stays_light(tmp_path: Path) -> None:
    """The Linux host is read with our own few lines of rtnetlink: pyroute2 is for ipsecd."""
    environment = {**os.environ, "IPSECTOOLS_STATE": str(tmp_path / "s"), "IPSECTOOLS_HOST": "linux"}
    for command in (["ifconfig", "-a"], ["setkey", "-D"]):
        launch = [sys.executable, "-I", "-S", "-X", "importtime", str(PACKAGE / "launch.py"), *command]
        run = subprocess.run(["unshare", "--net", *launch], env=environment, capture_output=True, text=True, timeout=60)
        if run.stderr.startswith("unshare:"):
            pytest.skip(run.stderr.strip())
        assert run.returncode == 0, run.stderr
        imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
        assert "ipsectools.host.linux.rtnetlink" in imported
        assert imported & {"pyroute2", "asyncio", "cryptography", "lark", "rich", "ctypes"} == set()
