"""if_ipsec(4): reqid, tunnel endpoints, the four policies of an interface, and when it is RUNNING."""

from __future__ import annotations

from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENXIO, KernelError
from ipsectools.kernel.interface import Tunnel
from ipsectools.kernel.numeric import is_link_local, is_unspecified, parse, unparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interface import Interface
    from ipsectools.kernel.kernel import Kernel

MTU = 1400
MTU_RANGE = range(1280, 8192 + 1)


def set_reqid(kernel: Kernel, interface: Interface, reqid: int) -> None:
    """IPSECSREQID. EEXIST: another ipsec interface has it; EINVAL: not an ipsec interface.

    0 asks for an automatic one if there is none yet, and else only makes the policies anew.
    """
    if not interface.is_ipsec:
        raise KernelError(EINVAL)
    if reqid and reqid == interface.reqid:
        return
    if reqid:
        if kernel.interfaces.by_reqid(reqid) is not None:
            raise KernelError(EEXIST)
        kernel.interfaces.set_reqid(interface, reqid)
        kernel.interfaces.save(interface)
    elif not interface.reqid:
        _assign_reqid(kernel, interface)
    if interface.tunnel is not None:
        _install_policies(kernel, interface, interface.tunnel)
    kernel.interfaces.save(interface)
    kernel.interface_changed(interface)


def _assign_reqid(kernel: Kernel, interface: Interface) -> None:
    reqid = kernel.engine.allocate_reqid(kernel.interfaces.reqids)
    kernel.interfaces.set_reqid(interface, reqid)


def set_tunnel(kernel: Kernel, interface: Interface, family: str, src: str, dst: str) -> None:
    """SIOCSIFPHYADDR (`family` inet) and SIOCSIFPHYADDR_IN6 (inet6); the checks in FreeBSD's order.

    Not checked: whether the source is an address of this host, whether another interface has the same endpoints.
    """
    if not interface.is_ipsec:
        raise KernelError(EINVAL)
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
        _zone(kernel, src_packed, src_zone),
        _zone(kernel, dst_packed, dst_zone),
    )
    if tunnel != interface.tunnel:
        if not interface.reqid:
            _assign_reqid(kernel, interface)
        _install_policies(kernel, interface, tunnel)
        kernel.interfaces.set_tunnel(interface, tunnel)
        kernel.interfaces.save(interface)
    _evaluate(kernel, interface)
    kernel.interface_changed(interface)


def _zone(kernel: Kernel, packed: bytes, zone: str) -> int:
    """The interface index that a zone names, 0 for addresses without one. ENXIO if there is no such interface."""
    if not zone or not is_link_local(packed):
        return 0
    interface = kernel.interfaces.by_name(zone)
    if interface is None and zone.isascii() and zone.isdigit() and len(zone) < 11:
        interface = kernel.interfaces.by_index(int(zone))
    if interface is None:
        raise KernelError(ENXIO)
    return interface.index


def _install_policies(kernel: Kernel, interface: Interface, tunnel: Tunnel) -> None:
    interface.policies = tuple(
        kernel.engine.install_interface_policies(
            interface.index, interface.reqid, tunnel.src, tunnel.dst, kernel.now, old=interface.policies
        )
    )


def renew_policies(kernel: Kernel, interface: Interface) -> None:
    """Makes the policies anew, because the interface's index is another now."""
    if interface.tunnel is not None:
        _install_policies(kernel, interface, interface.tunnel)
        kernel.interfaces.save(interface)


def delete_tunnel(kernel: Kernel, interface: Interface) -> None:
    """SIOCDIFPHYADDR: no error if there is none. The reqid stays."""
    if not interface.is_ipsec:
        raise KernelError(EINVAL)
    if interface.tunnel is None:
        return
    kernel.engine.remove_interface_policies(interface.policies, kernel.now)
    interface.policies = ()
    kernel.interfaces.set_tunnel(interface, None)
    kernel.interfaces.save(interface)
    _evaluate(kernel, interface)
    kernel.interface_changed(interface)


def tunnel_texts(kernel: Kernel, tunnel: Tunnel) -> tuple[str, str]:
    """Source and destination as they are shown, with the zone's name."""
    return _text(kernel, tunnel.src, tunnel.src_zone), _text(kernel, tunnel.dst, tunnel.dst_zone)


def _text(kernel: Kernel, address: str, zone: int) -> str:
    if not zone:
        return address
    interface = kernel.interfaces.by_index(zone)
    return f"{address}%{interface.name if interface else zone}"


# RUNNING follows the tunnel's source: it is set while that is an address of this host, whatever interface has it.


def find_local_addresses(kernel: Kernel) -> None:
    """Counts the host's addresses from the beginning."""
    counts: dict[tuple[str, int], int] = {}
    for interface in kernel.interfaces:
        for address in interface.addresses.values():
            key = (address.address, interface.zone_of(address))
            counts[key] = counts.get(key, 0) + 1
    kernel.local_addresses = counts
    for interface in kernel.interfaces:
        interface.running = _is_running(kernel, interface)


def local_address_added(kernel: Kernel, address: str, zone: int) -> None:
    count = kernel.local_addresses.get((address, zone), 0)
    kernel.local_addresses[address, zone] = count + 1
    if not count:
        for interface in kernel.interfaces.by_tunnel_source(address, zone):
            _evaluate(kernel, interface)


def local_address_removed(kernel: Kernel, address: str, zone: int) -> None:
    count = kernel.local_addresses.pop((address, zone))
    if count > 1:
        kernel.local_addresses[address, zone] = count - 1
        return
    for interface in kernel.interfaces.by_tunnel_source(address, zone):
        _evaluate(kernel, interface)


def _is_running(kernel: Kernel, interface: Interface) -> bool:
    tunnel = interface.tunnel
    return tunnel is not None and (tunnel.src, tunnel.src_zone) in kernel.local_addresses


def _evaluate(kernel: Kernel, interface: Interface) -> None:
    running = _is_running(kernel, interface)
    if running != interface.running:
        interface.running = running
        kernel.link_state_changed(interface)
