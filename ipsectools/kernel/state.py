"""What one emulated kernel has, and the two things that any part of it may do with that: `undo`, and tell what changed.

Everything below `kernel.py` takes a `KernelState`; nothing below takes the `Kernel`, which makes requests.
"""

from __future__ import annotations

from collections import OrderedDict

from ipsectools.kernel.interfaces.list import Interfaces
from ipsectools.kernel.key.dispatch import Dispatcher
from ipsectools.kernel.key.ledger import Ledger
from ipsectools.kernel.sysctl import Sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from ipsectools.host.api import Host
    from ipsectools.kernel.interfaces.interface import Interface, InterfaceAddress
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.store import Store

    class Observer(Protocol):
        """Who wants to know what a request changed: told after it was made permanent and before its answer leaves."""

        def sa_changed(self, sa: SecurityAssociation) -> None: ...
        def sa_removed(self, sa: SecurityAssociation) -> None: ...
        def interface_changed(self, interface: Interface) -> None: ...
        def interface_removed(self, index: int) -> None: ...
        def sysctl_changed(self, name: str) -> None: ...
        def reloaded(self) -> None:
            """A request was undone: interfaces are new objects now; SAs are the same, as they were before it."""


class KernelState:
    """Store, host, sysctl variables, interfaces and key engine of one emulated kernel; its time in unix seconds."""

    def __init__(self, store: Store, host: Host, now: float, make_ledger: Callable[[Store], Ledger] = Ledger) -> None:
        self.store = store
        self.host = host
        self.now = now
        self.observers: list[Observer] = []
        self.link_followers: list[Callable[[KernelState, Interface], None]] = []
        """Who acts at once, within the request, when UP or RUNNING of an interface changes."""
        self.address_followers: list[Callable[[Interface, InterfaceAddress], None]] = []
        """Who acts before the host is given an address."""
        self.touched: set[int] = set()
        """Positions of ipsec interfaces to whose routes something may have happened (see `addresses.routes`)."""
        self.withdrawn: dict[int, set[tuple[str, str]]] = {}
        """Addresses that the host took away by itself, and will be given again: families and texts by position."""
        self.interface_counters: Callable[[int], tuple[int, int, int, int, int, int] | None] | None = None
        """Set by the data path: FreeBSD's counters of an ipsec interface, by index (see `host.api.Link.statistics`)."""
        self.ipsec_statistics: Callable[[], Any] | None = None
        """Set by the data path: what the op STATISTICS answers (see `kernel.statistics`)."""
        self._undo: list[Callable[[], None]] = []
        self._events: OrderedDict[tuple[object, ...], tuple[str, tuple[Any, ...]]] = OrderedDict()
        self.sysctl: Sysctl = Sysctl(store)
        self.interfaces = Interfaces(store)
        self.local_addresses: dict[tuple[str, int], int] = {}
        """How often the host has an address, by (text, zone); the zone is 0 unless it is link-local."""
        self.next_expiry = 0.0
        """When the next IPv6 address of a simulated host expires, at the earliest."""
        self.send_fibs: tuple[set[int], int] | None = None
        """The FIBs by which marked packets are routed, and the mask of their marks, as the host was told last."""
        self.engine = Dispatcher(store, self.sysctl.value, make_ledger)
        self.engine.observers.append(self)

    def undo(self, step: Callable[[], None]) -> None:
        """Registers what takes back a change of the host, if this request fails.

        A host that keeps its rows in the state file is taken back with the file.
        """
        if not self.host.tables:
            self._undo.append(step)

    def touch(self, interface: Interface) -> None:
        """After this the host may have other routes into the interface: looked after before the request ends."""
        if interface.moves_packets:
            self.touched.add(interface.position)

    def _tell(self, name: str, *values: object) -> None:
        key = (name, *[value if isinstance(value, (int, str)) else id(value) for value in values])
        self._events.pop(key, None)
        self._events[key] = (name, values)

    def interface_changed(self, interface: Interface) -> None:
        self._tell("interface_changed", interface)

    def link_state_changed(self, interface: Interface) -> None:
        """UP or RUNNING is another now."""
        for follow in self.link_followers:
            follow(self, interface)
        self.touch(interface)
        self.interface_changed(interface)

    def interface_removed(self, interface: Interface) -> None:
        self._events.pop(("interface_changed", id(interface)), None)
        self._tell("interface_removed", interface.index)

    def sysctl_changed(self, name: str) -> None:
        self._tell("sysctl_changed", name)

    def sa_changed(self, sa: SecurityAssociation) -> None:
        """The key engine says so."""
        self._tell("sa_changed", sa)

    def sa_removed(self, sa: SecurityAssociation) -> None:
        """The key engine says so."""
        self._events.pop(("sa_changed", id(sa)), None)
        self._tell("sa_removed", sa)
