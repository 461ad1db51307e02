"""Interfaces that move to another vnet, which is a network namespace here (ifconfig vnet, -vnet)."""

from __future__ import annotations

from ipsectools.errno import ENXIO, KernelError
from ipsectools.kernel import cloners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces import Interface
    from ipsectools.kernel.kernel import Kernel


def move(kernel: Kernel, interface: Interface, vnet: str) -> None:
    """SIOCSIFVNET: the interface goes away from here, without its tunnel, addresses and groups. ENXIO: no such vnet."""
    kernel.host.move_link(interface.index, vnet)
    cloners.forget(kernel, interface)


def reclaim(kernel: Kernel, name: str, vnet: str) -> None:
    """SIOCSIFRVNET. ENXIO: no such vnet, or no such interface in it."""
    raise KernelError(ENXIO)
