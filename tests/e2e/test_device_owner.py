"""Nobody but us is in a TUN device of ours: another user gets no packet of it, and it is said if somebody has it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.host import CHECKOUT, Host, LabError
from ipsectools.lab.netlink import Netlink
from tests.e2e.numbers import stop_ipsecd
from tests.traffic.scene import CBC_SHA256, INNER, assert_pings, assert_transfers, tunnel
from tests.traffic.test_crash import kill_ipsecd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Process

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]

SQUATTER = os.path.join(CHECKOUT, "tests/e2e/squatter.py")
SOMEBODY = "12345"
OLDER = """
import fcntl, sys
sys.path.insert(0, {checkout!r})
ioctl, owner = fcntl.ioctl, 0x400454CC
fcntl.ioctl = lambda device, request, *value: 0 if request == owner else ioctl(device, request, *value)
from ipsectools.programs import run
run("ipsecd", ["-f"])
"""


class Running:
    """A command of a host whose output is read while it runs."""

    def __init__(self, host: Host, *argv: str) -> None:
        self._read, output = os.pipe()
        given, self._input = os.pipe()
        os.set_blocking(self._read, False)
        self.text = ""
        try:
            self.process: Process = host.spawn(argv, given, output, output)
        finally:
            os.close(given)
            os.close(output)

    def until(self, wanted: str) -> str:
        """All that was written, once that contains `wanted`."""
        deadline = time.monotonic() + 30
        while wanted not in self.text:
            assert time.monotonic() < deadline, (wanted, self.text)
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self._read, 65536).decode()
            time.sleep(0.01)
        return self.text

    def end(self) -> None:
        """Ends its input."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def close(self) -> None:
        self.end()
        with contextlib.suppress(LabError):
            self.process.kill(signal.SIGTERM)
            self.process.wait()
        os.close(self._read)


@contextlib.contextmanager
def squatter(host: Host, how: str, user: str) -> Iterator[Running]:
    running = Running(host, sys.executable, "-I", "-S", SQUATTER, how, "ipsec0", user)
    try:
        yield running
    finally:
        running.close()


@contextlib.contextmanager
def ipsecd(host: Host) -> Iterator[Running]:
    """ipsecd in the foreground, its log to be read."""
    running = Running(host, "ipsecd", "-f")
    try:
        running.until("serving")
        yield running
    finally:
        running.close()


def older_release(a: Host, b: Host) -> None:
    """A tunnel; A's device was made by an ipsecd that gives it no owner, and which has ended."""
    script = OLDER.format(checkout=CHECKOUT)
    older = Running(a, sys.executable, "-c", script)
    try:
        older.until("serving")
        tunnel(a, b, CBC_SHA256)
        assert_pings(a, b)
    finally:
        older.close()


def squat(host: Host, how: str, user: str = SOMEBODY) -> str:
    return host.run(sys.executable, "-I", "-S", SQUATTER, how, "ipsec0", user).output.strip()


def is_running(host: Host) -> bool:
    (interface,) = json.loads(host.run("ifconfig", "--json", "ipsec0").output)["interface"]
    plain = host.run("ifconfig", "ipsec0").output.splitlines()[0]
    assert ("RUNNING" in interface["flags"]["names"]) == ("RUNNING" in plain)
    return "RUNNING" in plain


