"""A machine in memory: links and addresses without packets from anywhere, for everybody and without privilege.

It starts with lo0 (with its addresses) and one Ethernet interface, em0, without an address. What changes is kept in the
kernel's state file, so that the next command finds it. Its TUN devices and its wire can be fed and read by tests.
"""

from __future__ import annotations

import os
from collections import deque

from ipsectools.errno import EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, EMSGSIZE, ENOENT, ENXIO, KernelError
from ipsectools.host.api import (
    IFF_ALLMULTI,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_SIMPLEX,
    IFF_UP,
    Address,
    Link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ipsectools.host.api import OuterPacket, Rows

# kind -> (type, flags, MTU). Ethernet-like ones get a link-level address.
_KINDS = {
    "ether": ("ether", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST, 1500),
    "veth": ("ether", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST | IFF_RUNNING, 1500),
    "bridge": ("bridge", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST, 1500),
    "lo": ("loop", IFF_LOOPBACK | IFF_MULTICAST, 16384),
    "tun": ("tunnel", IFF_POINTOPOINT | IFF_MULTICAST, 1500),
}
_ETHERNET_MTU = 9216
_OUI = "58:9c:fc"  # FreeBSD's own, as its virtual interfaces have it


class SimulatedHost:
    """Fulfils `host.api.Host`. Without `load` it lives in memory only."""

    live = False
    tables: Mapping[str, Sequence[str]] = {
        "simulated_link": (
            "ifindex INTEGER",
            "name TEXT NOT NULL",
            "kind TEXT NOT NULL",
            "flags INTEGER NOT NULL",
            "mtu INTEGER NOT NULL",
            "lladdr TEXT",
            "alias TEXT NOT NULL",
            "master INTEGER",
            "peer INTEGER",
        ),
        "simulated_address": (
            "id INTEGER",
            "ifindex INTEGER NOT NULL",
            "family TEXT NOT NULL",
            "address TEXT NOT NULL",
            "prefixlen INTEGER NOT NULL",
            "peer TEXT",
            "broadcast TEXT",
            "flags TEXT NOT NULL",
            "preferred INTEGER",
            "valid INTEGER",
        ),
    }

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._tuns: dict[int, SimulatedTun] = {}
        self._wires: list[SimulatedWire] = []
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
        for index, name, kind, flags, mtu, lladdr, alias, master, peer in rows.read("simulated_link"):
            assert isinstance(index, int) and isinstance(name, str) and isinstance(kind, str)
            assert isinstance(flags, int) and isinstance(mtu, int) and isinstance(alias, str)
            link = self._link_of(index, name, kind)
            link.flags, link.mtu, link.alias = flags, mtu, alias
            link.lladdr = lladdr if isinstance(lladdr, str) else None
            link.master = master if isinstance(master, int) else None
            if index in before:
                link.statistics = before[index].statistics
            self._links[index] = link
            self._names[name] = index
            if isinstance(peer, int):
                self._peers[index] = peer
        for number, index, family, text, prefixlen, peer, broadcast, flags, preferred, valid in rows.read(
            "simulated_address"
        ):
            assert isinstance(number, int) and isinstance(index, int) and isinstance(prefixlen, int)
            assert isinstance(family, str) and isinstance(text, str) and isinstance(flags, str)
            address = Address(
                index,
                family,
                text,
                prefixlen,
                peer=peer if isinstance(peer, str) else None,
                broadcast=broadcast if isinstance(broadcast, str) else None,
                flags=tuple(flags.split()),
                preferred=preferred if isinstance(preferred, int) else None,
                valid=valid if isinstance(valid, int) else None,
            )
            self._addresses[index, family, text] = (number, address)
            self._next_address = max(self._next_address, number + 1)
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

    def create_link(self, name: str, kind: str, peer: str | None = None, index: int | None = None) -> int:
        if kind not in _KINDS or (kind == "veth") != (peer is not None):
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
        self._links[index] = self._link_of(index, name, kind)
        self._names[name] = index
        self._save_link(index)
        return index

    @staticmethod
    def _link_of(index: int, name: str, kind: str) -> Link:
        """A link as it is when new; `kind` "ether" is the machine's own hardware, which has none."""
        type, flags, mtu = _KINDS[kind]
        link = Link(index, name, type=type, kind="" if kind == "ether" else kind, flags=flags, mtu=mtu)
        if flags & IFF_BROADCAST:
            link.lladdr = f"{_OUI}:{index >> 16 & 255:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"
        if type == "ether":
            link.carrier, link.speed, link.duplex = (True, 10000 if kind == "veth" else 1000, "full")
        return link

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
            del self._names[self._links.pop(each).name]
            self._peers.pop(each, None)
            self._free = min(self._free, each)
            tun = self._tuns.pop(each, None)
            if tun is not None:
                tun.attach(None)
            if self._rows is not None:
                self._rows.delete("simulated_link", each)

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
        if mtu is not None and link.type in ("ether", "bridge") and mtu > _ETHERNET_MTU:
            raise KernelError(EINVAL)
        if lladdr is not None and link.lladdr is None:
            raise KernelError(EINVAL)
        flags = link.flags
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
            link = self._links[index]
            self._rows.put(
                "simulated_link",
                (
                    index,
                    link.name,
                    link.kind or ("lo" if link.type == "loop" else "ether"),
                    link.flags,
                    link.mtu,
                    link.lladdr,
                    link.alias,
                    link.master,
                    self._peers.get(index),
                ),
            )

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
        if self._rows is not None:
            self._rows.put(
                "simulated_address",
                (
                    number,
                    *key,
                    address.prefixlen,
                    address.peer,
                    address.broadcast,
                    " ".join(address.flags),
                    address.preferred,
                    address.valid,
                ),
            )

    def delete_address(self, address: Address) -> None:
        key = (address.index, address.family, address.address)
        if key not in self._addresses:
            raise KernelError(EADDRNOTAVAIL)
        self._drop_address(key)

    def _drop_address(self, key: tuple[int, str, str]) -> None:
        number, _address = self._addresses.pop(key)
        if self._rows is not None:
            self._rows.delete("simulated_address", number)

    # what only packets would show

    def has_host_route(self, destination: str, fib: int) -> bool:
        return False

    def set_receive_fib(self, index: int, fib: int) -> None:
        self._get(index)

    def leave_addresses_alone(self, index: int) -> None:
        pass

    def forget_receive_fib(self, index: int, name: str) -> None:
        pass

    def set_send_fibs(self, fibs: Collection[int]) -> None:
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
        index = self._names.get(name)
        if index is None or self._links[index].kind != "tun":
            raise KernelError(ENXIO)
        if index not in self._tuns:
            self._tuns[index] = SimulatedTun(self._links[index])
        return self._tuns[index]

    def open_wire(self) -> SimulatedWire:
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


class _Bell:
    """A descriptor that is readable while something waits to be read, made when first asked for.

    Readers `quiet` it before they look, so that what comes from another thread meanwhile rings again.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._rung = False

    def descriptor(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.eventfd(int(self._rung), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._descriptor

    def ring(self) -> None:
        self._rung = True
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)

    def quiet(self) -> None:
        if self._rung:
            self._rung = False
            if self._descriptor >= 0:
                os.eventfd_read(self._descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SimulatedTun:
    """A TUN device without a machine: `inject` routes a packet into it, `written` holds what the host received."""

    def __init__(self, link: Link) -> None:
        self.name = link.name
        self.index = link.index
        self.written: list[bytes] = []
        self._link: Link | None = link
        self._waiting: deque[bytes] = deque()
        self._bell = _Bell()

    def attach(self, link: Link | None) -> None:
        """The link that this is the packet side of, after it was renamed, read again or destroyed (None)."""
        self._link = link
        if link is not None:
            self.name = link.name

    def inject(self, packet: bytes) -> None:
        self._waiting.append(packet)
        self._bell.ring()

    def fileno(self) -> int:
        return self._bell.descriptor()

    def read(self, limit: int) -> list[bytes]:
        self._bell.quiet()
        packets = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if self._waiting:
            self._bell.ring()
        self._count(3, packets)
        return packets

    def write(self, packet: bytes) -> int:
        if self._link is None:
            return ENXIO
        self.written.append(packet)
        self._count(0, (packet,))
        return 0

    def _count(self, place: int, packets: Sequence[bytes]) -> None:
        if self._link is None:
            return
        numbers = list(self._link.statistics)
        numbers[place] += len(packets)
        numbers[place + 1] += sum(map(len, packets))
        self._link.statistics = (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])

    def close(self) -> None:
        pass

    def release(self) -> None:
        self._bell.release()


class SimulatedWire:
    """The wire of a machine in memory: `feed` lets a datagram arrive, `sent` holds what left, unless `connect`ed.

    `injected` holds the decapsulated packets that were given back to the host; `mtu` is the path MTU to everywhere;
    a datagram longer than that with `df` set is refused (EMSGSIZE).
    """

    def __init__(self) -> None:
        self.sent: list[OuterPacket] = []
        self.injected: list[bytes] = []
        self.encapsulated: frozenset[tuple[bytes, int]] = frozenset()
        self.mtu = 1500
        self._other: SimulatedWire | None = None
        self._waiting: deque[OuterPacket] = deque()
        self._bell = _Bell()

    def connect(self, other: SimulatedWire) -> None:
        """From now on what one sends arrives at the other."""
        self._other = other
        other._other = self

    def feed(self, packet: OuterPacket) -> None:
        self._waiting.append(packet)
        self._bell.ring()

    def filenos(self) -> Sequence[int]:
        return (self._bell.descriptor(),)

    def send(self, packets: Sequence[OuterPacket]) -> list[int]:
        results = []
        for packet in packets:
            header = (20 if len(packet.src) == 4 else 40) + (8 if packet.ports else 0)
            if packet.df and header + len(packet.payload) > self.mtu:
                results.append(EMSGSIZE)
                continue
            self.sent.append(packet)
            if self._other is not None:
                self._other.feed(packet)
            results.append(0)
        return results

    def receive(self, limit: int) -> list[OuterPacket]:
        self._bell.quiet()
        packets = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if self._waiting:
            self._bell.ring()
        return packets

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        self.encapsulated = frozenset(endpoints)

    def inject(self, packet: bytes) -> int:
        self.injected.append(packet)
        return 0

    def path_mtu(self, dst: bytes, fib: int = 0) -> int:
        return self.mtu

    def close(self) -> None:
        pass

    def release(self) -> None:
        self._bell.release()
