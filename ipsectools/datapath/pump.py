"""The pump: what the rest of the program sees of the data path, whichever core moves the packets.

Whoever owns the kernel calls `set_*`/`remove_*` from one thread; each takes constant time at any number of SAs and is
in force when it returns. Packets move either in the pump's own threads (`start`, `stop`) or in the caller's (`step`).
"""

from __future__ import annotations

from ipsectools.datapath import core_status
from ipsectools.datapath.paths import LOOKS_AT_ONCE
from ipsectools.datapath.statistics import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from ipsectools.datapath.events import Events
    from ipsectools.datapath.plain_tables import Counted
    from ipsectools.datapath.statistics import Counters
    from ipsectools.datapath.tables import SA, Interface, Settings
    from ipsectools.esp.traffic import Place, Traffic
    from ipsectools.host.api import Host

    class Driver(Protocol):
        """A core with its devices, sockets and threads. The methods are those of `Pump`, without its bookkeeping."""

        @property
        def counters(self) -> Counters: ...
        def interface_counters(self, index: int) -> Counted | None: ...
        def new_traffic(self, before: Traffic, place: Place | None) -> Traffic: ...
        def old_traffic(self, traffic: Traffic) -> Traffic: ...
        def grant(self, traffic: Traffic) -> None: ...
        def pause_for_reservation(self) -> AbstractContextManager[None]: ...
        def set_settings(self, settings: Settings) -> None: ...
        def path_mtu(self, dst: bytes, mark: int) -> int: ...
        def set_doubt(self, index: int, doubt: bool) -> None: ...
        def set_interface(self, interface: Interface) -> None: ...
        def remove_interface(self, index: int) -> None: ...
        def set_inbound(self, sa: SA) -> None: ...
        def remove_inbound(self, spi: int) -> None: ...
        def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None: ...
        def step(self, budget: int) -> int: ...
        def start(self, budget: int) -> None: ...
        def stop(self) -> None: ...
        def close(self) -> None: ...


BUDGET = 64
"""Packets taken from one descriptor before the others have their turn."""


def make_driver(host: Host, events: Events, core: str) -> Driver:
    """`core`: "compiled" or "python". Raises ImportError if the compiled one was not built."""
    if core == "python":
        from ipsectools.datapath.driver import PlainDriver

        return PlainDriver(host, events)
    from ipsectools.datapath.compiled import LinuxDriver, MemoryDriver

    return LinuxDriver(events) if host.live else MemoryDriver(host, events)


