"""The few rtnetlink requests a lab needs, on a socket of the lab host: cables, addresses, routes (rtnetlink(7))."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 19, 17, 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
NLMSG_ERROR = 2
IFF_UP, IFF_RUNNING = 1, 0x40
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 4, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_NODAD = 1, 2, 8, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
RT_SCOPE_NOWHERE = 255
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
NETLINK_ROUTE = 0
SIOCGIFFLAGS, SIOCGIFINDEX = 0x8913, 0x8933


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to 4 bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


class Netlink:
    """A route netlink socket of a lab host. Every request raises OSError with Linux's errno when the kernel refuses."""

    def __init__(self, host: Host) -> None:
        self._socket = host.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
        self._sequence = 0

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Sends one request and waits for its acknowledgement."""
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(65536)
        _, what, _, _, _ = struct.unpack_from("=IHHII", answer)
        number = -struct.unpack_from("=i", answer, 16)[0] if what == NLMSG_ERROR else 0
        if number:
            raise OSError(number, os.strerror(number))

    def index(self, name: str) -> int:
        """The index of an interface."""
        answer = fcntl.ioctl(self._socket.fileno(), SIOCGIFINDEX, struct.pack("16sI12x", name.encode(), 0))
        return int(struct.unpack_from("=16xI", answer)[0])

    def cable(self, name: str, peer_namespace: int, peer: str, mtu: int = 1500) -> None:
        """Makes a veth pair: `name` here, `peer` in the network namespace of that file descriptor."""
        common = _number(IFLA_MTU, mtu)
        other = bytes(16) + _text(IFLA_IFNAME, peer) + common + _number(IFLA_NET_NS_FD, peer_namespace)
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
        info = attribute(IFLA_LINKINFO, _text(IFLA_INFO_KIND, "veth") + data)
        self.request(RTM_NEWLINK, bytes(16) + _text(IFLA_IFNAME, name) + common + info, NLM_F_CREATE | NLM_F_EXCL)

    def set_up(self, name: str, up: bool = True) -> None:
        self.request(RTM_SETLINK, struct.pack("=BxHiII", 0, 0, self.index(name), IFF_UP if up else 0, IFF_UP))

    def wait_until_running(self, name: str, patience: float = 10) -> None:
        """Waits until the interface carries packets: Linux drops what is sent before it has noticed the other end."""
        deadline = time.monotonic() + patience
        request = struct.pack("16s24x", name.encode())
        while (
            not struct.unpack_from("=16xH", fcntl.ioctl(self._socket.fileno(), SIOCGIFFLAGS, request))[0] & IFF_RUNNING
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"{name} does not come up")
            time.sleep(0.01)

    def set_mtu(self, name: str, mtu: int) -> None:
        self.request(RTM_SETLINK, struct.pack("=BxHiII", 0, 0, self.index(name), 0, 0) + _number(IFLA_MTU, mtu))

    def delete(self, name: str) -> None:
        self.request(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, self.index(name), 0, 0))

    def address(self, name: str, address: str, *, add: bool = True, peer: str | None = None) -> None:
        """Adds (or removes) `address/length`; an IPv6 address is usable at once, without duplicate detection."""
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, self.index(name))
        body += attribute(IFA_LOCAL, interface.packed) + attribute(
            IFA_ADDRESS, ipaddress.ip_address(peer or interface.ip).packed
        )
        body += _number(IFA_FLAGS, IFA_F_NODAD) if interface.version == 6 else b""
        self.request(RTM_NEWADDR if add else RTM_DELADDR, body, NLM_F_CREATE | NLM_F_EXCL if add else 0)

    def rename(self, name: str, new: str) -> None:
        self.request(RTM_SETLINK, struct.pack("=BxHiII", 0, 0, self.index(name), 0, 0) + _text(IFLA_IFNAME, new))

    def route(
        self,
        network: str,
        *,
        interface: str | None = None,
        gateway: str | None = None,
        table: int = RT_TABLE_MAIN,
        metric: int = 0,
        protocol: int = RTPROT_STATIC,
        add: bool = True,
    ) -> None:
        """Adds (or removes) a route to `network` through an interface, a gateway or both."""
        to = ipaddress.ip_network(network)
        family = socket.AF_INET if to.version == 4 else socket.AF_INET6
        scope = 0 if gateway or to.version == 6 else 253  # a link's own neighbours
        sort = RTN_UNICAST
        if not add:
            scope, sort = RT_SCOPE_NOWHERE, 0  # whatever they are
        body = struct.pack("=BBBBBBBBI", family, to.prefixlen, 0, 0, 0, protocol, scope, sort, 0)
        body += _number(RTA_TABLE, table)
        if metric:
            body += _number(RTA_PRIORITY, metric)
        if to.prefixlen:
            body += attribute(RTA_DST, to.network_address.packed)
        if gateway:
            body += attribute(RTA_GATEWAY, ipaddress.ip_address(gateway).packed)
        if interface:
            body += _number(RTA_OIF, self.index(interface))
        self.request(RTM_NEWROUTE if add else RTM_DELROUTE, body, NLM_F_CREATE | NLM_F_EXCL if add else 0)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
