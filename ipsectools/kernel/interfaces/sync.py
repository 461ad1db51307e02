"""The host's links and addresses beside our interfaces: found again at start, followed while we run.

At start the state file is right: what the host has lost is made again. Later the host is right: what is taken away
there is gone here too.
"""

from __future__ import annotations

from contextlib import suppress

from ipsectools.errno import KernelError
from ipsectools.host.api import IFF_UP
from ipsectools.kernel.addresses import assign, inet6, nd6
from ipsectools.kernel.interfaces import cloners, fib, kinds, tunnel, vnet
from ipsectools.kernel.interfaces.device import Device, alias_of, restore
from ipsectools.kernel.interfaces.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ipsectools.host.api import Address, Link
    from ipsectools.kernel.interfaces.interface import Interface, InterfaceAddress
    from ipsectools.kernel.state import KernelState

TABLES = (cloners.BEGUN_TABLE, cloners.LENT_TABLE)


def attach(state: KernelState) -> None:
    """Puts the host's links beside the interfaces, as far as it has them. Changes nothing in the state file."""
    links = {link.index: link for link in state.host.links()}
    for interface in state.interfaces:
        link = links.get(interface.index)
        if link is not None and _is_of(interface, link):
            interface.link = link
        kinds.equip(interface)


def _is_of(interface: Interface, link: Link) -> bool:
    """Whether the link can be the interface's device."""
    kind = kinds.of(interface)
    return kind is None or link.kind in kind.devices


def reconcile(state: KernelState) -> None:
    """At start: interfaces find their links, by name and else by index; what the host lost is made again."""
    cloners.clean_up(state)
    links = {link.name: link for link in state.host.links()}
    missing = []
    for interface in list(state.interfaces):
        link = links.get(interface.name)
        if link is not None and _is_of(interface, link):
            _rebind(state, interface, links.pop(interface.name))
        else:
            missing.append(interface)
    by_index = {link.index: link for link in links.values()}
    lost = []
    for interface in missing:
        link = by_index.get(interface.index)
        if link is not None and _is_of(interface, link) and (interface.cloner is None) == _is_hardware(link):
            _rebind(state, interface, links.pop(by_index.pop(link.index).name))
        elif interface.cloner is None or interface.unit is None:
            cloners.forget(state, interface)
        else:
            lost.append(interface)
    while lost:
        unit = lost[0].unit
        assert unit is not None
        together = state.interfaces.of_unit(lost[0].cloner or "", unit)
        _make_again(state, together)
        lost = [each for each in lost if each not in together]
    _take_over(
        state,
        sorted(links.values(), key=lambda link: link.index),
        [interface.index for interface in state.interfaces] + [link.index for link in links.values()],
    )
    if not state.host.may_change:
        return
    for interface in state.interfaces:
        if interface.fib:
            state.host.set_receive_fib(interface.index, interface.fib)
    fib.apply(state)
    for interface in state.interfaces:
        if interface.cloner is not None and interface.link.owner == "nobody":
            with suppress(KernelError):  # who holds an ipsec interface's device is seen when it is opened
                state.host.claim_tun(interface.index)


def _is_hardware(link: Link) -> bool:
    return not any(link.kind and link.kind in kind.devices for kind in KINDS.values())


def follow(state: KernelState) -> None:
    """Later: links that came, went, or changed, and their addresses."""
    host, interfaces = state.host, state.interfaces
    changed = host.changed_links()
    if changed is None:
        links = {link.index: link for link in host.links()}
        changed = links.keys() | {interface.index for interface in interfaces}
    else:
        links = {index: link for index in changed if (link := host.link(index)) is not None}
    for index in sorted(changed):
        interface = interfaces.by_index(index)
        if interface is None:
            continue
        if index in links and _is_of(interface, links[index]):
            _rebind(state, interface, links.pop(index))
        elif not interface.lost:
            cloners.forget(state, interface)
    _take_over(state, sorted(links.values(), key=lambda link: link.index), changed)
    if host.rules_lost():
        with suppress(KernelError):
            fib.put_back(state)


def _rebind(state: KernelState, interface: Interface, link: Link) -> None:
    """The link of an interface as the host has it now, and what follows from it."""
    interface.lost = False
    before = interface.to_row()
    shown = interface.all_flags, interface.link.lladdr, interface.link.master
    was_up = interface.up
    interface.link = link
    interface.up = bool(link.flags & IFF_UP)
    interface.mtu = link.mtu
    if interface.cloner is None:
        interface.iftype = link.type
    if link.alias != alias_of(interface.description):
        interface.description = link.alias
    if link.name != interface.name:
        before_name = interface.name
        state.interfaces.rename(interface, link.name)
        with suppress(KernelError):
            fib.renamed(state, interface, before_name)
    if link.index != interface.index:
        state.interfaces.set_index(interface, link.index)
        tunnel.find_local_addresses(state)  # link-local ones go by the index
        kind = kinds.of(interface)
        if kind is not None:
            kind.index_changed(state, interface)
    if interface.to_row() != before:
        state.interfaces.save(interface)
    state.touch(interface)
    if interface.up != was_up:
        state.link_state_changed(interface)
    elif interface.to_row() != before or shown != (interface.all_flags, link.lladdr, link.master):
        state.interface_changed(interface)


