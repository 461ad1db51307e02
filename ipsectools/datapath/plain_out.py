"""The way out of the core in plain Python: device -> interface -> SA -> sealed packet -> wire."""

from __future__ import annotations

import time

from ipsectools.datapath import paths
from ipsectools.datapath.events import ACQUIRE, EXHAUSTED, RESERVE
from ipsectools.datapath.plain_base import Base
from ipsectools.datapath.plain_tables import TunnelInterface, Worker
from ipsectools.datapath.tables import SA
from ipsectools.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS
from ipsectools.esp import drops
from ipsectools.esp.drops import DROPS, Drop
from ipsectools.esp.tunnel import SMALLEST_INNER, outer_df
from ipsectools.host.api import OuterPacket
from ipsectools.wire import icmp

QUOTED = 548
"""Bytes of an inner packet that an ICMP message about it quotes at most (RFC 1812 section 4.3.2.3)."""
IVS_LEFT = 1 << 20
"""With so many an SA asks for more."""
_GUARDED = frozenset((17, 44, 50))
_GUARDED_WITHOUT_NATT = frozenset((44, 50))
"""Protocols of inner packets that may have been made by this host's IPsec; 44 is IPv6's fragment header."""


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


class Outbound(Base):
    """Each stage gives what the next one takes, or the reason to drop the packet."""

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
        """The way out. What nearly every packet goes through is here, in a row; all the rest is in `_pass_out`."""
        batch: list[OuterPacket] = []
        inners: list[bytes] = []
        self.counters.taken += len(packets)
        worker = interface.way.worker
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
                        batch.append(self._wrap(interface, worker.sa, inner, sealed))
                        inners.append(inner)
                        continue
            result = self._pass_out(interface, inner)
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
            self._send(interface, inners, batch)

    def _sends(self, interface: TunnelInterface, worker: Worker) -> bool:
        """Whether nothing but the packet itself can be in the way."""
        return interface.way.refusal is None and self.settings.esp_enable != 0 and not worker.sa.blocked

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

    # -- the stages, in FreeBSD's order of checks ------------------------------------------------------------------

    def _pass_out(self, interface: TunnelInterface, inner: bytes) -> OuterPacket | Drop:
        """An inner packet's way out up to the wire."""
        worker = self._decide(interface, inner)
        if isinstance(worker, Drop):
            return worker
        sealed = self._seal(worker, inner)
        if isinstance(sealed, Drop):
            return sealed
        self._count_sealed(worker, 1, len(inner), len(sealed))
        return self._wrap(interface, worker.sa, inner, sealed)

    def _decide(self, interface: TunnelInterface, inner: bytes) -> Worker | Drop:
        """decide: whether the packet has a way out, and by which SA."""
        way = interface.way
        if way.refusal is not None:
            return way.refusal
        version = inner[0] >> 4 if inner else 0
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
        worker = way.worker
        if worker is None:
            self._events.put(ACQUIRE, (interface.entry.index, version), 1)
            return drops.OUT_NO_SA
        return worker

    def _seal(self, worker: Worker, inner: bytes) -> bytes | Drop:
        """number and seal: `esp.sealing` has them in a row."""
        sa = worker.sa
        if sa.blocked:
            return DROPS[sa.blocked]
        esp = worker.esp or worker.prepare()
        if esp is None:
            return drops.OUT_NO_TRANSFORM
        sealed = esp.seal(inner)
        if isinstance(sealed, Drop):
            self.counters.output += 1
            if sealed is not drops.OUT_TOO_BIG:
                self.counters.obytes += len(inner)
            if sealed is drops.OUT_SEQUENCE_UNRESERVED:
                self._ask_at_limit(worker, RESERVE, 0)
            elif sealed is drops.OUT_SEQUENCE_EXHAUSTED:
                self._events.put(EXHAUSTED, (sa.spi, sa.id))
        return sealed

    def _wrap(self, interface: TunnelInterface, sa: SA, inner: bytes, sealed: bytes) -> OuterPacket:
        """wrap: the outer packet for a sealed one, its header fields from the inner packet and the settings."""
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
            mark=interface.way.mark,
        )

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

    def _send(self, interface: TunnelInterface, inners: list[bytes], batch: list[OuterPacket]) -> None:
        """send: what is sealed leaves."""
        for inner, packet, error in zip(inners, batch, self._wire.send(batch), strict=True):
            if error:
                self._refused(interface, inner, packet, error)
            else:
                self.counters.sent += 1

    def _dropped_out(self, drop: Drop, inner: bytes) -> None:
        self.counters.drop(drop.name, bool(inner) and inner[0] >> 4 == 6)

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
        worker = interface.way.worker
        if worker is None or not packet.df:
            return drops.OUT_FRAGMENTATION
        least = 0 if packet.doubt else self.settings.min_pmtu  # what is refused in spite of doubt is the device's
        path = self._wire.path_mtu(worker.sa.dst, interface.way.mark)
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
