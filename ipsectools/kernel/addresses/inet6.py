"""IPv6 addresses of interfaces: adding and removing, the automatic link-local one, lifetimes, duplicate detection.

On a live host Linux does duplicate detection and lets addresses expire; on a simulated one that happens here.
"""

from __future__ import annotations

import os

from ipsectools.errno import EADDRNOTAVAIL, EEXIST, EINVAL, KernelError
from ipsectools.host.api import IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING, IFF_UP
from ipsectools.kernel.addresses import assign, nd6
from ipsectools.kernel.interfaces import generic
from ipsectools.kernel.numeric import is_link_local, is_multicast, is_unspecified, parse, unparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

FLAGS = ("anycast", "tentative", "deprecated", "autoconf", "prefer_source")
"""The words that may come with a new address."""
INFINITE = 0xFFFFFFFF
"""A lifetime without end, on the wire of ioctls."""


def add(
    state: KernelState,
    interface: Interface,
    text: str,
    prefixlen: int,
    peer: str | None,
    flags: list[str],
    pltime: int | None,
    vltime: int | None,
) -> None:
    """Adds an address, or changes the flags and lifetimes of one that is there.

    EINVAL: prefix length out of 1..128 or another than before, a destination with one other than 128 or on an interface
    that is neither point-to-point nor loopback, `pltime` above `vltime`.
    """
    packed = _parse(text)
    address = unparse(packed)
    if is_unspecified(packed) or is_multicast(packed) or not 1 <= prefixlen <= 128:
        raise KernelError(EINVAL)
    if any(flag not in FLAGS for flag in flags):
        raise KernelError(EINVAL)
    other = unparse(_parse(peer)) if peer is not None else None
    if other is not None and other != address:
        if prefixlen != 128 or not interface.all_flags & (IFF_POINTOPOINT | IFF_LOOPBACK):
            raise KernelError(EINVAL)
    else:
        other = None
    preferred, valid = (None if each in (None, INFINITE) else each for each in (pltime, vltime))
    if valid is not None and (preferred is None or preferred > valid):
        raise KernelError(EINVAL)
    if "deprecated" in flags:
        preferred = 0  # that is how FreeBSD keeps it
    before = interface.addresses.get(("inet6", address))
    if before is not None and before.prefixlen != prefixlen:
        raise KernelError(EINVAL)
    if before is None and valid == 0:
        return
    first = not interface.of_family("inet6")
    new = state.interfaces.new_address("inet6", address, prefixlen)
    new.peer = other
    words = [flag for flag in flags if flag not in ("deprecated", "tentative")]
    if before is not None:
        new.id = before.id
        new.seen = before.seen
        if "tentative" in before.flags:
            words.append("tentative")
    elif not first or not interface.nd6 & nd6.IFDISABLED:
        words += _detection(state, interface)
    new.flags = tuple(words)
    new.pltime, new.vltime, new.since = preferred, valid, state.now
    assign.give(state, interface, new)
    _enable(state, interface)
    _schedule(state, new.vltime)
    if first:
        generic.set_up(state, interface, True)
    attach_link_local(state, interface)
    finish_detection(state, interface)


def delete(state: KernelState, interface: Interface, text: str | None) -> None:
    """Removes an address. EADDRNOTAVAIL if it is not there."""
    found = interface.addresses.get(("inet6", unparse(_parse(text)))) if text is not None else None
    if found is None:
        raise KernelError(EADDRNOTAVAIL)
    assign.take(state, interface, found)


def _parse(text: str) -> bytes:
    family, packed, _zone = parse(text)  # a zone is the interface's own, whatever was said
    if family != "inet6":
        raise KernelError(EINVAL)
    return packed


def _enable(state: KernelState, interface: Interface) -> None:
    if interface.nd6 & nd6.IFDISABLED:
        interface.nd6 &= ~nd6.IFDISABLED
        state.interfaces.save(interface)


