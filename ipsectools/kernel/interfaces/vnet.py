"""Interfaces that move to another vnet, which is a network namespace here (ifconfig vnet, -vnet).

Each namespace has its own kernel, and the two do not talk. An interface whose packets we move carries a label in its
device's alias, by which the kernel over there knows it: its first name and what its kind takes along (a reqid). It
loses tunnel, addresses and groups. For the way back the kernel here remembers what it lent, whoever moves it.
"""

from __future__ import annotations

from ipsectools.errno import EEXIST, ENXIO, KernelError
from ipsectools.kernel.interfaces import cloners, kinds, tunnel
from ipsectools.kernel.interfaces.cloners import LENT_TABLE
from ipsectools.kernel.interfaces.device import Device, restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Link
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

_MARK = "ipsectools from another vnet:"
_MARKS = (_MARK, "if_ipsec(4) from another vnet:")  # the second one is that of release 0.1


def move(state: KernelState, interface: Interface, vnet: str) -> None:
    """SIOCSIFVNET: the interface goes away from here. ENXIO: no such vnet; EEXIST: its name is in use there."""
    host, index, name = state.host, interface.index, interface.name
    kind = kinds.of(interface)
    device = Device(state, interface) if kind is not None else None
    if kind is not None:
        label = " ".join([interface.drivername, *kind.luggage(interface)])
        state.store.put(LENT_TABLE, (name, label))
    if interface.moves_packets:
        tunnel.delete_end_points(state, interface)
        alias = interface.link.alias
        host.set_link(index, alias=f"{_MARK} {label}")
        state.undo(lambda: host.set_link(index, alias=alias))
    cloners.forget(state, interface)
    host.move_link(index, vnet)

    def bring_back() -> None:
        back = host.fetch_link(name, vnet)
        if device is not None and len(device.kind.suffixes) == 1:
            host.destroy_link(back)
            restore(host, [device])

    state.undo(bring_back)


def reclaim(state: KernelState, name: str, vnet: str) -> None:
    """SIOCSIFRVNET. ENXIO: no such vnet, or no such interface in it; EEXIST: the name is in use here; EPERM: this
    process must not look into other namespaces (then its client may bring the interface)."""
    host = state.host
    if state.interfaces.by_name(name) is not None:
        raise KernelError(EEXIST)
    index = host.fetch_link(name, vnet)
    state.undo(lambda: host.move_link(index, vnet))
    link = host.link(index)
    if link is None:
        raise KernelError(ENXIO)
    if arrived(state, link) is None:
        state.interface_changed(cloners.adopt(state, link))


def arrived(state: KernelState, link: Link) -> Interface | None:
    """The cloned interface of a device that was lent from here, or that bears a label; None if it is neither.

    It keeps its unit if nobody here has that, and its reqid likewise.
    """
    if not state.host.may_change:
        return None  # it waits for a kernel that can take it
    alias = link.alias
    labelled = alias.startswith(_MARKS)
    words = (alias.partition(":")[2] if labelled else _lent(state, link.name)).split()
    found = kinds.of_driver(words[0]) if words else None
    if found is None:
        return None
    kind, unit = found
    if link.kind not in kind.devices or not kind.understands(words[1:]) or (labelled and not kind.moves_packets):
        return None
    state.store.delete(LENT_TABLE, link.name)
    interfaces = state.interfaces
    if len(interfaces.of_unit(kind.name, unit)) == len(kind.suffixes):
        unit = interfaces.free_unit(kind.name, f"{kind.name}{{}}{kind.suffixes[0]}")
    state.host.leave_addresses_alone(link.index)
    interface = cloners.adopt(state, link, kind, unit)
    if unit == found[1]:
        interface.drivername = words[0]
    kind.unpack(state, interface, words[1:])
    if labelled:
        # The label has done its work; a description did not travel.
        host, index = state.host, link.index
        host.set_link(index, alias="")
        state.undo(lambda: host.set_link(index, alias=alias))
        link.alias = interface.description = ""
    interfaces.save(interface)
    state.interface_changed(interface)
    return interface


def _lent(state: KernelState, name: str) -> str:
    for lent, label in state.store.rows(LENT_TABLE):
        if lent == name:
            return str(label)
    return ""
