"""`make demo`: the two-host example of if_ipsec(4), word for word, and a look at the wire.

With namespaces and TUN devices (root, or an ordinary user where that is allowed) packets flow between two lab hosts;
else the same commands run against two simulated hosts, and one line says what is missing. Exit status: 0 if everything
went as the page says, 1 if not, 130 after an interruption.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import termios
from typing import TYPE_CHECKING

from ipsectools.lab.capture import Capture
from ipsectools.lab.host import LabError, host_environment
from ipsectools.lab.manual import page_path, steps
from ipsectools.lab.network import reason_without_packets, two_hosts
from ipsectools.lab.ping import Pinged, ping
from ipsectools.lab.show import presenter
from ipsectools.lab.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from ipsectools.lab.capture import Seen
    from ipsectools.lab.show import Presenter

OUTER = {"A": "192.168.0.3", "B": "192.168.0.5"}
PINGS = (("A", "172.16.0.5"), ("B", "172.16.0.3"), ("A", "fd00::5"), ("B", "fd00::3"))
"""What is reached through the tunnel of the page: from which host, which inner address."""

SHOWN_PACKETS = 12
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Demo:
    """The run of one demo: shows, and remembers whether all went well."""

    def __init__(self, show: Presenter, page: str) -> None:
        self.show = show
        self.steps = steps(page)
        self.failures: list[str] = []

    def type(self, host: str, terminal: Terminal, line: str, input: Sequence[str] | None = None) -> None:
        """Types a command and shows what the screen shows."""
        typed = terminal.type(line, input or (), end=input is not None)
        self.show.command(host, line, input, _without_echo(typed.screen, input or ()))
        if typed.status != 0:
            self.failures.append(f"{host}: {line}: exit status {typed.status}")

    def play(self, terminals: Mapping[str, Terminal]) -> None:
        """Types every command of the page on the host it names."""
        for step in self.steps:
            self.type(step.host, terminals[step.host], step.line, step.input)

    def report(self, pinged: Pinged, host: str) -> None:
        times = [t * 1000 for t in pinged.times if t is not None]
        text = f"{host} pings {pinged.address}: {pinged.received} of {len(pinged.sizes)} answered"
        if times:
            text += f", {min(times):.2f} to {max(times):.2f} ms"
        self.show.verdict(text, bool(pinged))
        if not pinged:
            self.failures.append(text)

    def wire(self, packets: Sequence[Seen]) -> None:
        """Shows the ESP packets among `packets` and whether there was anything else."""
        esp = [seen for seen in packets if seen.kind == "esp"]
        rows = [
            (f"{seen.source} > {seen.destination}", str(seen.spi), str(seen.sequence), str(seen.size))
            for seen in esp[:SHOWN_PACKETS]
        ]
        self.show.table(("ESP on the wire", "SPI", "sequence", "bytes"), rows)
        if len(esp) > SHOWN_PACKETS:
            self.show.note(f"... and {len(esp) - SHOWN_PACKETS} more")
        clear = [seen for seen in packets if seen.kind == "clear"]
        neighbours = sum(seen.kind == "neighbour" for seen in packets)
        text = f"{len(packets)} packets: {len(esp)} ESP, {neighbours} to find neighbours, {len(clear)} in clear text"
        self.show.verdict(text, bool(esp) and not clear)
        if clear or not esp:
            self.failures.append(text)


def _without_echo(screen: str, input: Sequence[str]) -> str:
    """The screen without the typed lines, which the terminal echoed."""
    left = screen.splitlines()
    for line in input:
        if line in left:
            left.remove(line)
    return "\n".join(left)


def with_packets(demo: Demo) -> None:
    show = demo.show
    show.heading("Two hosts: A is 192.168.0.3, B is 192.168.0.5, a cable joins them")
    with two_hosts() as (a, b), Capture(a) as capture:
        hosts = {"A": a, "B": b}
        with Terminal(a) as at_a, Terminal(b) as at_b:
            terminals = {"A": at_a, "B": at_b}
            show.heading("The example of if_ipsec(4), as typed")
            demo.play(terminals)
            demo.type("A", at_a, "ifconfig ipsec0")
            show.heading("Through the tunnel")
            for host, address in PINGS:
                demo.report(ping(hosts[host], address, count=3), host)
            show.heading("What crossed the cable")
            demo.wire(capture.packets())
            show.heading("The security associations of A afterwards")
            demo.type("A", at_a, "setkey -D")


class SimulatedHost:
    """A host without packets: the same commands, its kernel in a directory. Fits `Terminal`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ipsectools-demo-")
        state = {"IPSECTOOLS_STATE": self._directory.name, "IPSECTOOLS_HOST": "simulated"}
        self.environment = host_environment() | state

    def __enter__(self) -> SimulatedHost:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ipsecd", "--stop"], env=self.environment, capture_output=True, check=False, timeout=20)
        self._directory.cleanup()

    def spawn(
        self,
        argv: Sequence[str],
        stdin: int,
        stdout: int,
        stderr: int,
        *,
        terminal: bool,
        environment: Mapping[str, str],
    ) -> SimulatedProcess:
        del terminal
        return SimulatedProcess(
            subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=self.environment | dict(environment),
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        )


class SimulatedProcess:
    """A process of a simulated host, with what `Terminal` asks of a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self, timeout: float = 0) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def kill(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def simulated(demo: Demo, reason: str) -> None:
    show = demo.show
    show.note(f"No packets can flow here: {reason}. The hosts below are simulated; the commands are the same.")
    with contextlib.ExitStack() as stack:
        terminals = {}
        for host in OUTER:
            simulated_host = stack.enter_context(SimulatedHost())
            terminals[host] = stack.enter_context(Terminal(simulated_host))
        show.heading("Two simulated hosts")
        for host, address in OUTER.items():
            demo.type(host, terminals[host], f"ifconfig em0 inet {address}/24")
        show.heading("The example of if_ipsec(4), as typed")
        demo.play(terminals)
        show.heading("What the hosts know now")
        demo.type("A", terminals["A"], "ifconfig ipsec0")
        demo.type("A", terminals["A"], "setkey -D")


def _first_signal_interrupts() -> None:
    """^C, SIGTERM and SIGHUP end the demo with everything put away; a second one does not disturb that."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)


def run(show: Presenter) -> int:
    """The demo; its exit status."""
    with open(page_path("if_ipsec.4"), encoding="utf-8") as file:
        demo = Demo(show, file.read())
    reason = "asked for" if os.environ.get("IPSECTOOLS_HOST") == "simulated" else reason_without_packets()
    try:
        if reason is None:
            with_packets(demo)
        else:
            simulated(demo, reason)
    except LabError as error:
        demo.failures.append(str(error))
    for failure in demo.failures:
        show.verdict(failure, False)
    show.note("Hosts, interfaces and keys are gone again." if not demo.failures else "That is not as it should be.")
    return 1 if demo.failures else 0


def main() -> int:
    show = presenter(sys.stdout)
    try:
        _first_signal_interrupts()
        return run(show)
    except KeyboardInterrupt:
        show.note("Interrupted. Nothing is left behind.")
        return 130
    except BrokenPipeError:  # `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
