"""The compiled core at work: with devices, sockets and threads of its own on Linux, or fed by any other host's."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import nullcontext, suppress

from ipsectools.datapath import _fast
from ipsectools.datapath.tables import Settings
from ipsectools.datapath.threads import settle_in
from ipsectools.host.linux import sockets
from ipsectools.host.linux.encap import EncapSockets
from ipsectools.host.linux.inject import Injector
from ipsectools.host.linux.tun import OffloadTun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from ipsectools.datapath.events import Events
    from ipsectools.datapath.plain_tables import Counted
    from ipsectools.datapath.statistics import Counters
    from ipsectools.datapath.tables import SA, Interface
    from ipsectools.esp.traffic import Place, Traffic
    from ipsectools.host.api import Host, Tun
    from ipsectools.host.linux.encap import EncapSocket

MOST_WORKERS = 8
_NOT_AT_PLACE = ("iv", "iv_limit", "received_limit", "sequence_limit")
"""What an SA's place does not have yet: limits, and the first IV of a block of which none was used."""


class _Driver:
    """What both kinds of host have in common."""

    def __init__(self, core: _fast.Core) -> None:
        self._core = core
        core.set_settings(Settings())

    @property
    def counters(self) -> Counters:
        return self._core.counters

    def interface_counters(self, index: int) -> Counted | None:
        return self._core.interface_counters(index)

    def new_traffic(self, before: Traffic, place: Place | None) -> Traffic:
        """The counters of an SA where workers can reach them."""
        if isinstance(before, _fast.Traffic):
            return before
        traffic = _fast.Traffic(place)
        for field in before.__slots__ if place is None else _NOT_AT_PLACE:
            if value := getattr(before, field):  # of a new SA next to none
                setattr(traffic, field, value)
        traffic.grant()
        return traffic

    def old_traffic(self, traffic: Traffic) -> Traffic:
        if isinstance(traffic, _fast.Traffic):
            traffic.leave()
        return traffic

    def grant(self, traffic: Traffic) -> None:
        if isinstance(traffic, _fast.Traffic):
            traffic.grant()

    def pause_for_reservation(self) -> AbstractContextManager[None]:
        return nullcontext()

    def set_settings(self, settings: Settings) -> None:
        self._core.set_settings(settings)

    def set_doubt(self, index: int, doubt: bool) -> None:
        self._core.set_doubt(index, doubt)

    def set_inbound(self, sa: SA) -> None:
        self._core.set_inbound(sa)

    def remove_inbound(self, spi: int) -> None:
        self._core.remove_inbound(spi)


class MemoryDriver(_Driver):
    """For a host whose packets are Python objects."""

    def __init__(self, host: Host, events: Events) -> None:
        self._host = host
        self._wire = host.open_wire()
        self._tuns: dict[int, Tun] = {}
        super().__init__(_fast.Core(self._wire, events, in_memory=True))

    @property
    def core(self) -> _fast.Core:
        return self._core

    def path_mtu(self, dst: bytes, mark: int) -> int:
        return self._wire.path_mtu(dst, mark)

    def set_interface(self, interface: Interface) -> None:
        if interface.index not in self._tuns:
            tun = self._host.open_tun(interface.name)
            self._tuns[interface.index] = self._core.devices[interface.index] = tun
        self._core.set_interface(interface)

    def remove_interface(self, index: int) -> None:
        self._core.remove_interface(index)
        del self._core.devices[index]
        self._tuns.pop(index).close()

    def set_settings(self, settings: Settings) -> None:
        self._wire.tell_arrival(bool(settings.accept_unclaimed))
        super().set_settings(settings)

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        self._wire.encap(endpoints)

    def step(self, budget: int) -> int:
        moved = 0
        for index, tun in list(self._tuns.items()):
            packets = tun.read(budget)
            self._core.outbound(index, packets)
            moved += len(packets)
        arrived = self._wire.receive(budget)
        self._core.inbound(arrived)
        return moved + len(arrived)

    def start(self, budget: int) -> None:
        """No thread moves packets in memory."""

    def stop(self) -> None:
        """See `start`."""

    def close(self) -> None:
        self._wire.close()


