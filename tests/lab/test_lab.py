"""The lab itself: what the traffic tests believe it to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.flow import Counters, tcp_stream
from ipsectools.lab.host import CHECKOUT, CommandError, Host, LabError
from ipsectools.lab.netlink import Netlink
from ipsectools.lab.ping import ping
from ipsectools.lab.terminal import Terminal

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]


def test_hosts_reach_each_other_over_the_cable_only(hosts: Pair) -> None:
    a, b = hosts
    with Capture(a) as capture:
        for host, address in ((a, "192.168.0.5"), (b, "192.168.0.3"), (a, "2001:db8::5"), (b, "2001:db8::3")):
            assert ping(host, address)
        seen = capture.clear()
    assert len(seen) == 4 * 3 * 2  # a request and an answer for each
    assert {(s.source, s.destination) for s in seen if s.outgoing} == {
        ("192.168.0.3", "192.168.0.5"),
        ("2001:db8::3", "2001:db8::5"),
    }
    lost = ping(a, "192.168.0.77", count=2, timeout=0.05)
    assert not lost
    assert lost.lost == [56, 56]


def test_ping_of_many_sizes_notices_a_broken_path(hosts: Pair) -> None:
    a, _ = hosts
    assert ping(a, "192.168.0.5", sizes=range(0, 3000, 37))
    with Netlink(a) as netlink:
        netlink.set_up("em0", False)
    assert ping(a, "192.168.0.5", sizes=range(5), timeout=0.05).lost == [0, 1, 2, 3, 4]


def test_numbered_datagrams_and_streams_arrive(hosts: Pair) -> None:
    a, b = hosts
    with Counters(a, "192.168.0.3", b, "192.168.0.5", size=200) as counters:
        counters.run(500)
        assert counters.forth.complete and counters.back.complete
        assert counters.forth.sent == 500
        with Netlink(b) as netlink:
            netlink.set_up("em0", False)
        counters.run(10, timeout=0.05)
        assert not counters.forth.complete
        with Netlink(b) as netlink:
            netlink.set_up("em0", True)
    assert tcp_stream(a, b, "192.168.0.5", 300_000)


def test_commands_run_on_the_host_with_input_and_status(hosts: Pair) -> None:
    a, _ = hosts
    result = a.run("sh", "-c", "cat; echo oops >&2; exit 3", input="hello\n", check=False)
    assert (result.output, result.errors, result.status) == ("hello\n", "oops\n", 3)
    with pytest.raises(CommandError, match="exit status 1"):
        a.run("false")
    with pytest.raises(LabError, match="still running"):
        a.run("sleep", "60", timeout=0.05)
    assert a.run("sh", "-c", "echo $PATH").output.startswith(os.path.join(CHECKOUT, "bin") + ":")
    large = "x" * 300_000
    assert a.run("cat", input=large).output == large


def test_a_daemon_left_behind_is_not_waited_for_and_ends_with_the_host() -> None:
    with Host("alone") as host:
        host.run("sh", "-c", "sleep 600 & echo started")
        (pid,) = host.processes("sleep 600")
        outside = f"/proc/{host._inner_pid()}/root/proc/{pid}"
        assert os.path.exists(outside)
    assert not os.path.exists(outside)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_hosts_end_with_their_maker_however_it_ends(number: signal.Signals) -> None:
    script = (
        "import sys, time\nfrom ipsectools.lab.network import two_hosts\n"
        "with two_hosts() as (a, b):\n"
        "    a.run('sh', '-c', 'sleep 600 &')\n"
        "    print(a.pid, b.pid, a._inner_pid(), b._inner_pid(), flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        assert maker.stdout is not None
        pids = maker.stdout.readline().split()
        assert len(pids) == 4
        maker.send_signal(number)
        maker.wait(60)
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_nothing_of_the_lab_shows_outside(hosts: Pair) -> None:
    a, _ = hosts
    assert "em0" not in {name for _, name in socket.if_nameindex()}
    if not a.mounted["run"]:
        pytest.skip("in a chroot, /run is not the host's own")
    assert os.listdir(a.path("/run")) == []
    a.run("sh", "-c", "echo x > /run/probe")
    assert not os.path.exists("/run/probe")
    with open(a.path("/run/probe")) as file:
        assert file.read() == "x\n"


def test_typing_at_a_terminal(hosts: Pair) -> None:
    a, _ = hosts
    with Terminal(a) as terminal:
        assert terminal.type("echo hello").screen == "hello\n"
        assert terminal.type("test -t 0").status == 0
        typed = terminal.type("cat -u", ["one", "two"])
        assert typed.status == 0
        assert sorted(typed.screen.split()) == ["one", "one", "two", "two"]
        # A command that is over before it reads: its input must not become commands.
        assert terminal.type("no-such-command", ["exit 9"]).status == 127
        assert terminal.type("false").status == 1
