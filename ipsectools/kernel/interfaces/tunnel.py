"""The outer end points of tunnels, whatever their kind, and RUNNING, which follows from them."""

from __future__ import annotations

from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENXIO, KernelError
from ipsectools.kernel.interfaces import kinds
from ipsectools.kernel.interfaces.interface import Tunnel
from ipsectools.kernel.numeric import is_link_local, is_unspecified, parse, unparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState


def set_end_points(state: KernelState, interface: Interface, family: str, src: str, dst: str) -> None:
    """SIOCSIFPHYADDR (`family` inet) and SIOCSIFPHYADDR_IN6 (inet6); the checks in FreeBSD's order.

    Not checked: whether the source is an address of this host, whether another interface has the same end points.
    """
    kind = _kind(interface)
    src_family, src_packed, src_zone = parse(src)
    dst_family, dst_packed, dst_zone = parse(dst)
    if src_family != dst_family:
        raise KernelError(EINVAL)
    if src_family != family:
        raise KernelError(EAFNOSUPPORT)
    if is_unspecified(src_packed) or is_unspecified(dst_packed):
        raise KernelError(EADDRNOTAVAIL)
    tunnel = Tunnel(
        family,
        unparse(src_packed),
        unparse(dst_packed),
        _zone(state, src_packed, src_zone),
        _zone(state, dst_packed, dst_zone),
    )
    if tunnel != interface.tunnel:
        kind.end_points_changing(state, interface, tunnel)
        state.interfaces.set_tunnel(interface, tunnel)
        state.interfaces.save(interface)
    _evaluate(state, interface)
    state.interface_changed(interface)


def delete_end_points(state: KernelState, interface: Interface) -> None:
    """SIOCDIFPHYADDR: no error if there are none."""
    kind = _kind(interface)
    if interface.tunnel is None:
        return
    kind.end_points_changing(state, interface, None)
    state.interfaces.set_tunnel(interface, None)
    state.interfaces.save(interface)
    _evaluate(state, interface)
    state.interface_changed(interface)


def _kind(interface: Interface) -> kinds.Kind:
    """EINVAL: the interface is no tunnel."""
    kind = kinds.of(interface)
    if kind is None or not kind.has_end_points:
        raise KernelError(EINVAL)
    return kind


def _zone(state: KernelState, packed: bytes, zone: str) -> int:
    """The interface index that a zone names, 0 for addresses without one. ENXIO if there is no such interface."""
    if not zone or not is_link_local(packed):
        return 0
    interface = state.interfaces.by_name(zone)
    if interface is None and zone.isascii() and zone.isdigit() and len(zone) < 11:
        interface = state.interfaces.by_index(int(zone))
    if interface is None:
        raise KernelError(ENXIO)
    return interface.index


def texts(state: KernelState, tunnel: Tunnel) -> tuple[str, str]:
    """Source and destination as they are shown, with the zone's name."""
    return _text(state, tunnel.src, tunnel.src_zone), _text(state, tunnel.dst, tunnel.dst_zone)


def _text(state: KernelState, address: str, zone: int) -> str:
    if not zone:
        return address
    interface = state.interfaces.by_index(zone)
    return f"{address}%{interface.name if interface else zone}"


# RUNNING follows the tunnel's source: it is set while that is an address of this host, whatever interface has it,
# and unless packets cannot pass the device.


def find_local_addresses(state: KernelState) -> None:
    """Counts the host's addresses from the beginning."""
    counts: dict[tuple[str, int], int] = {}
    for interface in state.interfaces:
        for address in interface.addresses.values():
            key = (address.address, interface.zone_of(address))
            counts[key] = counts.get(key, 0) + 1
    state.local_addresses = counts
    for interface in state.interfaces:
        interface.running = _is_running(state, interface)


def local_address_added(state: KernelState, address: str, zone: int) -> None:
    count = state.local_addresses.get((address, zone), 0)
    state.local_addresses[address, zone] = count + 1
    if not count:
        for interface in state.interfaces.by_tunnel_source(address, zone):
            _evaluate(state, interface)


def local_address_removed(state: KernelState, address: str, zone: int) -> None:
    count = state.local_addresses.pop((address, zone))
    if count > 1:
        state.local_addresses[address, zone] = count - 1
        return
    for interface in state.interfaces.by_tunnel_source(address, zone):
        _evaluate(state, interface)


def _is_running(state: KernelState, interface: Interface) -> bool:
    tunnel = interface.tunnel
    return not interface.trouble and tunnel is not None and (tunnel.src, tunnel.src_zone) in state.local_addresses


def set_trouble(state: KernelState, interface: Interface, trouble: str) -> None:
    """Why packets cannot pass the interface's device; empty if they can."""
    interface.trouble = trouble
    _evaluate(state, interface)


def _evaluate(state: KernelState, interface: Interface) -> None:
    running = _is_running(state, interface)
    if running != interface.running:
        interface.running = running
        state.link_state_changed(interface)
