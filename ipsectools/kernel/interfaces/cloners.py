"""Interface cloners (ifconfig create, destroy): units, the host's devices, and what is undone."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL, ENOSPC, ENXIO, KernelError
from ipsectools.kernel.addresses import assign, nd6
from ipsectools.kernel.interfaces import fib as fib_rules
from ipsectools.kernel.interfaces import kinds, tunnel
from ipsectools.kernel.interfaces.device import Device, restore
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Link
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

BEGUN_TABLE = Table("begun", "name TEXT", "kind TEXT NOT NULL")
"""Devices that a live host was asked to make while the interface was not yet in the state file."""

LENT_TABLE = Table("lent", "name TEXT", "label TEXT NOT NULL")
"""Cloned interfaces that moved to another vnet, and what to know of them when they come back (see `vnet`)."""


def create(state: KernelState, name: str, fib: int) -> str:
    """SIOCIFCREATE2: the name given. EINVAL, ENOSPC, EEXIST as if_clone(9) has them."""
    kind = kinds.find(name)
    unit = kind.unit_of(name)
    interfaces = state.interfaces
    if unit is None:
        unit = interfaces.free_unit(kind.name, f"{kind.name}{{}}{kind.suffixes[0]}")
    elif unit <= kinds.MAX_UNIT and interfaces.of_unit(kind.name, unit):
        raise KernelError(EEXIST)
    if unit > kinds.MAX_UNIT:
        raise KernelError(ENOSPC)
    wanted = [f"{kind.name}{unit}{suffix}" for suffix in kind.suffixes]
    if any(interfaces.by_name(each) is not None for each in wanted):
        raise KernelError(EEXIST)
    made = []
    for index in _make_device(state, kind, wanted):
        link = state.host.link(index)
        if link is None:
            raise KernelError(ENXIO)
        interface = adopt(state, link, kind, unit)
        interface.tunnelfib = fib
        interfaces.save(interface)
        state.store.delete(LENT_TABLE, interface.name)  # who has a name again does not wait for the lent one
        state.interface_changed(interface)
        made.append(interface)
    if fib:
        fib_rules.apply(state)
    return made[0].name


def adopt(state: KernelState, link: Link, kind: kinds.Kind | None = None, unit: int | None = None) -> Interface:
    """The interface of a link that is new here, as one of a kind (its unit must be free) or as the host's own."""
    interfaces = state.interfaces
    interface = interfaces.add(link, cloner=kind.name if kind else None, unit=unit)
    if kind is not None:
        interfaces.join(interface, kind.name)
        interface.drivername = f"{kind.name}{unit}{link.name[-1] if len(kind.suffixes) > 1 else ''}"
    kinds.equip(interface)
    interface.description = link.alias
    interface.options = interface.capabilities
    if kind is None:
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


def _make_device(state: KernelState, kind: kinds.Kind, wanted: list[str]) -> list[int]:
    """Makes the device. A live host's is noted before, so that one whose creation was cut off is found and removed."""
    host, store = state.host, state.store
    if host.live:
        store.put(BEGUN_TABLE, (wanted[0], kind.device))
        store.commit()
        state.undo(lambda: _forget_begun(state, wanted[0]))
    indices = kind.make(host, wanted, kind.mtu)
    state.undo(lambda: host.destroy_link(indices[0]))
    if host.live:
        store.delete(BEGUN_TABLE, wanted[0])
    link = host.link(indices[0])
    if link is not None and link.mtu != kind.mtu:
        host.set_link(indices[0], mtu=kind.mtu)
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
    kind = kinds.of(interface)
    if kind is not None and kind.has_end_points:
        tunnel.delete_end_points(state, interface)
    for address in list(interface.addresses.values()):
        assign.drop(state, interface, address)
    if kind is not None:
        kind.forget(state, interface)
    state.touch(interface)
    state.interfaces.remove(interface)
    fib_rules.release(state, interface)
    state.interface_removed(interface)
