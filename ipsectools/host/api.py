"""What the emulated kernel and the data path need from the machine below. Two adapters fulfil it: Linux and simulated.

Names and indices of links are the machine's own, except that Linux's loopback is called lo0. Addresses are texts
(numeric, without a zone); times are seconds; every failing call raises `KernelError` with FreeBSD's number.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Protocol, TypeAlias

    from ipsectools.host.marks import Marks
else:
    Protocol = object

# FreeBSD's interface flags that a host knows; ifnet(9) calls them IFF_*.
IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
IFF_SIMPLEX = 0x800
IFF_MULTICAST = 0x8000
IFF_PPROMISC = 0x20000  # somebody asked for PROMISC by hand

MAIN_TABLE = 254
ROUTE_BY_HOST = 2
WORST_METRIC = 0xFFFFFFFF
"""Of the guards: unreachable routes that are taken when there is no other one to the same network."""


Prefix: TypeAlias = "tuple[str, str, int, int]"
"""Family, destination, prefix length, table: what one guard stands for."""


class Link:
    """One network interface of the host, as it is now.

    `flags` holds FreeBSD's IFF_* as far as the host knows them (UP, BROADCAST, LOOPBACK, POINTOPOINT, RUNNING, SIMPLEX,
    MULTICAST, PROMISC, PPROMISC, NOARP, ALLMULTI). `kind` is Linux's word (`tun`, `veth`, `bridge`, `dummy`, ... or
    empty). `master` is the index of the bridge that the link is a member of.
    `owner` says whose a TUN device is: `us` (this user's), `others` (another user's), `nobody` (any user may attach to
    it), or empty if that is unknown or it is no such device.
    `statistics` is (ipackets, ibytes, ierrors, opackets, obytes, oerrors).
    """

    __slots__ = (
        "alias",
        "carrier",
        "duplex",
        "flags",
        "index",
        "kind",
        "lladdr",
        "master",
        "mtu",
        "name",
        "owner",
        "speed",
        "statistics",
        "type",
    )

    def __init__(
        self,
        index: int,
        name: str,
        *,
        type: str = "ether",
        kind: str = "",
        flags: int = 0,
        mtu: int = 1500,
        lladdr: str | None = None,
        alias: str = "",
        carrier: bool | None = None,
        speed: int | None = None,
        duplex: str | None = None,
        master: int | None = None,
        owner: str = "",
        statistics: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0),
    ) -> None:
        self.index = index
        self.name = name
        self.type = type  # ether, loop, tunnel, bridge, other
        self.kind = kind
        self.flags = flags
        self.mtu = mtu
        self.lladdr = lladdr
        self.alias = alias
        self.carrier = carrier
        self.speed = speed
        self.duplex = duplex
        self.master = master
        self.owner = owner
        self.statistics = statistics


class Address:
    """One address of a link. `peer` is the other end of a point-to-point address, else None.

    `flags` are FreeBSD's words for IPv6 (tentative, duplicated, deprecated, autoconf, temporary). Lifetimes are the
    seconds that are left, None for ever.
    """

    __slots__ = ("address", "broadcast", "family", "flags", "index", "peer", "preferred", "prefixlen", "valid")

    def __init__(
        self,
        index: int,
        family: str,
        address: str,
        prefixlen: int,
        *,
        peer: str | None = None,
        broadcast: str | None = None,
        flags: tuple[str, ...] = (),
        preferred: int | None = None,
        valid: int | None = None,
    ) -> None:
        self.index = index
        self.family = family  # inet, inet6
        self.address = address
        self.prefixlen = prefixlen
        self.peer = peer
        self.broadcast = broadcast
        self.flags = flags
        self.preferred = preferred
        self.valid = valid


class Route:
    """One unicast route of the host. `links`: the indices of the links that it leads into, one for each of its paths.

    `table` is the host's number of the routing table, `protocol` says who made it (`ROUTE_BY_HOST`: it comes from an
    address). `details` is what else the host needs to make it again, in a form of its own.
    """

    __slots__ = ("destination", "details", "family", "links", "metric", "prefixlen", "protocol", "table", "tos")

    def __init__(
        self,
        family: str,
        destination: str,
        prefixlen: int,
        links: tuple[int, ...],
        *,
        table: int = MAIN_TABLE,
        tos: int = 0,
        metric: int = 0,
        protocol: int = 3,
        details: bytes = b"",
    ) -> None:
        self.family = family  # inet, inet6
        self.destination = destination
        self.prefixlen = prefixlen
        self.links = links
        self.table = table
        self.tos = tos
        self.metric = metric
        self.protocol = protocol
        self.details = details

    @property
    def prefix(self) -> Prefix:
        """What a guard stands for."""
        return self.family, self.destination, self.prefixlen, self.table

    @property
    def place(self) -> tuple[str, str, int, int, int, int]:
        """What only one route of the host can have, but for those that were added beside another one."""
        return (*self.prefix, self.tos, self.metric)


class RouteNews:
    """What happened to a route: it is there (`gone` False), or another program took it away (`gone` True; that the
    host withdrew it is no news). With `prefix` instead of `route` it was the guard that has gone: `by_user`, or by the
    host itself."""

    __slots__ = ("by_user", "gone", "prefix", "route")

    def __init__(
        self, route: Route | None, *, gone: bool = False, prefix: Prefix | None = None, by_user: bool = True
    ) -> None:
        self.route = route
        self.gone = gone
        self.prefix = prefix
        self.by_user = by_user


class OuterPacket:
    """One datagram for or from the wire: what follows the outer IP header, and the header's fields that matter.

    `src`/`dst` are 4 or 16 address bytes; `protocol` is 50, or 17 with `ports` (source, destination) for NAT-T, where
    `payload` is what follows the UDP header. With `doubt` what the host has learned of the path's MTU is not believed
    (IPv4). `mark` is its firewall mark (`host.marks`). `interface` is the index of the link on
    which it arrived, if that was asked for (`Wire.tell_arrival`), else 0.
    """

    __slots__ = ("df", "doubt", "dst", "interface", "mark", "payload", "ports", "protocol", "src", "tos", "ttl")

    def __init__(
        self,
        src: bytes,
        dst: bytes,
        payload: bytes,
        *,
        protocol: int = 50,
        ports: tuple[int, int] | None = None,
        tos: int = 0,
        ttl: int = 64,
        df: bool = False,
        doubt: bool = False,
        mark: int = 0,
        interface: int = 0,
    ) -> None:
        self.src = src
        self.dst = dst
        self.payload = payload
        self.protocol = protocol
        self.ports = ports
        self.tos = tos
        self.ttl = ttl
        self.df = df
        self.doubt = doubt
        self.mark = mark
        self.interface = interface


class Tun(Protocol):
    """The packet side of one ipsec interface's device. Never blocks."""

    name: str
    index: int

    def fileno(self) -> int: ...
    def read(self, limit: int) -> list[bytes]:
        """Up to `limit` IP packets that the host routed into the interface; fewer when there are no more."""

    def write(self, packet: bytes) -> int:
        """Gives one IP packet to the host as received on the interface; 0 or FreeBSD's errno."""

    def close(self) -> None:
        """Lets go of the device, which stays (with its addresses and routes)."""


