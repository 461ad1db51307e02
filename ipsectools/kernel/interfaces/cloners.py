"""Interface cloners (ifconfig create, destroy): which names make which interfaces, and their units."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL, ENOSPC, ENXIO, KernelError
from ipsectools.host.api import IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_POINTOPOINT, IFF_SIMPLEX
from ipsectools.kernel.addresses import assign, nd6
from ipsectools.kernel.interfaces import fib as fib_rules
from ipsectools.kernel.interfaces import if_ipsec
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Address, Host, Link
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

MAX_UNIT = 0x7FFF
INT_MAX = 0x7FFFFFFF

BEGUN_TABLE = Table("begun", "name TEXT", "kind TEXT NOT NULL")
"""Devices that a live host was asked to make while the interface was not yet in the state file."""

LENT_TABLE = Table("lent", "name TEXT", "label TEXT NOT NULL")
"""Cloned interfaces that moved to another vnet, and what to know of them when they come back (see `vnet`)."""

IFCAP_VLAN_MTU = 0x8
IFCAP_LINKSTATE = 0x80000
IFCAP_LOOPBACK = 0x680003  # RXCSUM, TXCSUM, LINKSTATE, RXCSUM_IPV6, TXCSUM_IPV6


class Cloner:
    """A kind of interface that can be made: `kind` and `kinds` are the host's words for its device."""

    __slots__ = ("capabilities", "flags", "iftype", "kind", "kinds", "mtu", "name", "suffixes")

    def __init__(
        self,
        name: str,
        iftype: str,
        kind: str,
        flags: int,
        mtu: int,
        *,
        capabilities: int = 0,
        suffixes: tuple[str, ...] = ("",),
        kinds: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.iftype = iftype
        self.kind = kind
        self.kinds = kinds or (kind,)
        self.flags = flags
        self.mtu = mtu
        self.capabilities = capabilities
        self.suffixes = suffixes

    def unit_of(self, name: str) -> int | None:
        """The unit in a name that this cloner matches, None for none. EINVAL: not a unit."""
        digits = name[len(self.name) :]
        if not digits:
            return None
        if (digits[0] == "0" and len(digits) > 1) or len(digits) > 10 or int(digits) > INT_MAX:
            raise KernelError(EINVAL)
        return int(digits)

    def make(self, host: Host, names: list[str], mtu: int, index: int | None = None) -> list[int]:
        """Makes the device (or devices) on the host; their indices, the first one as asked for if it is free."""
        if self.name == "ipsec":
            return [host.create_tun(names[0], mtu, index)]
        if self.kind == "veth":
            first = host.create_link(names[0], self.kind, names[1], index)
            second = next(link.index for link in host.links() if link.name == names[1])
            return [first, second]
        return [host.create_link(names[0], self.kind, None, index)]


_ETHERNET = IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST

CLONERS = {
    cloner.name: cloner
    for cloner in (
        # Oldest first: the order in which a FreeBSD kernel with modules would have registered them.
        Cloner(
            "lo",
            "loop",
            "lo",
            IFF_LOOPBACK | IFF_MULTICAST,
            16384,
            capabilities=IFCAP_LOOPBACK,
            kinds=("lo", "dummy", "tun", ""),  # some Linuxes have no dummy
        ),
        Cloner("bridge", "bridge", "bridge", _ETHERNET, 1500),
        Cloner("epair", "ether", "veth", _ETHERNET, 1500, capabilities=IFCAP_VLAN_MTU, suffixes=("a", "b")),
        Cloner("tun", "tunnel", "tun", IFF_POINTOPOINT | IFF_MULTICAST, 1500, capabilities=IFCAP_LINKSTATE),
        Cloner("ipsec", "tunnel", "tun", IFF_POINTOPOINT | IFF_MULTICAST, if_ipsec.MTU),
    )
}


def names() -> list[str]:
    """SIOCIFGCLONERS: the cloner that was registered last comes first."""
    return list(reversed(CLONERS))


def of_driver(drivername: str) -> tuple[Cloner, int] | None:
    """The cloner and the unit of an interface's first name (`ipsec0`, `epair0b`), None if it is no such name."""
    suffix = drivername[-1:] if drivername.startswith("epair") else ""
    try:
        cloner = find(drivername.removesuffix(suffix))
        unit = cloner.unit_of(drivername.removesuffix(suffix))
    except KernelError:
        return None
    return None if unit is None or unit > MAX_UNIT or suffix not in cloner.suffixes else (cloner, unit)


def find(name: str) -> Cloner:
    """The cloner of a name that is given at creation. EINVAL if none matches."""
    prefix = name.rstrip("0123456789")
    cloner = CLONERS.get(prefix)
    if cloner is None or not name.isascii():
        raise KernelError(EINVAL)
    return cloner


def create(state: KernelState, name: str, fib: int) -> str:
    """SIOCIFCREATE2: the name given. EINVAL, ENOSPC, EEXIST as if_clone(9) has them."""
    cloner = find(name)
    unit = cloner.unit_of(name)
    interfaces = state.interfaces
    if unit is None:
        unit = interfaces.free_unit(cloner.name, f"{cloner.name}{{}}{cloner.suffixes[0]}")
    elif unit <= MAX_UNIT and interfaces.of_unit(cloner.name, unit):
        raise KernelError(EEXIST)
    if unit > MAX_UNIT:
        raise KernelError(ENOSPC)
    wanted = [f"{cloner.name}{unit}{suffix}" for suffix in cloner.suffixes]
    if any(interfaces.by_name(each) is not None for each in wanted):
        raise KernelError(EEXIST)
    made = []
    for index in _make_device(state, cloner, wanted):
        link = state.host.link(index)
        if link is None:
            raise KernelError(ENXIO)
        interface = adopt(state, link, cloner, unit)
        interface.tunnelfib = fib
        interfaces.save(interface)
        state.store.delete(LENT_TABLE, interface.name)  # who has a name again does not wait for the lent one
        state.interface_changed(interface)
        made.append(interface)
    if fib:
        fib_rules.apply(state)
    return made[0].name


def adopt(state: KernelState, link: Link, cloner: Cloner | None = None, unit: int | None = None) -> Interface:
    """The interface of a link that is new here, as a cloner's (its unit must be free) or as the host's own."""
    interfaces = state.interfaces
    interface = interfaces.add(link, cloner=cloner.name if cloner else None, unit=unit)
    if cloner is not None:
        interfaces.join(interface, cloner.name)
        interface.drivername = f"{cloner.name}{unit}{link.name[-1] if len(cloner.suffixes) > 1 else ''}"
    equip(interface)
    interface.description = link.alias
    interface.options = interface.capabilities
    if cloner is None:
        interface.nd6 = nd6.of_host(state, interface)
    else:
        interface.nd6 = nd6.initial(state, interface)
        _tell_host(state, interface)
    interfaces.save(interface)
    return interface


def _tell_host(state: KernelState, interface: Interface) -> None:
    """Linux believes router advertisements by default, FreeBSD does not."""
    if state.host.live and interface.iftype != "loop":
        accept = bool(interface.nd6 & nd6.ACCEPT_RTADV)
        try:
            state.host.set_neighbor_discovery(interface.index, accept_rtadv=accept)
        except KernelError:
            return  # in containers /proc/sys is often read-only


def equip(interface: Interface) -> None:
    """Sets what follows from the interface's cloner and is not kept in the state file."""
    if interface.cloner is not None:
        cloner = CLONERS[interface.cloner]
        interface.iftype = cloner.iftype
        interface.base_flags = cloner.flags
        interface.capabilities = cloner.capabilities


def _make_device(state: KernelState, cloner: Cloner, wanted: list[str]) -> list[int]:
    """Makes the device. A live host's is noted before, so that one whose creation was cut off is found and removed."""
    host, store = state.host, state.store
    if host.live:
        store.put(BEGUN_TABLE, (wanted[0], cloner.kind))
        store.commit()
        state.undo(lambda: _forget_begun(state, wanted[0]))
    indices = cloner.make(host, wanted, cloner.mtu)
    state.undo(lambda: host.destroy_link(indices[0]))
    if host.live:
        store.delete(BEGUN_TABLE, wanted[0])
    link = host.link(indices[0])
    if link is not None and link.mtu != cloner.mtu:
        host.set_link(indices[0], mtu=cloner.mtu)
    return indices


def _forget_begun(state: KernelState, name: str) -> None:
    """After a creation failed, and all else of it was taken back."""
    state.store.delete(BEGUN_TABLE, name)
    state.store.commit()


def clean_up(state: KernelState) -> None:
    """At start: removes devices whose creation was cut off before the interface was in the state file."""
    rows = list(state.store.rows(BEGUN_TABLE))
    if not rows or not state.host.may_change:
        return
    links = {link.name: link for link in state.host.links()}
    for name, kind in rows:
        link = links.get(str(name))
        if link is not None and link.kind == kind and state.interfaces.by_name(link.name) is None:
            state.host.destroy_link(link.index)
        state.store.delete(BEGUN_TABLE, name)


def destroy(state: KernelState, interface: Interface) -> None:
    """SIOCIFDESTROY. EINVAL: not a clone, or lo0. SAs are left alone."""
    if interface.cloner is None or interface.unit is None or (interface.cloner == "lo" and interface.unit == 0):
        raise KernelError(EINVAL)
    together = state.interfaces.of_unit(interface.cloner, interface.unit)
    devices = [Device(state, each) for each in together]
    for each in together:
        forget(state, each)
    host = state.host
    try:
        host.destroy_link(together[0].index)
    except KernelError as error:
        if error.errno != ENXIO:
            raise

    def make_again() -> None:
        restore(host, devices)

    state.undo(make_again)


def forget(state: KernelState, interface: Interface) -> None:
    """Removes an interface from the books: its tunnel, addresses, groups, unit, and the interface."""
    if interface.is_ipsec:
        if_ipsec.delete_tunnel(state, interface)
    for address in list(interface.addresses.values()):
        assign.drop(state, interface, address)
    state.touch(interface)
    state.interfaces.remove(interface)
    fib_rules.release(state, interface)
    state.interface_removed(interface)


class Device:
    """All that a device on the host needs to be made again."""

    __slots__ = ("addresses", "alias", "cloner", "index", "lladdr", "master", "members", "mtu", "name", "up")

    def __init__(self, state: KernelState, interface: Interface) -> None:
        assert interface.cloner is not None
        self.cloner = CLONERS[interface.cloner]
        self.name = interface.name
        self.index = interface.index
        self.mtu = interface.mtu
        self.up = interface.up
        self.alias = alias_of(interface.description)
        self.lladdr = interface.link.lladdr
        self.master = interface.link.master
        self.members: list[int] = []
        if interface.iftype == "bridge":
            self.members = [each.index for each in state.interfaces if each.link.master == interface.index]
        self.addresses: list[Address] = [
            assign.for_host(interface, address, state.now) for address in interface.addresses.values()
        ]


def alias_of(description: str) -> str:
    """What Linux can keep of a description (254 bytes)."""
    return description.encode("utf-8", "replace")[:254].decode("utf-8", "ignore")


def restore(host: Host, devices: list[Device]) -> list[int]:
    """Makes a device (of an epair both) again as it was; the indices it has now. Raises KernelError."""
    first = devices[0]
    indices = first.cloner.make(host, [device.name for device in devices], first.mtu, first.index)
    for device, index in zip(devices, indices, strict=True):
        ethernet = device.cloner.iftype != "tunnel" and device.lladdr is not None
        host.set_link(index, mtu=device.mtu, alias=device.alias, lladdr=device.lladdr if ethernet else None)
        if device.up:  # first: with what is added before, Linux makes no routes to IPv6 peers as it comes up
            host.set_link(index, up=True)
        for address in device.addresses:
            address.index = index
            host.add_address(address)
        if device.master is not None:
            host.set_master(index, device.master)
        for member in device.members:
            host.set_master(member, index)
    return indices
