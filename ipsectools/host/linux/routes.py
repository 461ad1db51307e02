"""Routes of the Linux host, over rtnetlink(7): those that lead into links, and the guards that stand beside them.

A guard is an unreachable route to the same network, in the same table, of the worst metric there is. Linux takes it
when the other one is withdrawn or skipped (link down, no carrier and ignore_routes_with_linkdown, IPv6 switched off).
"""

from __future__ import annotations

import contextlib
import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct

from ipsectools.errno import EEXIST, ESRCH, KernelError, from_host
from ipsectools.host.api import WORST_METRIC, Route, RouteNews
from ipsectools.host.linux.rtnetlink import RTM_DELROUTE, RTM_NEWROUTE, Reader, attribute, attributes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Collection, Iterator

    from ipsectools.host.api import Prefix

GUARD_PROTOCOL = 105
"""Of the guards (`ip route show proto 105`). A number that rtnetlink leaves to whoever likes it."""

_RTM_GETROUTE = 26
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_NLMSG_ERROR = 2
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12

_MESSAGE = Struct("=BBBBBBBBI")  # rtmsg
_NEXTHOP = Struct("=HBBi")  # rtnexthop
_U32 = Struct("=I")

_RTN_UNICAST, _RTN_LOCAL, _RTN_UNREACHABLE = 1, 2, 7
_RTM_F_CLONED, _RTNH_F_ONLINK = 0x200, 0x4
_RT_TABLE_LOCAL, _RT_SCOPE_NOWHERE = 255, 255
_RTPROT_RA = 9
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS = 1, 2, 4, 5, 6, 7, 8
_RTA_MULTIPATH, _RTA_FLOW, _RTA_TABLE, _RTA_VIA, _RTA_PREF, _RTA_ENCAP_TYPE, _RTA_ENCAP = 9, 11, 15, 18, 20, 21, 22
_RTA_EXPIRES = 23
_KEPT = (
    *(_RTA_SRC, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH, _RTA_FLOW),
    *(_RTA_VIA, _RTA_PREF, _RTA_ENCAP_TYPE, _RTA_ENCAP),
)

_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
_NUMBERS = {"inet": AF_INET, "inet6": AF_INET6}
_FEW = 8
"""Links up to which each is asked for alone, as a host may have very many routes to elsewhere."""


class Routes(Reader):
    """Asks for routes and changes them. Raises KernelError."""

    __slots__ = ("port",)

    def __init__(self, netlink: socket | None = None) -> None:
        try:
            super().__init__(netlink)
        except OSError as error:
            raise KernelError(from_host(error.errno or 0)) from None
        with contextlib.suppress(OSError):  # Linux before 5.0 tells of all routes
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self.port = int(self._socket.getsockname()[0])

    def routes(self, links: Collection[int]) -> list[Route]:
        """Those that lead into one of the links."""
        filters = [attribute(_RTA_OIF, _U32.pack(link)) for link in links] if len(links) <= _FEW else [b""]
        found = {}
        for body in self._all(_RTN_UNICAST, 0, filters):
            route = parse(body)
            if route is not None and not set(links).isdisjoint(route.links):
                found[route.place, route.links, route.details] = route
        return list(found.values())

    def guards(self) -> set[Prefix]:
        prefixes = (guarded(body) for body in self._all(_RTN_UNREACHABLE, GUARD_PROTOCOL, [b""]))
        return {prefix for prefix in prefixes if prefix is not None}

    def _all(self, sort: int, protocol: int, filters: list[bytes]) -> Iterator[bytes]:
        for family in _FAMILIES:
            for attributes in filters:
                request = _MESSAGE.pack(family, 0, 0, 0, 0, protocol, 0, sort, 0) + attributes
                try:
                    yield from self._dump(_RTM_GETROUTE, RTM_NEWROUTE, request)
                except OSError as error:
                    raise KernelError(from_host(error.errno or 0)) from None

    def add(self, route: Route, *, beside: bool = False) -> None:
        """Adds a route that `parse` has made, or that has no `details`; `beside` others in its place."""
        self._change(RTM_NEWROUTE, _NLM_F_CREATE | (0 if beside else _NLM_F_EXCL), _message(route))

    def delete(self, route: Route) -> None:
        self._change(RTM_DELROUTE, 0, _message(route))

    def add_guard(self, prefix: Prefix) -> None:
        try:
            self._change(RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, _guard(prefix, 0))
        except KernelError as error:
            if error.errno != EEXIST:
                raise

    def delete_guard(self, prefix: Prefix) -> None:
        try:
            self._change(RTM_DELROUTE, 0, _guard(prefix, _RT_SCOPE_NOWHERE))
        except KernelError as error:
            if error.errno != ESRCH:
                raise

    def _change(self, kind: int, flags: int, body: bytes) -> None:
        try:
            self._send(kind, _NLM_F_REQUEST | _NLM_F_ACK | flags, body)
            for answer, _flags, message in self._receive():
                if answer == _NLMSG_ERROR:
                    number = -int.from_bytes(message[:4], "little", signed=True)
                    if number:
                        raise OSError(number, os.strerror(number))
        except OSError as error:
            raise KernelError(from_host(error.errno or 0)) from None


def _prefix(body: bytes, attributes: dict[int, bytes]) -> Prefix | None:
    family, prefixlen, _, _, table8, *_ = _MESSAGE.unpack_from(body)
    if family not in _FAMILIES:
        return None
    octets = attributes.get(_RTA_DST, bytes(4 if family == AF_INET else 16))
    table = _U32.unpack(attributes[_RTA_TABLE])[0] if _RTA_TABLE in attributes else table8
    return _FAMILIES[family], inet_ntop(family, octets), prefixlen, table