class Wire(Protocol):
    """ESP datagrams of one network namespace. Never blocks."""

    def filenos(self) -> Sequence[int]: ...
    def send(self, packets: Sequence[OuterPacket]) -> list[int]:
        """Sends what it can; one FreeBSD errno (0: sent) per packet."""

    def receive(self, limit: int, ready: Collection[int] = ()) -> list[OuterPacket]:
        """Up to `limit` datagrams that arrived: ESP of both families, and ESP in UDP on the ports in `encap`.

        `ready`: the descriptors that have something; empty: all are looked at."""

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        """The local (address, port) pairs on which UDP-encapsulated ESP is expected from now on."""

    def tell_arrival(self, on: bool) -> None:
        """Whether what arrives from now on has its `interface`."""

    def inject(self, packet: bytes, index: int) -> int:
        """Gives a decapsulated IP packet to the host's IP input as received on this link; 0 or FreeBSD's errno."""

    def path_mtu(self, dst: bytes, mark: int = 0) -> int:
        """The MTU of the outer path to `dst` as the host knows it now: of the route, or less if learned."""

    def close(self) -> None: ...


class Host(Protocol):
    """The machine (one network namespace of it).

    What a call of ours changed, the next `link`, `links`, `addresses` shows, with or without `watch`. `links` and
    `addresses` are asked often: an adapter that is watched answers from its own memory, kept by `process_events`.
    """

    live: bool
    """True if it is a real machine: real devices, real sockets."""

    may_change: bool
    """False of a real machine that this process may only look at: each change fails with EPERM."""

    may_protect: bool
    """False of a real machine on which ESP can be neither sent nor received, so that no SA could have an effect."""

    tables: Mapping[str, Sequence[str]]
    """Rows this host wants kept in the kernel's state file: table name -> SQL columns, the key first. Empty if live."""

    def load(self, rows: Rows) -> None:
        """Forgets its memory and reads it from the state file again (at start, and after a request was rolled back).

        A live host, which has no tables, does nothing: the kernel calls the opposite of what it did.
        """

    def links(self) -> list[Link]: ...
    def link(self, index: int) -> Link | None:
        """One link, with fresh statistics."""

    def addresses(self) -> list[Address]:
        """Of all links, those of one link and family in the order of their addition."""

    def create_tun(self, name: str, mtu: int, index: int | None = None) -> int:
        """Makes a persistent TUN device (down, without addresses, without automatic link-local address).

        Returns its index: `index` if that was asked for and is free. EEXIST if the name is taken. Nobody but this user
        can open it.
        """

    def claim_tun(self, index: int) -> None:
        """Makes a TUN device this user's, as `create_tun` would have. EBUSY: somebody holds it."""

    def create_link(self, name: str, kind: str, peer: str | None = None, index: int | None = None) -> int:
        """Makes a lo (dummy), bridge, tun or veth (with `peer`) device; returns its index, as `create_tun`."""

    def destroy_link(self, index: int) -> None:
        """Removes a device (of a veth pair both). ENXIO if it is gone."""

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
    ) -> None: ...
    def set_master(self, index: int, bridge: int | None) -> None:
        """Puts a link into a bridge, or takes it out."""

    def add_address(self, address: Address) -> None:
        """Adds an address, or changes the lifetimes of one that is there (`preferred`, `valid`)."""

    def delete_address(self, address: Address) -> None: ...
    def withdrawn_addresses(self) -> Collection[tuple[int, str]] | None:
        """Index and text of IPv6 addresses that the host itself has taken away since this was last asked. None: it
        could be any that is missing."""

    def routes(self, links: Collection[int]) -> list[Route]:
        """Unicast routes of all tables that lead into these links, but for those to link-local networks."""

    def add_route(self, route: Route, *, beside: bool = False) -> None:
        """EEXIST if one is in its `place` (`beside`: that very one); another error if the host cannot have it now."""

    def delete_route(self, route: Route) -> None:
        """ESRCH if it is not there."""

    def guards(self) -> Collection[Prefix]:
        """Prefixes that have a guard of ours: an unreachable route of the worst metric."""

    def add_guard(self, prefix: Prefix) -> None:
        """Does nothing if it is there."""

    def delete_guard(self, prefix: Prefix) -> None:
        """Does nothing if it is not there."""

    def route_news(self) -> list[RouteNews] | None:
        """What others did to routes since this was last asked (while it is watched). None: it could be anything."""

    def has_host_route(self, destination: str, mark: int) -> bool:
        """Whether a route to this IPv4 address alone is in the FIB, and the address is not the host's own."""

    def rules_lost(self) -> bool:
        """Whether rules may have gone since this was last asked; only told while somebody watches."""

    def set_receive_fib(self, index: int, fib: int) -> None:
        """Packets received on the link are routed by the table of this FIB from now on (0: the main table)."""

    def forget_receive_fib(self, index: int, name: str) -> None:
        """The same for FIB 0, of a link that may be gone."""

    def set_send_fibs(self, fibs: Collection[int], marks: Marks) -> None:
        """The FIBs other than 0 by which packets that bear their mark are routed from now on.

        What an earlier process or release left of such rules goes; other people's rules stay."""

    def check_injection(self) -> None:
        """EOPNOTSUPP with the reason, if `Wire.inject` cannot work here."""

    def neighbor_discovery(self, index: int) -> tuple[bool, bool] | None:
        """Whether a link accepts router advertisements, and whether it detects duplicate addresses. None: unknown."""

    def set_neighbor_discovery(
        self, index: int, *, accept_rtadv: bool | None = None, detect_duplicates: bool | None = None
    ) -> None: ...
    def leave_addresses_alone(self, index: int) -> None:
        """Makes a device that came from elsewhere like a new one: the host gives it no address by itself."""

    def move_link(self, index: int, vnet: str) -> None:
        """Moves a link to the network namespace of that name. ENXIO if there is none."""

    def fetch_link(self, name: str, vnet: str) -> int:
        """Moves a link from the network namespace of that name to this one; its index. ENXIO if there is none."""

    def watch(self, changed: Callable[[], None]) -> Iterator[int]:
        """File descriptors to poll (none if simulated). `process_events` calls `changed` if something did."""

    def process_events(self) -> None:
        """Takes note of what has happened so far; never blocks. Does nothing if nobody watches."""

    def changed_links(self) -> Collection[int] | None:
        """Indices of links that changed, or whose addresses did, since this was last asked. None: any may have."""

    def open_tun(self, name: str) -> Tun:
        """EBUSY: somebody else holds the device; EPERM: it is another user's; EINVAL: it is not made as ours are."""

    def open_wire(self) -> Wire: ...
    def close(self) -> None: ...


class Rows(Protocol):
    """The part of the kernel's state file that belongs to a host."""

    def read(self, table: str) -> Iterable[tuple[int | str | bytes | float | None, ...]]: ...
    def put(self, table: str, row: Sequence[int | str | bytes | float | None]) -> None: ...
    def delete(self, table: str, key: int | str) -> None: ...
