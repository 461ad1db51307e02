"""The host's device of an interface: what it needs to be made again as it was."""

from __future__ import annotations

from ipsectools.kernel.addresses import assign
from ipsectools.kernel.interfaces import kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Address, Host
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState


class Device:
    """All that a device on the host needs to be made again."""

    __slots__ = ("addresses", "alias", "index", "kind", "lladdr", "master", "members", "mtu", "name", "up")

    def __init__(self, state: KernelState, interface: Interface) -> None:
        kind = kinds.of(interface)
        assert kind is not None
        self.kind = kind
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
    indices = first.kind.make(host, [device.name for device in devices], first.mtu, first.index)
    for device, index in zip(devices, indices, strict=True):
        ethernet = device.kind.iftype != "tunnel" and device.lladdr is not None
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
