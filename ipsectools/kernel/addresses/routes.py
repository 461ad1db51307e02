"""Routes into if_ipsec(4) interfaces: what goes into a tunnel leaves protected or not at all, whatever the host does.

FreeBSD keeps a route into an interface that cannot be used; Linux withdraws it (link down, IPv6 switched off, MTU too
small, last IPv4 address gone) or skips it (no reader, and the host ignores routes without carrier), and packets then
take the next one, in clear. So beside each such route stands a *guard*: an unreachable route to the same network in the
same table, of the worst metric. It is there before the route is, if the route comes from an address of ours, and as
soon as ipsecd is told of the route if another program made it; it holds also while nobody runs. What Linux withdrew is
in the state file and comes back when it can; what somebody deleted is gone, and its guard with it.

Interface routes follow from the addresses and are not kept. Routes of routing daemons are guarded, but not put back:
that is their daemon's work. One that does not come back within `PATIENCE` is forgotten.
"""

from __future__ import annotations

from contextlib import suppress

from ipsectools.errno import EEXIST, KernelError
from ipsectools.host.api import MAIN_TABLE, ROUTE_BY_HOST, Route
from ipsectools.kernel.addresses import assign
from ipsectools.kernel.addresses.route_table import TABLE, of_row, row_of
from ipsectools.kernel.numeric import is_link_local, network_of, parse, unparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ipsectools.host.api import Prefix
    from ipsectools.kernel.interfaces.interface import Interface, InterfaceAddress
    from ipsectools.kernel.state import KernelState

PATIENCE = 60.0
"""Seconds that a routing daemon has after an interface came up."""

_BETWEEN_TRIES = 10.0
"""Seconds between two attempts to write down what the state file has had no room for."""

_PEER_METRIC = 256  # what Linux gives the IPv6 routes of addresses
_BY_ADMINISTRATORS = (0, 3, 4, 16)  # unspecified, boot (`ip route add`), static, dhcp


