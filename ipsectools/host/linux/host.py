"""The Linux host: what `ipsectools.host.api.Host` wants of a network namespace of this machine."""

from __future__ import annotations

from ipsectools.errno import ENXIO, KernelError, from_host
from ipsectools.host.api import IFF_UP
from ipsectools.host.linux import listener, namespaces, neighbor, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import TypeVar

    from ipsectools.host.api import Address, Link, Prefix, Route, RouteNews, Rows, Tun, Wire
    from ipsectools.host.linux.changes import Changes
    from ipsectools.host.linux.routes import Routes
    from ipsectools.host.marks import Marks

    _T = TypeVar("_T")

SMALLEST_IPV6_MTU = 1280
"""A link with less has no IPv6 (RFC 8200 section 5)."""


class LinuxHost:
    """Fulfils `host.api.Host`. Reading costs little to import; the first change imports pyroute2."""

    live = True
    may_change = True
    may_protect = True
    tables: Mapping[str, Sequence[str]] = {}

    def __init__(self) -> None:
        try:
            self._reader = rtnetlink.Reader()
        except OSError as error:
            raise KernelError(from_host(error.errno or 0)) from None
        self._changes: Changes | None = None
        self._listener: listener.Listener | None = None
        self._changed: Callable[[], None] | None = None
        self._has_news = False
        self._news_of: set[int] | None = None
        self._receive_fibs: dict[int, int] = {}
        # Kept up to date from notifications while somebody watches.
        self._links: dict[int, Link] = {}
        self._addresses: dict[tuple[int, str, str], Address] = {}
        self._routes: Routes | None = None
        self._route_news: list[RouteNews] | None = None
        self._without_route: set[tuple[int, str]] = set()
        """IPv6 addresses whose own route went before they did."""
        self._withdrawn: set[tuple[int, str]] | None = None
        self._rules_lost = False

    def load(self, rows: Rows) -> None:
        """Linux remembers by itself."""

    def close(self) -> None:
        self._reader.close()
        if self._listener is not None:
            self._listener.close()
        if self._changes is not None:
            self._changes.close()
        if self._routes is not None:
            self._routes.close()

    # reading

    def links(self) -> list[Link]:
        if self._listener is None:
            return _with_media(self._read(self._reader.links))
        self._take_news()
        return list(self._links.values())

    def link(self, index: int) -> Link | None:
        link = self._read(lambda: self._reader.link(index))
        return None if link is None else _with_media([link])[0]

    def addresses(self) -> list[Address]:
        if self._listener is None:
            return self._read(self._reader.addresses)
        self._take_news()
        return list(self._addresses.values())

    def _read(self, function: Callable[[], _T]) -> _T:
        try:
            return function()
        except OSError as error:
            raise KernelError(from_host(error.errno or 0)) from None

    # watching

    def watch(self, changed: Callable[[], None]) -> Iterator[int]:
        """One descriptor. From now on links and addresses are answered from memory."""
        self._changed = changed
        if self._listener is None:
            try:
                self._listener = listener.Listener()
            except OSError as error:
                raise KernelError(from_host(error.errno or 0)) from None
            self._remember_all()
        yield self._listener.fileno()

    def process_events(self) -> None:
        if self._listener is None:
            return
        self._take_news()
        if self._has_news and self._changed is not None:
            self._has_news = False
            self._changed()

    def changed_links(self) -> Collection[int] | None:
        news_of, self._news_of = self._news_of, None if self._listener is None else set()
        return news_of

    def _remember_all(self) -> None:
        self._news_of = self._route_news = self._withdrawn = None
        self._without_route.clear()
        self._links = {link.index: link for link in _with_media(self._read(self._reader.links))}
        self._addresses = {_key(address): address for address in self._read(self._reader.addresses)}

    def _take_news(self) -> None:
        assert self._listener is not None
        for kind, body, port in self._listener.messages():
            if kind in (rtnetlink.RTM_NEWROUTE, rtnetlink.RTM_DELROUTE):
                self._take_route(kind, body, port)
                continue
            if kind in (listener.RTM_NEWRULE, listener.RTM_DELRULE):
                if kind == listener.RTM_DELRULE:
                    self._has_news = self._rules_lost = True
                continue
            self._has_news = True
            if kind == listener.LOST:
                self._rules_lost = True
                self._remember_all()
            elif kind in (rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK):
                if not rtnetlink.is_bridge_port(body):
                    self._take_link(kind, rtnetlink.parse_link(body))
            elif kind in (rtnetlink.RTM_NEWADDR, rtnetlink.RTM_DELADDR):
                address = rtnetlink.parse_address(body)
                if address is not None:
                    self._take_address(kind, address)

    def _take_link(self, kind: int, link: Link) -> None:
        if self._news_of is not None:
            self._news_of.add(link.index)
        if kind == rtnetlink.RTM_NEWLINK:
            self._links[link.index] = _with_media([link])[0]
        elif self._links.pop(link.index, None) is not None:
            self._addresses = {key: address for key, address in self._addresses.items() if key[0] != link.index}

    def _take_address(self, kind: int, address: Address) -> None:
        if self._news_of is not None:
            self._news_of.add(address.index)
        place = address.index, address.address
        if kind == rtnetlink.RTM_NEWADDR:
            self._addresses[_key(address)] = address
            if self._withdrawn is not None:
                self._withdrawn.discard(place)
        else:
            self._addresses.pop(_key(address), None)
            if self._withdrawn is not None and self._is_withdrawn(address):
                self._withdrawn.add(place)
        self._without_route.discard(place)

    def _is_withdrawn(self, address: Address) -> bool:
        """Whether Linux took the address away by itself, and not because somebody deleted it."""
        link = self._links.get(address.index)
        if address.family != "inet6" or link is None:
            return False
        if not link.flags & IFF_UP and link.mtu >= SMALLEST_IPV6_MTU:
            # Down it has no routes any more, whoever takes it away; and Linux does that with some only.
            lasting = address.valid is None and not address.address.startswith("fe80:")
            return not (lasting and neighbor.keeps_addresses(rtnetlink.linux_name(link.name)))
        return (address.index, address.address) in self._without_route

    def _take_route(self, kind: int, body: bytes, port: int) -> None:
        gone = kind == rtnetlink.RTM_DELROUTE
        if self._routes is not None and port == self._routes.port:
            return
        from ipsectools.host.linux import routes

        # Who deletes an IPv6 address makes Linux delete first the address, then its routes; what Linux withdraws by
        # itself (link down, IPv6 switched off, MTU below 1280) goes the other way round.
        place = routes.own_route(body) if not port else None
        if place is not None:
            if gone and (place[0], "inet6", place[1]) in self._addresses:
                self._without_route.add(place)
            else:
                self._without_route.discard(place)
            return
        news = routes.news(gone, body, port)
        if news is not None:
            self._has_news = True
            if self._route_news is not None:
                self._route_news.append(news)

    # changing

    def _change(self) -> Changes:
        if self._changes is None:
            from ipsectools.host.linux.changes import Changes

            self._changes = Changes()
        return self._changes

    def _index(self, name: str) -> int:
        for link in self.links():
            if link.name == name:
                return link.index
        raise KernelError(ENXIO)

    def create_tun(self, name: str, mtu: int, index: int | None = None) -> int:
        self._change().create_tun(name, mtu, index)
        return self._index(name)

    def claim_tun(self, index: int) -> None:
        from ipsectools.host.linux import tun

        link = self.link(index)
        if link is None:
            raise KernelError(ENXIO)
        tun.claim(rtnetlink.linux_name(link.name))

    def create_link(self, name: str, kind: str, peer: str | None = None, index: int | None = None) -> int:
        self._change().create_link(name, kind, peer, index)
        return self._index(name)

    def destroy_link(self, index: int) -> None:
        self._change().destroy(index)

    def set_link(
        self,
        index: int,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        name: str | None = None,
        alias: str | None = None,
        promisc: bool | None = None,
        allmulti: bool | None = None,
        arp: bool | None = None,
        lladdr: str | None = None,
    ) -> None:
        fib = self._receive_fibs.get(index, 0) if name is not None else 0
        if fib:
            self.set_receive_fib(index, 0)  # the rules of a FIB go by name
        self._change().set_link(
            index,
            up=up,
            mtu=mtu,
            name=name,
            alias=alias,
            promisc=promisc,
            allmulti=allmulti,
            arp=arp,
            lladdr=lladdr,
        )
        if fib:
            self.set_receive_fib(index, fib)

    def set_master(self, index: int, bridge: int | None) -> None:
        self._change().set_master(index, bridge)

    def check_injection(self) -> None:
        from ipsectools.host.linux.inject import why_not

        if error := why_not():
            raise error

    def neighbor_discovery(self, index: int) -> tuple[bool, bool] | None:
        link = self.link(index)
        return None if link is None else neighbor.read(rtnetlink.linux_name(link.name))

    def set_neighbor_discovery(
        self, index: int, *, accept_rtadv: bool | None = None, detect_duplicates: bool | None = None
    ) -> None:
        link = self.link(index)
        if link is None:
            raise KernelError(ENXIO)
        neighbor.write(rtnetlink.linux_name(link.name), accept_rtadv, detect_duplicates)

    def leave_addresses_alone(self, index: int) -> None:
        self._change().leave_addresses_alone(index)

    def move_link(self, index: int, vnet: str) -> None:
        self._change().move_link(index, vnet)

    def fetch_link(self, name: str, vnet: str) -> int:
        namespaces.fetch_link(name, vnet)
        return self._index(name)

    def add_address(self, address: Address) -> None:
        self._change().add_address(address)

    def delete_address(self, address: Address) -> None:
        index = address.index
        self._change().delete_address(address, lambda: [each for each in self.addresses() if each.index == index])

    # routes

    def _route_table(self) -> Routes:
        if self._routes is None:
            from ipsectools.host.linux.routes import Routes

            self._routes = Routes()
        return self._routes

    def withdrawn_addresses(self) -> Collection[tuple[int, str]] | None:
        withdrawn, self._withdrawn = self._withdrawn, None if self._listener is None else set()
        return withdrawn

    def routes(self, links: Collection[int]) -> list[Route]:
        return self._route_table().routes(links)

    def add_route(self, route: Route, *, beside: bool = False) -> None:
        self._route_table().add(route, beside=beside)

    def delete_route(self, route: Route) -> None:
        self._route_table().delete(route)

    def guards(self) -> Collection[Prefix]:
        return self._route_table().guards()

    def add_guard(self, prefix: Prefix) -> None:
        self._route_table().add_guard(prefix)

    def delete_guard(self, prefix: Prefix) -> None:
        self._route_table().delete_guard(prefix)

    def route_news(self) -> list[RouteNews] | None:
        news, self._route_news = self._route_news, None if self._listener is None else []
        return news

    def has_host_route(self, destination: str, mark: int) -> bool:
        return self._read(lambda: self._reader.has_host_route(destination, mark))

    def rules_lost(self) -> bool:
        lost, self._rules_lost = self._rules_lost, False
        return lost

    def set_receive_fib(self, index: int, fib: int) -> None:
        link = self.link(index)
        if link is None:
            raise KernelError(ENXIO)
        self._change().set_receive_fib(rtnetlink.linux_name(link.name), fib)
        if fib:
            self._receive_fibs[index] = fib
        else:
            self._receive_fibs.pop(index, None)

    def forget_receive_fib(self, index: int, name: str) -> None:
        self._change().set_receive_fib(rtnetlink.linux_name(name), 0)
        self._receive_fibs.pop(index, None)

    def set_send_fibs(self, fibs: Collection[int], marks: Marks) -> None:
        # The import is not worth it where nothing was ever set.
        if fibs or self._changes is not None or self._read(self._reader.has_mark_rules):
            self._change().set_send_fibs(fibs, marks)

    # packets

    def open_tun(self, name: str) -> Tun:
        from ipsectools.host.linux.tun import LinuxTun

        return LinuxTun(rtnetlink.linux_name(name))

    def open_wire(self) -> Wire:
        from ipsectools.host.linux.wire import LinuxWire

        return LinuxWire()


def _key(address: Address) -> tuple[int, str, str]:
    return address.index, address.family, address.address


def _with_media(links: list[Link]) -> list[Link]:
    """Fills in speed and duplex of the Ethernet ones."""
    ethernet = [link for link in links if link.type == "ether"]
    if ethernet:
        from ipsectools.host.linux.media import settings

        for link, (speed, duplex) in zip(ethernet, settings([link.name for link in ethernet]), strict=True):
            link.speed, link.duplex = speed, duplex
    return links
