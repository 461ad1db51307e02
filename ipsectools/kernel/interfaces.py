"""FreeBSD's state of the host's interfaces: what Linux has no place for, and what it would forget with a device.

An `Interface` stands beside a `host.api.Link`. Its `position` is its identity in the state file and its place in the
order of attachment; the index is the host's and may change when a lost device is made again. `Interfaces` finds them
by name, index, unit, reqid, group and tunnel source in constant time.
"""

from __future__ import annotations

from ipsectools.host.api import (
    IFF_ALLMULTI,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    Link,
)
from ipsectools.kernel.numeric import is_link_local, parse
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ipsectools.kernel.store import Store, Value

IFF_DEBUG = 0x4
IFF_LINK0 = 0x1000
IFF_LINK1 = 0x2000
IFF_LINK2 = 0x4000
IFF_PPROMISC = 0x20000
IFF_MONITOR = 0x40000
IFF_STATICARP = 0x80000
IFF_STICKYARP = 0x100000
IFF_PALLMULTI = 0x800000
IFF_LOWER_UP = 0x1000000

IFF_OWN = (
    IFF_DEBUG
    | IFF_NOARP
    | IFF_LINK0
    | IFF_LINK1
    | IFF_LINK2
    | IFF_PPROMISC
    | IFF_MONITOR
    | IFF_STATICARP
    | IFF_STICKYARP
    | IFF_PALLMULTI
)
"""Flags that a user sets and that are kept here."""

INTERFACE_TABLE = Table(
    "interface",
    "position INTEGER",
    "ifindex INTEGER NOT NULL",
    "name TEXT NOT NULL",
    "drivername TEXT NOT NULL",
    "cloner TEXT",
    "unit INTEGER",
    "up INTEGER NOT NULL",
    "flags INTEGER NOT NULL",
    "mtu INTEGER NOT NULL",
    "metric INTEGER NOT NULL",
    "description BLOB NOT NULL",
    "options INTEGER NOT NULL",
    "fib INTEGER NOT NULL",
    "tunnelfib INTEGER NOT NULL",
    "nd6 INTEGER NOT NULL",
    "reqid INTEGER NOT NULL",
    "tunnel TEXT",
    "policies TEXT NOT NULL",
)
GROUP_TABLE = Table("membership", "id INTEGER", "position INTEGER NOT NULL", "name TEXT NOT NULL")
ADDRESS_TABLE = Table(
    "address",
    "id INTEGER",
    "position INTEGER NOT NULL",
    "family TEXT NOT NULL",
    "address TEXT NOT NULL",
    "prefixlen INTEGER NOT NULL",
    "peer TEXT",
    "broadcast TEXT",
    "flags TEXT NOT NULL",
    "pltime INTEGER",
    "vltime INTEGER",
    "since REAL NOT NULL",
)
TABLES = (INTERFACE_TABLE, GROUP_TABLE, ADDRESS_TABLE)


class Tunnel:
    """Outer endpoints: `src` and `dst` are numeric texts without a zone, the zones interface indices (0: none)."""

    __slots__ = ("dst", "dst_zone", "family", "src", "src_zone")

    def __init__(self, family: str, src: str, dst: str, src_zone: int = 0, dst_zone: int = 0) -> None:
        self.family = family
        self.src = src
        self.dst = dst
        self.src_zone = src_zone
        self.dst_zone = dst_zone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tunnel) and self.to_row() == other.to_row()

    __hash__ = None  # type: ignore[assignment]

    def to_row(self) -> str:
        return f"{self.family} {self.src} {self.dst} {self.src_zone} {self.dst_zone}"

    @classmethod
    def from_row(cls, row: str) -> Tunnel:
        family, src, dst, src_zone, dst_zone = row.split()
        return cls(family, src, dst, int(src_zone), int(dst_zone))


class InterfaceAddress:
    """An address of an interface as FreeBSD has it.

    `prefixlen` is the mask that was asked for, also where Linux has /32 because of a `peer`. Lifetimes count in seconds
    from `since` (unix time), None for ever. `seen` are the lifetimes that the host last told.
    """

    __slots__ = (
        "address",
        "broadcast",
        "family",
        "flags",
        "host_flags",
        "id",
        "peer",
        "pltime",
        "prefixlen",
        "seen",
        "since",
        "vltime",
    )

    def __init__(
        self,
        id: int,
        family: str,
        address: str,
        prefixlen: int,
        *,
        peer: str | None = None,
        broadcast: str | None = None,
        flags: tuple[str, ...] = (),
        pltime: int | None = None,
        vltime: int | None = None,
        since: float = 0,
    ) -> None:
        self.id = id
        self.family = family
        self.address = address
        self.prefixlen = prefixlen
        self.peer = peer
        self.broadcast = broadcast
        self.flags = flags
        self.host_flags: tuple[str, ...] = ()
        self.pltime = pltime
        self.vltime = vltime
        self.since = since
        self.seen: tuple[int | None, int | None] | None = None

    def left(self, lifetime: int | None, now: float) -> int | None:
        """Seconds of `pltime` or `vltime` that are left."""
        return None if lifetime is None else max(0, lifetime - int(now - self.since))


