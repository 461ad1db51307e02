"""Packets for this host's IP input as received on a link of choice.

Linux lets nobody put a packet into a link's receiving side but the link's driver, and `tc`: what is written to a TAP
device of our own is redirected (mirred) to the ingress of the link that the source address of its Ethernet header
names. From there on it is a packet of that link: for packet sockets, packet filters and the reverse-path filter, too.
The device goes when its descriptor is closed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from struct import Struct, pack

from ipsectools.errno import EADDRNOTAVAIL, EINVAL, ENXIO, EOPNOTSUPP, KernelError, from_host
from ipsectools.host.linux import rtnetlink
from ipsectools.host.linux.rtnetlink import attribute

NAME = "unclaimed%d"
"""Of the TAP device; Linux fills in a number."""
LINKS = 64
"""Links remembered at the same time."""

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_SIOCGIFHWADDR = 0x8927
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_MARK = b"\x02\x00"
"""The first bytes of a source address (locally administered); the index of the link follows."""

_RTM_NEWQDISC, _RTM_NEWTFILTER, _NLM_F_CREATE, _NLM_F_EXCL = 36, 44, 0x400, 0x200
_INGRESS_HANDLE, _INGRESS = 0xFFFF0000, 0xFFFFFFF1
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_U32_SEL, _TCA_U32_ACT, _TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 5, 7, 1, 2, 2
_TC_ACT_STOLEN, _TCA_INGRESS_REDIR = 4, 3
_IFLA_AF_SPEC, _IFLA_INET6_ADDR_GEN_MODE, _NO_ADDRESSES = 26, 8, 1
_IFF_UP, _IFF_NOARP = 0x1, 0x80

_LINK = Struct("=BxHiII")  # ifinfomsg
_TC = Struct("=BxxxiIII")  # tcmsg
_SELECTOR = Struct("=BBBxHHhhI")  # tc_u32_sel
_KEY = Struct(">II")  # of tc_u32_key: mask and value; two ints of the host's order follow
_MIRRED = Struct("=IIiiiiI")  # tc_mirred


class Injector:
    """Gives packets to IP input. A packet that pretends to come from this host itself is refused."""

    def __init__(self) -> None:
        self._device = -1
        self._index = 0
        self._address = b""
        self._links: dict[int, str] = {}
        self._reader: rtnetlink.Reader | None = None

    def open(self) -> None:
        """Makes what is needed. Raises KernelError: EOPNOTSUPP with the reason if this host cannot."""
        if self._device >= 0:
            return
        try:
            self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            flags = pack("16sH22x", NAME.encode(), _IFF_TAP | _IFF_NO_PI)
            name = fcntl.ioctl(self._device, _TUNSETIFF, flags)[:16].rstrip(b"\0")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                self._address = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, pack("40s", name))[18:24]
            self._index = socket.if_nametoindex(name.decode())
        except OSError as error:
            self.close()
            raise KernelError(EOPNOTSUPP, f"no TAP device to be had ({error.strerror})") from None
        try:
            _bring_up(self._index)
            _change(_RTM_NEWQDISC, _tc(self._index, _INGRESS, 0) + attribute(_TCA_KIND, b"ingress\0"))
            self._lead_to(1)  # any link will do to see whether the kernel can
        except OSError as error:
            self.close()
            reason = f"the kernel has no tc ingress with u32 and mirred ({error.strerror})"
            raise KernelError(EOPNOTSUPP, reason) from None

    def inject(self, packet: bytes, index: int) -> int:
        """0, or FreeBSD's errno: EINVAL for what is no IP packet, EADDRNOTAVAIL for a source that cannot be true, ENXIO
        for a link that is gone."""
        version = packet[0] >> 4 if packet else 0
        if version == 4 and len(packet) >= 20:
            src = packet[12:16]
            if src[0] in (0, 127):
                return EADDRNOTAVAIL
        elif version == 6 and len(packet) >= 40:
            src = packet[8:24]
            if src[:15] == bytes(15):
                return EADDRNOTAVAIL
        else:
            return EINVAL
        try:
            if self._is_local(src):
                return EADDRNOTAVAIL
            self.open()
            self._lead_to(index)
            os.write(self._device, self._address + _MARK + pack("!I", index) + _ETHERTYPE[version] + packet)
        except KernelError as error:
            return error.errno
        except OSError as error:
            return ENXIO if error.errno == errno.ENODEV else from_host(error.errno or errno.EIO)
        return 0

    def _is_local(self, address: bytes) -> bool:
        if self._reader is None:
            self._reader = rtnetlink.Reader()
        return self._reader.is_local(address)

    def _lead_to(self, index: int) -> None:
        """Sees to it that frames that name the link are redirected to it. Raises OSError."""
        name = socket.if_indextoname(index)
        if self._links.get(index) == name:
            return
        if index in self._links or len(self._links) >= LINKS:  # a filter for a link that is gone would come first
            self.close()
            self.open()
        _change(_RTM_NEWTFILTER, _tc(self._index, _INGRESS_HANDLE, 1 << 16 | socket.htons(3)) + _redirection(index))
        self._links[index] = name

    def close(self) -> None:
        if self._device >= 0:
            os.close(self._device)
            self._device = -1
        self._links.clear()
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def why_not() -> KernelError | None:
    """Why packets cannot be given to IP input here; None if they can."""
    trial = Injector()
    try:
        trial.open()
    except KernelError as error:
        return error
    finally:
        trial.close()
    return None


def _bring_up(index: int) -> None:
    """Linux shall give it no addresses, and nothing shall be looked for on it."""
    none = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes((_NO_ADDRESSES,)))
    addresses = attribute(_IFLA_AF_SPEC, attribute(socket.AF_INET6, none))
    with contextlib.suppress(OSError):  # a host may be without IPv6
        _change(rtnetlink.RTM_NEWLINK, _LINK.pack(0, 0, index, 0, 0) + addresses)
    _change(rtnetlink.RTM_NEWLINK, _LINK.pack(0, 0, index, _IFF_UP | _IFF_NOARP, _IFF_UP | _IFF_NOARP))


def _change(kind: int, body: bytes) -> None:
    reader = rtnetlink.Reader()
    try:
        reader.change(kind, body, 0 if kind == rtnetlink.RTM_NEWLINK else _NLM_F_CREATE | _NLM_F_EXCL)
    finally:
        reader.close()


def _tc(index: int, parent: int, info: int) -> bytes:
    return _TC.pack(0, index, _INGRESS_HANDLE if parent == _INGRESS else 0, parent, info)


def _redirection(index: int) -> bytes:
    """A u32 filter for the source address that names the link (8 bytes before the IP header), and mirred."""
    wanted = _MARK + pack("!I", index)
    first, rest = int.from_bytes(wanted[:4], "big"), int.from_bytes(wanted[4:] + b"\0\0", "big")
    keys = _KEY.pack(0xFFFFFFFF, first) + pack("=ii", -8, 0) + _KEY.pack(0xFFFF0000, rest) + pack("=ii", -4, 0)
    selector = _SELECTOR.pack(1, 0, 2, 0, 0, 0, 0, 0) + keys
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_INGRESS_REDIR, index)
    action = attribute(_TCA_ACT_KIND, b"mirred\0") + attribute(_TCA_ACT_OPTIONS, attribute(_TCA_MIRRED_PARMS, mirred))
    options = attribute(_TCA_U32_SEL, selector) + attribute(_TCA_U32_ACT, attribute(1, action))
    return attribute(_TCA_KIND, b"u32\0") + attribute(_TCA_OPTIONS, options)
