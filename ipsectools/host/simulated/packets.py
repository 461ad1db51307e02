"""The packet side of a machine in memory: TUN devices and a wire that tests feed and read."""

from __future__ import annotations

import os
from collections import deque

from ipsectools.errno import EMSGSIZE, ENXIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipsectools.host.api import Link, OuterPacket


class _Bell:
    """A descriptor that is readable while something waits to be read, made when first asked for.

    Readers `quiet` it before they look, so that what comes from another thread meanwhile rings again.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._rung = False

    def descriptor(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.eventfd(int(self._rung), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._descriptor

    def ring(self) -> None:
        self._rung = True
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)

    def quiet(self) -> None:
        if self._rung:
            self._rung = False
            if self._descriptor >= 0:
                os.eventfd_read(self._descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SimulatedTun:
    """A TUN device without a machine: `inject` routes a packet into it, `written` holds what the host received."""

    def __init__(self, link: Link) -> None:
        self.name = link.name
        self.index = link.index
        self.written: list[bytes] = []
        self._link: Link | None = link
        self._waiting: deque[bytes] = deque()
        self._bell = _Bell()

    def attach(self, link: Link | None) -> None:
        """The link that this is the packet side of, after it was renamed, read again or destroyed (None)."""
        self._link = link
        if link is not None:
            self.name = link.name

    def inject(self, packet: bytes) -> None:
        self._waiting.append(packet)
        self._bell.ring()

    def fileno(self) -> int:
        return self._bell.descriptor()

    def read(self, limit: int) -> list[bytes]:
        self._bell.quiet()
        packets = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if self._waiting:
            self._bell.ring()
        self._count(3, packets)
        return packets

    def write(self, packet: bytes) -> int:
        if self._link is None:
            return ENXIO
        self.written.append(packet)
        self._count(0, (packet,))
        return 0

    def _count(self, place: int, packets: Sequence[bytes]) -> None:
        if self._link is None:
            return
        numbers = list(self._link.statistics)
        numbers[place] += len(packets)
        numbers[place + 1] += sum(map(len, packets))
        self._link.statistics = (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])

    def close(self) -> None:
        pass

    def release(self) -> None:
        self._bell.release()


class SimulatedWire:
    """The wire of a machine in memory: `feed` lets a datagram arrive, `sent` holds what left, unless `connect`ed.

    `injected` holds the decapsulated packets that were given back to the host, `injected_on` their links;
    `mtu` is the path MTU to everywhere, `device_mtu` the device's; a datagram longer than that with `df` set is refused
    (EMSGSIZE); with `doubt` only the device's counts.
    """

    def __init__(self) -> None:
        self.sent: list[OuterPacket] = []
        self.injected: list[bytes] = []
        self.injected_on: list[int] = []
        self.refuses_injected = 0
        self.tells_arrival = False
        self.encapsulated: frozenset[tuple[bytes, int]] = frozenset()
        self.mtu = self.device_mtu = 1500
        self._other: SimulatedWire | None = None
        self._waiting: deque[OuterPacket] = deque()
        self._bell = _Bell()

    def connect(self, other: SimulatedWire) -> None:
        """From now on what one sends arrives at the other."""
        self._other = other
        other._other = self

    def feed(self, packet: OuterPacket) -> None:
        self._waiting.append(packet)
        self._bell.ring()

    def filenos(self) -> Sequence[int]:
        return (self._bell.descriptor(),)

    def send(self, packets: Sequence[OuterPacket]) -> list[int]:
        results = []
        for packet in packets:
            header = (20 if len(packet.src) == 4 else 40) + (8 if packet.ports else 0)
            if packet.df and header + len(packet.payload) > (self.device_mtu if packet.doubt else self.mtu):
                results.append(EMSGSIZE)
                continue
            self.sent.append(packet)
            if self._other is not None:
                self._other.feed(packet)
            results.append(0)
        return results

    def receive(self, limit: int, ready: Collection[int] = ()) -> list[OuterPacket]:
        self._bell.quiet()
        packets = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if self._waiting:
            self._bell.ring()
        return packets

    def encap(self, endpoints: Iterable[tuple[bytes, int]]) -> None:
        self.encapsulated = frozenset(endpoints)

    def tell_arrival(self, on: bool) -> None:
        self.tells_arrival = on

    def inject(self, packet: bytes, index: int) -> int:
        if self.refuses_injected:
            return self.refuses_injected
        self.injected.append(packet)
        self.injected_on.append(index)
        return 0

    def path_mtu(self, dst: bytes, mark: int = 0) -> int:
        return self.mtu

    def close(self) -> None:
        pass

    def release(self) -> None:
        self._bell.release()
