"""Interfaces that move to another vnet, which is a network namespace here (ifconfig vnet, -vnet).

Each namespace has its own kernel, and the two do not talk. An if_ipsec(4) interface that moves carries a label in its
device's alias, by which the kernel over there knows it; it keeps its reqid and loses tunnel, addresses and groups. For
the way back the kernel here remembers what it lent.
"""

from __future__ import annotations

from ipsectools.errno import EEXIST, ENXIO, KernelError
from ipsectools.kernel import cloners, if_ipsec
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Link
    from ipsectools.kernel.interface import Interface
    from ipsectools.kernel.kernel import Kernel

LENT_TABLE = Table("lent", "name TEXT", "label TEXT NOT NULL")
_MARK = "if_ipsec(4) from another vnet:"


def move(kernel: Kernel, interface: Interface, vnet: str) -> None:
    """SIOCSIFVNET: the interface goes away from here. ENXIO: no such vnet; EEXIST: its name is in use there."""
    host, index, name = kernel.host, interface.index, interface.name
    device = cloners.Device(kernel, interface) if interface.cloner is not None else None
    if interface.is_ipsec:
        if_ipsec.delete_tunnel(kernel, interface)
        label = f"{_MARK} {interface.drivername} {interface.reqid}"
        kernel.store.put(LENT_TABLE, (name, label))
        alias = interface.link.alias
        host.set_link(index, alias=label)
        kernel.undo(lambda: host.set_link(index, alias=alias))
    cloners.forget(kernel, interface)
    host.move_link(index, vnet)

    def bring_back() -> None:
        back = host.fetch_link(name, vnet)
        if device is not None and len(device.cloner.suffixes) == 1:
            host.destroy_link(back)
            cloners.restore(host, [device])

    kernel.undo(bring_back)


def reclaim(kernel: Kernel, name: str, vnet: str) -> None:
    """SIOCSIFRVNET. ENXIO: no such vnet, or no such interface in it; EEXIST: the name is in use here."""
    host = kernel.host
    if kernel.interfaces.by_name(name) is not None:
        raise KernelError(EEXIST)
    index = host.fetch_link(name, vnet)
    kernel.undo(lambda: host.move_link(index, vnet))
    link = host.link(index)
    if link is None:
        raise KernelError(ENXIO)
    for lent, label in list(kernel.store.rows(LENT_TABLE)):
        if lent == name and arrived(kernel, link, str(label)) is not None:
            kernel.store.delete(LENT_TABLE, name)
            return
    if arrived(kernel, link, link.alias) is None:
        kernel.interface_changed(cloners.adopt(kernel, link))


def arrived(kernel: Kernel, link: Link, label: str) -> Interface | None:
    """The if_ipsec interface of a TUN device that bears such a label; None if it does not.

    It keeps its unit if nobody here has that, and its reqid likewise.
    """
    if link.kind != "tun" or not label.startswith(_MARK):
        return None
    words = label.removeprefix(_MARK).split()
    if len(words) != 2 or not all(word.isascii() for word in words) or not words[1].isdigit():
        return None
    try:
        cloner = cloners.find(words[0])
        unit = cloner.unit_of(words[0])
    except KernelError:
        return None
    if cloner.name != "ipsec" or unit is None:
        return None
    interfaces = kernel.interfaces
    if unit > cloners.MAX_UNIT or interfaces.of_unit("ipsec", unit):
        unit = interfaces.free_unit("ipsec", "ipsec{}")
    interface = cloners.adopt(kernel, link, cloner, unit)
    reqid = int(words[1])
    if 0 < reqid < 1 << 32 and interfaces.by_reqid(reqid) is None:
        interfaces.set_reqid(interface, reqid)
    # The label has done its work; a description did not travel.
    host, index = kernel.host, link.index
    host.set_link(index, alias="")
    kernel.undo(lambda: host.set_link(index, alias=label))
    link.alias = interface.description = ""
    interfaces.save(interface)
    kernel.interface_changed(interface)
    return interface
