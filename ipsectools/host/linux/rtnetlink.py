"""Reads links and addresses over rtnetlink(7), and listens for their changes.

Small enough for a command to import (pyroute2 takes 140 ms). Linux's words become FreeBSD's here: flags, `lo0`.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from ipsectools.host.api import Address, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

UP, BROADCAST, LOOPBACK, POINTOPOINT, RUNNING, NOARP = 0x1, 0x2, 0x8, 0x10, 0x40, 0x80
PROMISC, ALLMULTI, SIMPLEX, MULTICAST, PPROMISC = 0x100, 0x200, 0x800, 0x8000, 0x20000
"""FreeBSD's IFF_*."""

_LINUX_MULTICAST = 0x1000
_SAME_IN_LINUX = UP | BROADCAST | LOOPBACK | POINTOPOINT | NOARP | ALLMULTI

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_RTM_NEWLINK, _RTM_GETLINK, _RTM_SETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 19, 20, 22
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR

_HEADER = Struct("=IHHII")  # nlmsghdr
_LINK = Struct("=BxHiII")  # ifinfomsg
_ADDRESS = Struct("=BBBBI")  # ifaddrmsg
_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=I")
_STATISTICS = Struct("=6Q")  # rtnl_link_stats64: rx, tx packets; rx, tx bytes; rx, tx errors
_CACHEINFO = Struct("=IIII")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 18, 20
_IFLA_STATS64, _IFLA_PROMISCUITY, _IFLA_CARRIER = 23, 30, 33
_IFLA_INFO_KIND = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 4, 6, 8, 11
_IFA_F_TEMPORARY, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x01, 0x08, 0x20, 0x40
_IFAPROT_KERNEL_RA = 2
_FOREVER = 0xFFFFFFFF

_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772

_DUMP_ATTEMPTS = 10
_RECEIVE_BUFFER = 1 << 20


def freebsd_name(name: str) -> str:
    """FreeBSD's name of a Linux link: its loopback is lo0."""
    return "lo0" if name == "lo" else name


def linux_name(name: str) -> str:
    """Linux's name of a link."""
    return "lo" if name == "lo0" else name


class Reader:
    """Asks rtnetlink. All methods raise OSError with Linux's numbers."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
        self._socket.settimeout(5)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        """All links, in order of their indices."""
        links = [_link(body) for body in self._dump(_RTM_GETLINK, _RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0))]
        return sorted(links, key=lambda link: link.index)

    def addresses(self) -> list[Address]:
        """All IPv4 and IPv6 addresses, per family in Linux's order."""
        found = (_address(body) for body in self._dump(_RTM_GETADDR, _RTM_NEWADDR, _ADDRESS.pack(0, 0, 0, 0, 0)))
        return [address for address in found if address is not None]

    def may_change(self) -> bool:
        """True if this process may change links: a request for no link at all fails for another reason than EPERM."""
        self._send(_RTM_SETLINK, _NLM_F_REQUEST | _NLM_F_ACK, _LINK.pack(0, 0, 0, 0, 0))
        for kind, _flags, body in self._receive():
            if kind == _NLMSG_ERROR:
                return -int.from_bytes(body[:4], "little", signed=True) != 1
        return False

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and body of the messages of one datagram that answer the last request."""
        data = self._socket.recv(_RECEIVE_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                return
            if sequence == self._sequence:
                yield kind, flags, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3

    def _dump(self, request: int, wanted: int, body: bytes) -> list[bytes]:
        """Bodies of all objects. Starts anew when they changed meanwhile, some times."""
        found: list[bytes] = []
        for _attempt in range(_DUMP_ATTEMPTS):
            found = []
            interrupted = False
            done = False
            self._send(request, _NLM_F_REQUEST | _NLM_F_DUMP, body)
            while not done:
                for kind, flags, message in self._receive():
                    interrupted = interrupted or bool(flags & _NLM_F_DUMP_INTR)
                    if kind == wanted:
                        found.append(message)
                    elif kind == _NLMSG_DONE:
                        done = True
                    elif kind == _NLMSG_ERROR:
                        number = -int.from_bytes(message[:4], "little", signed=True)
                        raise OSError(number, os.strerror(number))
            if not interrupted:
                break
        return found


class Listener:
    """Says when links or addresses have changed. `fileno()` is readable then."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Forgets all notifications that have come; False if there was none."""
        any_came = False
        while True:
            try:
                self._socket.recv(_RECEIVE_BUFFER)
            except BlockingIOError:
                return any_came
            except OSError:  # ENOBUFS: some were lost, which is a change too
                pass
            any_came = True

    def close(self) -> None:
        self._socket.close()


