"""State directories of root: named for ever after one network namespace, and gone with it."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make namespaces")

PRELUDE = """
import fcntl, os, sys, time
sys.path.insert(0, sys.argv[1])
from ipsectools.host.linux import namespaces, occupants
from ipsectools.kernel import namespace, statedir, sweep
statedir.ROOT = sys.argv[2]
os.environ.pop("IPSECTOOLS_STATE", None)
os.environ["IPSECTOOLS_HOST"] = "linux"
sweep.INTERVAL = 0
def directories():
    return sorted(name for name in os.listdir(statedir.ROOT) if name[0] != ".")
"""


def start(root, code, *enter):
    return subprocess.Popen(
        [*root.enter, *enter, sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(ROOT), str(root.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(root, code, *enter):
    process = start(root, code, *enter)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), err
    return out.strip()


NEW = ("unshare", "--net", "--")
MAKE = "print(os.path.basename(statedir.prepare()))"
MAKE_AND_STAY = MAKE + "; sys.stdout.flush(); sys.stdin.readline()"


class Root:
    """A directory of state directories, and a PID namespace in which all processes that know it can be seen."""

    def __init__(self, path):
        self.path = path
        self.first = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.first.stdout.readline() == b"ready\n"
        with open(f"/proc/{self.first.pid}/task/{self.first.pid}/children") as file:
            child = file.read().split()[0]
        self.enter = ["nsenter", f"--target={child}", "--pid", "--mount", "--"]

    def __truediv__(self, name):
        return self.path / name

    def close(self):
        self.first.stdin.close()
        self.first.wait(PATIENCE)


@pytest.fixture
def root(tmp_path):
    if shutil.which("unshare") is None or subprocess.call([*NEW, "true"], stderr=subprocess.DEVNULL):
        pytest.skip("no network namespaces here")
    (tmp_path / "run").mkdir(mode=0o700)
    made = Root(tmp_path / "run")
    yield made
    made.close()


def test_what_is_dead_is_removed_and_what_lives_is_not(root):
    mine = run(root, MAKE)
    living = start(root, MAKE_AND_STAY, *NEW)
    name = living.stdout.readline().strip()
    dead = run(root, MAKE, *NEW)
    assert len({mine, name, dead}) == 3
    (root / dead / "state.db").write_text("keys")
    assert run(root, "statedir.prepare(); print(*directories())").split() == sorted([mine, name])
    living.communicate("\n", timeout=PATIENCE)
    assert run(root, "statedir.prepare(); print(*directories())") == mine


HOLDERS = {
    "an open descriptor": "held = os.open('/proc/self/ns/net', os.O_RDONLY); namespaces.enter(there)",
    "a thread": "import threading; threading.Thread(target=time.sleep, args=(600,), daemon=True).start();"
    "namespaces.enter(there)",
}


@pytest.mark.parametrize("how", HOLDERS)
def test_what_is_held_otherwise_lives(root, how):
    code = f"""
    there = os.open("/proc/1/ns/net", os.O_RDONLY)
    {MAKE}
    sys.stdout.flush()
    {HOLDERS[how]}
    print("left", flush=True)
    sys.stdin.readline()
    os._exit(0)
    """
    holder = start(root, code, *NEW)
    name = holder.stdout.readline().strip()
    assert holder.stdout.readline() == "left\n"
    assert name in run(root, "statedir.prepare(); print(*directories())").split()
    holder.communicate("\n", timeout=PATIENCE)
    assert name not in run(root, "statedir.prepare(); print(*directories())").split()


@pytest.mark.parametrize("lock", ["lock", "simulated/lock"])
def test_what_has_an_owner_is_left(root, lock):
    dead = run(root, MAKE, *NEW)
    (root / dead / "simulated").mkdir()
    (root / dead / lock).touch()
    code = f"""
    lock = open(f"{{statedir.ROOT}}/{dead}/{lock}")
    fcntl.flock(lock, fcntl.LOCK_EX)
    statedir.prepare()
    print(*directories())
    """
    assert dead in run(root, code).split()
    assert dead not in run(root, "statedir.prepare(); print(*directories())").split()


@pytest.mark.parametrize(
    "blind",
    [
        "occupants._process = lambda: ''",
        "sweep.ALL_PROCESSES = '0'; m = statedir.namespace_mark(); statedir.namespace_mark = lambda: [*m[:3], '1']",
    ],
)
def test_nothing_is_removed_by_who_cannot_see_everybody(root, blind):
    dead = run(root, MAKE, *NEW)
    assert dead in run(root, f"{blind}; statedir.prepare(); print(*directories())").split()


def test_what_was_before_the_last_boot_is_removed_also_under_our_own_name(root):
    mine = run(root, MAKE)
    other = run(root, MAKE, *NEW)
    for name in (mine, other):
        words = (root / name / "namespace").read_text().split()
        (root / name / "namespace").write_text(" ".join(["another-boot", *words[1:]]) + "\n")
        (root / name / "state.db").write_text("keys")
    assert run(root, "print(statedir.existing())") == ""
    assert run(root, "occupants._process = lambda: ''; statedir.prepare(); print(*directories())") == mine
    assert os.listdir(root / mine) == ["namespace"]
    assert (root / mine / "namespace").stat().st_mode & 0o777 == 0o600
    assert run(root, "print(statedir.existing())") == str(root / mine)


def test_what_an_older_release_made_is_taken_over(root):
    mine = run(root, MAKE)
    (root / mine / "namespace").unlink()
    (root / mine / "state.db").write_text("state")
    run(root, MAKE)
    assert sorted(os.listdir(root / mine)) == ["namespace", "state.db"]


def test_it_is_looked_for_once_a_minute(root):
    run(root, MAKE)
    dead = run(root, MAKE, *NEW)
    assert dead in run(root, "sweep.INTERVAL = 600; statedir.prepare(); print(*directories())").split()
    os.utime(root / ".swept", (time.time() - 601,) * 2)
    assert dead not in run(root, "sweep.INTERVAL = 600; statedir.prepare(); print(*directories())").split()


WITHOUT_COOKIE = "namespace._SO_NETNS_COOKIE = 9999;"


def test_without_a_cookie_the_namespace_is_given_a_name(root):
    seen = run(
        root,
        WITHOUT_COOKIE
        + """
    names = {statedir.namespace_name() for _ in range(3)}
    namespaces.rtnetlink.Reader().add_name(1, "ipsectools-" + "0" * 32)  # as if two had made one at the same moment
    names.add(statedir.namespace_name())
    print(*names)
    """.replace("\n    ", "\n"),
        *NEW,
    ).split()
    assert len(seen) == 1 and len(seen[0]) == len("net-") + 32
    others = {run(root, WITHOUT_COOKIE + MAKE, *NEW) for _ in range(5)}
    assert len(others | set(seen)) == 6
    refused = start(root, WITHOUT_COOKIE + "statedir.namespace_name(make=False)", *NEW)
    assert (
        "this network namespace cannot be named (No such file or directory); set IPSECTOOLS_STATE"
        in refused.communicate()[1]
    )


def test_without_a_cookie_and_without_privilege_there_is_no_place(root):
    code = (
        WITHOUT_COOKIE
        + """
try:
    statedir.prepare()
except statedir.StateError as error:
    print(error)
"""
    )
    said = run(root, code, *NEW, "setpriv", "--bounding-set=-net_admin", "--")
    assert "cannot be named (Operation not permitted); set IPSECTOOLS_STATE" in said
