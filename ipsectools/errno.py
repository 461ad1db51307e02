"""FreeBSD's error numbers and their texts (errno(2)); Linux's differ from 35 upwards.

Everything inside the emulated kernel, on its sockets and in its messages uses these numbers. The only place where
the two worlds meet is `from_host`.
"""

import errno as _host

EPERM = 1
ENOENT = 2
ESRCH = 3
EINTR = 4
EIO = 5
ENXIO = 6
ENOMEM = 12
EACCES = 13
EFAULT = 14
EBUSY = 16
EEXIST = 17
ENODEV = 19
EINVAL = 22
ENOTTY = 25
ENOSPC = 28
EROFS = 30
EPIPE = 32
EAGAIN = 35
EINPROGRESS = 36
EDESTADDRREQ = 39
EMSGSIZE = 40
EPROTONOSUPPORT = 43
EOPNOTSUPP = 45
EPFNOSUPPORT = 46
EAFNOSUPPORT = 47
EADDRINUSE = 48
EADDRNOTAVAIL = 49
ENETDOWN = 50
ENOBUFS = 55
ETIMEDOUT = 60
ECONNREFUSED = 61
ENAMETOOLONG = 63
EHOSTUNREACH = 65
EBADMSG = 89

_TEXT = {
    0: "No error: 0",
    EPERM: "Operation not permitted",
    ENOENT: "No such file or directory",
    ESRCH: "No such process",
    EINTR: "Interrupted system call",
    EIO: "Input/output error",
    ENXIO: "Device not configured",
    ENOMEM: "Cannot allocate memory",
    EACCES: "Permission denied",
    EFAULT: "Bad address",
    EBUSY: "Device busy",
    EEXIST: "File exists",
    ENODEV: "Operation not supported by device",
    EINVAL: "Invalid argument",
    ENOTTY: "Inappropriate ioctl for device",
    ENOSPC: "No space left on device",
    EROFS: "Read-only file system",
    EPIPE: "Broken pipe",
    EAGAIN: "Resource temporarily unavailable",
    EINPROGRESS: "Operation now in progress",
    EDESTADDRREQ: "Destination address required",
    EMSGSIZE: "Message too long",
    EPROTONOSUPPORT: "Protocol not supported",
    EOPNOTSUPP: "Operation not supported",
    EPFNOSUPPORT: "Protocol family not supported",
    EAFNOSUPPORT: "Address family not supported by protocol family",
    EADDRINUSE: "Address already in use",
    EADDRNOTAVAIL: "Can't assign requested address",
    ENETDOWN: "Network is down",
    ENOBUFS: "No buffer space available",
    ETIMEDOUT: "Operation timed out",
    ECONNREFUSED: "Connection refused",
    ENAMETOOLONG: "File name too long",
    EHOSTUNREACH: "No route to host",
    EBADMSG: "Bad message",
}

_FROM_HOST: dict[int, int] = {
    getattr(_host, name): number for name, number in list(globals().items()) if name[0] == "E" and hasattr(_host, name)
}


def strerror(number: int) -> str:
    """FreeBSD's strerror(3) text of a FreeBSD error number."""
    return _TEXT.get(number) or f"Unknown error: {number}"


def from_host(number: int) -> int:
    """The FreeBSD number of a Linux error number; EIO for one that FreeBSD does not have."""
    return _FROM_HOST.get(number, EIO)


class KernelError(Exception):
    """What the emulated kernel answers instead of doing the request: a FreeBSD error number, and seldom a text.

    `detail` is the extra text that FreeBSD's netlink sends beside the number (ifconfig prints it on a line of its own).
    """

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, detail)
        self.errno = number
        self.detail = detail

    def __str__(self) -> str:
        return strerror(self.errno)
