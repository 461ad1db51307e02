"""TUN devices of the Linux host: a packet at a time, or super-packets with a virtio_net_hdr.

A persistent device without an owner can be attached by any local user while nobody else is, who then reads what is
routed into it and speaks as the peer. So a device has its owner before it persists, and whoever attaches to one makes
it his and undoes what the one before him left on it: most settings of a descriptor stay with the device.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

from ipsectools.errno import ENOBUFS, ENXIO, KernelError, from_host
from ipsectools.host.linux.rtnetlink import Reader
from ipsectools.host.linux.sockets import MAXIMUM_PACKET

TUN_DEVICE = "/dev/net/tun"
_NAME_BYTES = 16

# ioctls that take a number
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETLINK = 0x400454CD
TUNSETGROUP = 0x400454CE
TUNSETOFFLOAD = 0x400454D0
# and those that take the address of something
TUNSETIFF = 0x400454CA
TUNSETSNDBUF = 0x400454D4
TUNSETVNETHDRSZ = 0x400454D8
TUNSETIFINDEX = 0x400454DA
TUNSETVNETLE = 0x400454DC
TUNSETVNETBE = 0x400454DE
TUNSETSTEERINGEBPF = 0x800454E0
TUNSETFILTEREBPF = 0x800454E1

IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40
VNET_HEADER = 10

_ARPHRD_NONE = 0xFFFE
_AS_NEW = (
    (TUNSETSNDBUF, 0x7FFFFFFF),
    (TUNSETVNETHDRSZ, VNET_HEADER),
    (TUNSETVNETLE, 0),
    (TUNSETVNETBE, 0),
    (TUNSETSTEERINGEBPF, -1),
    (TUNSETFILTEREBPF, -1),
)
"""What the settings of a new device are. Not each is known to every Linux."""


def create(name: str, index: int | None) -> None:
    """A persistent TUN device of ours, with an index if one is given. Raises OSError: EEXIST if the name is taken,
    EBUSY if that or the index is."""
    encoded = name.encode()
    if not 0 < len(encoded) < _NAME_BYTES:
        raise OSError(errno.EINVAL, "name")
    device = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        if index is not None:
            fcntl.ioctl(device, TUNSETIFINDEX, struct.pack("I", index))
        try:
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", encoded, IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL))
        except OSError as error:
            if error.errno == errno.EBUSY and index is None:
                raise OSError(errno.EEXIST, "name") from None
            raise
        fcntl.ioctl(device, TUNSETOWNER, os.geteuid())
        fcntl.ioctl(device, TUNSETPERSIST, 1)
    finally:
        os.close(device)


def claim(name: str) -> None:
    """Makes a device ours that nobody holds. Raises KernelError, EBUSY if somebody does."""
    os.close(attach(name))


def attach(name: str, flags: int = IFF_TUN | IFF_NO_PI) -> int:
    """Attaches to the TUN device `name`, which is as a new one of ours then; a non-blocking descriptor.

    Raises KernelError: ENXIO if there is none, EBUSY if somebody holds it, EPERM if it is another user's, EINVAL if
    it is not made as ours are."""
    fd, index = -1, index_of(name)
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        if index_of(name) != index:  # destroyed just now, and this made another, which goes with `fd`
            raise KernelError(ENXIO)
        _settle(fd, index)
    except (OSError, KernelError) as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, KernelError):
            raise
        raise KernelError(from_host(error.errno or errno.EIO)) from None
    return fd


def index_of(name: str) -> int:
    """The index of a link. Raises KernelError (ENXIO)."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise KernelError(ENXIO) from None


def _settle(fd: int, index: int) -> None:
    """Makes the device ours and as if it were new. Raises OSError."""
    fcntl.ioctl(fd, TUNSETOWNER, os.geteuid())
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
    for request, value in _AS_NEW:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, request, struct.pack("i", value))
    reader = Reader()
    try:
        there = reader.tun(index)
    finally:
        reader.close()
    if there is None:
        return
    if there.group is not None:  # it cannot be taken away; some Linuxes let its members in
        fcntl.ioctl(fd, TUNSETGROUP, os.getegid())
    if there.hardware != _ARPHRD_NONE:
        with contextlib.suppress(OSError):  # only while the device is down; nothing here looks at it
            fcntl.ioctl(fd, TUNSETLINK, _ARPHRD_NONE)


class LinuxTun:
    """`host.api.Tun` on a TUN device, one system call per packet."""

    __slots__ = ("_fd", "index", "name")

    def __init__(self, name: str) -> None:
        self.index = index_of(name)
        self._fd = attach(name)
        self.name = name

    def fileno(self) -> int:
        return self._fd

    def read(self, limit: int) -> list[bytes]:
        packets: list[bytes] = []
        fd, read, append = self._fd, os.read, packets.append
        try:
            for _ in range(limit):
                append(read(fd, MAXIMUM_PACKET))
        except OSError:  # nothing more to read, or the device is down
            pass
        return packets

    def write(self, packet: bytes) -> int:
        try:
            os.write(self._fd, packet)
        except BlockingIOError:
            return ENOBUFS
        except OSError as error:
            return from_host(error.errno or errno.EIO)
        return 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OffloadTun:
    """A TUN device whose packets have a virtio_net_hdr: super-packets both ways, for the compiled core.

    `uso` says whether it also gives and takes UDP super-packets (Linux 6.2). Closing it leaves the device as it is.
    """

    __slots__ = ("fd", "uso")

    def __init__(self, name: str) -> None:
        """Raises KernelError if there is no such device or somebody else has it."""
        self.fd = attach(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
        self.uso = self._set(offloads | TUN_F_USO4 | TUN_F_USO6)
        if not self.uso and not self._set(offloads):
            self._set(TUN_F_CSUM)

    def _set(self, offloads: int) -> bool:
        try:
            fcntl.ioctl(self.fd, TUNSETOFFLOAD, offloads)
        except OSError:
            return False
        return True

    def write(self, packet: bytes) -> int:
        """One packet to the host, as `host.api.Tun.write`."""
        try:
            os.write(self.fd, bytes(VNET_HEADER) + packet)
        except OSError as error:
            return from_host(error.errno or errno.EIO)
        return 0

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1
