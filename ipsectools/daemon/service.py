"""The served kernel: owns the state directory, runs kernel, data path and timer, and serves the two sockets."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
from time import monotonic, sleep, time

from ipsectools import __version__
from ipsectools.daemon import client, hardening, listener, ownership, secrecy
from ipsectools.daemon.control_server import ControlServer
from ipsectools.daemon.key_watch import KeyWatch
from ipsectools.daemon.log import ERROR
from ipsectools.daemon.loop import Loop
from ipsectools.daemon.notify import Notifier
from ipsectools.daemon.pfkey_server import PfkeyServer
from ipsectools.errno import KernelError
from ipsectools.host import HostError, find_host
from ipsectools.host.linux.occupants import Occupants
from ipsectools.kernel.errors import StateError
from ipsectools.kernel.kernel import Kernel
from ipsectools.kernel.statedir import STATE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.answers import DaemonStatus
    from ipsectools.daemon.forwarding import Forwarder
    from ipsectools.daemon.log import Log
    from ipsectools.host.api import Host

STATUS_OP, STOP_OP = "IPSECDSTATUS", "IPSECDSTOP"
"""Control operations that are ipsecd's own."""

_STATUS_INTERVAL = 10.0
_LOOK_AROUND_INTERVAL = 2.0
_LOOKS = 2
"""So often nobody must be seen: a process that starts another and ends may be missed once."""


class CannotServe(Exception):
    """Why this process cannot serve; one line for the user."""


class AlreadyServed(Exception):
    """Another ipsecd serves the state directory."""


