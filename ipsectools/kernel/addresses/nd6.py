"""IPv6 Neighbor Discovery's flags of an interface (ifconfig inet6 ifdisabled, accept_rtadv, ...)."""

from __future__ import annotations

from ipsectools.errno import EINVAL, KernelError
from ipsectools.host.api import IFF_LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

PERFORMNUD = 0x1
ACCEPT_RTADV = 0x2
PREFER_SOURCE = 0x4
IFDISABLED = 0x8
DONT_SET_IFROUTE = 0x10
AUTO_LINKLOCAL = 0x20
NO_RADR = 0x40
NO_PREFER_IFACE = 0x80
NO_DAD = 0x100
DEFAULTIF = 0x8000
SETTABLE = 0x1FF
"""What SIOCSIFINFO_IN6 changes."""


def initial(state: KernelState, interface: Interface) -> int:
    """The flags of a new interface, by the sysctls under net.inet6.ip6."""
    loopback = bool(interface.all_flags & IFF_LOOPBACK)
    bridge = interface.iftype == "bridge"
    flags = PERFORMNUD
    if not loopback:
        flags |= IFDISABLED
    if loopback or (state.sysctl.value("net.inet6.ip6.auto_linklocal") and not bridge):
        flags |= AUTO_LINKLOCAL
    if state.sysctl.value("net.inet6.ip6.accept_rtadv") and not loopback and not bridge:
        flags = flags & ~IFDISABLED | ACCEPT_RTADV
    if state.sysctl.value("net.inet6.ip6.no_radr") and not loopback:
        flags |= NO_RADR
    return flags


def of_host(state: KernelState, interface: Interface) -> int:
    """The flags of an interface that the host has set up by itself, as far as it knows such things."""
    flags = initial(state, interface)
    found = state.host.neighbor_discovery(interface.index)
    if found is not None:
        accepts, detects = found
        flags = flags & ~(ACCEPT_RTADV | NO_DAD) | (ACCEPT_RTADV if accepts else 0) | (0 if detects else NO_DAD)
    return flags


def set_default(state: KernelState, name: str | None) -> None:
    """SIOCSDEFIFACE_IN6: the interface on which destinations without a zone are looked for; None: none."""
    wanted = None
    if name is not None:
        wanted = state.interfaces.by_name(name)
        if wanted is None:
            raise KernelError(EINVAL)
    for interface in state.interfaces:
        flags = interface.nd6 | DEFAULTIF if interface is wanted else interface.nd6 & ~DEFAULTIF
        if flags != interface.nd6:
            interface.nd6 = flags
            state.interfaces.save(interface)
            state.interface_changed(interface)