class Routes:
    """The routes into the ipsec interfaces of a kernel. With `active` False (nothing moves packets) it does nothing."""

    def __init__(self, state: KernelState, *, active: bool) -> None:
        self._state = state
        self._active = active
        self._kept: dict[int, dict[str, Route]] = {}
        """By the interface's position; links of the interface itself are 0."""
        self._noted: dict[str, tuple[int, Route]] = {}
        """What is kept and not yet in the state file, which may have no room: guarded all the same."""
        self._written: set[str] = set()
        """Those of them that the next commit makes permanent."""
        self._saved = 0.0
        self._guarded: dict[int, set[Prefix]] | None = None
        self._holders: dict[Prefix, set[int]] = {}
        self._retry: set[int] = set()
        self._daemons_until: dict[int, float] = {}

    # the state file

    def load(self) -> None:
        """What is kept, as the state file has it. `reconcile` is to follow."""
        self._kept = {}
        for row in self._state.store.rows(TABLE) if self._active else ():
            position, id, route = of_row(row)
            self._kept.setdefault(position, {})[id] = route
        self._written.clear()
        for id, (position, route) in self._noted.items():
            self._kept.setdefault(position, {})[id] = route
            self._state.touched.add(position)

    def committed(self) -> None:
        """What was written is permanent now."""
        for id in self._written:
            self._noted.pop(id, None)
        self._written.clear()

    def _keep(self, interface: Interface, route: Route) -> None:
        """Takes note of a route that is there."""
        if route.protocol == ROUTE_BY_HOST:
            return  # it follows from an address
        links = tuple(0 if link == interface.index else link for link in route.links)
        kept = _copy(route, links)
        id = _id(interface, kept)
        there = self._kept.setdefault(interface.position, {})
        if id not in there or there[id].details != kept.details:
            there[id] = kept
            self._noted[id] = interface.position, kept
            self._state.touched.add(interface.position)
            with suppress(KernelError):  # the commit will fail, after the others have been noted, too
                self._state.store.put(TABLE, row_of(interface.position, id, kept))
                self._written.add(id)

    def _forget(self, position: int, id: str) -> None:
        self._noted.pop(id, None)
        if self._kept.get(position, {}).pop(id, None) is not None:
            self._state.touched.add(position)
            with suppress(KernelError):
                self._state.store.delete(TABLE, id)

    def _save_noted(self) -> None:
        self._saved = self._state.now
        with suppress(KernelError):
            for id, (position, route) in self._noted.items():
                self._state.store.put(TABLE, row_of(position, id, route))
                self._written.add(id)

    # what happens

    def guard(self, interface: Interface, address: InterfaceAddress) -> None:
        """Before the host is given an address: guards for the routes that it will make."""
        if interface.moves_packets and self._active:
            self._hold(interface.position, set(_prefixes(address)))
            self._state.touch(interface)

    def tick(self) -> None:
        """Once a second: what could not be done is tried again; daemons that did not come back are given up."""
        if not self._active:
            return
        self.take_news()
        if self._noted and not 0 <= self._state.now - self._saved < _BETWEEN_TRIES:
            self._save_noted()
        self._state.touched |= self._retry
        due = [position for position, until in self._daemons_until.items() if self._state.now >= until]
        for position in due:
            del self._daemons_until[position]
            interface = self._state.interfaces.by_position(position)
            if interface is not None and interface.up:
                kept = self._kept.get(position, {}).items()
                self._forget_missing(position, [id for id, each in kept if each.protocol not in _BY_ADMINISTRATORS])

    def take_news(self) -> None:
        """Takes over what other programs did to routes."""
        if not self._active:
            return
        news = self._state.host.route_news()
        if news is None:
            self.reconcile()
            return
        for each in news:
            if each.prefix is not None:
                self._guard_lost(each.prefix, each.by_user)
            elif each.route is not None and each.gone:
                for interface in self._interfaces(each.route):
                    self._forget(interface.position, _id(interface, each.route))
            elif each.route is not None:
                self._route_there(each.route)

    def _interfaces(self, route: Route) -> Iterator[Interface]:
        for link in set(route.links):
            interface = self._state.interfaces.by_index(link)
            if interface is not None and interface.moves_packets:
                yield interface

    def _route_there(self, route: Route) -> None:
        into = list(self._interfaces(route))
        for interface in into:
            self._keep(interface, route)
        # Another one in the place of a route of ours has replaced it, unless it stands beside it.
        for position in list(self._holders.get(route.prefix, ())):
            rivals = [
                id
                for id, kept in self._kept.get(position, {}).items()
                if kept.place == route.place and not any(_id(interface, route) == id for interface in into)
            ]
            if rivals:
                self._forget_missing(position, rivals)

    def _guard_lost(self, prefix: Prefix, by_user: bool) -> None:
        """Somebody deleted a guard, or the host did. Who deletes it while there is no route means the route."""
        for position in list(self._holders.get(prefix, ())):
            if by_user:
                ids = [id for id, kept in self._kept.get(position, {}).items() if kept.prefix == prefix]
                self._forget_missing(position, ids)
            self._guarded_by(position).discard(prefix)
            self._state.touched.add(position)
        self._holders.pop(prefix, None)

    def _forget_missing(self, position: int, ids: Collection[str]) -> None:
        interface = self._state.interfaces.by_position(position)
        present = self._present([interface]) if interface is not None and ids else None
        if interface is None or present is None:
            return
        for id in {*ids} - {_id(interface, route) for route in present}:
            self._forget(position, id)

    def _present(self, interfaces: list[Interface]) -> list[Route] | None:
        """None if the host does not tell: then nothing is known to be missing."""
        try:
            return self._state.host.routes([interface.index for interface in interfaces])
        except KernelError:
            return None

    # putting right

    def reconcile(self) -> None:
        """At start, and when anything may have happened: what is there is kept, what is kept and missing comes back."""
        if not self._active:
            return
        state = self._state
        interfaces = [interface for interface in state.interfaces if interface.moves_packets]
        ours = {interface.position for interface in interfaces}
        if self._guarded is None:
            self._guarded = {}
            for interface in interfaces:
                self._note(interface.position, self._wanted(interface))
        self._save_noted()
        for position in [position for position in self._kept if position not in ours]:
            for id in list(self._kept[position]):
                self._forget(position, id)
        if interfaces:
            present = self._present(interfaces)
            there: set[str] = set()
            shared: set[tuple[object, ...]] = set()
            for route in present or ():
                for interface in self._interfaces(route):
                    id = _id(interface, route)
                    if id in self._kept.get(interface.position, {}):
                        shared.add(route.place)
                    self._keep(interface, route)
                    there.add(id)
            for interface in interfaces:
                if interface.up and present is not None:
                    self._put_back(interface, there, shared)
            try:
                guards = state.host.guards()
            except KernelError:
                guards = ()
            for prefix in [prefix for prefix in self._holders if prefix not in guards]:
                for position in self._holders.pop(prefix):
                    self._guarded_by(position).discard(prefix)
        self._state.touched |= ours | self._guarded.keys()

    def _put_back(self, interface: Interface, there: set[str], shared: Collection[object]) -> None:
        """Kept routes that are not `there`, but for those in whose place another one is by now; in a `shared` place
        there were others of ours before."""
        kept = self._kept.get(interface.position, {})
        for id in [id for id in kept if id not in there]:
            try:
                if kept[id].protocol in _BY_ADMINISTRATORS:
                    self._state.host.add_route(_own(interface, kept[id]), beside=kept[id].place in shared)
            except KernelError as error:
                if error.errno == EEXIST:
                    self._forget(interface.position, id)

    def settle(self) -> None:
        """Before a request is made permanent: guards and routes of the interfaces that it touched."""
        if not self._active:
            self._state.touched.clear()
        self._retry.difference_update(self._state.touched)
        while self._state.touched:
            position = self._state.touched.pop()
            interface = self._state.interfaces.by_position(position)
            if interface is None:  # its routes and guards go with it
                for id in list(self._kept.get(position, {})):
                    self._forget(position, id)
                self._kept.pop(position, None)
                self._state.touched.discard(position)
                self._release(position, set(self._guarded_by(position)))
                self._guarded_by(position).clear()
                self._daemons_until.pop(position, None)
                continue
            self._guard_all(interface)
            if interface.lost:
                continue
            if not assign.put_back(self._state, interface):
                self._retry.add(position)
            if interface.up:
                self._mend(interface)

    def settle_guards(self) -> None:
        """After a request failed: no guards for what it would have done."""
        for position in list(self._state.touched) if self._active else ():
            interface = self._state.interfaces.by_position(position)
            if interface is not None:
                self._guard_all(interface)

    def _guard_all(self, interface: Interface) -> None:
        """Guards as the interface's addresses and routes want them, no more and no less."""
        wanted = self._wanted(interface)
        held = self._guarded_by(interface.position)
        if not self._hold(interface.position, wanted - held):
            self._retry.add(interface.position)
        self._release(interface.position, held - wanted)

    def _mend(self, interface: Interface) -> None:
        """Routes that Linux does not bring back by itself. Those through a gateway may need the others first."""
        kept = self._kept.get(interface.position, {}).values()
        wanted = [
            Route("inet6", prefix[1], prefix[2], (interface.index,), metric=_PEER_METRIC, protocol=ROUTE_BY_HOST)
            for address in interface.of_family("inet6")
            for prefix in _prefixes(address, own=False)
        ]
        wanted += [_own(interface, route) for route in kept if route.protocol in _BY_ADMINISTRATORS]
        refused = self._add(interface, self._add(interface, wanted))
        if refused:
            self._retry.add(interface.position)
        if any(route.protocol not in _BY_ADMINISTRATORS for route in kept):
            self._daemons_until.setdefault(interface.position, self._state.now + PATIENCE)

    def _add(self, interface: Interface, routes: list[Route], beside: bool = False) -> list[Route]:
        """Those that the host refused. In the place of some there may be one into another interface."""
        refused, doubtful = [], []
        for route in routes:
            try:
                self._state.host.add_route(route, beside=beside)
            except KernelError as error:
                if error.errno != EEXIST:
                    refused.append(route)
                elif not beside and len(self._holders.get(route.prefix, ())) > 1:
                    doubtful.append(route)
        if doubtful and (present := self._present([interface])) is not None:
            there = {_id(interface, route) for route in present}
            missing = [route for route in doubtful if _id(interface, route) not in there]
            refused += self._add(interface, missing, beside=True)
        return refused

    # guards

    def _wanted(self, interface: Interface) -> set[Prefix]:
        wanted = {prefix for address in interface.addresses.values() for prefix in _prefixes(address)}
        wanted.update(route.prefix for route in self._kept.get(interface.position, {}).values())
        return wanted

    def _guarded_by(self, position: int) -> set[Prefix]:
        if self._guarded is None:
            self._guarded = {}
        return self._guarded.setdefault(position, set())

    def _note(self, position: int, prefixes: set[Prefix]) -> None:
        self._guarded_by(position).update(prefixes)
        for prefix in prefixes:
            self._holders.setdefault(prefix, set()).add(position)

    def _hold(self, position: int, prefixes: set[Prefix]) -> bool:
        """True if the host has all these guards now."""
        made = set()
        for prefix in prefixes - self._guarded_by(position):
            try:
                if prefix not in self._holders:
                    self._state.host.add_guard(prefix)
                made.add(prefix)
            except KernelError:
                continue
        self._note(position, made)
        return prefixes <= self._guarded_by(position)

    def _release(self, position: int, prefixes: set[Prefix]) -> None:
        for prefix in prefixes:
            self._guarded_by(position).discard(prefix)
            holders = self._holders.get(prefix, set())
            holders.discard(position)
            if not holders:
                self._holders.pop(prefix, None)
                try:
                    self._state.host.delete_guard(prefix)
                except KernelError:
                    continue


