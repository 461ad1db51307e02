"""`python enter.py FD,FD,... COMMAND [ARGUMENTS]`: runs a command in the namespaces that the descriptors stand for.

If none of them is a PID namespace, /proc is replaced for the command alone, since the one there shows others' processes
(a PID namespace beside one's own cannot be entered).

Runs alone, isolated from site-packages (`python -I -S`). Its exit status is the command's (128 + N: ended by signal N).
"""

import ctypes
import os
import signal
import sys

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MS_NOSUID_NODEV_NOEXEC = 0x4000, 0x40000, 2 | 4 | 8


def renew_proc(libc: ctypes.CDLL) -> None:
    """A /proc of this process's PID namespace, seen by it and its children only. Does without if it may not."""
    if libc.unshare(CLONE_NEWNS) == 0:
        libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(MS_NOSUID_NODEV_NOEXEC), None)


def main() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = [int(word) for word in sys.argv[1].split(",")]
    is_elsewhere = any(os.readlink(f"/proc/self/fd/{descriptor}").startswith("pid:") for descriptor in descriptors)
    for descriptor in descriptors:
        if libc.setns(descriptor, 0) != 0:
            sys.stderr.write(f"{sys.argv[2]}: cannot enter the lab host: {os.strerror(ctypes.get_errno())}\n")
            return 126
    if not is_elsewhere:
        renew_proc(libc)
    child = os.fork()  # a PID namespace is entered by children only
    if child == 0:
        try:
            os.execvp(sys.argv[2], sys.argv[2:])
        except OSError as error:
            sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\n")
        os._exit(127)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
