"""Addresses of interfaces, whatever their family: on the host, in the state file, and what depends on them."""

from __future__ import annotations

import contextlib

from ipsectools.errno import KernelError
from ipsectools.host.api import Address
from ipsectools.kernel.interfaces import tunnel
from ipsectools.kernel.numeric import is_link_local, parse

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
    for prepare in state.address_followers:
        prepare(interface, address)
    host.add_address(wanted)
    state.undo(lambda: host.add_address(previous) if previous is not None else host.delete_address(wanted))
    address.seen = (wanted.preferred, wanted.valid)
    enter(state, interface, address)


def take(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Removes an address here and on the host. Raises KernelError."""
    host = state.host
    gone = for_host(interface, address, state.now)
    if (address.family, address.address) not in state.withdrawn.get(interface.position, ()):
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


def note_withdrawn(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """The host has taken the address away by itself, which is no reason to forget it: see `put_back`."""
    state.withdrawn.setdefault(interface.position, set()).add((address.family, address.address))
    state.touch(interface)


def is_stray(state: KernelState, interface: Interface, address: Address) -> bool:
    """Whether Linux made this link-local address by itself for a device that it has forgotten is ours."""
    if (address.family, address.address) in interface.addresses or address.family != "inet6":
        return False
    return bool(state.withdrawn.get(interface.position)) and is_link_local(parse(address.address)[1])


def put_back(state: KernelState, interface: Interface) -> bool:
    """Gives the host again what it took away by itself. False: it does not take all of it now."""
    withdrawn = state.withdrawn.get(interface.position)
    if not withdrawn:
        return True
    refused = set()
    # Linux may have forgotten how it was to treat the device, and have given it a link-local address of its own.
    with contextlib.suppress(KernelError):
        state.host.leave_addresses_alone(interface.index)
        for stray in state.host.addresses():
            if stray.index == interface.index and is_stray(state, interface, stray):
                state.host.delete_address(stray)
    for key in withdrawn & interface.addresses.keys():
        address = interface.addresses[key]
        if address.left(address.vltime, state.now) == 0:
            drop(state, interface, address)
            continue
        try:
            state.host.add_address(for_host(interface, address, state.now))
        except KernelError:
            refused.add(key)
    if refused:
        state.withdrawn[interface.position] = refused
    else:
        state.withdrawn.pop(interface.position, None)
    return not refused


def enter(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address into the books that the host has already."""
    known = (address.family, address.address) in interface.addresses
    state.interfaces.save_address(interface, address)
    state.touch(interface)
    if not known:
        tunnel.local_address_added(state, address.address, interface.zone_of(address))
    state.interface_changed(interface)


def drop(state: KernelState, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address out of the books that the host has no more."""
    state.interfaces.drop_address(interface, address)
    state.withdrawn.get(interface.position, set()).discard((address.family, address.address))
    state.touch(interface)
    tunnel.local_address_removed(state, address.address, interface.zone_of(address))
    state.interface_changed(interface)
