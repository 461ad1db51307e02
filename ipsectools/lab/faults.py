"""Two lab hosts with a faulty link between them: loss, duplication, reordering, corruption, a smaller MTU, all counted.

    with faulty_hosts() as (a, b, link):
        link.set(forth=Faults(loss=0.1), back=Faults(), seed=7)
        ...
        link.counters()["forth"]["lost"]

The link is a bridge in a third host. It changes nothing but what it is told, whatever the packets are, and says of each
packet what became of it: arrived + duplicated = passed + lost + too_big where nothing was cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from ipsectools.lab.host import Host, LabError
from ipsectools.lab.netlink import Netlink
from ipsectools.lab.network import CABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faulty_link.py")
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ETH_P_ALL = 3
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x17, 0x1F, 0x24, 0x2C
PORTS = ("left", "right")
A_ADDRESSES = ("192.168.0.3/24", "2001:db8::3/64")
B_ADDRESSES = ("192.168.0.5/24", "2001:db8::5/64")


class Faults(NamedTuple):
    """What happens to packets in one direction.

    `loss`, `duplication`, `reordering`, `corruption`: probabilities, 0 to 1; `depth`: how many packets may overtake one
    at the most; `mtu`: bytes of the longest IP packet that passes whole (0: any), `silent`: nobody is told about those
    that do not."""

    loss: float = 0
    duplication: float = 0
    reordering: float = 0
    corruption: float = 0
    depth: int = 8
    mtu: int = 0
    silent: bool = False


PERFECT = Faults()


class FaultyLink:
    """The link at work, between interfaces `left` and `right` of a host of its own."""

    def __init__(self, host: Host) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sockets = [_port(host, name) for name in PORTS]
        descriptors = [sock.fileno() for sock in (*sockets, theirs)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WORKER, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
        )
        for sock in (*sockets, theirs):
            sock.close()
        self.counters()  # it works

    def set(self, forth: Faults = PERFECT, back: Faults = PERFECT, seed: int = 0) -> None:
        """New faults for both directions (`forth`: from left to right), in force when this returns."""
        self._ask({"set": {"forth": forth._asdict(), "back": back._asdict()}, "seed": seed})

    def counters(self) -> dict[str, dict[str, int]]:
        """Of each direction: packets `arrived`, `passed`, `lost`, `duplicated`, `held` (overtaken), `corrupted`,
        `too_big`, `cut` (into fragments); `others`: ARP and neighbour discovery; `missed`, `refused`: what the link
        itself failed to do. Nothing is held back when it answers. Raises LabError if the link failed."""
        counters = self._ask({})
        for name, direction in counters.items():
            if direction["missed"] or direction["refused"]:
                raise LabError(f"the link itself lost packets ({name}: {direction})")
        return counters

    def _ask(self, request: dict[str, object]) -> dict[str, dict[str, int]]:
        self._control.send(json.dumps(request).encode())
        if not select.select([self._control], [], [], 20)[0]:
            raise LabError("the link does not answer")
        data = self._control.recv(1 << 16)
        if not data:
            raise LabError("the link has ended")
        answer: dict[str, dict[str, int]] = json.loads(data)
        return answer

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _port(host: Host, name: str) -> socket.socket:
    """A packet socket that hears what arrives at an interface, and nothing else."""
    sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 26)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setblocking(False)
    sock.bind((name, ETH_P_ALL))
    return sock


def without_offload(host: Host, name: str) -> None:
    """Makes an interface send whole packets with their checksums, as they are on a real wire."""
    value = ctypes.create_string_buffer(8)
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(value))
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM):
            value.raw = struct.pack("=II", command, 0)
            fcntl.ioctl(sock.fileno(), SIOCETHTOOL, request)


def connect_faulty(a: Host, b: Host, middle: Host, a_addresses: Sequence[str], b_addresses: Sequence[str]) -> None:
    """Lays cables from A and B to the host in the middle."""
    for host, port, addresses in ((a, PORTS[0], a_addresses), (b, PORTS[1], b_addresses)):
        descriptor = host.namespace()
        try:
            with Netlink(middle) as netlink:
                netlink.cable(port, descriptor, CABLE)
        finally:
            os.close(descriptor)
        middle.set_kernel(f"net/ipv6/conf/{port}/disable_ipv6", 1)  # a bridge has no addresses and says nothing
        with Netlink(middle) as netlink:
            netlink.set_up(port)
        with Netlink(host) as netlink:
            netlink.set_up("lo")
            netlink.set_up(CABLE)
            for address in addresses:
                netlink.address(CABLE, address)
        without_offload(host, CABLE)


@contextlib.contextmanager
def faulty_hosts(
    a_addresses: Sequence[str] = A_ADDRESSES, b_addresses: Sequence[str] = B_ADDRESSES
) -> Iterator[tuple[Host, Host, FaultyLink]]:
    """Hosts A and B as `network.two_hosts` has them, with a link between them that does as it is told.

    Raises LabError where the system does not allow it."""
    with Host("A") as a, Host("B", a) as b, Host("link", a) as middle:
        connect_faulty(a, b, middle, a_addresses, b_addresses)
        link = FaultyLink(middle)
        try:
            yield a, b, link
        finally:
            link.close()
