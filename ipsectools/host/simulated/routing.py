"""The routes of a simulated machine, with Linux's habits: it withdraws them in silence and brings back only its own."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from ipsectools.errno import EEXIST, ENETDOWN, ESRCH, KernelError
from ipsectools.host.api import IFF_UP, MAIN_TABLE, ROUTE_BY_HOST, WORST_METRIC, Address, Route, RouteNews

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Collection
    from typing import Protocol

    from ipsectools.host.api import Link, Prefix

    Place = tuple[str, str, int, int, int, int]
    Links = tuple[int, ...]

    class Machine(Protocol):
        def link(self, index: int) -> Link | None: ...


UNREACHABLE = -1
"""What `Routing.link_to` says of a destination whose best route is a guard."""


class Routing:
    """Routes and guards. They are in memory only: nothing but packets would miss them, and there are none."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._routes: dict[Place, dict[Links, Route]] = {}
        self._of_link: dict[int, dict[tuple[Place, Links], None]] = {}
        self._addresses: dict[int, dict[tuple[str, str], Address]] = {}
        self._news: list[RouteNews] = []
        self.guards: set[Prefix] = set()

    def routes(self, links: Collection[int]) -> list[Route]:
        return [self._routes[place][way] for link in links for place, way in self._of_link.get(link, ())]

    def add(self, route: Route, *, beside: bool = False) -> None:
        links = [self._machine.link(index) for index in route.links]
        if not all(link is not None and link.flags & IFF_UP for link in links):
            raise KernelError(ENETDOWN)
        there = self._routes.get(route.place, {})
        if route.links in there if beside else there:
            raise KernelError(EEXIST)
        self._routes.setdefault(route.place, {})[route.links] = route
        for index in route.links:
            self._of_link.setdefault(index, {})[route.place, route.links] = None

    def delete(self, route: Route) -> None:
        found = self._routes.get(route.place, {}).get(route.links)
        if found is None:
            raise KernelError(ESRCH)
        self._drop(found)

    def _drop(self, route: Route) -> None:
        there = self._routes[route.place]
        del there[route.links]
        if not there:
            del self._routes[route.place]
        for index in route.links:
            del self._of_link[index][route.place, route.links]

    # what another program does

    def add_by_user(self, route: Route, *, beside: bool = False) -> None:
        self.add(route, beside=beside)
        self._news.append(RouteNews(route))

    def delete_by_user(self, route: Route) -> None:
        self.delete(route)
        self._news.append(RouteNews(route, gone=True))

    def delete_guard_by_user(self, prefix: Prefix) -> None:
        self.guards.remove(prefix)
        self._news.append(RouteNews(None, gone=True, prefix=prefix))

    def take_news(self) -> list[RouteNews]:
        news, self._news = self._news, []
        return news

    # what the machine does by itself

    def link_up(self, index: int) -> None:
        """An IPv6 address gets its own route back, not the one to its peer."""
        for address in self._addresses.get(index, {}).values():
            self._add_own(address, with_peer=address.family == "inet")

    def link_down(self, index: int) -> None:
        for route in self.routes([index]):
            self._drop(route)

    def address_added(self, address: Address) -> None:
        self.note(address)
        self._add_own(address, with_peer=True)

    def note(self, address: Address) -> None:
        """An address that the machine has had already."""
        self._addresses.setdefault(address.index, {})[address.family, address.address] = address

    def address_gone(self, address: Address) -> None:
        """With the last IPv4 address of a link all its IPv4 routes go."""
        left = self._addresses.get(address.index, {})
        left.pop((address.family, address.address), None)
        destinations = _destinations(address)
        last = address.family == "inet" and not any(family == "inet" for family, _ in left)
        for route in self.routes([address.index]):
            own = route.protocol == ROUTE_BY_HOST and route.destination in destinations
            if own or (last and route.family == "inet"):
                self._drop(route)

    def _add_own(self, address: Address, *, with_peer: bool) -> None:
        metric = 256 if address.family == "inet6" else 0
        for destination, prefixlen in _destinations(address).items():
            if destination == address.peer and not with_peer:
                continue
            route = Route(
                *(address.family, destination, prefixlen, (address.index,)), metric=metric, protocol=ROUTE_BY_HOST
            )
            try:
                self.add(route, beside=True)
            except KernelError:
                continue

    def link_to(self, destination: str, table: int = MAIN_TABLE) -> int | None:
        """The link to which a packet goes, UNREACHABLE, or None without a route."""
        import ipaddress

        address = ipaddress.ip_address(destination)
        found: list[tuple[int, int, int]] = []
        for route in (route for place in self._routes.values() for route in place.values()):
            if route.table == table and _holds(route.prefix, address):
                found.append((-route.prefixlen, route.metric, route.links[0]))
        for prefix in self.guards:
            if prefix[3] == table and _holds(prefix, address):
                found.append((-prefix[2], WORST_METRIC, UNREACHABLE))
        return min(found)[2] if found else None


def _destinations(address: Address) -> dict[str, int]:
    """The networks (and their prefix lengths) to which an address makes routes."""
    whole = 128 if address.family == "inet6" else 32
    if address.peer is not None:
        own = {address.address: whole} if address.family == "inet6" else {}
        return {**own, address.peer: whole}
    octets = inet_pton(AF_INET6 if whole == 128 else AF_INET, address.address)
    hosts = whole - address.prefixlen
    network = (int.from_bytes(octets, "big") >> hosts << hosts).to_bytes(len(octets), "big")
    return {inet_ntop(AF_INET6 if whole == 128 else AF_INET, network): address.prefixlen}


def _holds(prefix: Prefix, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    import ipaddress

    network = ipaddress.ip_network(f"{prefix[1]}/{prefix[2]}")
    return address.version == network.version and address in network
