"""What may import what: the rooms of CONTRIBUTING.md, and the start-up budget of the commands."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ipsectools"

FRONT_END = {
    "errno",
    "answers",
    "commands.bsdgetopt",
    "commands.hosttool",
    "pfkey",
    "daemon.client",
    "daemon.limits",
    "daemon.manage",
}

ALLOWED = {
    "errno": set(),
    "answers": set(),
    "wire": {"errno"},
    "pfkey": {"errno"},
    "esp": {"errno", "wire", "pfkey"},
    "host": {"errno", "wire"},
    "host.linux": {"errno", "wire", "host.api", "host.marks"},
    "host.simulated": {"errno", "wire", "host.api", "host.marks"},
    "kernel": {"errno", "answers", "pfkey", "esp", "host", "wire"},
    "kernel.interfaces": {
        *("errno", "answers", "pfkey", "esp", "host.api", "host.marks", "wire"),
        *("kernel.addresses", "kernel.key", "kernel.numeric", "kernel.operation"),
        *("kernel.state", "kernel.store", "kernel.sysctl"),
    },
    "kernel.addresses": {
        *("errno", "host.api", "wire"),
        *("kernel.interfaces", "kernel.numeric", "kernel.state", "kernel.store"),
    },
    "kernel.key": {"errno", "answers", "pfkey", "esp", "wire", "kernel.store", "kernel.errors"},
    "datapath": {"errno", "wire", "esp", "host"},
    "daemon": {"errno", "answers", "wire", "pfkey", "esp", "host", "kernel", "datapath"},
    "preload": set(),
    "lab": {"errno", "wire", "pfkey", "esp"},
    "commands": set(),
    "commands.ifconfig": FRONT_END,
    "commands.setkey": FRONT_END,
    "commands.sysctl": FRONT_END,
    "commands.netstat": FRONT_END,
    "commands.kld": FRONT_END,
    "commands.ipsectools": {
        *FRONT_END,
        *("esp", "host", "lab", "preload"),
        *("datapath", "kernel.errors", "kernel.namespace", "kernel.statedir", "kernel.statefile", "kernel.store"),
    },
    "programs": {"daemon.secrecy"},
    "launch": {"programs"},
}
"""Room -> what else of the package it may import. A file belongs to the innermost room that it is in."""

FLOORS = (
    {"errno", "answers", "preload"},
    {"wire", "pfkey"},
    {"esp", "host"},
    {"kernel", "datapath", "lab"},
    {"daemon"},
    {"commands", "programs"},
    {"launch"},
)
"""From the ground up: no room imports from its own floor or from one above it."""

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
        "ipsectools.answers",
        "ipsectools.kernel.kernel",
    ),
}
"""What a command that only talks to a running ipsecd must not import."""


def modules(root: Path = ROOT) -> list[Path]:
    return sorted(path for path in (root / "ipsectools").rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(path: Path, root: Path = ROOT) -> set[str]:
    """Full names of the package's modules that a file imports, inside functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            folder = root / base.replace(".", "/")
            for name in node.names:
                is_module = (folder / name.name).is_dir() or (folder / f"{name.name}.py").is_file()
                found.add(f"{base}.{name.name}" if is_module else base)
    return {name for name in found if name.startswith("ipsectools.")}


def dotted(path: Path, root: Path = ROOT) -> str:
    """A module's name."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def room_of(name: str) -> str:
    """The innermost room that a module is in."""
    inside = [room for room in ALLOWED if f"{name}.".startswith(f"ipsectools.{room}.")]
    return max(inside, key=len, default="")


def test_every_file_is_in_a_room() -> None:
    assert [name for path in modules() if not room_of(name := dotted(path)) and name != "ipsectools"] == []
    assert {room_of(dotted(path)) for path in modules()} - {""} == set(ALLOWED)


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    allowed = {f"ipsectools.{name}" for name in (*ALLOWED[room], room)} | {"ipsectools.__version__"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if room_of(dotted(path)) == room
        for name in imports_of(path)
        if not any(name == each or name.startswith(each + ".") for each in allowed)
    ]
    assert wrong == []


def test_the_table_of_rooms_goes_one_way() -> None:
    """The directions of CONTRIBUTING.md: whoever changes the table cannot turn one round by the way."""

    def floor(room: str) -> int:
        return next(number for number, rooms in enumerate(FLOORS) if room.split(".")[0] in rooms)

    assert sorted(room for rooms in FLOORS for room in rooms) == sorted({room.split(".")[0] for room in ALLOWED})
    wrong = [
        f"{room}: {name}"
        for room, names in ALLOWED.items()
        for name in names
        if floor(name) >= floor(room) and name.split(".")[0] != room.split(".")[0]
    ]
    assert wrong == []
    front_ends = {room for room in ALLOWED if room.startswith("commands.")}
    assert {name for names in ALLOWED.values() for name in names} & front_ends == set()


def test_answers_are_imported_for_types_alone() -> None:
    """They cost no command anything, nor ipsecd."""
    wrong = []
    for path in modules():
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                node.body = []
        wrong += [
            dotted(path)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module == "ipsectools.answers" or "answers" in [name.name for name in node.names])
        ]
    assert wrong == []


def circles(root: Path = ROOT) -> list[tuple[str, ...]]:
    """Groups of modules that import each other, over whatever ways, types included."""
    paths = {dotted(path, root): path for path in modules(root)}
    reached = {
        name: {each for each in imports_of(path, root) if each in paths} - {name} for name, path in paths.items()
    }
    grew = True
    while grew:
        grew = False
        for name, found in reached.items():
            more = set().union(*(reached[each] for each in found)) - found
            if more:
                reached[name] = found | more
                grew = True
    inside = {name for name, found in reached.items() if name in found}
    return sorted(
        {tuple(sorted({name} | {each for each in reached[name] if name in reached[each]})) for name in inside}
    )


def test_no_circle_between_any_two_files() -> None:
    assert circles() == []


def test_a_circle_put_in_by_hand_is_found(tmp_path: Path) -> None:
    """Over a package, a function and a type."""
    package = tmp_path / "ipsectools"
    (package / "room").mkdir(parents=True)
    (package / "room" / "__init__.py").write_text("from ipsectools import low\n")
    (package / "low.py").write_text("def late():\n    import ipsectools.high\n")
    (package / "high.py").write_text("if TYPE_CHECKING:\n    from ipsectools.room import Name\n")
    (package / "user.py").write_text("from ipsectools.room import Name\n")
    assert circles(tmp_path) == [("ipsectools.high", "ipsectools.low", "ipsectools.room")]


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
