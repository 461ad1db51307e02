"""The core in plain Python: the reference of both, and what runs where the compiled one was not built.

It takes packets from `host.api.Tun` and `Wire` objects, so it runs as well on the simulated host as on Linux. Every
call is made by one thread at a time (the pump's lock).
"""

from __future__ import annotations

import time

from ipsectools.datapath import paths
from ipsectools.datapath.events import ACQUIRE, EDGE, EXHAUSTED, RESERVE
from ipsectools.datapath.plain_tables import Tables, TunnelInterface, Worker
from ipsectools.datapath.statistics import Counters
from ipsectools.datapath.tables import SA
from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS
from ipsectools.esp import drops
from ipsectools.esp.drops import DROPS, STAGE_CRYPTO, STAGE_INPUT, STAGE_STRIPPED, STAGE_VERIFIED, Drop
from ipsectools.esp.traffic import NO_LIMIT
from ipsectools.esp.tunnel import SMALLEST_INNER, TUNNEL, decapsulation, inner_refusal, outer_df
from ipsectools.host.api import OuterPacket
from ipsectools.wire import icmp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ipsectools.datapath.events import Events
    from ipsectools.esp.opening import Opened
    from ipsectools.host.api import Wire

QUOTED = 548
"""Bytes of an inner packet that an ICMP message about it quotes at most (RFC 1812 section 4.3.2.3)."""
AGAIN = 1.0
"""Seconds after which an SA without reserved numbers asks for some once more."""
LOOK_AGAIN = 16
"""Packets after which to look whether more was reserved."""
IVS_LEFT = 1 << 20
"""With so many an SA asks for more."""
_GUARDED = frozenset((17, 44, 50))
_GUARDED_WITHOUT_NATT = frozenset((44, 50))
"""Protocols of inner packets that may have been made by this host's IPsec; 44 is IPv6's fragment header."""
_VERSIONS = {4: 4, 41: 6}
"""IP version by next header."""


def _no_sa(spi: bytes) -> None:
    """Stands for the lookup of SAs while ESP is disabled."""


def _drop_of(error: int) -> Drop:
    """The reason for FreeBSD's errno of the wire."""
    if error == EMSGSIZE:
        return drops.OUT_FRAGMENTATION
    if error == ENOBUFS:
        return drops.OUT_WIRE_FULL
    if error in (EHOSTUNREACH, ENETDOWN):
        return drops.OUT_NO_ROUTE
    if error in (EINVAL, EADDRNOTAVAIL, EAFNOSUPPORT):
        return drops.OUT_ADDRESS
    return drops.OUT_WIRE_ERROR


