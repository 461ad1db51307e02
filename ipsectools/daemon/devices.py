"""Devices of ipsec interfaces that the data path could not open: tried again, said so, taken back.

A device can be held by somebody else, who then gets in clear what is routed into it. Its interface is not RUNNING,
and `ifconfig`, `ipsectools why`, `ipsectools doctor` and the log say why; one that others than this user can have got
into (made by a release that gave devices no owner) is made anew, which throws them out.
"""

from __future__ import annotations

from ipsectools.errno import EBUSY, ENXIO, EPERM, KernelError
from ipsectools.kernel.interfaces import sync, tunnel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.kernel import Kernel

_TROUBLES = {
    EBUSY: "its device is held by another process",
    EPERM: "its device belongs to another user",
    ENXIO: "it has no device",
}
_JOINED = {1: "TCP over IPv4", 4: "TCP over IPv6", 5: "UDP"}
"""By virtio's GSO types."""
_BETWEEN_TRIES = 0.1
"""Seconds between two attempts to open the same device."""
_PATIENCE = 0.5
"""Seconds that an ipsecd which was killed may take to let go of its devices."""


class Devices:
    """Belongs to the Forwarder. Its requests are an observer's: none may be under way."""

    def __init__(self, kernel: Kernel, renew: Callable[[int], None], report: Callable[[str], None]) -> None:
        """`renew` opens the device of the interface with an index again, and says `opened` or `failed`."""
        self._kernel = kernel
        self._renew = renew
        self._report = report
        self._waiting: dict[int, float] = {}
        """Interfaces (indices) whose device could not be opened yet, and since when."""
        self._named: set[int] = set()
        """Those of them of which the administrator knows."""
        self._tried = 0.0

    def failed(self, interface: Interface, error: KernelError) -> None:
        self._waiting.setdefault(interface.index, self._kernel.now)
        self._set_trouble(interface, _TROUBLES.get(error.errno) or f"its device cannot be opened: {error}")

    def opened(self, interface: Interface) -> None:
        self._waiting.pop(interface.index, None)
        self._set_trouble(interface, "")
        if interface.index in self._named:
            self._named.discard(interface.index)
            self._report(f"{interface.name}: its device is ours again")

    def removed(self, index: int) -> None:
        self._waiting.pop(index, None)
        self._named.discard(index)

    def refused(self, index: int, kind: int) -> None:
        """Linux would not take packets of a GSO type of virtio that were joined, but took their parts."""
        interface = self._kernel.interfaces.by_index(index)
        if interface is not None:
            joined = _JOINED.get(kind, f"type {kind}")
            self._report(f"{interface.name}: Linux takes no joined packets of {joined}: each goes by itself")

    def _set_trouble(self, interface: Interface, trouble: str) -> None:
        if interface.trouble == trouble:
            return
        try:
            with self._kernel.request(self._kernel.now):
                tunnel.set_trouble(self._kernel, interface, trouble)
        except KernelError as error:
            self._report(f"state: {error}")

    def try_again(self, now: float) -> None:
        """Opens what could not be opened. To be called often; says and does something where that lasts."""
        if not self._waiting or 0 <= now - self._tried < _BETWEEN_TRIES:
            return
        self._tried = now
        for index, since in list(self._waiting.items()):
            self._renew(index)
            if index not in self._waiting:
                continue
            interface = self._kernel.interfaces.by_index(index)
            if interface is None:
                self.removed(index)
            elif now - since >= _PATIENCE:
                self._insist(interface, now)

    def _insist(self, interface: Interface, now: float) -> None:
        index, name, trouble = interface.index, interface.name, interface.trouble
        try:
            with self._kernel.request(now):
                anew = sync.retake(self._kernel, interface)
        except KernelError as error:
            anew, trouble = False, f"{trouble}, and cannot be made anew: {error}"
        if anew:
            self._report(f"{name}: {trouble}: made anew")
            self._renew(interface.index)
        elif index not in self._named:
            self._named.add(index)
            self._report(f"{name}: {trouble}: no packets until it is let go or {name} is destroyed")
