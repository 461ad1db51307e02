"""The core in plain Python: the reference of both, and what runs where the compiled one was not built.

It takes packets from `host.api.Tun` and `Wire` objects, so it runs as well on the simulated host as on Linux. Every
call is made by one thread at a time (the pump's lock).
"""

from __future__ import annotations

import time

from ipsectools.datapath import icmp
from ipsectools.datapath.events import ACQUIRE, EDGE, EXHAUSTED, RESERVE
from ipsectools.datapath.statistics import Counters
from ipsectools.datapath.tables import SA, Interface, Settings, largest_inner
from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS
from ipsectools.esp import drops
from ipsectools.esp.drops import DROPS, STAGE_CRYPTO, STAGE_INPUT, STAGE_STRIPPED, STAGE_VERIFIED, Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.tunnel import MODE_TUNNEL, TUNNEL, decapsulation, inner_refusal, outer_df, tos_table
from ipsectools.host.api import OuterPacket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from ipsectools.datapath.events import Events
    from ipsectools.host.api import Tun, Wire

    TargetKey: TypeAlias = tuple[int, bytes, bytes]
    Counted: TypeAlias = tuple[int, int, int, int, int, int]

QUOTED = 548
"""Bytes of an inner packet that an ICMP message about it quotes at most (RFC 1812 section 4.3.2.3)."""
PATIENCE = 0.1
"""Seconds for which packets wait when an SA's reserved numbers run out, before they are dropped."""


class _Worker:
    """An SA at work in one direction, its ESP contexts made at its first packet."""

    __slots__ = ("ask_at", "asked", "esp", "overhead", "sa", "target", "traffic")

    def __init__(self, sa: SA, target: _Target | None = None) -> None:
        self.sa = sa
        self.traffic = sa.traffic
        self.target = target
        self.esp: EspSA | None = None
        self.overhead = 0
        self.asked = -1  # the limit for which a new block was already asked
        self.ask_at = 0

    def prepare(self) -> EspSA | None:
        """The contexts; None if the algorithms cannot be set up."""
        sa = self.sa
        try:
            self.esp = EspSA(
                sa.spi,
                sa.enc,
                sa.enc_key,
                sa.auth,
                sa.auth_key,
                sa.flags,
                sa.window,
                sa.traffic,
                sa.ctr_compatibility,
                outer_header=20 if len(sa.src) == 4 else 40,
            )
        except ValueError:
            return None
        self.overhead = self.esp.overhead
        return self.esp


class _Target:
    """The place of the interface that inbound SAs with one (reqid, src, dst) belong to; empty while there is none."""

    __slots__ = ("interface", "users")

    def __init__(self) -> None:
        self.interface: _Interface | None = None
        self.users = 0


class _Interface:
    """An interface with its device and counters."""

    __slots__ = ("blocked", "entry", "ibytes", "ipackets", "obytes", "oerrors", "opackets", "outbound", "tun")

    def __init__(self, tun: Tun) -> None:
        self.tun = tun
        self.entry = Interface(0, "")
        self.outbound: _Worker | None = None
        self.blocked: Drop | None = None
        self.ipackets = self.ibytes = self.opackets = self.obytes = self.oerrors = 0


def why_blocked(entry: Interface) -> Drop | None:
    """Why the interface sends nothing, in the order of FreeBSD's checks; None if it does."""
    if not entry.running:
        return drops.OUT_NOT_RUNNING if entry.src else drops.OUT_NO_TUNNEL
    if not entry.up:
        return drops.OUT_INTERFACE_DOWN
    if entry.monitor:
        return drops.OUT_MONITOR
    return None if entry.src else drops.OUT_NO_TUNNEL


