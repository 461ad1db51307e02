"""Where packets of a lab host go that were routed into a tunnel: probes, and the routes and guards that are there."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from ipsectools.host.linux.routes import Routes
from ipsectools.lab.netlink import Netlink
from ipsectools.lab.ping import ping
from tests.traffic.scene import INNER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipsectools.host.api import Prefix, Route
    from ipsectools.lab.capture import Capture
    from ipsectools.lab.host import Host

NETWORKS = {
    "10.0.0.0/8": "10.1.2.3",
    "fd10::/16": "fd10::1",
    "128.0.0.0/1": "203.0.113.1",  # half of everything, as a tunnel has it that is to take the default route's place
    "2000::/3": "2400::1",
}
"""What A routes into the tunnel beside its peers, and an address of each."""
DESTINATIONS = [INNER["inet"][1], INNER["inet6"][1], *NETWORKS.values()]
OWN6 = INNER["inet6"][0]
DEFAULTS = {"0.0.0.0/0": "192.168.0.5", "::/0": "2001:db8::5"}
GUARDED: set[Prefix] = {
    ("inet", INNER["inet"][1], 32, 254),
    ("inet6", INNER["inet6"][0], 128, 254),
    ("inet6", INNER["inet6"][1], 128, 254),
    *(("inet6" if ":" in each else "inet", each.split("/")[0], int(each.split("/")[1]), 254) for each in NETWORKS),
}


def route_away(a: Host) -> None:
    """Default routes of A beside the tunnel, which everything takes in clear that the tunnel does not get, and routes
    into the tunnel."""
    with Netlink(a) as netlink:
        for network, gateway in DEFAULTS.items():
            netlink.route(network, gateway=gateway)
        for network in NETWORKS:
            netlink.route(network, interface="ipsec0")


def probe(host: Host, destinations: list[str]) -> None:
    """Sends a datagram to each address, whether or not it may leave."""
    for destination in destinations:
        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        with host.socket(family, socket.SOCK_DGRAM) as udp:
            try:
                udp.sendto(b"must not be read", (destination, 7))
            except OSError:
                continue


def is_clear(capture: Capture, destinations: list[str]) -> list[str]:
    """Those of the addresses to which something went in clear."""
    return sorted({seen.destination for seen in capture.clear()} & set(destinations))


def answers(host: Host) -> bool:
    """Whether the other end of the host's tunnel answers, in both families."""
    return all(ping(host, ends[1], count=1) for ends in INNER.values())


def routes(host: Host, name: str = "ipsec0") -> list[Route]:
    """All routes into an interface of the host."""
    with Netlink(host) as netlink:
        index = netlink.index(name)
    table = Routes(host.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    try:
        return table.routes([index])
    finally:
        table.close()


def guards(host: Host) -> set[Prefix]:
    """The guards on the host."""
    table = Routes(host.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    try:
        return table.guards()
    finally:
        table.close()


def networks(host: Host) -> set[str]:
    """Where routes into the host's ipsec0 lead; its own IPv6 address is among them while it is there."""
    return {f"{route.destination}/{route.prefixlen}" for route in routes(host)}


ALL_NETWORKS = {f"{INNER['inet'][1]}/32", f"{INNER['inet6'][1]}/128", f"{OWN6}/128", *NETWORKS}


def wait_until(true: Callable[[], bool], patience: float = 30) -> None:
    """Waits for what ipsecd does after it was told of a change."""
    for _ in _moments(patience):
        if true():
            return
    raise AssertionError("it did not happen")


def _moments(patience: float) -> Iterator[None]:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    yield