def _prefixes(address: InterfaceAddress, own: bool = True) -> Iterator[Prefix]:
    """Where the routes of an address lead. `own`: with the address itself, if Linux may cease to take that as local."""
    family, packed, _zone = parse(address.address)
    whole = 8 * len(packed)
    if family == "inet6":
        if is_link_local(packed):
            return
        if own:
            yield family, address.address, whole, MAIN_TABLE
    if address.peer is not None:
        yield family, address.peer, whole, MAIN_TABLE
    elif address.prefixlen < whole:
        yield family, unparse(network_of(packed, address.prefixlen)), address.prefixlen, MAIN_TABLE


def _copy(route: Route, links: tuple[int, ...]) -> Route:
    return Route(
        *(route.family, route.destination, route.prefixlen, links),
        table=route.table,
        tos=route.tos,
        metric=route.metric,
        protocol=route.protocol,
        details=route.details,
    )


def _own(interface: Interface, route: Route) -> Route:
    return _copy(route, tuple(link or interface.index for link in route.links))


def _id(interface: Interface, route: Route) -> str:
    """One for each route of an interface."""
    links = ",".join(str(0 if link == interface.index else link) for link in route.links)
    return (
        f"{interface.position} {route.destination}/{route.prefixlen} {route.table} {route.tos} {route.metric} {links}"
    )
