"""The simulated machine: it starts with lo0 (with its addresses) and one Ethernet interface, em0, without an address.

What changes is kept in the kernel's state file, so that the next command finds it.
"""

from __future__ import annotations

from ipsectools.errno import EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, ENOENT, ENXIO, KernelError
from ipsectools.host.api import IFF_ALLMULTI, IFF_NOARP, IFF_PROMISC, IFF_RUNNING, IFF_UP, Address, Link
from ipsectools.host.simulated import rows as state
from ipsectools.host.simulated.links import ETHERNET_MTU, KINDS, new_link
from ipsectools.host.simulated.routing import Routing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ipsectools.host.api import Prefix, Route, RouteNews, Rows
    from ipsectools.host.marks import Marks
    from ipsectools.host.simulated.packets import SimulatedTun, SimulatedWire


class SimulatedHost:
    """Fulfils `host.api.Host`. Without `load` it lives in memory only."""

    live = False
    may_change = True
    may_protect = True
    tables: Mapping[str, Sequence[str]] = state.TABLES

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._tuns: dict[int, SimulatedTun] = {}
        self._wires: list[SimulatedWire] = []
        self.routing = Routing(self)
        self._clear()
        self._boot()

    def _clear(self) -> None:
        self._links: dict[int, Link] = {}
        self._names: dict[str, int] = {}
        self._peers: dict[int, int] = {}
        self._addresses: dict[tuple[int, str, str], tuple[int, Address]] = {}
        self._next_address = 1
        self._free = 1  # no link index below is free

    def _boot(self) -> None:
        """What a machine has before anybody configured it."""
        lo0 = self._attach("lo0", "lo", None)
        self.set_link(lo0, up=True)
        self.add_address(Address(lo0, "inet", "127.0.0.1", 8))
        self.add_address(Address(lo0, "inet6", "::1", 128))
        self.add_address(Address(lo0, "inet6", "fe80::1", 64))
        self._attach("em0", "ether", None)

    def load(self, rows: Rows) -> None:
        before = self._links
        self._rows = rows
        self._clear()
        for row in rows.read(state.LINK):
            link, peer = state.link_of_row(row)
            index = link.index
            if index in before:
                link.statistics = before[index].statistics
            self._links[index] = link
            self._names[link.name] = index
            if peer is not None:
                self._peers[index] = peer
        for row in rows.read(state.ADDRESS):
            number, address = state.address_of_row(row)
            self._addresses[address.index, address.family, address.address] = (number, address)
            self._next_address = max(self._next_address, number + 1)
            self.routing.note(address)
        if not self._links:
            self._boot()
        for tun in self._tuns.values():
            tun.attach(self._links.get(tun.index))

    # links

    def links(self) -> list[Link]:
        return list(self._links.values())

    def link(self, index: int) -> Link | None:
        return self._links.get(index)

    def create_tun(self, name: str, mtu: int, index: int | None = None) -> int:
        index = self._attach(name, "tun", index)
        self._links[index].mtu = mtu
        self._save_link(index)
        return index

    def claim_tun(self, index: int) -> None:
        """Nobody else is here."""

    def create_link(self, name: str, kind: str, peer: str | None = None, index: int | None = None) -> int:
        if kind not in KINDS or (kind == "veth") != (peer is not None):
            raise KernelError(EINVAL)
        if peer is not None and (peer in self._names or peer == name):
            raise KernelError(EEXIST)
        index = self._attach(name, kind, index)
        if peer is not None:
            other = self._attach(peer, kind, None)
            self._peers[index] = other
            self._peers[other] = index
            self._save_link(index)
            self._save_link(other)
        return index

    def _attach(self, name: str, kind: str, index: int | None) -> int:
        if name in self._names:
            raise KernelError(EEXIST)
        if index is None or index in self._links:
            # FreeBSD gives a new interface the lowest index that is free.
            while self._free in self._links:
                self._free += 1
            index = self._free
        self._links[index] = new_link(index, name, kind)
        self._names[name] = index
        self._save_link(index)
        return index

    def destroy_link(self, index: int) -> None:
        self._get(index)
        other = self._peers.get(index)
        for each in (index, other):
            if each is None:
                continue
            for key in [key for key in self._addresses if key[0] == each]:
                self._drop_address(key)
            for link in self._links.values():
                if link.master == each:
                    link.master = None
                    self._save_link(link.index)
            self.routing.link_down(each)
            del self._names[self._links.pop(each).name]
            self._peers.pop(each, None)
            self._free = min(self._free, each)
            tun = self._tuns.pop(each, None)
            if tun is not None:
                tun.attach(None)
            if self._rows is not None:
                self._rows.delete(state.LINK, each)

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
        link = self._get(index)
        if name is not None and name != link.name and name in self._names:
            raise KernelError(EEXIST)
        if mtu is not None and link.type in ("ether", "bridge") and mtu > ETHERNET_MTU:
            raise KernelError(EINVAL)
        if lladdr is not None and link.lladdr is None:
            raise KernelError(EINVAL)
        flags = before = link.flags
        for bit, wanted in (
            (IFF_UP, up),
            (IFF_RUNNING, up if link.kind != "veth" else None),
            (IFF_PROMISC, promisc),
            (IFF_ALLMULTI, allmulti),
            (IFF_NOARP, None if arp is None else not arp),
        ):
            if wanted is not None:
                flags = flags | bit if wanted else flags & ~bit
        link.flags = flags
        if name is not None:
            del self._names[link.name]
            self._names[name] = index
            link.name = name
            if index in self._tuns:
                self._tuns[index].attach(link)
        if mtu is not None:
            link.mtu = mtu
        if alias is not None:
            link.alias = alias
        if lladdr is not None:
            link.lladdr = lladdr
        self._save_link(index)
        if (flags ^ before) & IFF_UP:
            if flags & IFF_UP:
                self.routing.link_up(index)
            else:
                self.routing.link_down(index)

    def set_master(self, index: int, bridge: int | None) -> None:
        link = self._get(index)
        if bridge is not None and self._get(bridge).kind != "bridge":
            raise KernelError(EINVAL)
        if bridge is not None and link.master is not None:
            raise KernelError(EEXIST if link.master == bridge else EBUSY)
        if bridge is None and link.master is None:
            raise KernelError(ENOENT)
        link.master = bridge
        self._save_link(index)

    def _get(self, index: int) -> Link:
        link = self._links.get(index)
        if link is None:
            raise KernelError(ENXIO)
        return link

    def _save_link(self, index: int) -> None:
        if self._rows is not None:
            self._rows.put(state.LINK, state.row_of_link(self._links[index], self._peers.get(index)))

    # addresses

    def addresses(self) -> list[Address]:
        return [address for _number, address in self._addresses.values()]

    def add_address(self, address: Address) -> None:
        self._get(address.index)
        key = (address.index, address.family, address.address)
        if key in self._addresses:
            number = self._addresses[key][0]
        else:
            number = self._next_address
            self._next_address += 1
        self._addresses[key] = (number, address)
        self.routing.address_added(address)
        if self._rows is not None:
            self._rows.put(state.ADDRESS, state.row_of_address(number, address))

    def delete_address(self, address: Address) -> None:
        key = (address.index, address.family, address.address)
        if key not in self._addresses:
            raise KernelError(EADDRNOTAVAIL)
        self._drop_address(key)

    def _drop_address(self, key: tuple[int, str, str]) -> None:
        number, address = self._addresses.pop(key)
        self.routing.address_gone(address)
        if self._rows is not None:
            self._rows.delete(state.ADDRESS, number)

    # routes

    def withdrawn_addresses(self) -> Collection[tuple[int, str]] | None:
        return ()

    def routes(self, links: Collection[int]) -> list[Route]:
        return self.routing.routes(links)

    def add_route(self, route: Route, *, beside: bool = False) -> None:
        self.routing.add(route, beside=beside)

    def delete_route(self, route: Route) -> None:
        self.routing.delete(route)

    def guards(self) -> Collection[Prefix]:
        return set(self.routing.guards)

    def add_guard(self, prefix: Prefix) -> None:
        self.routing.guards.add(prefix)

    def delete_guard(self, prefix: Prefix) -> None:
        self.routing.guards.discard(prefix)

    def route_news(self) -> list[RouteNews] | None:
        return self.routing.take_news()

    # what only packets would show

    def has_host_route(self, destination: str, mark: int) -> bool:
        return False

    def rules_lost(self) -> bool:
        return False

    def set_receive_fib(self, index: int, fib: int) -> None:
        self._get(index)

    def leave_addresses_alone(self, index: int) -> None:
        pass

    def forget_receive_fib(self, index: int, name: str) -> None:
        pass

    def set_send_fibs(self, fibs: Collection[int], marks: Marks) -> None:
        pass

    def check_injection(self) -> None:
        pass

    def neighbor_discovery(self, index: int) -> tuple[bool, bool] | None:
        return None

    def set_neighbor_discovery(
        self, index: int, *, accept_rtadv: bool | None = None, detect_duplicates: bool | None = None
    ) -> None:
        self._get(index)

    def move_link(self, index: int, vnet: str) -> None:
        raise KernelError(ENXIO)

    def fetch_link(self, name: str, vnet: str) -> int:
        raise KernelError(ENXIO)

    def watch(self, changed: Callable[[], None]) -> Iterator[int]:
        return iter(())

    def process_events(self) -> None:
        pass

    def changed_links(self) -> Collection[int] | None:
        return None

    # packets

    def open_tun(self, name: str) -> SimulatedTun:
        from ipsectools.host.simulated.packets import SimulatedTun

        index = self._names.get(name)
        if index is None or self._links[index].kind != "tun":
            raise KernelError(ENXIO)
        if index not in self._tuns:
            self._tuns[index] = SimulatedTun(self._links[index])
        return self._tuns[index]

    def open_wire(self) -> SimulatedWire:
        from ipsectools.host.simulated.packets import SimulatedWire

        wire = SimulatedWire()
        self._wires.append(wire)
        return wire

    def close(self) -> None:
        for tun in self._tuns.values():
            tun.release()
        for wire in self._wires:
            wire.release()
        self._tuns.clear()
        self._wires.clear()