class Interface:
    """One interface. `up` and `mtu` are what the host was last seen to have; `running` is meant for if_ipsec only."""

    __slots__ = (
        "addresses",
        "base_flags",
        "capabilities",
        "cloner",
        "description",
        "drivername",
        "fib",
        "flags",
        "groups",
        "iftype",
        "index",
        "link",
        "lost",
        "metric",
        "mtu",
        "name",
        "nd6",
        "options",
        "policies",
        "position",
        "reqid",
        "running",
        "tunnel",
        "tunnelfib",
        "unit",
        "up",
    )

    def __init__(self, position: int, link: Link) -> None:
        self.position = position
        self.index = link.index
        self.name = self.drivername = link.name
        self.link = link
        self.lost = False
        """The host has no device for it and would not make one."""
        self.cloner: str | None = None
        self.unit: int | None = None
        self.iftype = link.type
        self.base_flags = 0
        self.up = bool(link.flags & IFF_UP)
        self.flags = 0
        self.mtu = link.mtu
        self.metric = 0
        self.description = ""
        self.capabilities = self.options = 0
        self.fib = self.tunnelfib = 0
        self.nd6 = 0
        self.reqid = 0
        self.tunnel: Tunnel | None = None
        self.policies: tuple[int, ...] = ()
        self.running = False
        self.groups: dict[str, int] = {}
        """Name -> row id, in order of joining."""
        self.addresses: dict[tuple[str, str], InterfaceAddress] = {}
        """By (family, address), in order of addition."""

    @property
    def is_ipsec(self) -> bool:
        return self.cloner == "ipsec"

    @property
    def monitor(self) -> bool:
        """Packets are shown to bpf(4) and then dropped."""
        return bool(self.flags & IFF_MONITOR)

    @property
    def all_flags(self) -> int:
        """FreeBSD's flags word as ifconfig prints it."""
        link, flags = self.link.flags, self.flags
        if self.is_ipsec:
            flags |= self.base_flags | (IFF_RUNNING if self.running else 0)
        elif self.cloner is not None:
            flags |= self.base_flags | link & IFF_RUNNING
        else:
            flags |= link & ~IFF_UP
        if self.up:
            flags |= IFF_UP
        if flags & IFF_PPROMISC:
            flags |= IFF_PROMISC
        if flags & IFF_PALLMULTI:
            flags |= IFF_ALLMULTI
        # The state of operation follows the medium where there is one, else UP (netlink(4), IFLA_OPERSTATE).
        if self.link.carrier if self.iftype == "ether" else self.up:
            flags |= IFF_LOWER_UP
        return flags

    @property
    def is_point_to_point(self) -> bool:
        return bool(self.all_flags & IFF_POINTOPOINT)

    @property
    def has_multicast(self) -> bool:
        return bool(self.all_flags & IFF_MULTICAST)

    def zone_of(self, address: InterfaceAddress) -> int:
        """The zone in which an address is unique: this interface for a link-local one, else 0 (RFC 4007)."""
        return self.index if address.family == "inet6" and is_link_local(parse(address.address)[1]) else 0

    def of_family(self, family: str) -> list[InterfaceAddress]:
        return [each for each in self.addresses.values() if each.family == family]

    def to_row(self) -> tuple[Value, ...]:
        return (
            self.position,
            self.index,
            self.name,
            self.drivername,
            self.cloner,
            self.unit,
            int(self.up),
            self.flags,
            self.mtu,
            self.metric,
            self.description.encode("utf-8", "surrogateescape"),
            self.options,
            self.fib,
            self.tunnelfib,
            self.nd6,
            self.reqid,
            self.tunnel.to_row() if self.tunnel else None,
            " ".join(map(str, self.policies)),
        )

    @classmethod
    def from_row(cls, row: tuple[Value, ...]) -> Interface:
        """The interface of a row, with a stand-in for the link that the host has to give."""
        position, index, name, drivername, cloner, unit, up, flags, mtu, metric, description, *rest = row
        options, fib, tunnelfib, nd6, reqid, tunnel, policies = rest
        assert isinstance(position, int) and isinstance(index, int) and isinstance(mtu, int)
        assert isinstance(name, str) and isinstance(drivername, str) and isinstance(flags, int)
        assert isinstance(metric, int) and isinstance(description, bytes) and isinstance(options, int)
        assert isinstance(fib, int) and isinstance(tunnelfib, int) and isinstance(nd6, int) and isinstance(reqid, int)
        assert isinstance(policies, str)
        self = cls(position, Link(index, name, flags=IFF_UP if up else 0, mtu=mtu))
        self.drivername = drivername
        self.cloner = cloner if isinstance(cloner, str) else None
        self.unit = unit if isinstance(unit, int) else None
        self.flags = flags
        self.metric = metric
        self.description = description.decode("utf-8", "surrogateescape")
        self.options, self.fib, self.tunnelfib, self.nd6, self.reqid = options, fib, tunnelfib, nd6, reqid
        self.tunnel = Tunnel.from_row(tunnel) if isinstance(tunnel, str) else None
        self.policies = tuple(map(int, policies.split()))
        return self


class Interfaces:
    """All interfaces, in order of attachment, and the rows of them in the state file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_position: dict[int, Interface] = {}
        self._by_index: dict[int, Interface] = {}
        self._by_name: dict[str, Interface] = {}
        self._units: dict[tuple[str, int], dict[int, None]] = {}
        self._free_units: dict[str, int] = {}
        self._reqids: dict[int, Interface] = {}
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
        if interface.reqid:
            self._reqids[interface.reqid] = interface
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

    def by_reqid(self, reqid: int) -> Interface | None:
        return self._reqids.get(reqid)

    @property
    def reqids(self) -> Container[int]:
        """The reqids that ipsec interfaces use."""
        return self._reqids

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
        self.set_reqid(interface, 0)
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

    def set_reqid(self, interface: Interface, reqid: int) -> None:
        if self._reqids.get(interface.reqid) is interface:
            del self._reqids[interface.reqid]
        interface.reqid = reqid
        if reqid:
            self._reqids[reqid] = interface

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
