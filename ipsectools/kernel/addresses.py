"""Addresses of interfaces, whatever their family: on the host, in the state file, and what depends on them."""

from __future__ import annotations

from ipsectools.errno import KernelError
from ipsectools.host.api import Address
from ipsectools.kernel import if_ipsec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interface import Interface, InterfaceAddress
    from ipsectools.kernel.kernel import Kernel


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


def give(kernel: Kernel, interface: Interface, address: InterfaceAddress) -> None:
    """Adds an address (or new lifetimes of one) here and on the host. Raises KernelError."""
    host = kernel.host
    wanted = for_host(interface, address, kernel.now)
    before = interface.addresses.get((address.family, address.address))
    previous = for_host(interface, before, kernel.now) if before is not None else None
    host.add_address(wanted)
    kernel.undo(lambda: host.add_address(previous) if previous is not None else host.delete_address(wanted))
    address.seen = (wanted.preferred, wanted.valid)
    enter(kernel, interface, address)


def take(kernel: Kernel, interface: Interface, address: InterfaceAddress) -> None:
    """Removes an address here and on the host. Raises KernelError."""
    host = kernel.host
    gone = for_host(interface, address, kernel.now)
    host.delete_address(gone)
    kernel.undo(lambda: host.add_address(gone))
    drop(kernel, interface, address)


def keep(kernel: Kernel, interface: Interface) -> None:
    """After an interface went down: Linux forgets IPv6 addresses then, FreeBSD keeps them all.

    What routers advertised comes back by itself.
    """
    if not kernel.host.live:
        return
    there = {(each.family, each.address) for each in kernel.host.addresses() if each.index == interface.index}
    for key, address in interface.addresses.items():
        if key not in there and not {"autoconf", "temporary"} & {*address.host_flags}:
            try:
                kernel.host.add_address(for_host(interface, address, kernel.now))
            except KernelError:
                continue  # the books will follow the host


def enter(kernel: Kernel, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address into the books that the host has already."""
    known = (address.family, address.address) in interface.addresses
    kernel.interfaces.save_address(interface, address)
    if not known:
        if_ipsec.local_address_added(kernel, address.address, interface.zone_of(address))
    kernel.interface_changed(interface)


def drop(kernel: Kernel, interface: Interface, address: InterfaceAddress) -> None:
    """Takes an address out of the books that the host has no more."""
    kernel.interfaces.drop_address(interface, address)
    if_ipsec.local_address_removed(kernel, address.address, interface.zone_of(address))
    kernel.interface_changed(interface)