def retake(state: KernelState, interface: Interface) -> bool:
    """Makes the device of an ipsec interface anew, if others than this user can be in it or it is gone.

    Whoever holds the old one holds nothing then. False: there is no reason to.
    """
    if not interface.lost:
        link = state.host.link(interface.index)
        if link is None or link.owner not in ("nobody", "others"):
            return False
        state.host.destroy_link(interface.index)
    _make_again(state, [interface])
    return not interface.lost


def _make_again(state: KernelState, together: list[Interface]) -> None:
    """Makes a lost device. If the host refuses, the interface stays in the books and is tried at the next start."""
    host = state.host
    try:
        indices = restore(host, [Device(state, interface) for interface in together])
    except KernelError:
        for interface in together:
            interface.lost = True
        return
    for interface, index in zip(together, indices, strict=True):
        link = host.link(index)
        if link is not None:
            _rebind(state, interface, link)


def _take_over(state: KernelState, new: list[Link], changed: Collection[int]) -> None:
    """Enters links that nobody knew yet, and brings the addresses of changed ones up to date."""
    entered = [_enter(state, link) for link in new]
    by_index: dict[int, list[Address]] = {index: [] for index in changed}
    for address in state.host.addresses():
        if address.index in by_index:
            by_index[address.index].append(address)
    withdrawn = state.host.withdrawn_addresses()
    for index, found in by_index.items():
        interface = state.interfaces.by_index(index)
        if interface is not None and not interface.lost:
            _note_withdrawn(state, interface, found, withdrawn)
            _take_addresses(state, interface, found)
    for interface in entered:
        # Whoever has IPv6 addresses already has IPv6 enabled.
        if interface.of_family("inet6"):
            interface.nd6 &= ~nd6.IFDISABLED
        state.interfaces.save(interface)
        state.interface_changed(interface)


def _enter(state: KernelState, link: Link) -> Interface:
    """The interface of a link that is new here."""
    if link.name == "lo0" and link.type == "loop" and not state.interfaces.of_unit("lo", 0):
        return cloners.adopt(state, link, KINDS["lo"], 0)
    return vnet.arrived(state, link) or cloners.adopt(state, link)


def _note_withdrawn(
    state: KernelState, interface: Interface, found: list[Address], withdrawn: Collection[tuple[int, str]] | None
) -> None:
    """IPv6 addresses that Linux itself took away (it does so when a link goes down) stay addresses of the tunnel."""
    if not interface.moves_packets:
        return
    present = {each.address for each in found if each.family == "inet6"}
    for address in interface.of_family("inet6"):
        if address.address not in present and (withdrawn is None or (interface.index, address.address) in withdrawn):
            assign.note_withdrawn(state, interface, address)


def _take_addresses(state: KernelState, interface: Interface, found: list[Address]) -> None:
    present = {(each.family, each.address): each for each in found}
    enabled = False
    for key, known in list(interface.addresses.items()):
        if key not in present and key not in state.withdrawn.get(interface.position, ()):
            assign.drop(state, interface, known)
    for key, there in present.items():
        here = interface.addresses.get(key)
        if here is None and assign.is_stray(state, interface, there):
            continue
        if here is None:
            here = state.interfaces.new_address(there.family, there.address, there.prefixlen)
            here.peer, here.broadcast, here.host_flags = there.peer, there.broadcast, there.flags
            _renew_lifetimes(state, here, there)
            assign.enter(state, interface, here)
            if there.family == "inet6" and interface.nd6 & nd6.IFDISABLED:
                interface.nd6 &= ~nd6.IFDISABLED
                state.interfaces.save(interface)
                enabled = True
        elif _differs(state, interface, here, there):
            assign.enter(state, interface, here)
    if enabled:
        inet6.attach_link_local(state, interface)


def _differs(state: KernelState, interface: Interface, here: InterfaceAddress, there: Address) -> bool:
    """Takes over what is different on the host. The mask of a point-to-point address is ours alone."""
    changed = False
    if here.peer != there.peer or (here.peer is None and here.prefixlen != there.prefixlen):
        here.peer, here.prefixlen = there.peer, there.prefixlen
        changed = True
    if here.host_flags != there.flags:
        here.host_flags = there.flags
        changed = True
    if (there.preferred, there.valid) != here.seen and state.host.live:
        expected = here.left(here.pltime, state.now), here.left(here.vltime, state.now)
        told = (there.preferred, there.valid)
        if not all(_is_about(one, other) for one, other in zip(expected, told, strict=True)):
            _renew_lifetimes(state, here, there)
            changed = True
        here.seen = told
    return changed


def _is_about(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 2


def _renew_lifetimes(state: KernelState, here: InterfaceAddress, there: Address) -> None:
    here.pltime, here.vltime, here.since = there.preferred, there.valid, state.now
    here.seen = there.preferred, there.valid