class PlainCore:
    """Moves packets between TUN devices and the wire. See `pump.Pump` for the meaning of its methods."""

    def __init__(self, wire: Wire, events: Events, step_aside: Callable[[], bool]) -> None:
        """`step_aside` lets the key engine reserve numbers when they ran out, and says whether to call it again."""
        self.counters = Counters()
        self.set_settings(Settings())
        self._step_aside = step_aside
        self._impatient_until = 0.0
        self._wire = wire
        self._events = events
        self._interfaces: dict[int, _Interface] = {}
        self._targets: dict[TargetKey, _Target] = {}
        self._inbound: dict[int, _Worker] = {}
        self._esp_pairs: dict[tuple[bytes, bytes], int] = {}
        self._natt_pairs: dict[tuple[bytes, bytes], dict[tuple[int, int], int]] = {}

    # -- tables ----------------------------------------------------------------------------------------------------

    def has_interface(self, index: int) -> bool:
        return index in self._interfaces

    def set_settings(self, settings: Settings) -> None:
        self.settings = settings
        self._tos4 = tos_table(settings.ecn)
        self._tos6 = tos_table(settings.ecn6)

    def set_interface(self, entry: Interface, tun: Tun | None) -> None:
        """`tun` for an interface that was not there before, else None."""
        interface = self._interfaces.get(entry.index)
        if interface is None:
            assert tun is not None
            interface = self._interfaces[entry.index] = _Interface(tun)
        else:
            self._forget(interface)
        interface.entry = entry
        interface.blocked = why_blocked(entry)
        before = interface.outbound
        if entry.outbound is None:
            interface.outbound = None
        elif before is None or not before.sa.same_as(entry.outbound):
            interface.outbound = _Worker(entry.outbound)
        if entry.src and entry.dst:
            self._target((entry.reqid, entry.dst, entry.src)).interface = interface
        if entry.outbound is not None:
            self._guard(entry.outbound, 1)

    def remove_interface(self, index: int) -> None:
        interface = self._interfaces.pop(index, None)
        if interface is not None:
            self._forget(interface)
            interface.tun.close()

    def _forget(self, interface: _Interface) -> None:
        entry = interface.entry
        if entry.outbound is not None:
            self._guard(entry.outbound, -1)
        if entry.src and entry.dst:
            key = (entry.reqid, entry.dst, entry.src)
            target = self._targets[key]
            if target.interface is interface:
                target.interface = None
            self._release(key)

    def _target(self, key: TargetKey) -> _Target:
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = _Target()
        target.users += 1
        return target

    def _release(self, key: TargetKey) -> None:
        target = self._targets[key]
        target.users -= 1
        if not target.users:
            del self._targets[key]

    def set_inbound(self, sa: SA) -> None:
        before = self._inbound.get(sa.spi)
        self.remove_inbound(sa.spi)
        worker = self._inbound[sa.spi] = _Worker(sa, self._target((sa.reqid, sa.src, sa.dst)))
        if before is not None and before.esp is not None and sa.same_cryptography(before.sa):
            worker.esp, worker.overhead = before.esp, before.overhead  # with its replay window

    def remove_inbound(self, spi: int) -> None:
        worker = self._inbound.pop(spi, None)
        if worker is not None:
            self._release((worker.sa.reqid, worker.sa.src, worker.sa.dst))

    def _guard(self, sa: SA, step: int) -> None:
        """Counts the outer packets that this host sends, by their ends, for the loop guard."""
        pair = (sa.src, sa.dst)
        self._esp_pairs[pair] = self._esp_pairs.get(pair, 0) + step
        if not self._esp_pairs[pair]:
            del self._esp_pairs[pair]
        if sa.natt is not None:
            ports = self._natt_pairs.setdefault(pair, {})
            ports[sa.natt] = ports.get(sa.natt, 0) + step
            if not ports[sa.natt]:
                del ports[sa.natt]
            if not ports:
                del self._natt_pairs[pair]

    def interface_counters(self, index: int) -> Counted | None:
        interface = self._interfaces.get(index)
        if interface is None:
            return None
        return interface.ipackets, interface.ibytes, 0, interface.opackets, interface.obytes, interface.oerrors

    def tuns(self) -> list[tuple[int, Tun]]:
        return [(index, interface.tun) for index, interface in self._interfaces.items()]

    # -- out -------------------------------------------------------------------------------------------------------

    def read_tun(self, index: int, budget: int) -> int:
        """Moves up to `budget` packets from the device of an interface to the wire; how many there were."""
        interface = self._interfaces.get(index)
        if interface is None:
            return 0
        packets = interface.tun.read(budget)
        if packets:
            self.outbound(interface, packets)
        return len(packets)

    def outbound(self, interface: _Interface, packets: list[bytes]) -> None:
        batch: list[OuterPacket] = []
        inners: list[bytes] = []
        self.counters.taken += len(packets)
        for inner in packets:
            result = self._seal(interface, inner)
            if isinstance(result, Drop):
                self._dropped_out(result, inner)
                if result.oerrors:
                    interface.oerrors += 1
            else:
                batch.append(result)
                inners.append(inner)
        if batch:
            for inner, error in zip(inners, self._wire.send(batch), strict=True):
                if error:
                    self._refused(interface, inner, error)
                else:
                    self.counters.sent += 1

    def _dropped_out(self, drop: Drop, inner: bytes) -> None:
        self.counters.drop(drop.name, bool(inner) and inner[0] >> 4 == 6)

    def _seal(self, interface: _Interface, inner: bytes) -> OuterPacket | Drop:
        """An inner packet's way out up to the wire, in FreeBSD's order of checks."""
        if interface.blocked is not None:
            return interface.blocked
        first = inner[0] if inner else 0
        version = first >> 4
        length = len(inner)
        if version == 4:
            if length < 20:
                return drops.OUT_MALFORMED
        elif version != 6 or length < 40:
            return drops.OUT_MALFORMED
        if self._esp_pairs and self._is_own(inner, version):
            return drops.OUT_LOOP
        interface.opackets += 1
        interface.obytes += length
        worker = interface.outbound
        if worker is None:
            self._events.put(ACQUIRE, (interface.entry.index, version), 1)
            return drops.OUT_NO_SA
        settings = self.settings
        if not settings.esp_enable:
            return drops.OUT_ESP_DISABLED
        sa = worker.sa
        if sa.blocked:
            return DROPS[sa.blocked]
        esp = worker.esp or worker.prepare()
        if esp is None:
            return drops.OUT_NO_TRANSFORM
        counters = self.counters
        counters.output += 1
        counters.obytes += length
        sealed = esp.seal(inner)
        if isinstance(sealed, Drop):
            if sealed is drops.OUT_SEQUENCE_UNRESERVED:
                sealed = self._seal_after_wait(interface, worker, esp, inner)
            if isinstance(sealed, Drop):
                if sealed is drops.OUT_SEQUENCE_EXHAUSTED:
                    self._events.put(EXHAUSTED, sa.spi)
                return sealed
        counters.encryption[sa.enc] += 1
        counters.authentication[sa.auth] += 1
        traffic = worker.traffic
        if traffic.sequence >= worker.ask_at:
            self._ask(worker, RESERVE)
        ipv4 = len(sa.src) == 4
        self._count_use(worker, len(sealed) + (20 if ipv4 else 40))
        tos = inner[1] if version == 4 else (first << 4 | inner[1] >> 4) & 0xFF
        if ipv4:
            tos, ttl, df = self._tos4[tos], settings.ttl, outer_df(inner, settings.dfbit)
        else:
            tos, ttl, df = self._tos6[tos], settings.hlim, False
        return OuterPacket(
            sa.src,
            sa.dst,
            sealed,
            protocol=50 if sa.natt is None else 17,
            ports=sa.natt,
            tos=tos,
            ttl=ttl,
            df=df,
            fib=interface.entry.tunnelfib,
        )

    def _seal_after_wait(self, interface: _Interface, worker: _Worker, esp: EspSA, inner: bytes) -> bytes | Drop:
        """Asks for numbers and waits for them, within bounds; keeps the order of packets."""
        self._events.put(RESERVE, worker.sa.spi)
        for _ in self._patience():
            if interface.outbound is not worker:
                return drops.OUT_SA_DEAD
            sealed = esp.seal(inner)
            if sealed is not drops.OUT_SEQUENCE_UNRESERVED:
                return sealed
        return drops.OUT_SEQUENCE_UNRESERVED

    def _patience(self) -> Iterator[None]:
        """Lets the key engine do something again and again, until it is no use any more."""
        now = time.monotonic()
        if now < self._impatient_until:
            return  # the last packet waited in vain
        deadline = now + PATIENCE
        while now <= deadline:
            again = self._step_aside()
            yield
            if not again:
                break
            now = time.monotonic()
        self._impatient_until = time.monotonic() + PATIENCE if again else 0.0

    def _ask(self, worker: _Worker, kind: str) -> None:
        """Asks for the next block when half of the present one is used, once per block."""
        traffic = worker.traffic
        if kind == RESERVE:
            used, limit = traffic.sequence, traffic.sequence_limit
        else:
            used, limit = traffic.received_high, traffic.received_limit
        if worker.asked != limit:  # a new block: its half is the next time to ask
            worker.asked = limit
            worker.ask_at = used + (limit - used + 1) // 2
        if used >= worker.ask_at:
            self._events.put(kind, worker.sa.spi)
            worker.ask_at = limit + 1 if limit >= used else used + 1

    def _is_own(self, inner: bytes, version: int) -> bool:
        """Whether this host made the packet by IPsec: it would go round for ever."""
        if version == 4:
            start = (inner[0] & 15) * 4
            protocol = inner[9]
            if protocol not in (50, 17):
                return False
            pair = (inner[12:16], inner[16:20])
            later = bool((inner[6] << 8 | inner[7]) & 0x1FFF)
        else:
            start = 40
            protocol = inner[6]
            later = False
            if protocol == 44 and len(inner) >= 48:
                protocol = inner[40]
                start = 48
                later = bool((inner[42] << 8 | inner[43]) & 0xFFF8)
            if protocol not in (50, 17):
                return False
            pair = (inner[8:24], inner[24:40])
        if protocol == 50:
            return pair in self._esp_pairs
        ports = self._natt_pairs.get(pair)
        if ports is None:
            return False
        if later:
            return True
        if len(inner) < start + 12 or inner[start + 8 : start + 12] == b"\0\0\0\0":
            return False
        return (inner[start] << 8 | inner[start + 1], inner[start + 2] << 8 | inner[start + 3]) in ports

    def _refused(self, interface: _Interface, inner: bytes, error: int) -> None:
        """The wire did not take an outer packet."""
        if error == EMSGSIZE:
            drop = self._too_big(interface, inner)
        elif error == ENOBUFS:
            drop = drops.OUT_WIRE_FULL
        elif error in (EHOSTUNREACH, ENETDOWN):
            drop = drops.OUT_NO_ROUTE
        elif error in (EINVAL, EADDRNOTAVAIL, EAFNOSUPPORT):
            drop = drops.OUT_ADDRESS
        else:
            drop = drops.OUT_WIRE_ERROR
        self._dropped_out(drop, inner)
        if drop.oerrors:
            interface.oerrors += 1

    def _too_big(self, interface: _Interface, inner: bytes) -> Drop:
        worker = interface.outbound
        if worker is None:
            return drops.OUT_FRAGMENTATION
        mtu = largest_inner(worker.sa, self._wire.path_mtu(worker.sa.dst, interface.entry.tunnelfib))
        answer = icmp.too_big(inner[:QUOTED], mtu)
        if answer is None or interface.tun.write(answer):
            return drops.OUT_FRAGMENTATION
        return drops.OUT_MTU

    # -- in --------------------------------------------------------------------------------------------------------

    def read_wire(self, budget: int) -> int:
        """Moves up to `budget` packets of each socket from the wire to the devices; how many there were."""
        packets = self._wire.receive(budget)
        for packet in packets:
            self.inbound(packet)
        return len(packets)

    def inbound(self, packet: OuterPacket) -> None:
        """A packet's way in, in FreeBSD's order of checks."""
        counters = self.counters
        counters.arrived += 1
        esp = packet.payload
        size = len(esp)
        if packet.ports is not None:
            drop = self._check_natt(packet)
            if drop is not None:
                self._dropped_in(drop, packet, 0, None)
                return
        if not self.settings.esp_enable:
            self._dropped_in(drops.IN_ESP_DISABLED, packet, 0, None)
            return
        if size < 8:
            self._dropped_in(drops.IN_SHORT, packet, 0, None)
            return
        worker = self._inbound.get(int.from_bytes(esp[:4], "big"))
        if worker is None or worker.sa.dst != packet.dst:
            self._dropped_in(drops.IN_UNKNOWN_SPI, packet, 0, None)
            return
        opener = worker.esp or worker.prepare()
        if opener is None:
            self._dropped_in(drops.IN_NO_TRANSFORM, packet, 0, None)
            return
        traffic = worker.traffic
        opened = opener.open(esp)
        if opened is drops.IN_WINDOW_UNRESERVED:
            opened = self._open_after_wait(worker, opener, esp)
        if isinstance(opened, Drop):
            self._dropped_in(opened, packet, size - worker.overhead, worker.sa)
            return
        if opener.window is not None and traffic.received_high >= worker.ask_at:
            self._ask(worker, EDGE)
        sa = worker.sa
        counters.input += 1
        counters.ibytes += size - worker.overhead
        counters.encryption[sa.enc] += 1
        counters.authentication[sa.auth] += 1
        counters.middle += 1
        drop = self._deliver(worker, packet, *opened)
        if drop is not None:
            counters.drop(drop.name, len(packet.dst) == 16)

    def _check_natt(self, packet: OuterPacket) -> Drop | None:
        """What a UDP socket of ours does not hand to ESP."""
        esp = packet.payload
        if len(esp) < 4:
            return drops.IN_NATT_KEEPALIVE if esp == b"\xff" else drops.IN_NATT_SHORT
        if esp[:4] == b"\0\0\0\0":
            return drops.IN_NON_ESP_MARKER
        worker = self._inbound.get(int.from_bytes(esp[:4], "big"))
        if worker is None or worker.sa.dst != packet.dst or worker.sa.natt is None:
            return drops.IN_NATT_NO_SA
        return None if worker.sa.natt == packet.ports else drops.IN_NATT_PORTS

    def _open_after_wait(self, worker: _Worker, opener: EspSA, esp: bytes) -> tuple[bytes, int] | Drop:
        assert opener.window is not None
        self._events.put(EDGE, worker.sa.spi, opener.window.needed)
        for _ in self._patience():
            if self._inbound.get(worker.sa.spi) is not worker:
                return drops.IN_SA_DEAD
            opened = opener.open(esp)
            if opened is not drops.IN_WINDOW_UNRESERVED:
                return opened
        return drops.IN_WINDOW_UNRESERVED

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
    def _count_use(worker: _Worker, size: int) -> None:
        traffic = worker.traffic
        traffic.packets += 1
        traffic.bytes += size
        if not traffic.first_used:
            traffic.first_used = int(time.time())

    def _deliver(self, worker: _Worker, packet: OuterPacket, inner: bytes, next_header: int) -> Drop | None:
        """What happens to a decrypted packet; its drop reason if it ends here."""
        sa = worker.sa
        size = len(inner)
        outer = 4 if len(packet.dst) == 4 else 6
        kind = decapsulation(outer, sa.mode, next_header, size)
        if kind is drops.IN_INNER_SHORT:
            return drops.IN_INNER_SHORT
        if kind is not TUNNEL:
            # FreeBSD counts it for the SA with the outer header still on it, and only then looks what it is.
            self._count_use(worker, size + (20 if outer == 4 else 40))
            return kind if isinstance(kind, Drop) else drops.IN_TRANSPORT
        self._count_use(worker, size)
        counters = self.counters
        counters.front += 1
        target = worker.target.interface if worker.target is not None and sa.mode == MODE_TUNNEL else None
        refusal = inner_refusal(inner, next_header)
        if target is None:
            # No interface of ours: as FreeBSD does, the packet goes on as one that the host received otherwise.
            if refusal is not None:
                return refusal
            if self._wire.inject(inner):
                return drops.IN_NO_INTERFACE
            counters.injected += 1
            return None
        entry = target.entry
        if not entry.running or not entry.up:
            return drops.IN_INTERFACE_DOWN
        target.ipackets += 1
        target.ibytes += size
        if entry.monitor:
            return drops.IN_MONITOR
        if refusal is not None:
            return refusal
        error = target.tun.write(inner)
        if error:
            return drops.IN_TUN_FULL if error == ENOBUFS else drops.IN_TUN_ERROR
        counters.delivered += 1
        return None