def until_running(host: Host) -> None:
    deadline = time.monotonic() + 30
    while not is_running(host):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def others() -> None:
    """Only root can be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("not root: no second user")


@pytest.mark.usefixtures("others")
def test_another_user_gets_no_device_whatever_ipsecd_does(hosts: Pair) -> None:
    a, b = hosts
    with squatter(a, "loop", SOMEBODY) as attack:
        attack.until("ready")
        tunnel(a, b, CBC_SHA256)
        assert_pings(a, b)
        stop_ipsecd(a)
        assert squat(a, "once") == "EPERM"
        a.run("ifconfig", "ipsec0")
        a.run("setkey", "-D")
        kill_ipsecd(a)
        assert squat(a, "once") == "EPERM"
        a.run("setkey", "-D")
        a.run("ifconfig", "ipsec0", "down")
        a.run("ifconfig", "ipsec0", "up")
        until_running(a)
        assert_pings(a, b)
        a.run("ifconfig", "tun0", "create")
        assert a.run(sys.executable, "-I", "-S", SQUATTER, "once", "tun0", SOMEBODY).output == "EPERM\n"
        attack.end()
        assert int(attack.until("kept out of ").split()[-1]) > 100


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("spoiled", "core"), [(False, "auto"), (True, "auto"), pytest.param(True, "python", marks=pytest.mark.long)]
)
def test_a_device_without_an_owner_is_taken_over(hosts: Pair, spoiled: bool, core: str) -> None:
    """Also after somebody was in it who left his settings there."""
    a, b = hosts
    a.environment["IPSECTOOLS_CORE"] = core
    older_release(a, b)
    assert squat(a, "once") == "attached"
    if spoiled:
        assert squat(a, "spoil") == "spoiled"
    a.run("setkey", "-D")
    until_running(a)
    assert_pings(a, b)
    assert_transfers(a, b)
    stop_ipsecd(a)
    assert squat(a, "once") == "EPERM"


@pytest.mark.usefixtures("others")
def test_who_sits_in_a_device_without_an_owner_is_thrown_out(hosts: Pair) -> None:
    a, b = hosts
    older_release(a, b)
    with Netlink(a) as netlink:
        netlink.route("10.9.0.0/16", interface="ipsec0")
    with squatter(a, "hold", SOMEBODY) as holder:
        holder.until("attached")
        with ipsecd(a) as daemon:
            daemon.until("ipsec0: its device is held by another process: made anew")
            until_running(a)
            holder.until("gone")
            assert_pings(a, b)
            way = a.run("ipsectools", "why", INNER["inet"][0], "10.9.0.1").output
            assert "10.9.0.1 through ipsec0" in way  # the route that was not ifconfig's is back
    assert squat(a, "once") == "EPERM"


def test_a_device_that_is_held_is_said_everywhere_and_comes_back(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b, CBC_SHA256)
    assert is_running(a)
    stop_ipsecd(a)
    with squatter(a, "hold", "0") as holder:
        holder.until("attached")
        with ipsecd(a) as daemon:
            trouble = "its device is held by another process"
            daemon.until(f"ipsec0: {trouble}: no packets until it is let go or ipsec0 is destroyed")
            assert not is_running(a)
            why = json.loads(a.run("ipsectools", "why", "--json", *INNER["inet"], check=False).output)["stopped"]
            assert why["reason"] == f"ipsec0 is not RUNNING: {trouble}"
            assert why["drop"] == "out-not-running"
            doctor = a.run("ipsectools", "doctor", check=False)
            (line,) = [line for line in doctor.output.splitlines() if "ipsec0" in line]
            assert line.startswith(f"missing ipsec0 is not RUNNING: {trouble}")
            if a.mounted["proc"]:
                assert f": process {holder.process.pid} (python" in line
            assert doctor.status == 1
            holder.process.kill(signal.SIGKILL)
            daemon.until("ipsec0: its device is ours again")
            until_running(a)
            assert_pings(a, b)


@pytest.mark.parametrize("core", ["auto", pytest.param("python", marks=pytest.mark.long)])
def test_cores_take_turns_on_a_device(hosts: Pair, core: str) -> None:
    """The compiled one wants super-packets and unfinished checksums, and the plain one must not get them."""
    a, b = hosts
    for host in hosts:
        host.environment["IPSECTOOLS_CORE"] = core
    tunnel(a, b, CBC_SHA256)
    for following in ("python", "auto"):
        if following == core:
            continue
        for host in hosts:
            stop_ipsecd(host)
            host.environment["IPSECTOOLS_CORE"] = following
            host.run("setkey", "-D")
            until_running(host)
        assert_transfers(a, b)