class LinuxDriver(_Driver):
    """For Linux: super-packets on TUN devices, raw and UDP sockets in batches, one or more pairs of threads.

    `IPSECTOOLS_THREADS=split` in the environment keeps a thread for each direction also while traffic is light.
    """

    def __init__(self, events: Events) -> None:
        workers = max(1, min(len(os.sched_getaffinity(0)) // 2, MOST_WORKERS))
        self._injector = Injector()
        super().__init__(_fast.Core(self, events, in_memory=False, workers=workers))
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._sockets: list[socket.socket] = []
        self._endpoints = EncapSockets(self._opened, self._closing)
        self._settings = Settings()
        self._threads: list[threading.Thread] = []
        self._workers = workers
        self._core.split = os.environ.get("IPSECTOOLS_THREADS") == "split"
        for number in range(workers):
            self._core.set_sockets(number, *self._open_sockets(number, workers), self._bell)
        with suppress(OSError):
            self._sockets.append(sockets.open_path_mtu_listener())

    def _open_sockets(self, number: int, workers: int) -> tuple[int, int, int, int]:
        """Raw sockets of one worker each way: IPv4 (both ways), IPv4 with DF (out only), IPv4 for packets that leave
        without regard to the path MTU (out only; the core sets DF), IPv6 (both ways)."""
        four = sockets.open_raw(socket.AF_INET)
        four_df, four_doubt = sockets.open_raw_sender(df=True), sockets.open_raw_sender(df=False)
        opened = [four, four_df, four_doubt]
        with suppress(OSError):  # a host may be without IPv6
            opened.append(sockets.open_raw(socket.AF_INET6))
        if workers > 1:
            for sock in (four, *opened[3:]):
                program = sockets.bpf_esp_share(number, workers, ipv4=sock is four)
                sockets.attach_filter(sock, program)
        self._sockets += opened
        six = opened[3].fileno() if len(opened) > 3 else -1
        return four.fileno(), four_df.fileno(), four_doubt.fileno(), six

    # what the core asks of its `wire`

    def inject(self, packet: bytes, index: int) -> int:
        return self._injector.inject(packet, index)

    def path_mtu(self, dst: bytes, mark: int = 0) -> int:
        return sockets.path_mtu(dst, mark)

    # tables

    def set_settings(self, settings: Settings) -> None:
        self._settings = settings
        for sock in self._sockets:
            self._set_ttl(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, settings.mark)
            if sock.family == socket.AF_INET:  # the others tell anyway
                sockets.tell_arrival(sock, bool(settings.accept_unclaimed))
        for endpoint in self._endpoints:
            self._set_ttl(endpoint.sock)
            endpoint.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, settings.mark)
            endpoint.tell_arrival(bool(settings.accept_unclaimed))
        super().set_settings(settings)
        if not settings.accept_unclaimed:
            self._injector.close()

    def _set_ttl(self, sock: socket.socket) -> None:
        ipv4 = sock.family == socket.AF_INET
        sockets.set_header_fields(sock, 0, self._settings.ttl if ipv4 else self._settings.hlim)

    def set_interface(self, interface: Interface) -> None:
        devices: dict[int, OffloadTun] = self._core.devices
        if interface.index in devices:
            self._core.set_interface(interface)
        else:
            tun = OffloadTun(interface.name)
            devices[interface.index] = tun
            self._core.set_interface(interface, tun.fd, True, tun.uso)

    def remove_interface(self, index: int) -> None:
        self._core.remove_interface(index)
        self._core.devices.pop(index).close()

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        self._endpoints.want(endpoints)

    def _opened(self, endpoint: EncapSocket) -> None:
        self._set_ttl(endpoint.sock)
        endpoint.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._settings.mark)
        endpoint.tell_arrival(bool(self._settings.accept_unclaimed))
        endpoint.accept_trains()
        self._core.add_endpoint(endpoint.address, endpoint.port, endpoint.sock.fileno(), endpoint.shared)

    def _closing(self, endpoint: EncapSocket) -> None:
        self._core.remove_endpoint(endpoint.sock.fileno())

    # packets

    def step(self, budget: int) -> int:
        return self._core.turn()

    def start(self, budget: int) -> None:
        self._core.stopping = False
        for number in range(self._workers):
            for outward in (True, False):
                name = f"esp-{'out' if outward else 'in'}-{number}"
                thread = threading.Thread(target=self._run, args=(number, outward), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, number: int, outward: bool) -> None:
        settle_in()
        self._core.run(number, outward)

    def stop(self) -> None:
        self._core.stopping = True
        os.eventfd_write(self._bell, 1)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        os.eventfd_read(self._bell)

    def close(self) -> None:
        self.encap(())
        for sock in self._sockets:
            sock.close()
        self._injector.close()
        os.close(self._bell)
