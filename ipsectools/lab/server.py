"""The process that is a lab host: `python server.py FD [PID]` enters new namespaces and serves requests on socket FD.

With PID, the host lives in that process's user namespace. A request is one JSON packet, file descriptors beside it; the
answer is one JSON packet `{"value": ...}` or `{"error": text}`. When the socket closes, the host is over: this process
is the first of its PID namespace, so all others on the host end with it.

Runs alone, isolated from site-packages (`python -I -S`): it must start fast and depend on nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
LARGEST_REQUEST = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(kind: str, target: str, flags: int, options: str | None = None) -> bool:
    data = options.encode() if options else None
    return bool(_libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data) == 0)


def enter_namespaces(user_of: int | None) -> None:
    """New network, mount and PID namespaces; in a user namespace of our own only where that is needed."""
    wanted = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
    if user_of is not None:
        descriptor = os.open(f"/proc/{user_of}/ns/user", os.O_RDONLY)
        if os.fstat(descriptor).st_ino != os.stat("/proc/self/ns/user").st_ino:
            _check(_libc.setns(descriptor, CLONE_NEWUSER), "user namespace")
        os.close(descriptor)
    if _libc.unshare(wanted) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(wanted | CLONE_NEWUSER), "namespaces")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount_private() -> dict[str, bool]:
    """A /run, /proc and /sys of this host's own; says of each whether the system allowed it.

    Not in a chroot: there, what is mounted would show outside."""
    if _libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) != 0:
        return {"run": False, "proc": False, "sys": False}
    strict = MS_NOSUID | MS_NODEV | MS_NOEXEC
    return {
        "run": _mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755"),
        "proc": _mount("proc", "/proc", strict),
        "sys": _mount("sysfs", "/sys", strict),
    }


class Server:
    """Serves one socket. Every started command has a pipe, on which its wait status is reported as text."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.reports: dict[int, int] = {}

    def serve(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self.connection.fileno(), wake_read], [], [])
            if wake_read in ready:
                os.read(wake_read, 4096)
                self.reap()
            if self.connection.fileno() in ready:
                data, descriptors, _, _ = socket.recv_fds(self.connection, LARGEST_REQUEST, 8)
                if not data:
                    return
                for descriptor in descriptors:
                    os.set_inheritable(descriptor, False)
                self.answer(json.loads(data), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            report = self.reports.pop(pid, None)
            if report is not None:
                with contextlib.suppress(BrokenPipeError):  # the caller no longer asks
                    os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(report)

    def answer(self, request: dict[str, object], descriptors: list[int]) -> None:
        handed: list[int] = []
        try:
            value = getattr(self, "do_" + str(request.pop("op")))(request, descriptors, handed)
            reply: dict[str, object] = {"value": value}
        except OSError as error:
            reply = {"error": error.strerror or str(error), "errno": error.errno}
        socket.send_fds(self.connection, [json.dumps(reply).encode()], handed)
        for descriptor in handed:
            os.close(descriptor)

    def do_spawn(self, request: dict[str, object], descriptors: list[int], handed: list[int]) -> int:
        """Starts `argv` with descriptors 0, 1, 2 and reports its end on the fourth. Returns its pid on this host."""
        report = fcntl.fcntl(descriptors[3], fcntl.F_DUPFD_CLOEXEC, 3)
        pid = os.fork()
        if pid == 0:
            self._become(request, descriptors)
        self.reports[pid] = report
        return pid

    def _become(self, request: dict[str, object], descriptors: list[int]) -> None:
        argv: list[str] = request["argv"]  # type: ignore[assignment]
        environment: dict[str, str] = request["environment"]  # type: ignore[assignment]
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for target in (0, 1, 2):
                os.dup2(descriptors[target], target)
            if request["terminal"]:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            os.chdir(str(request["directory"]))
            os.execvpe(argv[0], argv, environment)
        except BaseException as error:
            os.write(2, f"{argv[0]}: {error}\n".encode())
        os._exit(127)

    def do_kill(self, request: dict[str, int], descriptors: list[int], handed: list[int]) -> None:
        """Sends `signal` to `pid` (negative: to the process group)."""
        os.kill(request["pid"], request["signal"])

    def do_socket(self, request: dict[str, int], descriptors: list[int], handed: list[int]) -> None:
        """Opens a socket of this host and hands it over."""
        new = socket.socket(request["family"], request["type"], request["protocol"])
        handed.append(new.detach())

    def do_processes(self, request: dict[str, object], descriptors: list[int], handed: list[int]) -> dict[str, str]:
        """The command lines of all processes of this host but this one, by pid."""
        found = {}
        ours = os.readlink("/proc/self/ns/pid")
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") != ours:
                    continue  # /proc is not our own (see mount_private)
                with open(f"/proc/{entry}/status") as file:
                    pid = next(line for line in file if line.startswith("NSpid:")).split()[-1]
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            except (OSError, StopIteration):
                continue
            if pid != "1" and line:
                found[pid] = line
        return found

    def do_write(self, request: dict[str, str], descriptors: list[int], handed: list[int]) -> None:
        """Writes `text` to the file `path` (a kernel setting below /proc/sys)."""
        with open(request["path"], "w") as file:
            file.write(request["text"])


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    user_of = int(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        enter_namespaces(user_of)
        pid = os.fork()
    except OSError as error:
        # ENOSPC is what a limit of 0 (user.max_user_namespaces) looks like.
        reason = "the system's limit of namespaces" if error.errno == errno.ENOSPC else error.strerror
        connection.send(json.dumps({"error": reason}).encode())
        return
    if pid:
        connection.close()
        os.waitpid(pid, 0)
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0o022)
    mounted = mount_private()
    connection.send(json.dumps({"value": mounted}).encode())
    Server(connection).serve()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the caller is gone, and the host with it
        main()
