"""ipsecd's life, and who owns the state: started, stopped, killed, raced for."""

import contextlib
import os
import random
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from ipsectools import answers
from ipsectools.daemon import manage, ownership
from tests.kernel.typed import differences

from .state import PATIENCE, ROOT, SCRIPT, State


def everything(state: State) -> str:
    shown = [
        state.ok("ifconfig", "-a"),
        state.ok("setkey", "-D"),
        state.ok("setkey", "-DP"),
        state.ok("ifconfig", "-l"),
    ]
    # What tells when and by whom.
    return re.sub(r"(created|current|diff|last|pid)[:=] ?[^\n]*", r"\1", "\n".join(shown))


def build(state: State) -> None:
    state.ok("ifconfig", "em0", "inet", "192.0.2.1/24")
    assert state.ok("ifconfig", "ipsec", "create", "reqid", "100") == "ipsec0\n"
    state.ok("ifconfig", "ipsec0", "inet", "tunnel", "192.0.2.1", "192.0.2.2")
    state.ok("ifconfig", "ipsec0", "inet", "10.1.0.1/24", "10.2.0.1", "mtu", "1300", "description", "a text")
    state.ok("setkey", "-f", "/dev/stdin", stdin=SCRIPT)


def test_embedded_and_served_are_the_same(tmp_path):
    alone, with_ipsecd = State(tmp_path / "a"), State(tmp_path / "b")
    with_ipsecd.ok("ipsecd")
    try:
        (tmp_path / "script").write_text(SCRIPT)
        for state in (alone, with_ipsecd):
            state.ok("ifconfig", "em0", "inet", "192.0.2.1/24")
            assert state.ok("ifconfig", "ipsec", "create", "reqid", "100") == "ipsec0\n"
            state.ok("ifconfig", "ipsec0", "inet", "tunnel", "192.0.2.1", "192.0.2.2")
            state.ok("ifconfig", "ipsec0", "inet", "10.1.0.1/24", "10.2.0.1", "mtu", "1300", "description", "a text")
            assert state.ok("setkey", "-f", str(tmp_path / "script")) == ""
            assert state.run("ifconfig", "ipsec7", "mtu", "1300")[0] == 1
        assert (alone.ipsecd(), bool(with_ipsecd.ipsecd())) == (0, True)
        assert everything(alone) == everything(with_ipsecd)
        assert alone.ipsecd() == 0
    finally:
        with_ipsecd.close()


def test_commands_that_wait_for_input_start_ipsecd(state):
    waiting = state.start("setkey", "-c", stdin="")
    deadline = time.monotonic() + PATIENCE
    while not (state.directory / "pfkey").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert state.ok("ifconfig", "ipsec", "create") == "ipsec0\n"
    assert state.ipsecd()
    out, err = waiting.communicate(SCRIPT, timeout=PATIENCE)
    assert (waiting.returncode, out, err) == (0, "", "")
    assert "aes-gcm-16" in state.ok("setkey", "-D")


def test_an_autostarted_ipsecd_holds_nothing_of_its_starter(state):
    # `communicate` would wait for ever if ipsecd held the pipes.
    assert state.ok("ipsecd") == ""
    pid = state.ipsecd()
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["Name"] == "ipsecd"
    assert status["NoNewPrivs"] == "1"
    kept = sum(1 << capability for capability in (10, 12, 13))
    for name in ("CapEff", "CapPrm", "CapBnd"):
        if os.geteuid() == 0:
            assert int(status[name], 16) & ~kept == 0
    assert int(status["CapInh"], 16) == 0
    with open(f"/proc/{pid}/limits") as file:
        assert re.search(r"^Max core file size +0 +0 ", file.read(), re.M)
    assert os.getpgid(pid) == os.getsid(pid) != os.getsid(0)
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):  # nobody but root looks into it
            os.readlink(f"/proc/{pid}/cwd")
        return
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    opened = {os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)}
    assert opened == {"/dev/null"}