class Pump:
    """One network namespace's data path. `core`: "auto" (compiled if it is there), "compiled" or "python".

    `core_name` is the core that it has, `core_reason` which one or why; `driver` is that core at work, for tests that
    look at it; `interfaces` are the interfaces as they were last set.
    """

    def __init__(self, host: Host, events: Events, core: str = "auto") -> None:
        """Raises OSError where there are no sockets for ESP to be had."""
        possible, reason = core_status()
        self.core_name = possible if core == "auto" else core
        self.core_reason = reason if self.core_name == possible else "asked for"
        self.driver = make_driver(host, events, self.core_name)
        self.interfaces: dict[int, Interface] = {}
        self._inbound: dict[int, SA] = {}
        self._endpoints: dict[tuple[bytes, int], int] = {}
        self._running = False
        self._min_pmtu = 0
        self._paths: list[int] = []
        """Interfaces whose path is to be looked at."""

    # tables

    def new_traffic(self, before: Traffic, place: Place | None = None) -> Traffic:
        """The object that has to count for an SA from now on, starting with the numbers of `before`.

        `place`: where they are to be kept, and stand already.
        """
        return self.driver.new_traffic(before, place)

    def old_traffic(self, traffic: Traffic) -> Traffic:
        """The counters of an SA that has left all tables, as they are, in no such place any more."""
        return self.driver.old_traffic(traffic)

    def grant(self, traffic: Traffic) -> None:
        """What is reserved in `traffic` is committed, see `ipsectools.datapath`."""
        self.driver.grant(traffic)

    def pause_for_reservation(self) -> AbstractContextManager[None]:
        """Held from reservation to commit, see `ipsectools.datapath`."""
        return self.driver.pause_for_reservation()

    def set_settings(self, settings: Settings) -> None:
        self.driver.set_settings(settings)
        self._min_pmtu = settings.min_pmtu

    def set_interface(self, interface: Interface) -> None:
        """Adds or replaces an interface. Raises KernelError if its device cannot be opened."""
        before = self.interfaces.get(interface.index)
        self.driver.set_interface(interface)
        self.interfaces[interface.index] = interface
        self._use_endpoints(_sends_from(before), _sends_from(interface))

    def remove_interface(self, index: int) -> None:
        before = self.interfaces.pop(index, None)
        if before is not None:
            self.driver.remove_interface(index)
            self._use_endpoints(_sends_from(before), None)

    def set_inbound(self, sa: SA) -> None:
        """Adds or replaces the SA with this SPI for packets that arrive. The same SA keeps its replay window."""
        before = self._inbound.get(sa.spi)
        self.driver.set_inbound(sa)
        self._inbound[sa.spi] = sa
        self._use_endpoints(_receives_at(before), _receives_at(sa))

    def remove_inbound(self, spi: int) -> None:
        before = self._inbound.pop(spi, None)
        if before is not None:
            self.driver.remove_inbound(spi)
            self._use_endpoints(_receives_at(before), None)

    def _use_endpoints(self, before: tuple[bytes, int] | None, after: tuple[bytes, int] | None) -> None:
        """Keeps the list of local UDP endpoints, each of which any number of NAT-T SAs share."""
        if before == after:
            return
        known = len(self._endpoints)
        changed = False
        if after is not None:
            self._endpoints[after] = self._endpoints.get(after, 0) + 1
            changed = len(self._endpoints) != known
        if before is not None:
            self._endpoints[before] -= 1
            if not self._endpoints[before]:
                del self._endpoints[before]
                changed = True
        if changed:
            self.driver.encap(self._endpoints)

    def open_endpoints(self) -> None:
        """Tries again to open the UDP endpoints whose address was not this host's; to be called now and then."""
        if self._endpoints:
            self.driver.encap(self._endpoints)

    def look_at_paths(self) -> None:
        """Notes where the host believes a smaller path MTU than may be believed; to be called now and then.

        Of some interfaces a call, since the host is asked for each."""
        self._paths = self._paths or list(self.interfaces)
        for index in self._paths[-LOOKS_AT_ONCE:]:
            interface = self.interfaces.get(index)
            if interface is not None and interface.outbound is not None and len(interface.outbound.dst) == 4:
                mtu = self.driver.path_mtu(interface.outbound.dst, interface.mark)
                self.driver.set_doubt(index, mtu < self._min_pmtu)
        del self._paths[-LOOKS_AT_ONCE:]

    # packets

    def step(self, budget: int = BUDGET) -> int:
        """Moves what is there, up to `budget` packets from each device and from the wire; how many there were."""
        return self.driver.step(budget)

    def start(self) -> None:
        """Lets packets flow in threads of the pump's own."""
        if not self._running:
            self._running = True
            self.driver.start(BUDGET)

    def stop(self) -> None:
        """Ends the threads; what was read has been sent when this returns."""
        if self._running:
            self._running = False
            self.driver.stop()

    def close(self) -> None:
        """Stops, and lets go of devices and sockets (the devices stay)."""
        self.stop()
        for index in list(self.interfaces):
            self.remove_interface(index)
        for spi in list(self._inbound):
            self.remove_inbound(spi)
        self.driver.close()

    # what was counted

    def statistics(self) -> dict[str, Any]:
        """See `statistics.report`."""
        return report(self.driver.counters)

    def interface_counters(self, index: int) -> Counted | None:
        """(ipackets, ibytes, ierrors, opackets, obytes, oerrors) as FreeBSD counts them; None without interface."""
        return self.driver.interface_counters(index)


def _sends_from(interface: Interface | None) -> tuple[bytes, int] | None:
    """The local UDP endpoint that the interface's packets need."""
    if interface is None or interface.outbound is None or interface.outbound.natt is None:
        return None
    return interface.outbound.src, interface.outbound.natt[0]


def _receives_at(sa: SA | None) -> tuple[bytes, int] | None:
    """The local UDP endpoint at which an SA's packets arrive, if they may come over UDP."""
    return None if sa is None or sa.natt is None else (sa.dst, sa.natt[1])
