"""Addresses of interfaces, whatever their family: on the host, in the state file, and what depends on them."""

from __future__ import annotations

from ipsectools.errno import KernelError
from ipsectools.host.api import Address
from ipsectools.kernel.interfaces import if_ipsec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface, InterfaceAddress
    from ipsectools.kernel.state import KernelState


def for_host(interface: Interface, address: InterfaceAddress, now: float) -> Address:
    """The address as the host is to have it: a point-to-point one without the network that its mask would make."""
    whole = 128 if address.family == "inet6" else 32
    return Address(
        interface.index,
        address.family,
        address.address,
        address.prefixlen if address.peer is None else whole,
        peer=address.peer,
        broadcast=address.broadcast,
        preferred=address.left(address.pltime, now),
        valid=address.left(address.vltime, now),
    )


def give(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Adds an address (or new lifetimes of one) here and on the host. Raises KernelError."""
    host = state.host
    wanted = for_host(interface, address, state.now)
    before = interface.addresses.get((address.family, address.address))
    previous = for_host(interface, before, state.now) if before is not None else None
    host.add_address(wanted)
    state.undo(lambda: host.add_address(previous) if previous is not None else host.delete_address(wanted))
    address.seen = (wanted.preferred, wanted.valid)
    enter(state, interface, address)


def take(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Removes an address here and on the host. Raises KernelError."""
    host = state.host
    gone = for_host(interface, address, state.now)
    host.delete_address(gone)
    state.undo(lambda: host.add_address(gone))
    drop(state, interface, address)


def keep(state: KernelState, interface: Interface) -> None:
    """After an interface went down: Linux forgets IPv6 addresses then, FreeBSD keeps them all.

    What routers advertised comes back by itself.
    """
    if not state.host.live:
        return
    there = {(each.family, each.address) for each in state.host.addresses() if each.index == interface.index}
    for key, address in interface.addresses.items():
        if key not in there and not {"autoconf", "temporary"} & {*address.host_flags}:
            try:
                state.host.add_address(for_host(interface, address, state.now))
            except KernelError:
                continue  # the books will follow the host


def enter(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address into the books that the host has already."""
    known = (address.family, address.address) in interface.addresses
    state.interfaces.save_address(interface, address)
    if not known:
        if_ipsec.local_address_added(state, address.address, interface.zone_of(address))
    state.interface_changed(interface)


def drop(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address out of the books that the host has no more."""
    state.interfaces.drop_address(interface, address)
    if_ipsec.local_address_removed(state, address.address, interface.zone_of(address))
    state.interface_changed(interface)
