"""The core in plain Python at work: its devices and wire, its thread."""

from __future__ import annotations

import os
import select
import threading

from ipsectools.datapath import kept_traffic
from ipsectools.datapath.gate import Gate
from ipsectools.datapath.plain import PlainCore
from ipsectools.datapath.threads import settle_in
from ipsectools.esp.traffic import Traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from ipsectools.datapath.events import Events
    from ipsectools.datapath.plain_tables import Counted
    from ipsectools.datapath.statistics import Counters
    from ipsectools.datapath.tables import SA, Interface, Settings
    from ipsectools.esp.traffic import Place
    from ipsectools.host.api import Host


class PlainDriver:
    """Fulfils what `pump.Pump` needs with `plain.PlainCore`, on any host."""

    def __init__(self, host: Host, events: Events) -> None:
        self._host = host
        self._wire = host.open_wire()
        self._gate = Gate()
        self._core = PlainCore(self._wire, events)
        self._thread: threading.Thread | None = None
        self._bell = -1
        self._stopping = False

    @property
    def counters(self) -> Counters:
        return self._core.counters

    def interface_counters(self, index: int) -> Counted | None:
        return self._core.interface_counters(index)

    # tables

    def new_traffic(self, before: Traffic, place: Place | None) -> Traffic:
        if place is None or not isinstance(before, Traffic):
            return before
        return kept_traffic.kept(before, place)

    def old_traffic(self, traffic: Traffic) -> Traffic:
        return traffic if isinstance(traffic, Traffic) else kept_traffic.left(traffic)

    def grant(self, traffic: Traffic) -> None:
        """This core reads the limits themselves."""

    def pause_for_reservation(self) -> AbstractContextManager[None]:
        return self._gate

    def set_settings(self, settings: Settings) -> None:
        with self._gate:
            self._wire.tell_arrival(bool(settings.accept_unclaimed))
            self._core.set_settings(settings)

    def path_mtu(self, dst: bytes, mark: int) -> int:
        return self._wire.path_mtu(dst, mark)

    def set_doubt(self, index: int, doubt: bool) -> None:
        self._core.set_doubt(index, doubt)

    def set_interface(self, interface: Interface) -> None:
        tun = None if self._core.has_interface(interface.index) else self._host.open_tun(interface.name)
        with self._gate:
            self._core.set_interface(interface, tun)
        if tun is not None:
            self._ring()

    def remove_interface(self, index: int) -> None:
        with self._gate:
            self._core.remove_interface(index)
        self._ring()

    def set_inbound(self, sa: SA) -> None:
        with self._gate:
            self._core.set_inbound(sa)

    def remove_inbound(self, spi: int) -> None:
        with self._gate:
            self._core.remove_inbound(spi)

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        with self._gate:
            self._wire.encap(endpoints)
        self._ring()

    # packets

    def step(self, budget: int) -> int:
        with self._gate:
            return sum(self._core.read_tun(index, budget) for index, _ in self._core.tuns()) + self._core.read_wire(
                budget
            )

    def start(self, budget: int) -> None:
        self._stopping = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, args=(budget,), name="pump", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping = True
            self._ring()
            self._thread.join()
            self._thread = None
            os.close(self._bell)
            self._bell = -1

    def close(self) -> None:
        self._wire.close()

    def _ring(self) -> None:
        """Tells the thread that there are other descriptors to watch, or that it shall end."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def _run(self, budget: int) -> None:
        settle_in()
        while not self._stopping:
            with self._gate:
                poll = select.epoll()
                tuns = {tun.fileno(): index for index, tun in self._core.tuns()}
                for fd in (self._bell, *tuns, *self._wire.filenos()):
                    poll.register(fd, select.EPOLLIN)
            with poll:
                while not self._turn(poll, tuns, budget):
                    pass

    def _turn(self, poll: select.epoll, tuns: dict[int, int], budget: int) -> bool:
        """One wait and what came of it; True if there are other descriptors now."""
        ready = poll.poll()
        with self._gate:
            from_wire: set[int] = set()
            for fd, happened in ready:
                if fd == self._bell:
                    os.eventfd_read(fd)
                    return True
                if fd not in tuns:
                    from_wire.add(fd)
                elif not self._core.read_tun(tuns[fd], budget) and happened & select.EPOLLERR:
                    poll.unregister(fd)  # the device was destroyed; its interface goes next
            if from_wire:
                self._core.read_wire(budget, from_wire)
        return False