class PlainCore(Tables):
    """Moves packets between TUN devices and the wire. See `pump.Pump` for the meaning of its methods."""

    def __init__(self, wire: Wire, events: Events) -> None:
        super().__init__()
        self.counters = Counters()
        self._wire = wire
        self._events = events

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

    def outbound(self, interface: TunnelInterface, packets: list[bytes]) -> None:
        """The way out. What nearly every packet goes through is here, in a row; all the rest is in `_seal`."""
        batch: list[OuterPacket] = []
        inners: list[bytes] = []
        self.counters.taken += len(packets)
        worker = interface.outbound
        seal = worker.seal if worker is not None and self._sends(interface, worker) else None
        guarded = _GUARDED if self._natt_pairs else _GUARDED_WITHOUT_NATT
        sealed_count = inner_octets = outer_octets = 0
        for inner in packets:
            if seal is not None and worker is not None and len(inner) >= 40:
                version = inner[0] >> 4
                if inner[9 if version == 4 else 6] not in guarded and (version == 4 or version == 6):
                    sealed = seal(inner)
                    if not isinstance(sealed, Drop):
                        sealed_count += 1
                        inner_octets += len(inner)
                        outer_octets += len(sealed)
                        batch.append(self._outer(interface, worker.sa, inner, sealed))
                        inners.append(inner)
                        continue
            result = self._seal(interface, inner)
            if isinstance(result, Drop):
                self._dropped_out(result, inner)
                if result.oerrors:
                    interface.oerrors += 1
            else:
                batch.append(result)
                inners.append(inner)
        if worker is not None and sealed_count:
            interface.opackets += sealed_count
            interface.obytes += inner_octets
            self._count_sealed(worker, sealed_count, inner_octets, outer_octets)
        if batch:
            for inner, packet, error in zip(inners, batch, self._wire.send(batch), strict=True):
                if error:
                    self._refused(interface, inner, packet, error)
                else:
                    self.counters.sent += 1

    def _sends(self, interface: TunnelInterface, worker: Worker) -> bool:
        """Whether nothing but the packet itself can be in the way."""
        return interface.blocked is None and self.settings.esp_enable != 0 and not worker.sa.blocked

    def _count_sealed(self, worker: Worker, packets: int, inner_octets: int, outer_octets: int) -> None:
        counters = self.counters
        sa = worker.sa
        traffic = worker.traffic
        counters.output += packets
        counters.obytes += inner_octets
        counters.encryption[sa.enc] += packets
        counters.authentication[sa.auth] += packets
        traffic.packets += packets
        traffic.bytes += outer_octets + packets * (20 if len(sa.src) == 4 else 40)
        if not traffic.first_used:
            traffic.first_used = int(time.time())
        if traffic.sequence >= worker.ask_at:
            self._ask(worker, RESERVE)
        if worker.counts_ivs and 0 <= traffic.iv + IVS_LEFT - traffic.iv_limit < packets:
            self._events.put(RESERVE, (sa.spi, sa.id))

    def _outer(self, interface: TunnelInterface, sa: SA, inner: bytes, sealed: bytes) -> OuterPacket:
        """The outer packet for a sealed one: header fields from the inner packet and the settings."""
        settings = self.settings
        first = inner[0]
        tos = inner[1] if first >> 4 == 4 else (first << 4 | inner[1] >> 4) & 0xFF
        if len(sa.src) == 4:
            tos, ttl, df = self._tos4[tos], settings.ttl, settings.dfbit != 0 and outer_df(inner, settings.dfbit)
            doubt = interface.doubt
            if df and (doubt or interface.path_until):
                df, doubt = self._on_narrow_path(interface, sa, inner, sealed)
        else:
            tos, ttl, df, doubt = self._tos6[tos], settings.hlim, False, False
        return OuterPacket(
            sa.src,
            sa.dst,
            sealed,
            protocol=50 if sa.natt is None else 17,
            ports=sa.natt,
            tos=tos,
            ttl=ttl,
            df=df,
            doubt=doubt,
            mark=interface.entry.mark,
        )

    def _dropped_out(self, drop: Drop, inner: bytes) -> None:
        self.counters.drop(drop.name, bool(inner) and inner[0] >> 4 == 6)

    def _seal(self, interface: TunnelInterface, inner: bytes) -> OuterPacket | Drop:
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
        if not self.settings.esp_enable:  # before an SA is looked for: none is asked for then
            return drops.OUT_ESP_DISABLED
        worker = interface.outbound
        if worker is None:
            self._events.put(ACQUIRE, (interface.entry.index, version), 1)
            return drops.OUT_NO_SA
        sa = worker.sa
        if sa.blocked:
            return DROPS[sa.blocked]
        esp = worker.esp or worker.prepare()
        if esp is None:
            return drops.OUT_NO_TRANSFORM
        sealed = esp.seal(inner)
        if sealed is drops.OUT_SEQUENCE_UNRESERVED:
            self._ask_at_limit(worker, RESERVE, 0)
        if isinstance(sealed, Drop):
            self.counters.output += 1
            if sealed is drops.OUT_TOO_BIG:
                return sealed
            self.counters.obytes += length
            if sealed is drops.OUT_SEQUENCE_EXHAUSTED:
                self._events.put(EXHAUSTED, (sa.spi, sa.id))
            return sealed
        self._count_sealed(worker, 1, length, len(sealed))
        return self._outer(interface, sa, inner, sealed)

    def _ask_at_limit(self, worker: Worker, kind: str, needed: int) -> None:
        """A packet was refused for want of reserved numbers: asks, once until there are more. Nobody waits."""
        traffic = worker.traffic
        limits = traffic.sequence_limit, traffic.iv_limit, traffic.received_limit
        now = time.monotonic()
        if worker.refused != limits or now >= worker.again_at:
            worker.refused = limits
            worker.again_at = now + AGAIN
            self._events.put(kind, (worker.sa.spi, worker.sa.id), needed)

    def _ask(self, worker: Worker, kind: str) -> None:
        """Asks for the next block when half of the present one is used, once per block."""
        traffic = worker.traffic
        if kind == RESERVE:
            used, limit = traffic.sequence, traffic.sequence_limit
        else:
            used, limit = traffic.received_high, traffic.received_limit
        if limit == NO_LIMIT:
            worker.ask_at = 1 << 65
            return
        if worker.asked != limit:  # a new block: its half is the next time to ask
            worker.asked = limit
            worker.half = used + (limit - used + 1) // 2
        elif worker.half < 0:  # asked already
            worker.ask_at = used + LOOK_AGAIN
            return
        worker.ask_at = worker.half
        if used >= worker.half:
            self._events.put(kind, (worker.sa.spi, worker.sa.id))
            worker.half = -1
            worker.ask_at = used + LOOK_AGAIN

    def _on_narrow_path(self, interface: TunnelInterface, sa: SA, inner: bytes, sealed: bytes) -> tuple[bool, bool]:
        """DF and `doubt` of an outer packet that would have DF. What the sender has to be told of, the wire refuses."""
        believed = self.settings.min_pmtu
        if not interface.doubt:
            if time.monotonic() >= interface.path_until:
                interface.path_until = 0.0
                return True, False
            believed = interface.path_mtu
        if 20 + (8 if sa.natt else 0) + len(sealed) <= believed:
            return True, interface.doubt
        return (True, False) if len(inner) > SMALLEST_INNER[inner[0] >> 4] else (False, interface.doubt)

    def _refused(self, interface: TunnelInterface, inner: bytes, packet: OuterPacket, error: int) -> None:
        """The wire did not take an outer packet, at first at least."""
        drop = self._too_big(interface, inner, packet) if error == EMSGSIZE else _drop_of(error)
        if drop is None:
            self.counters.sent += 1
            return
        self._dropped_out(drop, inner)
        if drop.oerrors:
            interface.oerrors += 1

    def _too_big(self, interface: TunnelInterface, inner: bytes, packet: OuterPacket) -> Drop | None:
        """None: it left after all, and so do those like it for a while."""
        worker = interface.outbound
        if worker is None or not packet.df:
            return drops.OUT_FRAGMENTATION
        least = 0 if packet.doubt else self.settings.min_pmtu  # what is refused in spite of doubt is the device's
        path = self._wire.path_mtu(worker.sa.dst, interface.entry.mark)
        interface.doubt = path < least
        interface.path_mtu = max(path, least)
        interface.path_until = time.monotonic() + paths.REMEMBERED
        verdict = paths.verdict(worker.sa, path, least, len(inner), inner[0] >> 4)
        if verdict.told:
            answer = icmp.too_big(inner[:QUOTED], verdict.told)
            if answer is None or interface.tun.write(answer):
                return drops.OUT_FRAGMENTATION
            return drops.OUT_MTU
        again = packet.doubt
        packet.df, packet.doubt = verdict.df, verdict.doubt
        (error,) = self._wire.send((packet,))
        if error == EMSGSIZE and not again:
            return self._too_big(interface, inner, packet)
        return _drop_of(error) if error else None

    # -- in --------------------------------------------------------------------------------------------------------

    def read_wire(self, budget: int, ready: Collection[int] = ()) -> int:
        """Moves up to `budget` packets of each socket, or of those that are `ready`, from the wire to the devices; how
        many there were."""
        packets = self._wire.receive(budget, ready)
        if packets:
            self.inbound(packets)
        return len(packets)

    def inbound(self, packets: list[OuterPacket]) -> None:
        """The way in. What nearly every packet goes through is here, in a row; all the rest is in `_other`."""
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
            self._other(packet, worker, opened)
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
        drop = drops.IN_TUN_FULL if error == ENOBUFS else drops.IN_TUN_ERROR
        self.counters.drop(drop.name, len(packet.dst) == 16)

    def _after_opening(self, worker: Worker) -> None:
        """What is seldom to do after a packet was accepted: asking for more numbers, noting the first use."""
        traffic = worker.traffic
        if worker.esp is not None and worker.esp.window is not None:
            self._ask(worker, EDGE)
        else:
            worker.ask_at = 1 << 65  # without a window there is nothing to reserve
        if not traffic.first_used:
            traffic.first_used = int(time.time())

    def _other(self, packet: OuterPacket, worker: Worker | None, opened: Opened | Drop | None) -> None:
        """A packet's way in, in FreeBSD's order of checks. `worker` and `opened`: as far as `inbound` got with it."""
        counters = self.counters
        esp = packet.payload
        size = len(esp)
        if opened is None:
            if packet.ports is not None:
                drop = self._check_natt(packet)
                if drop is not None:
                    self._dropped_in(drop, packet, 0, None)
                    return
                counters.middle += 1  # the UDP header
            if not self.settings.esp_enable:
                self._dropped_in(drops.IN_ESP_DISABLED, packet, 0, None)
                return
            if size < 8:
                # What came in UDP passes by FreeBSD's check for a whole header; the next, of the length, finds these.
                odd = packet.ports is not None and size & 3
                self._dropped_in(drops.IN_LENGTH if odd else drops.IN_SHORT, packet, 0, None)
                return
            worker = self._inbound.get(esp[:4])
            if worker is None or worker.dst != packet.dst:
                self._dropped_in(drops.IN_UNKNOWN_SPI, packet, 0, None)
                return
            opener = worker.esp or worker.prepare()
            if opener is None:
                self._dropped_in(drops.IN_NO_TRANSFORM, packet, 0, None)
                return
            opened = opener.open(esp)
        assert worker is not None
        if opened is drops.IN_WINDOW_UNRESERVED and worker.esp is not None and worker.esp.window is not None:
            self._ask_at_limit(worker, EDGE, worker.esp.window.needed)
        if isinstance(opened, Drop):
            self._dropped_in(opened, packet, size - worker.overhead, worker.sa)
            return
        if worker.traffic.received_high >= worker.ask_at:
            self._after_opening(worker)
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
        worker = self._inbound.get(esp[:4])
        if worker is None or worker.sa.dst != packet.dst or worker.sa.natt is None:
            return drops.IN_NATT_NO_SA
        return None if worker.sa.natt == packet.ports else drops.IN_NATT_PORTS

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

    def _deliver(self, worker: Worker, packet: OuterPacket, inner: bytes, next_header: int) -> Drop | None:
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
        target = worker.target.interface
        refusal = inner_refusal(inner, next_header)
        if target is None:
            if not self.settings.accept_unclaimed:
                return drops.IN_NO_INTERFACE
            if refusal is not None:
                return refusal
            if self._wire.inject(inner, packet.interface):
                return drops.IN_HOST_REFUSED
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
        error = target.write(inner)
        if error:
            return drops.IN_TUN_FULL if error == ENOBUFS else drops.IN_TUN_ERROR
        counters.delivered += 1
        return None