def may_change() -> bool:
    """True if this process may change the links of its network namespace. Raises OSError."""
    reader = Reader()
    try:
        return reader.may_change()
    finally:
        reader.close()


def _attributes(data: bytes, offset: int) -> dict[int, bytes]:
    found = {}
    end = len(data)
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _link(body: bytes) -> Link:
    _family, hardware, index, linux_flags, _change = _LINK.unpack_from(body)
    attributes = _attributes(body, _LINK.size)
    kind = _text(_attributes(attributes.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b""))
    address = attributes.get(_IFLA_ADDRESS, b"")
    ether = hardware == _ARPHRD_ETHER
    if kind == "bridge":
        kind_of_type = "bridge"
    elif ether:
        kind_of_type = "ether"
    elif hardware == _ARPHRD_LOOPBACK:
        kind_of_type = "loop"
    else:
        kind_of_type = "tunnel" if linux_flags & POINTOPOINT else "other"
    received, sent, received_bytes, sent_bytes, receive_errors, send_errors = (
        _STATISTICS.unpack_from(attributes[_IFLA_STATS64]) if _IFLA_STATS64 in attributes else (0,) * 6
    )
    return Link(
        index,
        freebsd_name(_text(attributes.get(_IFLA_IFNAME, b""))),
        type=kind_of_type,
        kind=kind,
        flags=_flags(linux_flags, ether, attributes.get(_IFLA_PROMISCUITY, b"") > b"\0\0\0\0"),
        mtu=_U32.unpack(attributes[_IFLA_MTU])[0] if _IFLA_MTU in attributes else 0,
        lladdr=address.hex(":") if ether and len(address) == 6 else None,
        alias=_text(attributes.get(_IFLA_IFALIAS, b"")),
        carrier=attributes[_IFLA_CARRIER] != b"\0" if _IFLA_CARRIER in attributes else None,
        statistics=(received, received_bytes, receive_errors, sent, sent_bytes, send_errors),
    )


def _flags(linux: int, ether: bool, promiscuous: bool) -> int:
    """FreeBSD's IFF_*. RUNNING is a driver's there, that is: UP."""
    flags = linux & _SAME_IN_LINUX
    if linux & UP:
        flags |= RUNNING
    if linux & (_LINUX_MULTICAST | LOOPBACK):
        flags |= MULTICAST
    if ether:
        flags |= SIMPLEX
    else:
        flags &= ~NOARP  # Linux sets it on all that have no ARP; FreeBSD's means `-arp`
    if promiscuous:
        flags |= PROMISC
    if linux & PROMISC:  # somebody said `promisc`, it is not only a running tcpdump
        flags |= PROMISC | PPROMISC
    return flags


def _address(body: bytes) -> Address | None:
    family, prefixlen, _flags8, _scope, index = _ADDRESS.unpack_from(body)
    if family not in (_socket.AF_INET, _socket.AF_INET6):
        return None
    attributes = _attributes(body, _ADDRESS.size)
    first = attributes.get(_IFA_ADDRESS)
    local = attributes.get(_IFA_LOCAL, first)
    if local is None:
        return None
    broadcast = attributes.get(_IFA_BROADCAST)
    preferred, valid = (
        _CACHEINFO.unpack(attributes[_IFA_CACHEINFO])[:2] if _IFA_CACHEINFO in attributes else (_FOREVER,) * 2
    )
    bits = _U32.unpack(attributes[_IFA_FLAGS])[0] if _IFA_FLAGS in attributes else _flags8
    words = []
    if family == _socket.AF_INET6:
        if bits & _IFA_F_DADFAILED:
            words.append("duplicated")
        elif bits & _IFA_F_TENTATIVE:
            words.append("tentative")
        if bits & _IFA_F_DEPRECATED:
            words.append("deprecated")
        if attributes.get(_IFA_PROTO, b"") == bytes([_IFAPROT_KERNEL_RA]):
            words.append("autoconf")
        if bits & _IFA_F_TEMPORARY:
            words.append("temporary")
    return Address(
        index,
        "inet" if family == _socket.AF_INET else "inet6",
        _socket.inet_ntop(family, local),
        prefixlen,
        peer=_socket.inet_ntop(family, first) if first is not None and first != local else None,
        broadcast=_socket.inet_ntop(family, broadcast) if broadcast else None,
        flags=tuple(words),
        preferred=None if preferred == _FOREVER else preferred,
        valid=None if valid == _FOREVER else valid,
    )
