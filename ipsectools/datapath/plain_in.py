"""The way in of the core in plain Python: wire -> SA by SPI -> opened packet -> interface -> device."""

from __future__ import annotations

import time

from ipsectools.datapath.events import EDGE
from ipsectools.datapath.plain_base import Base
from ipsectools.datapath.plain_tables import TunnelInterface, Worker
from ipsectools.datapath.tables import SA
from ipsectools.errno import ENOBUFS
from ipsectools.esp import drops
from ipsectools.esp.drops import STAGE_CRYPTO, STAGE_INPUT, STAGE_STRIPPED, STAGE_VERIFIED, Drop
from ipsectools.esp.tunnel import TUNNEL, decapsulation, inner_refusal
from ipsectools.host.api import OuterPacket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ipsectools.esp.opening import Opened

_VERSIONS = {4: 4, 41: 6}
"""IP version by next header."""


def _no_sa(spi: bytes) -> None:
    """Stands for the lookup of SAs while ESP is disabled."""


def _refused(error: int) -> Drop:
    """The reason for FreeBSD's errno of a device."""
    return drops.IN_TUN_FULL if error == ENOBUFS else drops.IN_TUN_ERROR


class Inbound(Base):
    """Each stage gives what the next one takes, or the reason to drop the packet."""

    def read_wire(self, budget: int, ready: Collection[int] = ()) -> int:
        """Moves up to `budget` packets of each socket, or of those that are `ready`, from the wire to the devices; how
        many there were."""
        packets = self._wire.receive(budget, ready)
        if packets:
            self.inbound(packets)
        return len(packets)

    def inbound(self, packets: list[OuterPacket]) -> None:
        """The way in. What nearly every packet goes through is here, in a row; all the rest is in `_pass_in`."""
        known = self._inbound.get if self.settings.esp_enable else _no_sa
        self.counters.arrived += len(packets)
        last: Worker | None = None
        passed = octets = failed = 0
        for packet in packets:
            esp = packet.payload
            worker = known(esp[:4]) if packet.ports is None else None
            opened: Opened | Drop | None = None
            if worker is not None and worker.open is not None and worker.dst == packet.dst:
                opened = worker.open(esp)
                interface = worker.target.interface
                if opened.__class__ is tuple and interface is not None and interface.receives:
                    inner, next_header = opened
                    size = len(inner)
                    if size >= 40 and inner[0] >> 4 == _VERSIONS.get(next_header):
                        if worker is not last:
                            self._count_passed(last, passed, octets, failed)
                            last, passed, octets, failed = worker, 0, 0, 0
                        passed += 1
                        octets += len(esp)
                        traffic = worker.traffic
                        traffic.packets += 1
                        traffic.bytes += size
                        if traffic.received_high >= worker.ask_at:
                            self._after_opening(worker)
                        interface.ipackets += 1
                        interface.ibytes += size
                        error = interface.write(inner)
                        if error:
                            failed += 1
                            self._not_taken(error, packet)
                        continue
            self._pass_in(packet, worker, opened)
        self._count_passed(last, passed, octets, failed)

    def _count_passed(self, worker: Worker | None, passed: int, octets: int, failed: int) -> None:
        """Counts packets of one SA that were decapsulated for an interface, `failed` of which the host did not take."""
        if worker is None:
            return
        counters = self.counters
        counters.input += passed
        counters.ibytes += octets - passed * worker.overhead
        counters.encryption[worker.sa.enc] += passed
        counters.authentication[worker.sa.auth] += passed
        counters.middle += passed
        counters.front += passed
        counters.delivered += passed - failed

    def _not_taken(self, error: int, packet: OuterPacket) -> None:
        self.counters.drop(_refused(error).name, len(packet.dst) == 16)

    def _after_opening(self, worker: Worker) -> None:
        """What is seldom to do after a packet was accepted: asking for more numbers, noting the first use."""
        traffic = worker.traffic
        if worker.esp is not None and worker.esp.window is not None:
            self._ask(worker, EDGE)
        else:
            worker.ask_at = 1 << 65  # without a window there is nothing to reserve
        if not traffic.first_used:
            traffic.first_used = int(time.time())

    # -- the stages, in FreeBSD's order of checks ------------------------------------------------------------------

    def _pass_in(self, packet: OuterPacket, worker: Worker | None, opened: Opened | Drop | None) -> None:
        """A packet's way in. `worker` and `opened`: as far as `inbound` got with it."""
        if opened is None:
            found = self._find(packet)
            if isinstance(found, Drop):
                self._dropped_in(found, packet, 0, None)
                return
            worker = found
            opened = self._open(worker, packet.payload)
        assert worker is not None
        drop = self._commit(worker, packet, opened)
        if drop is None and not isinstance(opened, Drop):
            drop = self._decapsulate(worker, packet, *opened) or self._deliver(worker, packet, *opened)
            if drop is not None:
                self.counters.drop(drop.name, len(packet.dst) == 16)

    def _find(self, packet: OuterPacket) -> Worker | Drop:
        """find: the SA of a packet."""
        esp = packet.payload
        if packet.ports is not None:
            drop = self._check_natt(packet)
            if drop is not None:
                return drop
            self.counters.middle += 1  # the UDP header
        if not self.settings.esp_enable:
            return drops.IN_ESP_DISABLED
        if len(esp) < 8:
            # What came in UDP passes by FreeBSD's check for a whole header; the next, of the length, finds these.
            return drops.IN_LENGTH if packet.ports is not None and len(esp) & 3 else drops.IN_SHORT
        worker = self._inbound.get(esp[:4])
        return drops.IN_UNKNOWN_SPI if worker is None or worker.dst != packet.dst else worker

    def _check_natt(self, packet: OuterPacket) -> Drop | None:
        """What a UDP socket of ours does not hand to ESP."""
        esp = packet.payload
        if len(esp) < 4:
            return drops.IN_NATT_KEEPALIVE if esp == b"\xff" else drops.IN_NATT_SHORT
        if esp[:4] == b"\0\0\0\0":
            return drops.IN_NON_ESP_MARKER
        worker = self._inbound.get(esp[:4])
        if worker is None or worker.sa.dst != packet.dst or worker.sa.natt is None:
            return drops.IN_NATT_NO_SA
        return None if worker.sa.natt == packet.ports else drops.IN_NATT_PORTS

    @staticmethod
    def _open(worker: Worker, esp: bytes) -> Opened | Drop:
        """check, open and the moving of the window: `esp.opening` has them in a row."""
        opener = worker.esp or worker.prepare()
        return drops.IN_NO_TRANSFORM if opener is None else opener.open(esp)

    def _commit(self, worker: Worker, packet: OuterPacket, opened: Opened | Drop) -> Drop | None:
        """commit: what opening, or its failure, is for counters and reservations; the drop, counted already."""
        sa = worker.sa
        if opened is drops.IN_WINDOW_UNRESERVED and worker.esp is not None and worker.esp.window is not None:
            self._ask_at_limit(worker, EDGE, worker.esp.window.needed)
        ciphertext = len(packet.payload) - worker.overhead
        if isinstance(opened, Drop):
            self._dropped_in(opened, packet, ciphertext, sa)
            return opened
        if worker.traffic.received_high >= worker.ask_at:
            self._after_opening(worker)
        counters = self.counters
        counters.input += 1
        counters.ibytes += ciphertext
        counters.encryption[sa.enc] += 1
        counters.authentication[sa.auth] += 1
        counters.middle += 1
        return None

    def _decapsulate(self, worker: Worker, packet: OuterPacket, inner: bytes, next_header: int) -> Drop | None:
        """What a packet is to its SA, once it is open, and counted so."""
        size = len(inner)
        outer = 4 if len(packet.dst) == 4 else 6
        kind = decapsulation(outer, worker.sa.mode, next_header, size)
        if kind is drops.IN_INNER_SHORT:
            return drops.IN_INNER_SHORT
        if kind is not TUNNEL:
            # FreeBSD counts it for the SA with the outer header still on it, and only then looks what it is.
            self._count_use(worker, size + (20 if outer == 4 else 40))
            return kind if isinstance(kind, Drop) else drops.IN_TRANSPORT
        self._count_use(worker, size)
        self.counters.front += 1
        return None

    def _deliver(self, worker: Worker, packet: OuterPacket, inner: bytes, next_header: int) -> Drop | None:
        """deliver: to the interface that the SA belongs to, or to the host."""
        refusal = inner_refusal(inner, next_header)
        target = worker.target.interface
        if target is None:
            return self._deliver_unclaimed(packet, inner, refusal)
        return self._deliver_to(target, inner, refusal)

    def _deliver_unclaimed(self, packet: OuterPacket, inner: bytes, refusal: Drop | None) -> Drop | None:
        if not self.settings.accept_unclaimed:
            return drops.IN_NO_INTERFACE
        if refusal is not None:
            return refusal
        if self._wire.inject(inner, packet.interface):
            return drops.IN_HOST_REFUSED
        self.counters.injected += 1
        return None

    def _deliver_to(self, interface: TunnelInterface, inner: bytes, refusal: Drop | None) -> Drop | None:
        entry = interface.entry
        if not entry.running or not entry.up:
            return drops.IN_INTERFACE_DOWN
        interface.ipackets += 1
        interface.ibytes += len(inner)
        if entry.monitor:
            return drops.IN_MONITOR
        if refusal is not None:
            return refusal
        error = interface.write(inner)
        if error:
            return _refused(error)
        self.counters.delivered += 1
        return None

    # -- counters --------------------------------------------------------------------------------------------------

    def _dropped_in(self, drop: Drop, packet: OuterPacket, ciphertext: int, sa: SA | None) -> None:
        counters = self.counters
        stage = drop.stage
        if stage >= STAGE_INPUT:
            counters.input += 1
        if stage >= STAGE_CRYPTO:
            counters.ibytes += ciphertext
        if stage >= STAGE_VERIFIED and sa is not None:
            counters.encryption[sa.enc] += 1
            counters.authentication[sa.auth] += 1
        if stage >= STAGE_STRIPPED:
            counters.middle += 1
        counters.drop(drop.name, len(packet.dst) == 16)

    @staticmethod
    def _count_use(worker: Worker, size: int) -> None:
        traffic = worker.traffic
        traffic.packets += 1
        traffic.bytes += size
        if not traffic.first_used:
            traffic.first_used = int(time.time())