def parse(body: bytes) -> Route | None:
    """The route of a message; None for one that is not unicast, in the table of local addresses, only for a time, or
    to a link-local network (what goes there names its link)."""
    _, _, _, tos, _, protocol, _, sort, flags = _MESSAGE.unpack_from(body)
    if sort != _RTN_UNICAST or flags & _RTM_F_CLONED or protocol == _RTPROT_RA:
        return None
    attributes = attributes_of(body, _MESSAGE.size)
    prefix = _prefix(body, attributes)
    if prefix is None or prefix[3] == _RT_TABLE_LOCAL or _RTA_EXPIRES in attributes:
        return None
    family, destination, prefixlen, table = prefix
    if family == "inet6" and prefixlen and destination.startswith(("fe80:", "ff")):
        return None
    if _RTA_MULTIPATH in attributes:
        links = tuple(index for index, _ in _nexthops(attributes[_RTA_MULTIPATH]))
    else:
        links = (_U32.unpack(attributes[_RTA_OIF])[0],) if _RTA_OIF in attributes else ()
    details = body[: _MESSAGE.size] + b"".join(
        attribute(kind, attributes[kind]) for kind in _KEPT if kind in attributes
    )
    metric = _U32.unpack(attributes[_RTA_PRIORITY])[0] if _RTA_PRIORITY in attributes else 0
    return Route(
        *(family, destination, prefixlen, links),
        table=table,
        tos=tos,
        metric=metric,
        protocol=protocol,
        details=details,
    )


def guarded(body: bytes) -> Prefix | None:
    """The prefix for which a message's route is a guard, None if it is none."""
    _, _, _, _, _, protocol, _, sort, _ = _MESSAGE.unpack_from(body)
    if sort != _RTN_UNREACHABLE or protocol != GUARD_PROTOCOL:
        return None
    attributes = attributes_of(body, _MESSAGE.size)
    if attributes.get(_RTA_PRIORITY) != _U32.pack(WORST_METRIC):
        return None
    return _prefix(body, attributes)


def own_route(body: bytes) -> tuple[int, str] | None:
    """Link and text of the IPv6 address whose own route a message is about; None if it is about another route."""
    family, _, _, _, _, _, _, sort, _ = _MESSAGE.unpack_from(body)
    if family != AF_INET6 or sort != _RTN_LOCAL:
        return None
    attributes = attributes_of(body, _MESSAGE.size)
    if _RTA_OIF not in attributes or _RTA_DST not in attributes:
        return None
    return _U32.unpack(attributes[_RTA_OIF])[0], inet_ntop(AF_INET6, attributes[_RTA_DST])


def news(gone: bool, body: bytes, sender: int) -> RouteNews | None:
    """What a notification tells; `sender` is the port of the program that asked for the change, 0 for Linux itself."""
    prefix = guarded(body)
    if prefix is not None:
        return RouteNews(None, gone=True, prefix=prefix, by_user=sender != 0) if gone else None
    if gone and not sender:
        return None
    route = parse(body)
    return None if route is None else RouteNews(route, gone=gone)


def _nexthops(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Link and raw bytes of each path."""
    offset = 0
    while offset + _NEXTHOP.size <= len(data):
        length, _flags, _hops, index = _NEXTHOP.unpack_from(data, offset)
        if length < _NEXTHOP.size:
            break
        yield index, data[offset : offset + length]
        offset += (length + 3) & ~3


def _message(route: Route) -> bytes:
    family = _NUMBERS[route.family]
    src_length = scope = flags = 0
    attributes: dict[int, bytes] = {}
    if route.details:
        _, _, src_length, _, _, _, scope, _, flags = _MESSAGE.unpack_from(route.details)
        attributes = attributes_of(route.details, _MESSAGE.size)
    elif route.family == "inet":
        scope = 253  # a link's
    if _RTA_MULTIPATH in attributes:
        paths = b""
        for index, (_, path) in zip(route.links, _nexthops(attributes[_RTA_MULTIPATH]), strict=True):
            length, bits, hops, _ = _NEXTHOP.unpack_from(path)
            path = _NEXTHOP.pack(length, bits & _RTNH_F_ONLINK, hops, index) + path[_NEXTHOP.size :]
            paths += path + bytes(-len(path) % 4)
        attributes[_RTA_MULTIPATH] = paths
    elif route.links:
        attributes[_RTA_OIF] = _U32.pack(route.links[0])
    attributes[_RTA_PRIORITY] = _U32.pack(route.metric)
    return _packed(
        _MESSAGE.pack(
            *(family, route.prefixlen, src_length, route.tos, 0, route.protocol, scope, _RTN_UNICAST),
            flags & _RTNH_F_ONLINK,
        ),
        route.prefix,
        attributes,
    )


def _guard(prefix: Prefix, scope: int) -> bytes:
    header = _MESSAGE.pack(_NUMBERS[prefix[0]], prefix[2], 0, 0, 0, GUARD_PROTOCOL, scope, _RTN_UNREACHABLE, 0)
    return _packed(header, prefix, {_RTA_PRIORITY: _U32.pack(WORST_METRIC)})


def _packed(header: bytes, prefix: Prefix, attributes: dict[int, bytes]) -> bytes:
    family, destination, prefixlen, table = prefix
    if prefixlen:
        attributes[_RTA_DST] = inet_pton(_NUMBERS[family], destination)
    attributes[_RTA_TABLE] = _U32.pack(table)
    return header + b"".join(attribute(kind, value) for kind, value in attributes.items())
