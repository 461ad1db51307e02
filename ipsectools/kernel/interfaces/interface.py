"""FreeBSD's state of one interface of the host: what Linux has no place for, and what it would forget with a device.

An `Interface` stands beside a `host.api.Link`. Its `position` is its identity in the state file and its place in the
order of attachment; the index is the host's and may change when a lost device is made again.
"""

from __future__ import annotations

from ipsectools.host.api import (
    IFF_ALLMULTI,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PPROMISC,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_UP,
    Link,
)
from ipsectools.kernel.numeric import is_link_local, parse
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.kernel.store import Value

IFF_DEBUG = 0x4
IFF_LINK0 = 0x1000
IFF_LINK1 = 0x2000
IFF_LINK2 = 0x4000
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
    "moves_packets INTEGER NOT NULL",
    "tunnel TEXT",
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
    """One interface. `up` and `mtu` are what the host was last seen to have; `running` is meant for tunnels only."""

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
        "has_end_points",
        "iftype",
        "index",
        "link",
        "lost",
        "metric",
        "moves_packets",
        "mtu",
        "name",
        "nd6",
        "options",
        "own",
        "position",
        "running",
        "trouble",
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
        self.has_end_points = False
        """It is a tunnel of ours, with outer addresses or without."""
        self.moves_packets = False
        """Its packets are the data path's."""
        self.own: Any = None
        """What only its kind has (see `kinds`)."""
        self.up = bool(link.flags & IFF_UP)
        self.flags = 0
        self.mtu = link.mtu
        self.metric = 0
        self.description = ""
        self.capabilities = self.options = 0
        self.fib = self.tunnelfib = 0
        self.nd6 = 0
        self.tunnel: Tunnel | None = None
        self.running = False
        self.trouble = ""
        """Why no packet can pass the device of an ipsec interface, though it is there for the host."""
        self.groups: dict[str, int] = {}
        """Name -> row id, in order of joining."""
        self.addresses: dict[tuple[str, str], InterfaceAddress] = {}
        """By (family, address), in order of addition."""

    @property
    def monitor(self) -> bool:
        """Packets are shown to bpf(4) and then dropped."""
        return bool(self.flags & IFF_MONITOR)

    @property
    def all_flags(self) -> int:
        """FreeBSD's flags word as ifconfig prints it."""
        link, flags = self.link.flags, self.flags
        if self.has_end_points:
            flags |= self.base_flags | (IFF_RUNNING if self.running else 0)
        elif self.cloner is not None:
            flags |= self.base_flags | link & IFF_RUNNING
        else:
            flags |= link & ~IFF_UP
            if self.link.kind == "tun" and self.link.carrier is False:  # closed: nobody reads it
                flags &= ~IFF_RUNNING
        if self.up:
            flags |= IFF_UP
        if flags & IFF_PPROMISC:
            flags |= IFF_PROMISC
        if flags & IFF_PALLMULTI:
            flags |= IFF_ALLMULTI
        # The state of operation follows the medium where there is one (dormant while MONITOR), else UP (netlink(4)).
        if self.link.carrier and not flags & IFF_MONITOR if self.iftype == "ether" else self.up:
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
            int(self.moves_packets),
            self.tunnel.to_row() if self.tunnel else None,
        )

    @classmethod
    def from_row(cls, row: tuple[Value, ...]) -> Interface:
        """The interface of a row, with a stand-in for the link that the host has to give."""
        position, index, name, drivername, cloner, unit, up, flags, mtu, metric, description, *rest = row
        options, fib, tunnelfib, nd6, moves_packets, tunnel = rest
        assert isinstance(position, int) and isinstance(index, int) and isinstance(mtu, int)
        assert isinstance(name, str) and isinstance(drivername, str) and isinstance(flags, int)
        assert isinstance(metric, int) and isinstance(description, bytes) and isinstance(options, int)
        assert isinstance(fib, int) and isinstance(tunnelfib, int) and isinstance(nd6, int)
        self = cls(position, Link(index, name, flags=IFF_UP if up else 0, mtu=mtu))
        self.drivername = drivername
        self.cloner = cloner if isinstance(cloner, str) else None
        self.unit = unit if isinstance(unit, int) else None
        self.flags = flags
        self.metric = metric
        self.description = description.decode("utf-8", "surrogateescape")
        self.options, self.fib, self.tunnelfib, self.nd6 = options, fib, tunnelfib, nd6
        self.moves_packets = bool(moves_packets)
        self.tunnel = Tunnel.from_row(tunnel) if isinstance(tunnel, str) else None
        return self
