"""Where this host would send a packet: rtnetlink(7)'s RTM_GETROUTE on Linux, connected networks on a simulated host."""

from __future__ import annotations

import ipaddress
import os
import socket
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import Interface

_HEADER = Struct("=IHHII")  # nlmsghdr
_ROUTE = Struct("=BBBBBBBBI")  # rtmsg
_ATTRIBUTE = Struct("=HH")
_RTM_NEWROUTE, _RTM_GETROUTE, _NLMSG_ERROR = 24, 26, 2
_NLM_F_REQUEST = 1
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_MARK = 1, 2, 4, 5, 16
_RTA_IP_PROTO, _RTA_DPORT = 27, 29
_RTN_LOCAL = 2


class Route:
    """`interface` is FreeBSD's name (lo0), `gateway` a text or None, `local`: the destination is this host's own,
    `mtu` bytes of the path as far as it is known."""

    __slots__ = ("gateway", "interface", "local", "mtu")

    def __init__(self, interface: str, gateway: str | None, local: bool, mtu: int) -> None:
        self.interface = interface
        self.gateway = gateway
        self.local = local
        self.mtu = mtu


class Flow:
    """What routing may look at. `source` and `protocol` may be None, `mark` is the firewall mark."""

    __slots__ = ("destination", "mark", "port", "protocol", "source")

    def __init__(
        self,
        destination: str,
        source: str | None = None,
        protocol: int | None = None,
        port: int | None = None,
        mark: int = 0,
    ) -> None:
        self.destination = destination
        self.source = source
        self.protocol = protocol
        self.port = port
        self.mark = mark


def find(flow: Flow) -> Route | str:
    """The route of this host's Linux, or why there is none (Linux's words)."""
    from ipsectools.host.linux.rtnetlink import freebsd_name
    from ipsectools.host.linux.sockets import path_mtu

    family = socket.AF_INET6 if ":" in flow.destination else socket.AF_INET
    bits = 128 if family == socket.AF_INET6 else 32
    destination = socket.inet_pton(family, flow.destination)
    attributes = _attribute(_RTA_DST, destination)
    if flow.source is not None:
        attributes += _attribute(_RTA_SRC, socket.inet_pton(family, flow.source))
    if flow.mark:
        attributes += _attribute(_RTA_MARK, flow.mark.to_bytes(4, "little"))
    if flow.protocol is not None and flow.port is not None:
        attributes += _attribute(_RTA_IP_PROTO, bytes((flow.protocol,)))
        attributes += _attribute(_RTA_DPORT, flow.port.to_bytes(2, "big"))
    body = _ROUTE.pack(family, bits, bits if flow.source is not None else 0, 0, 0, 0, 0, 0, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.settimeout(5)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body)
        answer = netlink.recv(1 << 16)
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        return os.strerror(-int.from_bytes(answer[16:20], "little", signed=True))
    assert kind == _RTM_NEWROUTE
    type = answer[_HEADER.size + 7]
    found = _attributes(answer[_HEADER.size + _ROUTE.size : length])
    index = int.from_bytes(found.get(_RTA_OIF, b""), "little")
    gateway = socket.inet_ntop(family, found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None
    name = freebsd_name(socket.if_indextoname(index)) if index else ""
    return Route(name, gateway, type == _RTN_LOCAL, path_mtu(destination, flow.mark))


def find_simulated(flow: Flow, interfaces: list[Interface]) -> Route | str:
    """The route that connected networks give (a simulated host has no others); interface dicts as LISTIF has them."""
    destination = ipaddress.ip_address(flow.destination)
    best: tuple[int, Route] | None = None
    for interface in interfaces:
        if not interface["flags"] & 1:
            continue
        for address in interface["inet" if destination.version == 4 else "inet6"]:
            if ipaddress.ip_address(address["address"]) == destination:
                return Route("lo0", None, True, 16384)
            if address["peer"]:
                network = ipaddress.ip_network(address["peer"])
            else:
                network = ipaddress.ip_network(f"{address['address']}/{address['prefixlen']}", strict=False)
            if destination in network and (best is None or network.prefixlen > best[0]):
                best = network.prefixlen, Route(interface["name"], None, False, interface["mtu"])
    return best[1] if best is not None else "No route to host"


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found
