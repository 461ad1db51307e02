"""IPv4 addresses of interfaces (SIOCAIFADDR, SIOCDIFADDR; netlink's NEWADDR and DELADDR)."""

from __future__ import annotations

from ipsectools.errno import EADDRNOTAVAIL, EDESTADDRREQ, EEXIST, EINVAL, KernelError
from ipsectools.host.api import IFF_BROADCAST
from ipsectools.kernel.addresses import assign
from ipsectools.kernel.interfaces import fib, generic
from ipsectools.kernel.numeric import broadcast_of, is_unspecified, parse, unparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

NO_DESTINATION = "Empty IFA_LOCAL/IFA_ADDRESS"
"""What netlink says besides EINVAL of a point-to-point address without the other end."""


def add(
    state: KernelState, interface: Interface, text: str, prefixlen: int, peer: str | None, broadcast: str | None
) -> None:
    """Adds an address as the last one, also if it is there already, and sets UP.

    On a point-to-point interface the mask is kept and shown, but only the other end is routed. EEXIST: it is already,
    and not because of an interface's address.
    """
    packed = _parse(text)
    if not 0 <= prefixlen <= 32:
        raise KernelError(EINVAL)
    address = unparse(packed)
    other = None
    if interface.is_point_to_point:
        if peer is None:
            raise KernelError(EINVAL, NO_DESTINATION)
        if is_unspecified(_parse(peer)):
            raise KernelError(EDESTADDRREQ)
        other = unparse(_parse(peer))
    everybody = None
    if interface.all_flags & IFF_BROADCAST:
        if broadcast is not None:
            everybody = unparse(_parse(broadcast))
        elif prefixlen < 31:
            everybody = unparse(broadcast_of(packed, prefixlen))
    before = interface.addresses.get(("inet", address))
    if before is not None:
        assign.take(state, interface, before)
    if other is not None and _is_routed_otherwise(state, interface, other):
        raise KernelError(EEXIST)
    new = state.interfaces.new_address("inet", address, prefixlen)
    new.peer = other
    new.broadcast = everybody
    new.since = state.now
    assign.give(state, interface, new)
    generic.set_up(state, interface, True)


def _is_routed_otherwise(state: KernelState, interface: Interface, destination: str) -> bool:
    """Whether a host route to the destination is there that no interface's address has made."""
    if not state.host.has_host_route(destination, fib.marks(state).of_fib(interface.fib)):
        return False
    return not any(
        each.fib == interface.fib and any(address.peer == destination for address in each.of_family("inet"))
        for each in state.interfaces
    )


def delete(state: KernelState, interface: Interface, text: str | None) -> None:
    """Removes an address, the first one if none is named. EADDRNOTAVAIL if it is not there."""
    if text is None:
        found = next(iter(interface.of_family("inet")), None)
    else:
        found = interface.addresses.get(("inet", unparse(_parse(text))))
    if found is None:
        raise KernelError(EADDRNOTAVAIL)
    assign.take(state, interface, found)


def _parse(text: str) -> bytes:
    family, packed, _zone = parse(text)
    if family != "inet":
        raise KernelError(EINVAL)
    return packed
