"""Reads links, addresses and a little of routes over rtnetlink(7).

Small enough for a command to import (pyroute2 takes 140 ms). Linux's words become FreeBSD's here: flags, `lo0`.
"""

from __future__ import annotations

import _socket
import os
import sys
from struct import Struct

from ipsectools.host.api import (
    IFF_ALLMULTI,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PPROMISC,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_SIMPLEX,
    IFF_UP,
    Address,
    Link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LINUX_MULTICAST = 0x1000
_SAME_IN_LINUX = IFF_UP | IFF_BROADCAST | IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP | IFF_ALLMULTI

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_NLM_F_EXCL, _NLM_F_CREATE, _NLM_F_APPEND = 0x200, 0x400, 0x800
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 20, 21
_RTM_GETLINK, _RTM_SETLINK, _RTM_GETADDR, _RTM_NEWLINKPROP = 18, 19, 22, 108
RTM_NEWROUTE, RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_F_FIB_MATCH, _RTN_UNICAST, _RTN_LOCAL = 0x2000, 1, 2
_RTA_DST, _RTA_MARK = 1, 16
_AF_BRIDGE = 7

_HEADER = Struct("=IHHII")  # nlmsghdr
_LINK = Struct("=BxHiII")  # ifinfomsg
_ADDRESS = Struct("=BBBBI")  # ifaddrmsg
_ROUTE = Struct("=BBBBBBBBI")  # rtmsg
_ATTRIBUTE = Struct("=HH")
_U32 = Struct("=I")
_STATISTICS = Struct("=6Q")  # rtnl_link_stats64: rx, tx packets; rx, tx bytes; rx, tx errors
_CACHEINFO = Struct("=IIII")

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
_IFLA_STATS64, _IFLA_GROUP, _IFLA_NET_NS_FD, _IFLA_PROMISCUITY, _IFLA_CARRIER = 23, 27, 28, 30, 33
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_TUN_OWNER, _IFLA_TUN_GROUP = 1, 2
_IFLA_PROP_LIST, _IFLA_ALT_IFNAME, _NESTED = 52, 53, 0x8000
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 4, 6, 8, 11
_IFA_F_TEMPORARY, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x01, 0x08, 0x20, 0x40
_IFAPROT_KERNEL_RA = 2
_FOREVER = 0xFFFFFFFF

_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772

_RTM_NEWRULE, _RTM_GETRULE, _FRA_PRIORITY, _FRA_FWMARK = 32, 34, 6, 10

FIB_PRIORITY = 30000
"""Of the rules that lead to the routing table of a FIB; the next higher number makes it the only one."""

LOOPBACK_GROUP = 0x6C6F
"""The link group that marks the further loopback interfaces, which Linux does not have: dummy or TUN devices."""

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

    def __init__(self, netlink: _socket.socket | None = None) -> None:
        """`netlink`: a socket of another network namespace."""
        self._socket = netlink or _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
        self._socket.settimeout(5)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        """All links, in order of their indices."""
        links = [parse_link(body) for body in self._dump(_RTM_GETLINK, RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0))]
        return sorted(links, key=lambda link: link.index)

    def link(self, index: int) -> Link | None:
        """One link, None if there is none of that index."""
        body = self._link(index)
        return None if body is None else parse_link(body)

    def tun(self, index: int) -> TunSettings | None:
        """What a TUN device has of its own, None if there is no such link."""
        body = self._link(index)
        return None if body is None else TunSettings(body)

    def names(self, index: int) -> list[str]:
        """The further names of a link, in the order in which they were given. None on a Linux before 5.5."""
        body = self._link(index) or b""
        properties = attributes_of(body, _LINK.size).get(_IFLA_PROP_LIST, b"")
        return [_text(value) for kind, value in _each_attribute(properties, 0) if kind == _IFLA_ALT_IFNAME]

    def add_name(self, index: int, name: str) -> None:
        """Gives a link a further name. Raises OSError."""
        listed = attribute(_IFLA_PROP_LIST | _NESTED, attribute(_IFLA_ALT_IFNAME, name.encode() + b"\0"))
        flags = _NLM_F_CREATE | _NLM_F_EXCL | _NLM_F_APPEND
        self.change(_RTM_NEWLINKPROP, _LINK.pack(0, 0, index, 0, 0) + listed, flags)

    def _link(self, index: int) -> bytes | None:
        self._send(_RTM_GETLINK, _NLM_F_REQUEST, _LINK.pack(0, 0, index, 0, 0))
        while True:
            for kind, _flags, body in self._receive():
                if kind == RTM_NEWLINK:
                    return body
                if kind == _NLMSG_ERROR:
                    return None

    def addresses(self) -> list[Address]:
        """All IPv4, then all IPv6 addresses, in the order in which they were added."""
        bodies = self._dump(_RTM_GETADDR, RTM_NEWADDR, _ADDRESS.pack(0, 0, 0, 0, 0))
        # Linux lists the younger of two IPv6 addresses first; the age in hundredths of a second is not enough alone.
        places = [place if body[0] == _socket.AF_INET else -place for place, body in enumerate(bodies)]
        order = sorted(range(len(bodies)), key=lambda i: (bodies[i][0], _created(bodies[i]), places[i]))
        return [address for address in (parse_address(bodies[i]) for i in order) if address is not None]

    def has_host_route(self, destination: str, mark: int) -> bool:
        """Whether packets with this mark to an IPv4 address that is not local take a route to it alone."""
        octets = _socket.inet_pton(_socket.AF_INET, destination)
        return self._route(octets, mark, _RTM_F_FIB_MATCH) == (32, _RTN_UNICAST)

    def has_mark_rules(self) -> bool:
        """Whether there are rules by mark at the priorities of ours."""
        for family in (_socket.AF_INET, _socket.AF_INET6):
            for body in self._dump(_RTM_GETRULE, _RTM_NEWRULE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                found = attributes_of(body, _ROUTE.size)
                priority = int.from_bytes(found.get(_FRA_PRIORITY, b""), sys.byteorder)
                if _FRA_FWMARK in found and FIB_PRIORITY <= priority <= FIB_PRIORITY + 1:
                    return True
        return False

    def is_local(self, address: bytes) -> bool:
        """Whether packets to an address (4 or 16 bytes) are for this host itself."""
        return self._route(address, 0, 0)[1] == _RTN_LOCAL

    def _route(self, destination: bytes, mark: int, bits: int) -> tuple[int, int]:
        """Prefix length and type of the route to an address; zeros if there is none, or one that refuses packets."""
        family = _socket.AF_INET if len(destination) == 4 else _socket.AF_INET6
        body = _ROUTE.pack(family, len(destination) * 8, 0, 0, 0, 0, 0, 0, bits)
        body += attribute(_RTA_DST, destination) + attribute(_RTA_MARK, _U32.pack(mark))
        self._send(_RTM_GETROUTE, _NLM_F_REQUEST, body)
        while True:
            for kind, _flags, message in self._receive():
                if kind == RTM_NEWROUTE:
                    _family, prefixlen, _src, _tos, _table, _protocol, _scope, sort, _bits = _ROUTE.unpack_from(message)
                    return prefixlen, sort
                if kind == _NLMSG_ERROR:
                    return 0, 0

    def may_change(self) -> bool:
        """True if this process may change links: a request for no link at all fails for another reason than EPERM."""
        self._send(_RTM_SETLINK, _NLM_F_REQUEST | _NLM_F_ACK, _LINK.pack(0, 0, 0, 0, 0))
        for kind, _flags, body in self._receive():
            if kind == _NLMSG_ERROR:
                return -int.from_bytes(body[:4], "little", signed=True) != 1
        return False

    def move_link(self, name: str, namespace: int) -> None:
        """Moves a link (by Linux's name) to the namespace of an open descriptor."""
        encoded = name.encode("utf-8", "surrogateescape") + b"\0"
        body = attribute(_IFLA_IFNAME, encoded) + attribute(_IFLA_NET_NS_FD, _U32.pack(namespace))
        self.change(_RTM_SETLINK, _LINK.pack(0, 0, 0, 0, 0) + body)

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """A request that changes something, until it is done."""
        self._send(kind, flags | _NLM_F_REQUEST | _NLM_F_ACK, body)
        for answer, _flags, message in self._receive():
            if answer == _NLMSG_ERROR:
                number = -int.from_bytes(message[:4], "little", signed=True)
                if number:
                    raise OSError(number, os.strerror(number))

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


def may_change() -> bool:
    """True if this process may change the links of its network namespace. Raises OSError."""
    reader = Reader()
    try:
        return reader.may_change()
    finally:
        reader.close()


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a message; those that hold others are made of them in the same way."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes_of(data: bytes, offset: int) -> dict[int, bytes]:
    """The attributes of a message that begin at `offset`, by their type."""
    return dict(_each_attribute(data, offset))


def _each_attribute(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    end = len(data)
    while offset + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


class TunSettings:
    """Of the body of a TUN device's RTM_NEWLINK message: who may attach to it (None: everybody), and its type."""

    __slots__ = ("group", "hardware", "known", "owner")

    def __init__(self, body: bytes) -> None:
        self.hardware: int = _LINK.unpack_from(body)[1]
        information = attributes_of(attributes_of(body, _LINK.size).get(_IFLA_LINKINFO, b""), 0)
        data = attributes_of(information.get(_IFLA_INFO_DATA, b""), 0)
        self.known = bool(data)  # an older Linux does not tell
        self.owner: int | None = _U32.unpack(data[_IFLA_TUN_OWNER])[0] if _IFLA_TUN_OWNER in data else None
        self.group: int | None = _U32.unpack(data[_IFLA_TUN_GROUP])[0] if _IFLA_TUN_GROUP in data else None


def parse_link(body: bytes) -> Link:
    """The link of an RTM_NEWLINK or RTM_DELLINK message's body."""
    _family, hardware, index, linux_flags, _change = _LINK.unpack_from(body)
    attributes = attributes_of(body, _LINK.size)
    kind = _text(attributes_of(attributes.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b""))
    address = attributes.get(_IFLA_ADDRESS, b"")
    loopback = hardware == _ARPHRD_LOOPBACK or attributes.get(_IFLA_GROUP) == _U32.pack(LOOPBACK_GROUP)
    if loopback:
        linux_flags = linux_flags & ~(IFF_POINTOPOINT | IFF_BROADCAST) | IFF_LOOPBACK
    ether = hardware == _ARPHRD_ETHER and not loopback
    if kind == "bridge":
        kind_of_type = "bridge"
    elif ether:
        kind_of_type = "ether"
    elif loopback:
        kind_of_type = "loop"
    else:
        kind_of_type = "tunnel" if linux_flags & IFF_POINTOPOINT else "other"
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
        master=_U32.unpack(attributes[_IFLA_MASTER])[0] if _IFLA_MASTER in attributes else None,
        carrier=attributes[_IFLA_CARRIER] != b"\0" if _IFLA_CARRIER in attributes else None,
        owner=_owner(body) if kind == "tun" else "",
        statistics=(received, received_bytes, receive_errors, sent, sent_bytes, send_errors),
    )


def _owner(body: bytes) -> str:
    """See `host.api.Link`."""
    there = TunSettings(body)
    if not there.known:
        return ""
    if there.owner is None:
        return "nobody"
    return "us" if there.owner == os.geteuid() else "others"


def _flags(linux: int, ether: bool, promiscuous: bool) -> int:
    """FreeBSD's IFF_*. IFF_RUNNING is a driver's there, that is: IFF_UP."""
    flags = linux & _SAME_IN_LINUX
    if linux & IFF_UP:
        flags |= IFF_RUNNING
    if linux & (_LINUX_MULTICAST | IFF_LOOPBACK):
        flags |= IFF_MULTICAST
    if ether:
        flags |= IFF_SIMPLEX
    else:
        flags &= ~IFF_NOARP  # Linux sets it on all that have no ARP; FreeBSD's means `-arp`
    if promiscuous:
        flags |= IFF_PROMISC
    if linux & IFF_PROMISC:  # somebody said `promisc`, it is not only a running tcpdump
        flags |= IFF_PROMISC | IFF_PPROMISC
    return flags


def is_bridge_port(body: bytes) -> bool:
    """True of a message about a link that only a bridge sends (about its port; not about the link as such)."""
    return body[:1] == bytes([_AF_BRIDGE])


def _created(body: bytes) -> int:
    stamps = attributes_of(body, _ADDRESS.size).get(_IFA_CACHEINFO)
    return _CACHEINFO.unpack(stamps)[2] if stamps is not None else 0


def parse_address(body: bytes) -> Address | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR message's body; None for other families."""
    family, prefixlen, _flags8, _scope, index = _ADDRESS.unpack_from(body)
    if family not in (_socket.AF_INET, _socket.AF_INET6):
        return None
    attributes = attributes_of(body, _ADDRESS.size)
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