def set_nd6_flags(state: KernelState, interface: Interface, on: int, off: int) -> None:
    """SIOCSIFINFO_IN6: sets and clears flags of Neighbor Discovery; DEFAULTIF is not one of them."""
    before = interface.nd6
    after = before & ~(off & nd6.SETTABLE) | on & nd6.SETTABLE
    if after == before:
        return
    changed = before ^ after
    if changed & (nd6.ACCEPT_RTADV | nd6.NO_DAD):
        host, index = state.host, interface.index

        def tell(flags: int) -> None:
            host.set_neighbor_discovery(
                index,
                accept_rtadv=bool(flags & nd6.ACCEPT_RTADV) if changed & nd6.ACCEPT_RTADV else None,
                detect_duplicates=not flags & nd6.NO_DAD if changed & nd6.NO_DAD else None,
            )

        tell(after)
        state.undo(lambda: tell(before))
    interface.nd6 = after
    state.interfaces.save(interface)
    state.interface_changed(interface)
    if after & nd6.IFDISABLED and not before & nd6.IFDISABLED:
        start_detection(state, interface)
    attach_link_local(state, interface)
    finish_detection(state, interface)


# the link-local address


def attach_link_local(state: KernelState, interface: Interface) -> None:
    """Gives an interface that is UP its link-local address, if it has none and is to have one.

    Linux does that by itself for the interfaces that are its own.
    """
    wanted = nd6.IFDISABLED | nd6.AUTO_LINKLOCAL
    if not interface.up or interface.nd6 & wanted != nd6.AUTO_LINKLOCAL:
        return
    if not state.host.may_change or (state.host.live and interface.cloner is None):
        return
    if any(is_link_local(_parse(address.address)) for address in interface.of_family("inet6")):
        return
    loopback = bool(interface.all_flags & IFF_LOOPBACK)
    identifier = b"\0\0\0\0\0\0\0\1" if loopback else _identifier(state, interface)
    address = state.interfaces.new_address("inet6", unparse(b"\xfe\x80" + bytes(6) + identifier), 64)
    address.flags = tuple(_detection(state, interface))
    address.since = state.now
    try:
        assign.give(state, interface, address)
    except KernelError as error:
        # Linux may have been faster.
        if error.errno != EEXIST:
            raise


def _identifier(state: KernelState, interface: Interface) -> bytes:
    """64 bits: from the interface's own Ethernet address, or borrowed from the first universal one, or random."""
    for each in (interface, *state.interfaces):
        octets = bytes.fromhex(each.link.lladdr.replace(":", "")) if each.link.lladdr else b""
        if len(octets) == 6 and any(octets) and (each is interface or not octets[0] & 2):
            return bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    octets = os.urandom(8)
    return bytes((octets[0] & ~2,)) + octets[1:]


# duplicate address detection (RFC 4862 section 5.4): here without anybody who could object, so that it ends as soon as
# the interface is UP and RUNNING


def _detection(state: KernelState, interface: Interface) -> list[str]:
    """The flags with which a new address starts."""
    if state.host.live or interface.nd6 & nd6.NO_DAD or interface.all_flags & IFF_LOOPBACK:
        return []
    return ["tentative"] if state.sysctl.value("net.inet6.ip6.dad_count") > 0 else []


def start_detection(state: KernelState, interface: Interface) -> None:
    """Makes all addresses tentative again."""
    for address in interface.of_family("inet6"):
        if "tentative" not in address.flags and _detection(state, interface):
            address.flags += ("tentative",)
            state.interfaces.save_address(interface, address)


def finish_detection(state: KernelState, interface: Interface) -> None:
    """Ends detection if the interface can be used."""
    both = IFF_UP | IFF_RUNNING
    if interface.nd6 & nd6.IFDISABLED or interface.all_flags & both != both:
        return
    for address in interface.of_family("inet6"):
        if "tentative" in address.flags:
            address.flags = tuple(flag for flag in address.flags if flag != "tentative")
            state.interfaces.save_address(interface, address)
            state.interface_changed(interface)


# lifetimes


def _schedule(state: KernelState, vltime: int | None) -> None:
    if vltime is not None:
        state.next_expiry = min(state.next_expiry, state.now + vltime)


def expire(state: KernelState) -> None:
    """Removes the addresses of a simulated host whose valid lifetime is over."""
    if state.host.live or state.now < state.next_expiry:
        return
    state.next_expiry = float("inf")
    for interface in list(state.interfaces):
        for address in interface.of_family("inet6"):
            if address.left(address.vltime, state.now) == 0:
                assign.take(state, interface, address)
            elif address.vltime is not None:
                state.next_expiry = min(state.next_expiry, address.since + address.vltime)
