"""What others do to the files of a state directory while ipsecd serves it: nothing that was answered is lost."""

import os
import shutil
import signal
import time

import pytest

from .state import PATIENCE

ADD = 'add 192.0.2.1 192.0.2.2 esp {} -E aes-cbc "0123456789abcdef";'


def remove(path):
    path.unlink()


def move(path):
    path.rename(path.with_name("elsewhere"))


def truncate(path):
    os.truncate(path, 0)


def overwrite(path):
    path.write_bytes(b"not a database ".ljust(5000, b"x"))


def restore_in_place(path):
    shutil.copyfile(path.with_name("older"), path)


def restore(path):
    shutil.copyfile(path.with_name("older"), path.with_name("new"))
    path.with_name("new").rename(path)


def everything(state):
    return (
        state.ok("ifconfig", "-l"),
        state.ok("setkey", "-D").count("spi="),
        state.ok("setkey", "-DP"),
    )


def add(state, spi):
    state.ok("setkey", "-c", stdin=ADD.format(spi))


@pytest.fixture
def served(state):
    """An ipsecd in the foreground, with an interface and some SAs, and an older state file beside the present one."""
    state.ok("ifconfig", "ipsec0", "create")
    shutil.copyfile(state.directory / "state.db", state.directory / "older")
    process = state.start("ipsecd", "-f")
    assert "serving" in process.stderr.readline()
    for spi in range(0x1000, 0x1003):
        add(state, spi)
    state.ok("ifconfig", "ipsec1", "create", "reqid", "100")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("name", ["state.db", "state.db-wal"])
@pytest.mark.parametrize("harm", [remove, move, truncate, overwrite, restore, restore_in_place])
def test_a_state_file_is_put_back_before_the_next_answer(state, served, harm, name):
    path = state.directory / name
    before = everything(state)
    time.sleep(0.01)  # so that what is written below has another time
    harm(path)
    add(state, 0x2000)
    os.kill(served.pid, signal.SIGKILL)
    _, err = served.communicate(timeout=PATIENCE)
    assert str(path) in err and "put back" in err
    names, count, policies = everything(state)
    assert (names, count, policies) == (before[0], before[1] + 1, before[2])
    assert path.stat().st_mode & 0o777 == 0o600 if path.exists() else True


def test_it_is_noticed_without_a_request(state, served):
    (state.directory / "state.db").unlink()
    assert "state.db was removed; it has been put back with all that there is" in served.stderr.readline()
    os.kill(served.pid, signal.SIGKILL)
    served.wait(PATIENCE)
    assert everything(state)[1] == 3


def test_removed_sockets_are_made_anew(state, served):
    for name in ("pfkey", "control"):
        (state.directory / name).unlink()
    seen = {served.stderr.readline().split()[1] for _ in range(2)}
    assert seen == {str(state.directory / name) for name in ("pfkey", "control")}
    add(state, 0x2000)
    assert everything(state)[1] == 4
    state.ok("ipsecd", "--stop")
    assert not (state.directory / "pfkey").exists()


def test_another_owners_file_is_left_alone(state, served):
    """The directory is somebody else's now: no change is acknowledged, and nothing there is touched."""
    process = state.start("setkey", "-c", stdin="")
    deadline = time.monotonic() + PATIENCE
    while "clients: 1" not in state.ok("ipsecd", "--status") and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(served.pid, signal.SIGSTOP)
    state.directory.rename(state.directory.with_name("moved"))
    state.ok("ifconfig", "ipsec7", "create")
    there = (state.directory / "state.db").read_bytes()
    process.stdin.write(ADD.format(0x2000))
    process.stdin.close()
    os.kill(served.pid, signal.SIGCONT)
    assert process.wait(PATIENCE) != 0 or process.stderr.read() != ""
    assert served.wait(PATIENCE) == 0
    process.stdout.close()
    process.stderr.close()
    assert (state.directory / "state.db").read_bytes() == there
