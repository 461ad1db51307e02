"""All interfaces, in order of attachment; found at once by name, index, unit, group, tunnel source or a kind's key."""

from __future__ import annotations

from ipsectools.kernel.interfaces.interface import (
    ADDRESS_TABLE,
    GROUP_TABLE,
    INTERFACE_TABLE,
    Interface,
    InterfaceAddress,
    Tunnel,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ipsectools.host.api import Link
    from ipsectools.kernel.store import Store


class Interfaces:
    """All interfaces, in order of attachment, and the rows of them in the state file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_position: dict[int, Interface] = {}
        self._by_index: dict[int, Interface] = {}
        self._by_name: dict[str, Interface] = {}
        self._units: dict[tuple[str, int], dict[int, None]] = {}
        self._free_units: dict[str, int] = {}
        self._keys: dict[str, dict[int, Interface]] = {}
        self._groups: dict[str, dict[int, Interface]] = {}
        self._sources: dict[tuple[str, int], dict[int, Interface]] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[Interface]:
        return iter(self._by_position.values())

    def __len__(self) -> int:
        return len(self._by_position)

    def load(self) -> None:
        """Reads what the state file has."""
        for row in self._store.rows(INTERFACE_TABLE):
            self._enter(Interface.from_row(row))
        for id, position, name in self._store.rows(GROUP_TABLE):
            assert isinstance(id, int) and isinstance(position, int) and isinstance(name, str)
            interface = self._by_position[position]
            interface.groups[name] = id
            self._groups.setdefault(name, {})[position] = interface
            self._next_id = max(self._next_id, id + 1)
        for id, position, family, text, prefixlen, peer, broadcast, flags, *times in self._store.rows(ADDRESS_TABLE):
            pltime, vltime, since = times
            assert isinstance(id, int) and isinstance(position, int) and isinstance(family, str)
            assert isinstance(text, str) and isinstance(prefixlen, int) and isinstance(flags, str)
            address = InterfaceAddress(
                id,
                family,
                text,
                prefixlen,
                peer=peer if isinstance(peer, str) else None,
                broadcast=broadcast if isinstance(broadcast, str) else None,
                flags=tuple(flags.split()),
                pltime=pltime if isinstance(pltime, int) else None,
                vltime=vltime if isinstance(vltime, int) else None,
                since=since if isinstance(since, float) else 0.0,
            )
            self._by_position[position].addresses[family, text] = address
            self._next_id = max(self._next_id, id + 1)

    def _enter(self, interface: Interface) -> None:
        self._by_position[interface.position] = interface
        self._by_index[interface.index] = interface
        self._by_name[interface.name] = interface
        if interface.cloner is not None and interface.unit is not None:
            self._units.setdefault((interface.cloner, interface.unit), {})[interface.position] = None
        if interface.tunnel is not None:
            self._sources.setdefault(_source(interface.tunnel), {})[interface.position] = interface
        self._next_id = max(self._next_id, interface.position + 1)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    # finding

    def by_name(self, name: str) -> Interface | None:
        return self._by_name.get(name)

    def by_index(self, index: int) -> Interface | None:
        return self._by_index.get(index)

    def by_position(self, position: int) -> Interface | None:
        return self._by_position.get(position)

    def find(self, index: str, key: int) -> Interface | None:
        """The interface that its kind has entered under a key of an index of its own, as `reqid` is one."""
        return self._keys.get(index, {}).get(key)

    def keys(self, index: str) -> Container[int]:
        """The keys in use in a kind's index."""
        return self._keys.get(index, {})

    def enter_key(self, interface: Interface, index: str, key: int) -> None:
        self._keys.setdefault(index, {})[key] = interface

    def drop_key(self, interface: Interface, index: str, key: int) -> None:
        if self.find(index, key) is interface:
            del self._keys[index][key]

    def by_tunnel_source(self, address: str, zone: int) -> list[Interface]:
        return list(self._sources.get((address, zone), {}).values())

    def of_unit(self, cloner: str, unit: int) -> list[Interface]:
        """The interfaces that hold a unit: one, for epair two."""
        return [self._by_position[position] for position in self._units.get((cloner, unit), {})]

    def free_unit(self, cloner: str, name_is_free: str) -> int:
        """The lowest unit of which `name_is_free` (a format of the name) and which nobody holds."""
        unit = self._free_units.get(cloner, 0)
        while (cloner, unit) in self._units:
            unit += 1
        self._free_units[cloner] = unit
        while (cloner, unit) in self._units or name_is_free.format(unit) in self._by_name:
            unit += 1
        return unit

    def members(self, group: str) -> list[Interface]:
        return list(self._groups.get(group, {}).values())

    # changing

    def save(self, interface: Interface) -> None:
        self._store.put(INTERFACE_TABLE, interface.to_row())

    def add(self, link: Link, *, cloner: str | None = None, unit: int | None = None) -> Interface:
        """A new last interface beside a link. The caller fills it and saves it."""
        interface = Interface(self._new_id(), link)
        interface.cloner = cloner
        interface.unit = unit
        self._enter(interface)
        self.join(interface, "all")
        return interface

    def remove(self, interface: Interface) -> None:
        """Forgets an interface with its groups and addresses."""
        for name in list(interface.groups):
            self.leave(interface, name)
        for address in list(interface.addresses.values()):
            self.drop_address(interface, address)
        self.set_tunnel(interface, None)
        del self._by_position[interface.position]
        del self._by_index[interface.index]
        del self._by_name[interface.name]
        if interface.cloner is not None and interface.unit is not None:
            holders = self._units[interface.cloner, interface.unit]
            del holders[interface.position]
            if not holders:
                del self._units[interface.cloner, interface.unit]
                lowest = self._free_units.get(interface.cloner, 0)
                self._free_units[interface.cloner] = min(lowest, interface.unit)
        self._store.delete(INTERFACE_TABLE, interface.position)

    def rename(self, interface: Interface, name: str) -> None:
        if self._by_name.get(interface.name) is interface:
            del self._by_name[interface.name]
        interface.name = name
        self._by_name[name] = interface

    def set_index(self, interface: Interface, index: int) -> None:
        if self._by_index.get(interface.index) is interface:
            del self._by_index[interface.index]
        interface.index = index
        self._by_index[index] = interface

    def set_tunnel(self, interface: Interface, tunnel: Tunnel | None) -> None:
        if interface.tunnel is not None:
            same = self._sources[_source(interface.tunnel)]
            del same[interface.position]
            if not same:
                del self._sources[_source(interface.tunnel)]
        interface.tunnel = tunnel
        if tunnel is not None:
            self._sources.setdefault(_source(tunnel), {})[interface.position] = interface

    def join(self, interface: Interface, name: str) -> None:
        id = self._new_id()
        self._store.put(GROUP_TABLE, (id, interface.position, name))
        interface.groups[name] = id
        self._groups.setdefault(name, {})[interface.position] = interface

    def leave(self, interface: Interface, name: str) -> None:
        self._store.delete(GROUP_TABLE, interface.groups[name])
        del interface.groups[name]
        members = self._groups[name]
        del members[interface.position]
        if not members:
            del self._groups[name]

    def new_address(self, family: str, address: str, prefixlen: int) -> InterfaceAddress:
        """An address that is not yet any interface's; the caller fills it."""
        return InterfaceAddress(self._new_id(), family, address, prefixlen)

    def save_address(self, interface: Interface, address: InterfaceAddress) -> None:
        """Adds an address, as the last one, or keeps what changed of one that is there."""
        interface.addresses[address.family, address.address] = address
        self._store.put(
            ADDRESS_TABLE,
            (
                address.id,
                interface.position,
                address.family,
                address.address,
                address.prefixlen,
                address.peer,
                address.broadcast,
                " ".join(address.flags),
                address.pltime,
                address.vltime,
                float(address.since),
            ),
        )

    def drop_address(self, interface: Interface, address: InterfaceAddress) -> None:
        del interface.addresses[address.family, address.address]
        self._store.delete(ADDRESS_TABLE, address.id)


def _source(tunnel: Tunnel) -> tuple[str, int]:
    return tunnel.src, tunnel.src_zone
