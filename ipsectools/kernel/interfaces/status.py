"""Interfaces as ifconfig gets to see them: plain dicts (`answers.Interface`)."""

from __future__ import annotations

from ipsectools.kernel.interfaces import kinds, tunnel
from ipsectools.kernel.interfaces.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools import answers
    from ipsectools.host.api import Link
    from ipsectools.kernel.interfaces.interface import Interface, InterfaceAddress
    from ipsectools.kernel.state import KernelState

_ADDRESS_FLAGS = (
    "anycast",
    "tentative",
    "duplicated",
    "detached",
    "deprecated",
    "autoconf",
    "temporary",
    "prefer_source",
)
# ifmedia(4)'s names by Mb/s
_MEDIA = {
    10: "10baseT/UTP",
    100: "100baseTX",
    1000: "1000baseT",
    2500: "2500Base-T",
    5000: "5000Base-T",
    10000: "10Gbase-T",
    25000: "25GBase-T",
    40000: "40Gbase-CR4",
    50000: "50GBase-CR2",
    100000: "100GBase-CR4",
}


def list_interfaces(state: KernelState, name: str | None) -> list[answers.Interface]:
    """LISTIF: all interfaces in order of attachment, or the named one; nothing if there is none of that name."""
    if name is not None:
        interface = state.interfaces.by_name(name)
        if interface is None:
            return []
        return [_describe(state, interface, state.host.link(interface.index) or interface.link)]
    links = {link.index: link for link in state.host.links()}
    return [_describe(state, interface, links.get(interface.index, interface.link)) for interface in state.interfaces]


def _describe(state: KernelState, interface: Interface, link: Link) -> answers.Interface:
    counters = None
    if interface.moves_packets and state.interface_counters is not None:
        counters = state.interface_counters(interface.index)
    ipackets, ibytes, ierrors, opackets, obytes, oerrors = counters or link.statistics
    media, status = _media(interface, link)
    point_to_point = interface.is_point_to_point
    return {
        "name": interface.name,
        "index": interface.index,
        "flags": interface.all_flags,
        "mtu": interface.mtu,
        "metric": interface.metric,
        "description": interface.description,
        "options": interface.options,
        "capabilities": interface.capabilities,
        "iftype": interface.iftype,
        "lladdr": link.lladdr if interface.iftype in ("ether", "bridge") else None,
        "groups": list(interface.groups),
        "tunnel": _tunnel(state, interface),
        "fib": interface.fib,
        "tunnelfib": interface.tunnelfib,
        "nd6": interface.nd6,
        "inet": [_inet(address, point_to_point) for address in interface.of_family("inet")],
        "inet6": [_inet6(state, interface, address) for address in interface.of_family("inet6")],
        "media": media,
        "status": status,
        "drivername": interface.drivername,
        "statistics": {
            "ipackets": ipackets,
            "ibytes": ibytes,
            "ierrors": ierrors,
            "opackets": opackets,
            "obytes": obytes,
            "oerrors": oerrors,
        },
        "cloner": interface.cloner,
        "members": _members(state, interface),
        "trouble": interface.trouble or None,
        **_own(state, interface),
    }


def _own(state: KernelState, interface: Interface) -> answers.OfKinds:
    """What the kinds tell of their interfaces, null for those of other kinds."""
    told: Any = {member: None for kind in KINDS.values() for member in kind.members}
    kind = kinds.of(interface)
    if kind is not None:
        told |= kind.describe(state, interface)
    found: answers.OfKinds = told
    return found


def _tunnel(state: KernelState, interface: Interface) -> answers.Tunnel | None:
    if interface.tunnel is None:
        return None
    src, dst = tunnel.texts(state, interface.tunnel)
    return {"family": interface.tunnel.family, "src": src, "dst": dst}


def _inet(address: InterfaceAddress, point_to_point: bool) -> answers.InetAddress:
    return {
        "address": address.address,
        "peer": address.peer if point_to_point else None,
        "prefixlen": address.prefixlen,
        "broadcast": address.broadcast,
    }


def _inet6(state: KernelState, interface: Interface, address: InterfaceAddress) -> answers.Inet6Address:
    pltime_left = address.left(address.pltime, state.now)
    flags = {*address.flags, *address.host_flags}
    if pltime_left == 0:
        flags.add("deprecated")
    return {
        "address": address.address,
        "peer": address.peer,
        "prefixlen": address.prefixlen,
        "flags": [flag for flag in _ADDRESS_FLAGS if flag in flags],
        "scopeid": interface.zone_of(address),
        "pltime": address.pltime,
        "vltime": address.vltime,
        "pltime_left": pltime_left,
        "vltime_left": address.left(address.vltime, state.now),
    }


def _media(interface: Interface, link: Link) -> tuple[str | None, str | None]:
    """The media line's text and the status, where the host knows the state of a link."""
    if interface.iftype != "ether" or link.carrier is None:
        return None, None
    if not link.carrier:
        return "Ethernet autoselect", "no carrier"
    name = _MEDIA.get(link.speed or 0)
    if name is None:
        return "Ethernet autoselect", "active"
    active = f"{name} <{link.duplex}-duplex>" if link.duplex else name
    chosen = "10Gbase-T" if interface.cloner == "epair" else "autoselect"
    return f"Ethernet {chosen} ({active})", "active"


def _members(state: KernelState, interface: Interface) -> list[str] | None:
    if interface.iftype != "bridge":
        return None
    return [each.name for each in state.interfaces if each.link.master == interface.index]
