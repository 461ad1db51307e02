"""The pump: keeps the tables of a core up to date and lets it run.

Whoever owns the kernel calls `set_*`/`remove_*` from one thread; each takes constant time at any number of SAs and is
in force when it returns. Packets move either in the pump's own threads (`start`, `stop`) or in the caller's (`step`).
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import nullcontext

from ipsectools.datapath import core_status
from ipsectools.datapath.statistics import report
from ipsectools.datapath.tables import SA, Interface, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from ipsectools.datapath.events import Events
    from ipsectools.datapath.plain import Counted, PlainCore
    from ipsectools.esp.traffic import Traffic
    from ipsectools.host.api import Host

BUDGET = 64
"""Packets taken from one descriptor before the others have their turn."""


class Pump:
    """One network namespace's data path. `core`: "auto" (compiled if it is there), "compiled" or "python"."""

    def __init__(self, host: Host, events: Events, core: str = "auto") -> None:
        if core == "auto":
            core = core_status()[0]
        self.core_name = core
        self._host = host
        self._events = events
        self._wire = host.open_wire()
        self._core = self._make_core(core)
        self._gate = _Gate()
        self._known: set[int] = set()
        self._endpoints: dict[tuple[bytes, int], int] = {}
        self._inbound: dict[int, SA] = {}
        self._interfaces: dict[int, Interface] = {}
        self._thread: threading.Thread | None = None
        self._bell = -1
        self._stopping = False

    def _make_core(self, name: str) -> PlainCore:
        from ipsectools.datapath.plain import PlainCore

        return PlainCore(self._wire, self._events)

    # -- tables ----------------------------------------------------------------------------------------------------

    def new_traffic(self, before: Traffic) -> Traffic:
        """The object that has to count for an SA from now on, starting with the numbers of `before`."""
        return self._core.new_traffic(before)

    def grant(self, traffic: Traffic) -> None:
        """What is reserved in `traffic` is in the state file now and may be used."""
        self._core.grant(traffic)

    def pause_for_reservation(self) -> AbstractContextManager[None]:
        """Holds packets of a core that would use reserved numbers before `grant` says that it may."""
        return self._gate.change() if self._core.sees_reservations else nullcontext()

    @property
    def interfaces(self) -> dict[int, Interface]:
        """The interfaces as they were last set, by index."""
        return self._interfaces

    def set_relief(self, relief: Callable[[], None] | None) -> None:
        """What to call, in `step`, when an SA's reserved numbers ran out (the threads wait instead)."""
        self._core.relief = relief

    def set_settings(self, settings: Settings) -> None:
        with self._gate.change():
            self._core.set_settings(settings)

    def set_interface(self, interface: Interface) -> None:
        """Adds or replaces an interface. Raises KernelError if its device cannot be opened."""
        before = self._interfaces.get(interface.index)
        tun = None if before else self._host.open_tun(interface.name)
        with self._gate.change():
            self._core.set_interface(interface, tun)
            self._interfaces[interface.index] = interface
            self._use_endpoints(before.outbound if before else None, interface.outbound, outbound=True)
        if tun is not None:
            self._ring()

    def remove_interface(self, index: int) -> None:
        before = self._interfaces.pop(index, None)
        if before is None:
            return
        with self._gate.change():
            self._core.remove_interface(index)
            self._use_endpoints(before.outbound, None, outbound=True)
        self._ring()

    def set_inbound(self, sa: SA) -> None:
        """Adds or replaces the SA with this SPI for packets that arrive."""
        before = self._inbound.get(sa.spi)
        with self._gate.change():
            self._core.set_inbound(sa)
            self._inbound[sa.spi] = sa
            self._use_endpoints(before, sa, outbound=False)

    def remove_inbound(self, spi: int) -> None:
        before = self._inbound.pop(spi, None)
        if before is None:
            return
        with self._gate.change():
            self._core.remove_inbound(spi)
            self._use_endpoints(before, None, outbound=False)

    def _use_endpoints(self, before: SA | None, after: SA | None, *, outbound: bool) -> None:
        """Keeps the list of local UDP endpoints, which NAT-T SAs share."""
        changed = False
        for sa, step in ((before, -1), (after, 1)):
            if sa is None or sa.natt is None:
                continue
            endpoint = (sa.src, sa.natt[0]) if outbound else (sa.dst, sa.natt[1])
            users = self._endpoints.get(endpoint, 0) + step
            changed = changed or users == 0 or users == step
            if users:
                self._endpoints[endpoint] = users
            else:
                del self._endpoints[endpoint]
        if changed:
            self._wire.encap(self._endpoints)
            self._ring()

    # -- packets ---------------------------------------------------------------------------------------------------

    def step(self, budget: int = BUDGET) -> int:
        """Moves what is there, up to `budget` packets from each device and from the wire; how many there were."""
        with self._gate.turn():
            moved = sum(self._core.read_tun(index, budget) for index, _ in self._core.tuns())
            return moved + self._core.read_wire(budget)

    def start(self) -> None:
        """Lets packets flow in a thread of the pump's own."""
        if self._thread is not None:
            return
        self._stopping = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; what was read has been sent when this returns."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._ring()
            thread.join()
            os.close(self._bell)
            self._bell = -1

    def close(self) -> None:
        """Stops, and lets go of devices and sockets (the devices stay)."""
        self.stop()
        for index in list(self._interfaces):
            self.remove_interface(index)
        self._wire.close()

    def _ring(self) -> None:
        """Tells the thread that there are other descriptors to watch."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        while not self._stopping:
            poll, tuns = self._watch()
            with poll:
                while not self._turn(poll, tuns):
                    pass

    def _watch(self) -> tuple[select.epoll, dict[int, int]]:
        with self._gate.turn():
            poll = select.epoll()
            tuns = {tun.fileno(): index for index, tun in self._core.tuns()}
            for fd in (self._bell, *tuns, *self._wire.filenos()):
                poll.register(fd, select.EPOLLIN)
        return poll, tuns

    def _turn(self, poll: select.epoll, tuns: dict[int, int]) -> bool:
        """One wait and what came of it; True if the descriptors have changed."""
        ready = poll.poll()
        with self._gate.turn():
            from_wire = False
            for fd, happened in ready:
                if fd == self._bell:
                    os.eventfd_read(fd)
                    return True
                if fd in tuns:
                    moved = self._core.read_tun(tuns[fd], BUDGET)
                    if not moved and happened & select.EPOLLERR:
                        poll.unregister(fd)  # the device was destroyed; its interface goes next
                else:
                    from_wire = True
            if from_wire:
                self._core.read_wire(BUDGET)
        return False

    # -- what was counted ------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, Any]:
        """See `statistics.report`."""
        return report(self._core.counters)

    def interface_counters(self, index: int) -> Counted | None:
        """(ipackets, ibytes, ierrors, opackets, obytes, oerrors) as FreeBSD counts them; None without interface."""
        return self._core.interface_counters(index)


class _Gate:
    """Lets changes to the tables pass between two turns of the pump, before the next one even under full load."""

    def __init__(self) -> None:
        # Re-entrant: what relieves a turn in need of numbers may change tables while it is at it.
        self._door = threading.RLock()
        self._inside = threading.RLock()

    def change(self) -> _Held:
        return _Held(self._door, self._inside)

    def turn(self) -> _Held:
        # Whoever changes something holds the door until it is inside, so that no second turn slips in before it.
        return _Held(self._door, self._inside)


class _Held:
    __slots__ = ("_door", "_inside")

    def __init__(self, door: threading.RLock, inside: threading.RLock) -> None:
        self._door = door
        self._inside = inside

    def __enter__(self) -> None:
        with self._door:
            self._inside.acquire()

    def __exit__(self, *_: object) -> None:
        self._inside.release()
