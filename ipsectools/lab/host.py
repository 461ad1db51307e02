"""One lab host, seen from the caller: start commands on it, open sockets on it, end it.

`Host` is a context manager; when it ends, or the caller dies, the kernel ends all processes of the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STATE = "/run/ipsectools-lab"
"""Where the kernel of a lab host keeps its state, in the host's own /run."""

_SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")


class LabError(Exception):
    """The lab cannot be had here, or a lab host refused a request; the text is one line."""


class CommandError(LabError):
    """A command on a lab host ended with another status than 0."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{' '.join(result.argv)}: exit status {result.status}: {result.errors.strip()}")
        self.result = result


class Result:
    """What a command did: its exit status (negative: the signal that ended it), standard output and error output."""

    __slots__ = ("argv", "errors", "output", "status")

    def __init__(self, argv: Sequence[str], status: int, output: str, errors: str) -> None:
        self.argv = argv
        self.status = status
        self.output = output
        self.errors = errors

    def __repr__(self) -> str:
        return f"Result({self.argv!r}, {self.status}, {self.output!r}, {self.errors!r})"


class Process:
    """A command that runs on a lab host. `pid` is its number there."""

    def __init__(self, host: Host, argv: Sequence[str], pid: int, report: int) -> None:
        self.host = host
        self.argv = argv
        self.pid = pid
        self._report = report
        self._status: int | None = None

    def fileno(self) -> int:
        """Readable once the command has ended."""
        return self._report

    def poll(self, timeout: float = 0) -> int | None:
        """The exit status, or None if the command still runs after `timeout` seconds."""
        if self._status is None and select.select([self._report], [], [], timeout)[0]:
            text = os.read(self._report, 16)
            os.close(self._report)
            self._status = int(text) if text else -signal.SIGKILL
        return self._status

    def wait(self, timeout: float = 30) -> int:
        """The exit status. Raises LabError when the command does not end in time (and ends it)."""
        status = self.poll(timeout)
        if status is None:
            self.kill(signal.SIGKILL)
            raise LabError(f"{' '.join(self.argv)}: still running after {timeout:g} s")
        return status

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal to the command and what it started, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(LabError):
                self.host.kill(-self.pid, number)


class Host:
    """A host of the lab: its own network, processes and /run, the project's commands first in PATH."""

    def __init__(
        self, name: str = "host", neighbour: Host | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts the host. Without privileges it shares the user namespace of its `neighbour`, so that a cable between
        them is possible. Raises LabError with the reason where the system does not allow it."""
        self.name = name
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        arguments = [sys.executable, "-I", "-S", _SERVER, str(theirs.fileno())]
        if neighbour is not None:
            arguments.append(str(neighbour.pid))
        with theirs:
            # A session of its own: a terminal's ^C is for the caller, who ends the host by closing the socket.
            self._process = subprocess.Popen(
                arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.pid: int = self._process.pid
        try:
            self.mounted: dict[str, bool] = self._receive(10, [])
        except LabError as error:
            self.close()
            raise LabError(f"no network namespaces here: {error}") from None
        self._directory = None if self.mounted["run"] else tempfile.TemporaryDirectory(prefix="ipsectools-lab-")
        self.environment = host_environment() | dict(environment or {})
        if self._directory is not None:
            self.environment["IPSECTOOLS_STATE"] = self._directory.name

    # Requests to the server

    def _receive(self, timeout: float, descriptors: list[int]) -> Any:
        if not select.select([self._connection], [], [], timeout)[0]:
            raise LabError(f"host {self.name} does not answer")
        data, received, _, _ = socket.recv_fds(self._connection, 1 << 18, 4)
        if not data:
            raise LabError(f"host {self.name} has ended")
        for descriptor in received:
            os.set_inheritable(descriptor, False)
        descriptors += received
        reply = json.loads(data)
        if "error" in reply:
            raise LabError(reply["error"])
        return reply["value"]

    def _ask(self, op: str, send: Sequence[int] = (), descriptors: list[int] | None = None, **arguments: object) -> Any:
        try:
            socket.send_fds(self._connection, [json.dumps({"op": op, **arguments}).encode()], list(send))
        except OSError as error:
            raise LabError(f"host {self.name} has ended ({error.strerror})") from None
        return self._receive(10, descriptors if descriptors is not None else [])

    # Commands

    def spawn(
        self,
        argv: Sequence[str],
        stdin: int,
        stdout: int,
        stderr: int,
        *,
        terminal: bool = False,
        directory: str = CHECKOUT,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts a command, a session of its own, with these descriptors. With `terminal`, 0 becomes its terminal."""
        report, write = os.pipe()
        try:
            pid = self._ask(
                "spawn",
                (stdin, stdout, stderr, write),
                argv=list(argv),
                environment=self.environment | dict(environment or {}),
                directory=directory,
                terminal=terminal,
            )
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(write)
        return Process(self, argv, pid, report)

    def run(
        self,
        *argv: str,
        input: str | bytes = "",
        timeout: float = 30,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Runs a command to its end. Raises CommandError for a status other than 0 if `check`, LabError if it hangs."""
        # Files in memory, not pipes: nothing to pump, and a daemon that the command leaves behind is not waited for.
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        try:
            _write_all(files[0], input.encode() if isinstance(input, str) else input)
            os.lseek(files[0], 0, os.SEEK_SET)
            status = self.spawn(argv, *files, environment=environment).wait(timeout)
            output, errors = (_read_all(descriptor) for descriptor in files[1:])
        finally:
            for descriptor in files:
                os.close(descriptor)
        result = Result(argv, status, output, errors)
        if check and status != 0:
            raise CommandError(result)
        return result

    def setkey(self, script: str, *options: str, check: bool = True, timeout: float = 60) -> Result:
        """Feeds a script to `setkey -c`."""
        return self.run("setkey", *options, "-c", input=script, check=check, timeout=timeout)

    def kill(self, pid: int, number: int = signal.SIGTERM) -> None:
        """Sends a signal to a process of this host (its number there; negative: a process group)."""
        self._ask("kill", pid=pid, signal=int(number))

    def processes(self, word: str = "") -> dict[int, str]:
        """Processes of this host whose command line contains `word`: pid to command line."""
        return {int(pid): line for pid, line in self._ask("processes").items() if word in line}

    # Sockets and files

    def socket(self, family: int, type: int, protocol: int = 0) -> socket.socket:
        """A new socket of this host's network, for use here."""
        descriptors: list[int] = []
        self._ask("socket", descriptors=descriptors, family=int(family), type=int(type), protocol=protocol)
        return socket.socket(family, type, protocol, fileno=descriptors[0])

    def namespace(self, kind: str = "net") -> int:
        """A file descriptor of one of the host's namespaces; the caller closes it."""
        return os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY)

    def path(self, path: str) -> str:
        """The same file or directory of this host as this process can open it."""
        return f"/proc/{self._inner_pid()}/root{path}"

    def _inner_pid(self) -> int:
        """The server's pid as we see it: the only child of the process we started."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return int(file.read())

    def set_kernel(self, name: str, value: int | str) -> None:
        """Sets a value of Linux's own, `net/ipv4/ip_forward`, for this host."""
        self._ask("write", path=f"/proc/sys/{name}", text=str(value))

    # The end

    def close(self) -> None:
        """Ends the host and every process on it."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._directory is not None:
            self._directory.cleanup()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Host({self.name!r})"


def host_environment() -> dict[str, str]:
    """The environment of commands on a lab host: this project's bin first, nothing of the caller's Python."""
    keep = ("HOME", "IPSECTOOLS_LOG", "LANG", "LC_ALL", "TERM", "TZ", "USER", "LOGNAME")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return environment | {
        "PATH": os.pathsep.join([os.path.join(CHECKOUT, "bin"), path, "/usr/sbin", "/sbin"]),
        "IPSECTOOLS_STATE": STATE,
        "IPSECTOOLS_HOST": "linux",
    }


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_all(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
