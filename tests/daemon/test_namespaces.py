"""ipsecd and the network namespace it serves: it does not outlive it, and does not leave one that is in use."""

import ctypes
import os
import shutil
import signal
import subprocess
import time

import pytest

from ipsectools.daemon import ownership

from .state import PATIENCE, ROOT, State

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make network namespaces")

LONG_ENOUGH = 8
"""Seconds in which an ipsecd would have ended that took the namespace for deserted."""


def unshare(*options):
    return ["unshare", "--net", *options, "--"]


class Namespace:
    """A network namespace that is held by a process which waits for the end of its input."""

    def __init__(self):
        self.process = subprocess.Popen([*unshare(), "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        mine = os.stat("/proc/self/ns/net").st_ino
        deadline = time.monotonic() + PATIENCE
        while self.inode() == mine and time.monotonic() < deadline:
            time.sleep(0.01)

    def inode(self):
        return os.stat(f"/proc/{self.process.pid}/ns/net").st_ino

    def run(self, state, *command, **environment):
        enter = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", "--"]
        return subprocess.run(
            [*enter, ROOT / "bin" / command[0], *command[1:]],
            env={**state.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout

    def leave(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.leave()


@pytest.fixture
def namespace():
    if shutil.which("nsenter") is None or shutil.which("unshare") is None:
        pytest.skip("needs unshare and nsenter")
    made = Namespace()
    yield made
    made.close()


def wait_until_free(state, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        lock = ownership.acquire(str(state.directory))
        if lock is not None:
            lock.release()
            return True
        time.sleep(0.05)
    return False


def mount(source, target):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), str(target).encode(), None, 4096, None) != 0:
        pytest.skip(f"no bind mount here: {os.strerror(ctypes.get_errno())}")


def unmount(target):
    assert ctypes.CDLL(None).umount2(str(target).encode(), 2) == 0


def test_it_ends_with_the_last_one_in_its_namespace(state, namespace, tmp_path):
    """Two of them do not keep each other; and what has come into the namespace is given back."""
    other = State(tmp_path / "other")
    subprocess.Popen(["true"])  # nobody waits for its end: such processes have neither namespaces nor mounts
    pair = shutil.which("ip") is not None and not subprocess.call(
        [
            "ip",
            "link",
            "add",
            f"x{os.getpid()}",
            "type",
            "veth",
            "peer",
            "name",
            "em9",
            "netns",
            str(namespace.process.pid),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        for each in (state, other):
            namespace.run(each, "ipsecd")
            namespace.run(each, "ifconfig", "ipsec0", "create")
        time.sleep(LONG_ENOUGH / 2)
        assert state.ipsecd() and other.ipsecd()
        namespace.leave()
        assert wait_until_free(state) and wait_until_free(other)
        if pair:  # a veth pair ends with the namespace of either end
            deadline = time.monotonic() + PATIENCE
            while os.path.exists(f"/sys/class/net/x{os.getpid()}") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not os.path.exists(f"/sys/class/net/x{os.getpid()}")
        assert "ipsec0" in state.ok("ifconfig", "-l")
    finally:
        other.close()


def test_a_name_keeps_it(state, namespace, tmp_path):
    name = tmp_path / "name"
    name.touch()
    mount(f"/proc/{namespace.process.pid}/ns/net", name)
    try:
        namespace.run(state, "ipsecd")
        namespace.leave()
        assert not wait_until_free(state, LONG_ENOUGH)
    finally:
        unmount(name)
    assert wait_until_free(state)


@pytest.mark.long
def test_the_host_s_own_is_never_deserted(state):
    state.ok("ipsecd")
    assert not wait_until_free(state, LONG_ENOUGH / 2)


@pytest.mark.long
@pytest.mark.parametrize("named", [False, True])
def test_one_in_the_foreground_may_be_alone(state, named, namespace, tmp_path):
    """A service manager may have meant it to be; but with its last name a namespace has been given up."""
    name = tmp_path / "name"
    name.touch()
    if named:
        mount(f"/proc/{namespace.process.pid}/ns/net", name)
    process = subprocess.Popen(
        ["nsenter", f"--net=/proc/{namespace.process.pid}/ns/net", "--", ROOT / "bin/ipsecd", "-f"],
        env=state.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "serving" in process.stderr.readline()
        namespace.leave()
        if named:
            unmount(name)
            assert "nobody else is in this network namespace" in process.stderr.readline()
            assert process.wait(PATIENCE) == 0
        else:
            assert not wait_until_free(state, LONG_ENOUGH)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
