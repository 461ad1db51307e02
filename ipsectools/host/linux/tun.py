"""TUN devices of the Linux host: a packet at a time, or super-packets with a virtio_net_hdr."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from ipsectools.errno import ENOBUFS, KernelError, from_host
from ipsectools.host.linux.sockets import MAXIMUM_PACKET

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

TUNSETOFFLOAD = 0x400454D0
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40
VNET_HEADER = 10


def open_tun_fd(name: str, flags: int = IFF_TUN | IFF_NO_PI) -> int:
    """Attaches to the TUN device `name`, making it if need be; a non-blocking descriptor. Raises KernelError."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(from_host(error.errno or errno.EIO)) from None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError as error:
        os.close(fd)
        raise KernelError(from_host(error.errno or errno.EIO)) from None
    return fd


class LinuxTun:
    """`host.api.Tun` on a TUN device, one system call per packet."""

    __slots__ = ("_fd", "index", "name")

    def __init__(self, name: str) -> None:
        self._fd = open_tun_fd(name)
        self.name = name
        self.index = socket.if_nametoindex(name)

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
        self.fd = open_tun_fd(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
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
