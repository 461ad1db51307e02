"""The tables of the core in plain Python: interfaces, SAs at work, the guard against loops."""

from __future__ import annotations

from ipsectools.datapath.tables import SA, Interface, Settings
from ipsectools.esp import drops
from ipsectools.esp.algorithms import ENCRYPTIONS
from ipsectools.esp.drops import Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.tunnel import MODE_TUNNEL, tos_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from ipsectools.esp.opening import Open
    from ipsectools.esp.sealing import Seal
    from ipsectools.host.api import Tun

    TargetKey: TypeAlias = tuple[int, bytes, bytes]
    Counted: TypeAlias = tuple[int, int, int, int, int, int]


class Worker:
    """An SA at work in one direction, its ESP contexts made at its first packet.

    `target` is where its decrypted packets go: for ever empty unless it is an inbound SA of mode tunnel.
    """

    __slots__ = (
        "again_at",
        "ask_at",
        "asked",
        "counts_ivs",
        "dst",
        "esp",
        "half",
        "key",
        "open",
        "overhead",
        "refused",
        "sa",
        "seal",
        "target",
        "traffic",
    )

    def __init__(self, sa: SA, key: TargetKey | None = None, target: Target | None = None) -> None:
        self.sa = sa
        self.dst = sa.dst
        self.traffic = sa.traffic
        self.key = key
        self.target = target if target is not None and sa.mode == MODE_TUNNEL else _NOWHERE
        self.esp: EspSA | None = None
        self.open: Open | None = None
        self.seal: Seal | None = None
        self.overhead = 0
        self.asked = -1  # the limit that was looked at last
        self.half = 0  # the number at which to ask for a higher one, -1 after that
        self.ask_at = 0  # the number at which to look at that again
        self.refused: tuple[int, int, int] | None = None  # the limits at which packets were refused
        self.again_at = 0.0
        self.counts_ivs = sa.enc in ENCRYPTIONS and ENCRYPTIONS[sa.enc].counter_iv

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
        self.use(self.esp)
        return self.esp

    def use(self, esp: EspSA) -> None:
        """Works with these contexts."""
        self.esp = esp
        self.open = esp.open
        self.seal = esp.seal
        self.overhead = esp.overhead


class Target:
    """The place of the interface that inbound SAs with one (reqid, src, dst) belong to; empty while there is none."""

    __slots__ = ("interface", "users")

    def __init__(self) -> None:
        self.interface: TunnelInterface | None = None
        self.users = 0


_NOWHERE = Target()


class Way:
    """A prepared way out: what a device's packets go through. It is replaced as a whole.

    `refusal`: why nothing leaves, before anything is counted for the interface. `mark`: of outer packets. `worker`: the
    SA, None if each packet has to ask for one.
    """

    __slots__ = ("mark", "refusal", "worker")

    def __init__(self, refusal: Drop | None, mark: int, worker: Worker | None) -> None:
        self.refusal = refusal
        self.mark = mark
        self.worker = worker


class TunnelInterface:
    """An interface with its device and counters. `receives` says that decrypted packets reach the host over it.

    `doubt`: the host believes less of the outer path than may be believed. `path_mtu`: what a packet was refused for,
    until the (monotonic) time `path_until`.
    """

    __slots__ = (
        "doubt",
        "entry",
        "ibytes",
        "ipackets",
        "obytes",
        "oerrors",
        "opackets",
        "path_mtu",
        "path_until",
        "receives",
        "tun",
        "way",
        "write",
    )

    def __init__(self, tun: Tun) -> None:
        self.tun = tun
        self.write = tun.write
        self.receives = False
        self.entry = Interface(0, "")
        self.way = Way(drops.OUT_NO_TUNNEL, 0, None)
        self.doubt = False
        self.path_mtu = 0
        self.path_until = 0.0
        self.ipackets = self.ibytes = self.opackets = self.obytes = self.oerrors = 0


def refusal_of(entry: Interface) -> Drop | None:
    """Why the interface sends nothing, in the order of FreeBSD's checks; None if it does."""
    if not entry.running:
        return drops.OUT_NOT_RUNNING if entry.src else drops.OUT_NO_TUNNEL
    if not entry.up:
        return drops.OUT_INTERFACE_DOWN
    if entry.monitor:
        return drops.OUT_MONITOR
    return None if entry.src else drops.OUT_NO_TUNNEL


class Tables:
    """What `plain.PlainCore` looks up. Changed by one thread at a time, while nobody looks (the pump's gate)."""

    def __init__(self) -> None:
        self.set_settings(Settings())
        self._interfaces: dict[int, TunnelInterface] = {}
        self._targets: dict[TargetKey, Target] = {}
        self._inbound: dict[bytes, Worker] = {}
        """By the four bytes of the SPI."""
        self._esp_pairs: dict[tuple[bytes, bytes], int] = {}
        self._natt_pairs: dict[tuple[bytes, bytes], dict[tuple[int, int], int]] = {}

    def has_interface(self, index: int) -> bool:
        return index in self._interfaces

    def set_doubt(self, index: int, doubt: bool) -> None:
        self._interfaces[index].doubt = doubt

    def set_settings(self, settings: Settings) -> None:
        self.settings = settings
        self._tos4 = tos_table(settings.ecn)
        self._tos6 = tos_table(settings.ecn6)

    def set_interface(self, entry: Interface, tun: Tun | None) -> None:
        """`tun` for an interface that was not there before, else None."""
        interface = self._interfaces.get(entry.index)
        if interface is None:
            assert tun is not None
            interface = self._interfaces[entry.index] = TunnelInterface(tun)
        else:
            self._forget(interface)
        interface.entry = entry
        interface.receives = entry.running and entry.up and not entry.monitor
        worker = None
        if entry.outbound is not None:
            worker = interface.way.worker
            if worker is None or not worker.sa.same_as(entry.outbound):
                worker = Worker(entry.outbound)
        interface.way = Way(refusal_of(entry), entry.mark, worker)
        if entry.src and entry.dst:
            self._target((entry.reqid, entry.dst, entry.src)).interface = interface
        if entry.outbound is not None:
            self._guard(entry.outbound, 1)

    def remove_interface(self, index: int) -> None:
        interface = self._interfaces.pop(index, None)
        if interface is not None:
            self._forget(interface)
            interface.tun.close()

    def _forget(self, interface: TunnelInterface) -> None:
        entry = interface.entry
        if entry.outbound is not None:
            self._guard(entry.outbound, -1)
        if entry.src and entry.dst:
            key = (entry.reqid, entry.dst, entry.src)
            target = self._targets[key]
            if target.interface is interface:
                target.interface = None
            self._release(key)

    def _target(self, key: TargetKey) -> Target:
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = Target()
        target.users += 1
        return target

    def _release(self, key: TargetKey) -> None:
        target = self._targets[key]
        target.users -= 1
        if not target.users:
            del self._targets[key]

    def set_inbound(self, sa: SA) -> None:
        before = self._inbound.get(sa.spi.to_bytes(4, "big"))
        self.remove_inbound(sa.spi)
        key = (sa.reqid, sa.src, sa.dst)
        worker = self._inbound[sa.spi.to_bytes(4, "big")] = Worker(sa, key, self._target(key))
        if before is not None and before.esp is not None and sa.same_cryptography(before.sa):
            worker.use(before.esp)  # with its replay window

    def remove_inbound(self, spi: int) -> None:
        worker = self._inbound.pop(spi.to_bytes(4, "big"), None)
        if worker is not None and worker.key is not None:
            self._release(worker.key)

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
