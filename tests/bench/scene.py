"""Two lab hosts and a cable, and what a tunnel needs to be set up on them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ipsectools.lab.host import Host, LabError, Process
from ipsectools.lab.netlink import Netlink
from ipsectools.lab.network import CABLE, connect
from tests.bench.ethtool import set_feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OUTER = ("192.168.0.3", "192.168.0.5")
INNER = ("172.16.0.3", "172.16.0.5")
PATIENCE = 20.0


class Scene:
    """Hosts A and B; `directory` is for configuration files and logs, `built` for compiled programs."""

    def __init__(self, hosts: tuple[Host, Host], directory: Path, built: Path) -> None:
        self.hosts = hosts
        self.directory = directory
        self.built = built

    def start(self, side: int, *argv: str, environment: Mapping[str, str] | None = None) -> Process:
        """Starts a daemon on host A (0) or B (1); its output goes to a log."""
        log = self.directory / f"{os.path.basename(argv[0])}-{'ab'[side]}.log"
        with open(os.devnull, "rb") as nothing, log.open("ab") as output:
            return self.hosts[side].spawn(
                argv, nothing.fileno(), output.fileno(), output.fileno(), environment=environment
            )

    def has_interface(self, side: int, name: str) -> bool:
        with Netlink(self.hosts[side]) as netlink, contextlib.suppress(OSError):
            return netlink.index(name) > 0
        return False

    def address(self, interface: str) -> None:
        """Gives the TUN devices of this name, as soon as they are there, the inner addresses."""
        for side, host in enumerate(self.hosts):
            wait_for(lambda side=side: self.has_interface(side, interface), f"interface {interface}")  # type: ignore[misc]
            with Netlink(host) as netlink:
                netlink.address(interface, INNER[side] + "/32")
                netlink.set_up(interface)
                netlink.route(INNER[1 - side] + "/32", interface=interface)

    def address_loopback(self) -> None:
        """Puts the inner addresses on lo, for tunnels that bring their own routes."""
        for side, host in enumerate(self.hosts):
            with Netlink(host) as netlink:
                netlink.address("lo", INNER[side] + "/32")

    def compiled(self, source: Path, *options: str) -> str:
        """The path of the program made from a C file, compiled if need be. Raises LabError."""
        program = self.built / source.stem
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            self.built.mkdir(parents=True, exist_ok=True)
            command = ["cc", "-O3", "-march=native", "-pthread", "-o", str(program), str(source), *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LabError(f"{source.name}: {done.stderr.strip()}")
        return str(program)

    def wait_answer(self) -> None:
        """Returns when B answers through the tunnel. Raises LabError."""
        ping = ("ping", "-c1", "-W1", "-q", INNER[1])
        wait_for(lambda: self.hosts[0].run(*ping, check=False).status == 0, f"answer from {INNER[1]}")


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Raises LabError if `condition` does not come true in time."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"no {what} after {patience:g} s")
        time.sleep(0.05)


@contextlib.contextmanager
def scene(
    built: Path, *, environment: Mapping[str, str] | None = None, cable_mtu: int = 1500, udp_segmentation: bool = True
) -> Iterator[Scene]:
    """Fresh hosts. `udp_segmentation` off: the cable takes no UDP GSO packets, as most network cards do not."""
    with (
        tempfile.TemporaryDirectory(prefix="ipsectools-bench-") as directory,
        Host("A", environment=environment) as a,
        Host("B", a, environment=environment) as b,
    ):
        connect(a, b, [OUTER[0] + "/24"], [OUTER[1] + "/24"], mtu=cable_mtu)
        if not udp_segmentation:
            for host in (a, b):
                set_feature(host, CABLE, "tx-udp-segmentation", False)
        yield Scene((a, b), Path(directory), built)


class Job:
    """A command that runs on a host while others do; its output is kept in memory."""

    def __init__(self, host: Host, argv: Sequence[str]) -> None:
        self._output = os.memfd_create("output")
        with open(os.devnull, "r+b") as null:
            self._process = host.spawn(argv, null.fileno(), self._output, null.fileno())

    def output(self, timeout: float) -> str:
        """What it printed, once it has ended or after `timeout` seconds, when it is ended."""
        if self._process.poll(timeout) is None:
            self._process.kill(signal.SIGKILL)
        text = os.pread(self._output, os.fstat(self._output).st_size, 0).decode(errors="replace")
        os.close(self._output)
        return text