def test_files_are_the_owners_alone(state):
    state.ok("ipsecd")
    state.ok("ifconfig", "ipsec", "create")
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.directory.iterdir()}
    assert {"state.db", "lock", "pfkey", "control"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_status_and_stop(state):
    assert state.run("ipsecd", "--status")[0] == 3
    assert state.run("ipsecd", "--stop") == (1, "", "ipsecd: not running\n")
    assert state.ok("ipsecd") == ""
    assert state.ok("ipsecd") == ""  # there is one: nothing to do
    assert f"process {state.ipsecd()}," in state.ok("ipsecd", "--status")
    status, out, err = state.run("ipsecd", "-f")
    assert (status, out, err) == (1, "", f"ipsecd: another ipsecd serves {state.directory}\n")
    assert state.ok("ipsecd", "--stop") == ""
    assert state.ipsecd() == 0
    assert sorted(path.name for path in state.directory.iterdir()) == ["lock", "state.db"]


@pytest.mark.parametrize("arguments", [["-x"], ["--idle"], ["--idle", "soon"], ["--foregroun"], ["word"]])
def test_wrong_command_lines(state, arguments):
    status, out, err = state.run("ipsecd", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("usage: ipsecd ") or err == "ipsecd: soon: not a number of seconds\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(state, number):
    process = state.start("ipsecd", "-f", stdin="")
    assert "serving" in process.stderr.readline()
    state.ok("ifconfig", "ipsec", "create")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "stopped" in err
    assert sorted(path.name for path in state.directory.iterdir()) == ["lock", "state.db"]
    assert "ipsec0" in state.ok("ifconfig", "-l").split()


def test_it_ends_when_its_directory_is_replaced(state):
    process = state.start("ipsecd", "-f", stdin="")
    assert "serving" in process.stderr.readline()
    state.ok("ifconfig", "ipsec0", "create")
    state.directory.rename(state.directory.with_name("moved"))
    assert state.ok("ifconfig", "ipsec7", "create") == ""  # makes the directory anew, and owns it
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"{state.directory} is not the directory any more that it was" in err
    assert state.ok("ifconfig", "-l").split()[-1] == "ipsec7"


def test_it_ends_when_idle(state):
    state.ok("ipsecd", IPSECTOOLS_IDLE="1")
    state.wait_until_free()
    assert not (state.directory / "pfkey").exists()


def test_it_is_not_idle_with_an_interface_or_a_client(state):
    state.ok("ipsecd", IPSECTOOLS_IDLE="1")
    pid = state.ipsecd()
    state.ok("ifconfig", "ipsec0", "create")
    monitor = state.start("setkey", "-x")
    time.sleep(1.5)
    assert state.ipsecd() == pid
    state.ok("ifconfig", "ipsec0", "destroy")
    time.sleep(1.5)
    assert state.ipsecd() == pid
    monitor.kill()
    monitor.communicate()
    state.wait_until_free()


def test_kill_at_any_moment_and_the_next_command_works(state):
    """ipsecd dies 8 times somewhere in a row of commands; what was answered is there."""
    dice = random.Random(7)
    state.ok("ipsecd")
    made = set()
    for _ in range(8):
        pid = state.ipsecd()
        commands = [state.start("ifconfig", "ipsec", "create") for _ in range(2)]
        time.sleep(dice.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        for command in commands:
            out, err = command.communicate(timeout=PATIENCE)
            if command.returncode == 0:
                made.add(out.strip())
            else:
                assert err == "ifconfig: ipsecd ended during the request SIOCIFCREATE2\n"
        listed = state.ok("ifconfig", "-l").split()
        assert made <= set(listed)
        assert len(listed) == len(set(listed))
        state.ok("ipsecd")
    assert made


def test_many_commands_at_once_without_ipsecd(state):
    processes = [state.start("ifconfig", "ipsec", "create") for _ in range(25)]
    names = []
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        names.append(out.strip())
    assert sorted(names) == sorted(f"ipsec{n}" for n in range(25))


def test_many_want_to_start_it_at_once(state):
    processes = [state.start("setkey", "-c", stdin="") for _ in range(10)]
    processes += [state.start("ipsecd") for _ in range(5)]
    for n, process in enumerate(processes):
        statement = f'add 192.0.2.1 192.0.2.2 esp {0x1000 + n} -E rijndael-cbc "0123456789abcdef";' if n < 10 else None
        out, err = process.communicate(statement, timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")
    assert state.ipsecd()
    assert state.ok("setkey", "-D").count("spi=") == 10


def test_a_command_waits_for_another_owner(state):
    state.ok("ifconfig", "-l")
    lock = ownership.acquire(str(state.directory))
    waiting = state.start("ifconfig", "-l")
    with pytest.raises(Exception, match="timed out"):
        waiting.communicate(timeout=0.5)
    lock.release()
    out, _ = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, "lo0" in out) == (0, True)


def test_two_doors_of_one_process_share_the_kernel(state):
    code = """
from ipsectools.daemon.client import open_control, open_pfkey
first, second, key = open_control(), open_control(), open_pfkey()
first.call("SIOCIFCREATE2", name="ipsec0")
print(len(second.call("LISTIF", name="ipsec0")))
register = bytes([2, 7, 0, 3, 2, 0, 0, 0]) + bytes(8)
print(key.send(register), key.receive(0)[1])
first.close(); second.close()
print(first.call("LISTIF", name="ipsec0")[0]["name"])
first.close(); key.close(); key.close()
"""
    process = state.python(code)
    out, err = process.communicate(timeout=PATIENCE)
    assert (out, err) == ("1\n0 7\nipsec0\n", "")
    assert state.ipsecd() == 0


def test_a_dump_does_not_keep_others_waiting(state):
    """Whoever pages through a dump without ipsecd has let go of the kernel."""
    state.ok("setkey", "-f", str(_script(state)))
    code = """
import sys
from ipsectools.daemon.client import open_pfkey
key = open_pfkey()
key.send(bytes([2, 10, 0, 0, 2, 0, 0, 0]) + bytes(8))
print("dumped", flush=True)
sys.stdin.readline()
count = 0
while key.receive(0) is not None:
    count += 1
print(count)
"""
    process = state.python(code)
    assert process.stdout.readline() == "dumped\n"
    assert "ipsec0" in state.ok("ifconfig", "ipsec", "create")
    out, err = process.communicate("\n", timeout=PATIENCE)
    assert (out, err) == ("2\n", "")


def _script(state):
    path = state.directory.parent / "script"
    path.write_text(SCRIPT)
    return path


def test_a_long_state_path(tmp_path):
    state = State(tmp_path / ("d" * 120))
    try:
        state.ok("ipsecd")
        assert state.ok("ifconfig", "ipsec", "create") == "ipsec0\n"
        state.ok("setkey", "-D")
        assert state.ipsecd()
    finally:
        state.close()


@pytest.mark.parametrize("program", [["ifconfig", "-l"], ["setkey", "-c"]])
@pytest.mark.parametrize("harm", ["directory mode", "file mode", "damaged", "newer", "another's"])
def test_a_state_that_is_not_ours_is_refused_in_one_line(state, harm, program):
    state.ok("ifconfig", "ipsec0", "create")
    path = state.directory / "state.db"
    if harm == "directory mode":
        state.directory.chmod(0o755)
    elif harm == "file mode":
        path.chmod(0o644)
    elif harm == "damaged":
        path.write_bytes(b"not a database at all, not even nearly".ljust(8192, b"x"))
    elif harm == "newer":
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
    elif os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        pytest.skip("needs root, to give the file away")
    before = path.read_bytes()
    status, out, err = state.run(*program, stdin="")
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"({program[0]}|pfkey_open): .*{re.escape(str(state.directory))}[^\n]*\n", err), err
    assert path.read_bytes() == before


def test_the_wrong_kind_of_host(state):
    status, out, err = state.run("ifconfig", "-l", IPSECTOOLS_HOST="freebsd")
    assert (status, out, err) == (1, "", "ifconfig: IPSECTOOLS_HOST=freebsd: not linux or simulated\n")


def test_it_tells_the_service_manager(state, tmp_path):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(PATIENCE)
    manager.bind(str(tmp_path / "notify"))
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    process = state.start("ipsecd", "--foreground", **told)
    ready = manager.recv(1000).decode().split("\n")
    assert ready[0] == "READY=1"
    assert ready[1].startswith("STATUS=")
    assert state.ok("ifconfig", "ipsec", "create") == "ipsec0\n"
    assert manager.recv(1000) == b"WATCHDOG=1"
    process.terminate()
    while (word := manager.recv(1000)) != b"STOPPING=1":
        assert word.startswith((b"WATCHDOG=1", b"STATUS="))
    process.communicate(timeout=PATIENCE)


def test_sockets_from_the_service_manager(state, tmp_path):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(tmp_path / "pfkey"))
    listening.listen(5)
    early = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    early.settimeout(PATIENCE)
    early.connect(str(tmp_path / "pfkey"))
    early.send(bytes([2, 7, 0, 3, 2, 0, 0, 0]) + bytes(8))
    code = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.environ['LISTEN_FDS'] = '1'\n"
        f"os.execv({str(ROOT / 'bin/ipsecd')!r}, ['ipsecd', '-f'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(listening.fileno())],
        env=state.environment,
        pass_fds=(listening.fileno(),),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert early.recv(70_000)[1] == 7
        assert state.ok("setkey", "-D") == "No SAD entries.\n"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert (tmp_path / "pfkey").exists()


def test_what_ipsecd_says_of_itself_is_of_its_type(state):
    state.ok("ipsecd")
    state.ok("ifconfig", "ipsec0", "create")
    told = manage.status(str(state.directory))
    assert told is not None and differences(told, answers.DaemonStatus) == []
