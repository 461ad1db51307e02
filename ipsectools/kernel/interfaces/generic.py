"""What every interface has: flags, MTU, metric, name, description, groups, FIBs, capabilities, link-level address."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL, ENAMETOOLONG, ENOENT, KernelError
from ipsectools.host.api import IFF_NOARP, IFF_PPROMISC, IFF_UP
from ipsectools.kernel.addresses import assign
from ipsectools.kernel.interfaces import fib as fib_rules
from ipsectools.kernel.interfaces import kinds
from ipsectools.kernel.interfaces.device import alias_of
from ipsectools.kernel.interfaces.interface import IFF_OWN, IFF_PALLMULTI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

MTU_RANGE = range(72, 65535 + 1)
NAME_LENGTH = 15  # bytes
GROUP_LENGTH = 15


def refresh(state: KernelState, interface: Interface) -> None:
    """Reads the link again after the host changed it for us."""
    link = state.host.link(interface.index)
    if link is not None:
        interface.link = link


def _on_host(state: KernelState, interface: Interface, forward: Callable[[], None], back: Callable[[], None]) -> None:
    forward()
    state.undo(back)
    refresh(state, interface)


def set_up(state: KernelState, interface: Interface, up: bool) -> None:
    """Sets or clears UP."""
    if interface.up == up:
        return
    host, index = state.host, interface.index
    _on_host(state, interface, lambda: host.set_link(index, up=up), lambda: host.set_link(index, up=not up))
    if not up:
        assign.keep(state, interface)
    interface.up = up
    state.interfaces.save(interface)
    state.link_state_changed(interface)


def set_flags(state: KernelState, interface: Interface, on: int, off: int) -> None:
    """SIOCSIFFLAGS: flags that nobody may set are left alone, silently."""
    host, index = state.host, interface.index
    before = interface.flags
    interface.flags = before & ~(off & IFF_OWN) | on & IFF_OWN
    changed = before ^ interface.flags
    after = interface.flags
    if changed:
        state.interfaces.save(interface)
        state.interface_changed(interface)
    if changed & IFF_PPROMISC:
        promisc = bool(after & IFF_PPROMISC)
        _on_host(
            state,
            interface,
            lambda: host.set_link(index, promisc=promisc),
            lambda: host.set_link(index, promisc=not promisc),
        )
    if changed & IFF_PALLMULTI:
        allmulti = bool(after & IFF_PALLMULTI)
        _on_host(
            state,
            interface,
            lambda: host.set_link(index, allmulti=allmulti),
            lambda: host.set_link(index, allmulti=not allmulti),
        )
    if changed & IFF_NOARP and interface.iftype == "ether":
        arp = not after & IFF_NOARP
        _on_host(state, interface, lambda: host.set_link(index, arp=arp), lambda: host.set_link(index, arp=not arp))
    if (on | off) & IFF_UP:
        set_up(state, interface, bool(on & IFF_UP))


def set_mtu(state: KernelState, interface: Interface, mtu: int) -> None:
    """SIOCSIFMTU. EINVAL: outside 72..65535, or what the kind of interface allows."""
    kind = kinds.of(interface)
    if mtu not in (kind.mtu_range if kind is not None else MTU_RANGE):
        raise KernelError(EINVAL)
    if mtu == interface.mtu:
        return
    host, index, before = state.host, interface.index, interface.mtu
    _on_host(state, interface, lambda: host.set_link(index, mtu=mtu), lambda: host.set_link(index, mtu=before))
    interface.mtu = mtu
    state.interfaces.save(interface)
    state.interface_changed(interface)


def set_metric(state: KernelState, interface: Interface, metric: int) -> None:
    """SIOCSIFMETRIC."""
    interface.metric = metric
    state.interfaces.save(interface)
    state.interface_changed(interface)


def set_name(state: KernelState, interface: Interface, name: str) -> None:
    """SIOCSIFNAME. ENAMETOOLONG, EEXIST; EINVAL: empty, or a name that Linux could not have. The unit stays held."""
    if len(name.encode("utf-8", "surrogateescape")) > NAME_LENGTH:
        raise KernelError(ENAMETOOLONG)
    if not name:
        raise KernelError(EINVAL)
    if name == interface.name:
        return
    if state.interfaces.by_name(name) is not None:
        raise KernelError(EEXIST)
    if name in (".", "..") or not name.isprintable() or any(each in "/:% " for each in name):
        raise KernelError(EINVAL)
    host, index, before = state.host, interface.index, interface.name
    _on_host(state, interface, lambda: host.set_link(index, name=name), lambda: host.set_link(index, name=before))
    state.interfaces.rename(interface, name)
    state.interfaces.save(interface)
    state.interface_changed(interface)


def set_description(state: KernelState, interface: Interface, text: str) -> None:
    """SIOCSIFDESCR; empty clears. ENAMETOOLONG: with its end longer than net.ifdescr_maxlen bytes."""
    if text and len(text.encode("utf-8", "surrogateescape")) + 1 > state.sysctl.value("net.ifdescr_maxlen"):
        raise KernelError(ENAMETOOLONG)
    if text == interface.description:
        return
    host, index = state.host, interface.index
    alias, before = alias_of(text), alias_of(interface.description)
    _on_host(state, interface, lambda: host.set_link(index, alias=alias), lambda: host.set_link(index, alias=before))
    interface.description = text
    state.interfaces.save(interface)
    state.interface_changed(interface)


def join_group(state: KernelState, interface: Interface, group: str) -> None:
    """SIOCAIFGROUP. EEXIST: already a member; EINVAL: no name of a group (it must not end in a digit)."""
    length = len(group.encode("utf-8", "surrogateescape"))
    if not 0 < length <= GROUP_LENGTH or group[-1] in "0123456789" or not _is_text(group):
        raise KernelError(EINVAL)
    if group in interface.groups:
        raise KernelError(EEXIST)
    state.interfaces.join(interface, group)
    state.interface_changed(interface)


def leave_group(state: KernelState, interface: Interface, group: str) -> None:
    """SIOCDIFGROUP. ENOENT: not a member."""
    if group not in interface.groups:
        raise KernelError(ENOENT)
    state.interfaces.leave(interface, group)
    state.interface_changed(interface)


def _is_text(text: str) -> bool:
    """Whether the text can be kept as such (an argument that is not UTF-8 comes with surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def set_fib(state: KernelState, interface: Interface, fib: int) -> None:
    """SIOCSIFFIB: the routing table for packets received on the interface."""
    fib_rules.check(state, fib)
    if fib == interface.fib:
        return
    host, index, before = state.host, interface.index, interface.fib
    host.set_receive_fib(index, fib)
    state.undo(lambda: host.set_receive_fib(index, before))
    interface.fib = fib
    state.interfaces.save(interface)
    fib_rules.apply(state)
    state.interface_changed(interface)


def set_tunnel_fib(state: KernelState, interface: Interface, fib: int) -> None:
    """SIOCSTUNFIB: the routing table for the outer packets. EINVAL also if the interface has none."""
    if not interface.has_end_points:
        raise KernelError(EINVAL)
    fib_rules.check(state, fib)
    if fib == interface.tunnelfib:
        return
    interface.tunnelfib = fib
    state.interfaces.save(interface)
    fib_rules.apply(state)
    state.interface_changed(interface)


def set_capabilities(state: KernelState, interface: Interface, value: int) -> None:
    """SIOCSIFCAP. EINVAL: something that the interface cannot do."""
    if value & ~interface.capabilities:
        raise KernelError(EINVAL)
    interface.options = value
    state.interfaces.save(interface)
    state.interface_changed(interface)


def set_link_address(state: KernelState, interface: Interface, text: str) -> None:
    """SIOCSIFLLADDR. EINVAL: no six octets, or an interface without a link-level address."""
    try:
        octets = bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise KernelError(EINVAL) from None
    if len(octets) != 6 or interface.link.lladdr is None or interface.iftype == "loop":
        raise KernelError(EINVAL)
    host, index, before = state.host, interface.index, interface.link.lladdr
    after = octets.hex(":")
    _on_host(state, interface, lambda: host.set_link(index, lladdr=after), lambda: host.set_link(index, lladdr=before))
    state.interface_changed(interface)


def find_members(state: KernelState, group: str) -> list[str]:
    """SIOCGIFGMEMB: names in order of joining, none for an unknown group."""
    return [interface.name for interface in state.interfaces.members(group)]