class Service:
    """One ipsecd. Made, then `run` until a signal, a request or idleness ends it, then `close`."""

    def __init__(self, directory: str, log: Log, idle: float, *, background: bool = False) -> None:
        """Takes the state directory and opens everything; ready for clients when it returns.

        `background`: started by a command, so that it ends when its network namespace has nobody else and no name. One
        that somebody else started and may have meant to be alone there ends so only if there was a name.

        `idle`: ends after so many seconds without an ipsec interface and without clients (0: never). Raises
        CannotServe or AlreadyServed.
        """
        self.directory = directory
        self.log = log
        self.idle = idle
        self.forwarder: Forwarder | None = None
        self._started = self._busy_at = self._status_at = self._watchdog_at = monotonic()
        self._notifier = Notifier()
        self._occupants = _occupants(background)
        self._looked_at = monotonic()
        self._alone = 0
        self._ownership = _own(directory)
        self._ownership.sign("ipsecd")
        self._own_sockets: dict[str, tuple[str, int, os.stat_result]] = {}
        self._servers: list[ControlServer | PfkeyServer] = []
        hardening.name_process("ipsecd")
        hardening.allow_many_descriptors()
        refused = secrecy.guard_memory()
        self._loop = Loop(
            (
                self._beat,
                self._fire_timers,
                self._woken,
                self._check_ownership,
                self._look_around,
                self._tell_status,
                self._check_idle,
            ),
            self._woken,
            log.failure,
        )
        try:
            self.host = self._find_host()
            self.kernel = self._open_kernel()
            KeyWatch(self.kernel, log.warning)
            self._make_forwarder()
            self._listen()
        except OSError as error:
            self._abandon()
            raise CannotServe(f"{error.filename or directory}: {error.strerror}") from None
        except BaseException:
            self._abandon()
            raise
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not look through it, with everybody waiting
        self._catch_signals()
        with hardening.priority():
            refused = [*refused, *hardening.harden()]
            if self.forwarder is not None:
                self.forwarder.start()  # not before: a thread has the capabilities of the one that starts it
        if refused:
            log.info(f"not possible here: {', '.join(refused)}")
        self._notifier.send("READY=1", f"STATUS={self._summary()}")
        log.notice(f"serving {directory} ({self._kind()})")

    def _find_host(self) -> Host:
        try:
            return find_host()
        except (KernelError, HostError) as error:
            raise CannotServe(str(error)) from None

    def _open_kernel(self) -> Kernel:
        try:
            kernel = Kernel(f"{self.directory}/{STATE_FILE}", self.host, time(), moves_traffic=self._moves_packets())
            for descriptor in self.host.watch(self._host_changed):
                self._loop.add(descriptor, self._host_event)
        except (KernelError, StateError) as error:
            raise CannotServe(str(error)) from None
        kernel.store.is_ours, kernel.store.report = self._ownership.is_current, self.log.error
        for notice in kernel.engine.counters.notices:
            self.log.error(f"state: {notice}")
        return kernel

    def _moves_packets(self) -> bool:
        return self.host.live and self.host.may_protect

    def _kind(self) -> str:
        if not self.host.live:
            return "simulated"
        return "live" if self.host.may_change else "nothing can be changed here"

    def _make_forwarder(self) -> None:
        if not self._moves_packets():
            return  # nothing routes packets into a simulated interface
        from ipsectools.daemon.forwarding import Forwarder

        self.forwarder = Forwarder(
            self.kernel, self.host, self._loop.wake, report=self.log.error, failed=self.log.failure
        )

    def _listen(self) -> None:
        passed = listener.passed_sockets()
        control, pfkey = ("control", socket.SOCK_STREAM), ("pfkey", socket.SOCK_SEQPACKET)
        for name, kind in (control, pfkey):
            if kind in passed:
                self._serve(passed[kind], name)
            if kind not in passed or passed[kind].getsockname() != f"{self.directory}/{name}":
                self._bind(name, kind)

    def _bind(self, name: str, kind: int) -> None:
        self._serve(listener.bind(self.directory, name, kind), name)
        path = f"{self.directory}/{name}"
        self._own_sockets[path] = name, kind, os.stat(path, follow_symlinks=False)

    def _serve(self, listening: socket.socket, name: str) -> None:
        if name == "control":
            self._servers.append(ControlServer(self._loop, listening, self._perform, self.log.failure))
        else:
            self._servers.append(PfkeyServer(self._loop, listening, self.kernel, self.log.failure))

    def _look_after_sockets(self) -> None:
        """Makes the sockets anew that others have removed: nobody could reach us, and the lock keeps all others out."""
        for path, (name, kind, made) in list(self._own_sockets.items()):
            try:
                if os.path.samestat(os.stat(path, follow_symlinks=False), made):
                    continue
                self._bind(name, kind)
            except FileNotFoundError:
                self._bind(name, kind)
            self.log.error(f"{path} was removed or replaced; it has been made anew")

    def _catch_signals(self) -> None:
        def stop(number: int, _frame: object) -> None:
            self.log.notice(f"stopping ({signal.Signals(number).name})")
            self._loop.stop()

        signal.set_wakeup_fd(self._loop.wake_descriptor, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def run(self) -> None:
        """Serves until told to end."""
        self._loop.run()

    def close(self) -> None:
        """A clean end: the sockets first, so that whoever is waiting finds the next owner, the lock last."""
        self._notifier.send("STOPPING=1")
        self._abandon()
        self.log.notice("stopped")

    def _abandon(self) -> None:
        for path in self._own_sockets:
            with contextlib.suppress(OSError):
                os.unlink(path)
        for server in self._servers:
            server.close()
        if self.forwarder is not None:
            self.forwarder.stop()
        if hasattr(self, "kernel"):
            try:
                self.kernel.close(clean=True)
            except KernelError as error:
                self.log.error(f"state: {error}")
        if hasattr(self, "host"):
            self.host.close()
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)
        self._loop.close()
        self._ownership.release()

    # events

    def _perform(self, op: str, args: dict[str, Any], now: float) -> Any:
        if op == STATUS_OP:
            return self.status()
        if op == STOP_OP:
            self.log.notice("stopping (asked to)")
            self._loop.stop()
            return None
        return self.kernel.control(op, args, now, True)

    def _host_event(self, _events: int) -> None:
        self.host.process_events()

    def _host_changed(self) -> None:
        try:
            self.kernel.host_changed(time())
        except KernelError as error:
            self.log.seldom(ERROR, f"what other programs changed cannot be kept: {error}")

    def _woken(self) -> None:
        if self.forwarder is not None:
            self.forwarder.handle_events(time())

    def _beat(self) -> None:
        """Tells the service manager that this thread still comes round."""
        now = monotonic()
        if self._notifier.watchdog and now - self._watchdog_at >= self._notifier.watchdog:
            self._watchdog_at = now
            self._notifier.send("WATCHDOG=1")

    def _fire_timers(self) -> None:
        self.kernel.tick(time(), self._timer_failed)

    def _timer_failed(self, error: Exception) -> None:
        if isinstance(error, KernelError):
            self.log.seldom(ERROR, f"timer: {error}")
        else:
            self.log.failure(error)

    def _check_ownership(self) -> None:
        if not self._ownership.is_current():
            self.log.error(f"stopping: {self.directory} is not the directory any more that it was")
            self._own_sockets.clear()  # what is there under these names is somebody else's
            self._loop.stop()
        else:
            self._look_after_sockets()

    def _look_around(self) -> None:
        now = monotonic()
        if self._occupants is not None and now - self._looked_at >= _LOOK_AROUND_INTERVAL:
            self._looked_at = now
            self._alone = self._alone + 1 if self._occupants.are_gone() else 0
            if self._alone >= _LOOKS:
                self.log.notice("stopping (nobody else is in this network namespace, and it has no name any more)")
                self._loop.stop()

    def _tell_status(self) -> None:
        now = monotonic()
        if now - self._status_at >= _STATUS_INTERVAL:
            self._status_at = now
            self._notifier.send(f"STATUS={self._summary()}")

    def _check_idle(self) -> None:
        now = monotonic()
        if self.idle and self._is_idle():
            if now - self._busy_at >= self.idle:
                self.log.notice("stopping (idle)")
                self._loop.stop()
        else:
            self._busy_at = now

    def _is_idle(self) -> bool:
        return not any(server.clients for server in self._servers) and self._interface_count() == 0

    def _interface_count(self) -> int:
        return sum(interface.moves_packets for interface in self.kernel.interfaces)

    def status(self) -> DaemonStatus:
        """What `ipsecd --status` shows, and the operation IPSECDSTATUS answers."""
        return {
            "pid": os.getpid(),
            "version": __version__,
            "directory": self.directory,
            "live": self.host.live,
            "kind": self._kind(),
            "may_change": self.host.may_change,
            "may_protect": self.host.may_protect,
            "uptime": int(monotonic() - self._started),
            "core": self.forwarder.pump.core_name if self.forwarder is not None else None,
            "core_reason": self.forwarder.pump.core_reason if self.forwarder is not None else None,
            "interfaces": self._interface_count(),
            "troubles": {each.name: each.trouble for each in self.kernel.interfaces if each.trouble},
            "clients": sum(len(server.clients) for server in self._servers) - 1,  # not the one that asks
        }

    def _summary(self) -> str:
        count = self._interface_count()
        return f"{count} ipsec interface{'' if count == 1 else 's'}, {self._kind()}"


def _occupants(background: bool) -> Occupants | None:
    try:
        occupants = Occupants()
        return occupants if background or occupants.has_name() else None
    except OSError:
        return None


def _own(directory: str) -> ownership.Ownership:
    """The lock; waits for commands that have the kernel open."""
    deadline = monotonic() + client.PATIENCE / 2
    while True:
        try:
            lock = ownership.acquire(directory)
        except OSError as error:
            raise CannotServe(f"{error.filename}: {error.strerror}") from None
        if lock is not None:
            return lock
        try:
            connection = client.connect(directory, "control", socket.SOCK_STREAM)
        except client.ClientError as error:
            raise CannotServe(str(error)) from None
        if connection is not None:
            connection.close()
            raise AlreadyServed(directory)
        if monotonic() > deadline:
            raise CannotServe(f"{directory}: in use by another process{ownership.describe_owner(directory)}")
        sleep(0.005)
