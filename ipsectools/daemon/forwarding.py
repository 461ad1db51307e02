"""The glue between kernel and data path: what the kernel has becomes the pump's tables, what packets need its requests.

Belongs to the thread that owns the kernel. The kernel tells of a change after it is in the state file and before the
answer leaves; the pump's tables follow within that call. So a command's effect is in force when the command returns.
"""

from __future__ import annotations

from contextlib import suppress
from socket import AF_INET, AF_INET6, inet_pton

from ipsectools.daemon.devices import Devices
from ipsectools.daemon.edges import Edges
from ipsectools.datapath.events import ACQUIRE, EDGE, EXHAUSTED, REFUSED, RESERVE, Events
from ipsectools.datapath.pump import Pump
from ipsectools.datapath.tables import SA, Settings
from ipsectools.datapath.tables import Interface as Entry
from ipsectools.errno import KernelError
from ipsectools.esp.traffic import Traffic
from ipsectools.kernel.interfaces import fib, if_ipsec
from ipsectools.kernel.key.validate import COUNTER_MODE
from ipsectools.kernel.sysctl import MARK_FIB, MARK_STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ipsectools.host.api import Host
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.kernel import Kernel
    from ipsectools.kernel.key.sad import SecurityAssociation

    TunnelKey = tuple[bytes, bytes, int]

ACQUIRES_AT_ONCE = 1000
"""Packets without an SA that one call reports to the key engine for one interface at the most."""

_CTR_COMPATIBILITY = "net.inet.esp.ctr_compatibility"
_PREFERRED_OLDSA = "net.key.preferred_oldsa"
_SETTINGS = {
    "net.inet.ipsec.dfbit": "dfbit",
    "net.inet.ipsec.ecn": "ecn",
    "net.inet6.ipsec6.ecn": "ecn6",
    "net.inet.ip.ttl": "ttl",
    "net.inet6.ip6.hlim": "hlim",
    "net.inet.esp.esp_enable": "esp_enable",
    "net.inet.ipsec.accept_unclaimed": "accept_unclaimed",
    "net.inet.ipsec.min_pmtu": "min_pmtu",
}
_AH_COUNTERS = 19


class Forwarder:
    """Runs the data path of a kernel."""

    def __init__(
        self,
        kernel: Kernel,
        host: Host,
        wake: Callable[[], None],
        core: str = "auto",
        report: Callable[[str], None] = lambda text: None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """`wake` is called from the pump's threads when `handle_events` has something to do, `report` with what the
        administrator has to know, `failed` with mistakes in this program (absent: they are raised)."""
        self._kernel = kernel
        self._report = report
        self._failed = failed or _raise
        self._events = Events(wake)
        self.pump = Pump(host, self._events, core)
        self._sas: dict[int, SA] = {}
        self._tunnels: dict[TunnelKey, int] = {}
        self._tunnel_of: dict[int, TunnelKey] = {}
        self._edges = Edges(kernel.engine.counters)
        self._unplaced: dict[int, SecurityAssociation] = {}
        """By id, SAs for whose counters there was no room: packets do not use them yet."""
        self._looked = 0.0
        self._devices = Devices(kernel, self._renew_interface, report)
        self._refused: set[int] = set()
        """SAs (ids) whose first numbers could not be kept."""
        self._keeps = True
        """Whether the last reservation could be kept."""
        self.reloaded()
        kernel.observers.append(self)
        kernel.interface_counters = self.interface_counters
        kernel.ipsec_statistics = self.statistics

    def start(self) -> None:
        """Lets packets flow."""
        self.pump.start()

    def stop(self) -> None:
        """Ends the flow for good; the kernel's SAs then hold the final counters."""
        self.pump.close()
        if self in self._kernel.observers:
            self._kernel.observers.remove(self)

    # what the kernel tells

    def sa_changed(self, sa: SecurityAssociation) -> None:
        before = self._sas.get(sa.spi)
        entry = self._entry(sa) if sa.usable else None
        if entry is not None and (before is None or not entry.same_as(before)):
            self._sas[sa.spi] = entry
            self.pump.set_inbound(entry)
        if before is not None and (before.src, before.dst, before.reqid) != (sa.src_address, sa.dst_address, sa.reqid):
            self._choose_between(before.src, before.dst, before.reqid)  # it has moved away from there
        self._choose_outbound(sa)

    def sa_removed(self, sa: SecurityAssociation) -> None:
        entry = self._sas.get(sa.spi)
        if entry is not None and entry.id == sa.id:
            del self._sas[sa.spi]
            self.pump.remove_inbound(sa.spi)
        self._refused.discard(sa.id)
        self._unplaced.pop(sa.id, None)
        self._edges.forget(sa)
        self._choose_outbound(sa)
        sa.traffic = self.pump.old_traffic(sa.traffic)
        self._kernel.engine.counters.leave(sa)

    def interface_changed(self, interface: Interface) -> None:
        if isinstance(interface.own, if_ipsec.Own):
            self._forget_tunnel(interface.index)
            if interface.tunnel is not None:
                key = (_packed(interface.tunnel.src), _packed(interface.tunnel.dst), if_ipsec.of(interface).reqid)
                self._tunnels[key] = interface.index
                self._tunnel_of[interface.index] = key
            self._set_interface(interface)

    def interface_removed(self, index: int) -> None:
        self._forget_tunnel(index)
        self._devices.removed(index)
        self.pump.remove_interface(index)

    def sysctl_changed(self, name: str) -> None:
        if name in _SETTINGS:
            self._set_settings()
        elif name in (MARK_FIB, MARK_STATE):
            self._set_settings()
            for interface in self._kernel.interfaces:
                self.interface_changed(interface)
        elif name == _PREFERRED_OLDSA:
            for index in list(self._tunnel_of):
                self._renew_interface(index)
        elif name == _CTR_COMPATIBILITY:
            self._load_sas()

    def reloaded(self) -> None:
        """Everything anew; SAs that are the same keep what they have seen."""
        self._set_settings()
        self._load_sas()
        present = {interface.index for interface in self._kernel.interfaces if isinstance(interface.own, if_ipsec.Own)}
        for index in [index for index in self.pump.interfaces if index not in present]:
            self.interface_removed(index)
        for interface in self._kernel.interfaces:
            self.interface_changed(interface)

    def _load_sas(self) -> None:
        by_spi = self._kernel.engine.sad.by_spi
        for spi in [spi for spi, entry in self._sas.items() if spi not in by_spi or by_spi[spi].id != entry.id]:
            del self._sas[spi]
            self.pump.remove_inbound(spi)
        for sa in list(by_spi.values()):
            self.sa_changed(sa)

    def _set_settings(self) -> None:
        value, mark = self._kernel.sysctl.value, fib.marks(self._kernel).outer(0)
        self.pump.set_settings(Settings(mark=mark, **{field: value(name) for name, field in _SETTINGS.items()}))

    # tables

    def _entry(self, sa: SecurityAssociation) -> SA | None:
        """The SA for the pump; None if there is no room for its counters."""
        try:
            place = self._kernel.engine.counters.place(sa)
        except KernelError as error:
            self._unplaced[sa.id] = sa
            sa.no_send_reason = f"its counters cannot be kept ({error})"
            self._cannot_keep(error)
            return None
        if self._unplaced.pop(sa.id, None) is not None:
            sa.no_send_reason = ""
        traffic = self.pump.new_traffic(sa.traffic, place)
        if traffic is not sa.traffic:
            sa.traffic = traffic
        self.pump.grant(traffic)
        return self._make_entry(sa, traffic)

    def _make_entry(self, sa: SecurityAssociation, traffic: Traffic) -> SA:
        return SA(
            sa.spi,
            sa.src_address,
            sa.dst_address,
            id=sa.id,
            enc=sa.encrypt,
            enc_key=sa.encryption_key,
            auth=sa.auth,
            auth_key=sa.auth_key,
            flags=sa.flags,
            window=sa.window_packets,
            mode=sa.mode,
            reqid=sa.reqid,
            natt=sa.natt,
            ctr_compatibility=bool(self._kernel.sysctl.value(_CTR_COMPATIBILITY)),
            blocked="out-ledger-unavailable" if sa.no_send_reason else "",
            traffic=traffic,
        )

    def _choose_outbound(self, sa: SecurityAssociation) -> None:
        """The SA came, went or changed: the interface with its end points may have another one to send with now."""
        self._choose_between(sa.src_address, sa.dst_address, sa.reqid)

    def _choose_between(self, src: bytes, dst: bytes, reqid: int) -> None:
        index = self._tunnels.get((src, dst, reqid))
        if index is not None:
            self._renew_interface(index)

    def _renew_interface(self, index: int) -> None:
        interface = self._kernel.interfaces.by_index(index)
        if interface is not None:
            self._set_interface(interface)

    def _set_interface(self, interface: Interface) -> None:
        src = dst = None
        outbound = None
        if interface.tunnel is not None:
            src, dst = _packed(interface.tunnel.src), _packed(interface.tunnel.dst)
            chosen = self._kernel.engine.outbound_sa(src, dst, if_ipsec.of(interface).reqid)
            if chosen is not None:
                self._reserve_first(chosen)
                outbound = self._sas.get(chosen.spi)
                if chosen.id in self._unplaced:  # it is there, and to ask for another would not help
                    outbound = self._make_entry(chosen, self.pump.new_traffic(Traffic()))
        layout = fib.marks(self._kernel)
        entry = Entry(
            interface.index,
            interface.name,
            up=interface.up,
            running=interface.running and layout.holds(interface.tunnelfib),
            monitor=interface.monitor,
            mtu=interface.mtu,
            src=src,
            dst=dst,
            reqid=if_ipsec.of(interface).reqid,
            mark=layout.outer(interface.tunnelfib),
            outbound=outbound,
        )
        try:
            self.pump.set_interface(entry)
        except KernelError as error:
            self._devices.failed(interface, error)
        else:
            self._devices.opened(interface)

    def _reserve_first(self, sa: SecurityAssociation) -> None:
        """An SA that will send has numbers before its first packet, which would have to wait for them."""
        if sa.traffic.iv_limit or sa.no_send_reason or sa.encrypt not in COUNTER_MODE or sa.id in self._refused:
            return
        try:
            with self.pump.pause_for_reservation(), self._kernel.request(self._kernel.now):
                self._kernel.engine.reserve(sa)
        except KernelError as error:
            # Its packets ask again. We do not: taking the request back is told us as a change, which leads here again.
            self._refused.add(sa.id)
            self._cannot_keep(error)
            return
        self.pump.grant(sa.traffic)

    def _cannot_keep(self, error: KernelError) -> None:
        """Says once why SAs that run out of reserved numbers stop."""
        if self._keeps:
            self._keeps = False
            self._report(f"state: {error}: security associations lack numbers or room for their counters")

    def _forget_tunnel(self, index: int) -> None:
        key = self._tunnel_of.pop(index, None)
        if key is not None and self._tunnels.get(key) == index:
            del self._tunnels[key]

    # what the pump asks

    def handle_events(self, now: float) -> None:
        """Answers what packets asked; to be called after `wake`, and now and then besides."""
        self._guard(lambda: self._devices.try_again(now))
        if now - self._looked >= 0.9 or now < self._looked:  # the timer of a second may come a little early
            self._looked = now
            self._guard(self.pump.open_endpoints)
            self._guard(self.pump.look_at_paths)
            self._guard(self._place_again)
            self._guard(lambda: self._look_at_edges(now))
        if events := self._events.take():
            self._guard(lambda: self._answer_all(events, now))

    def _guard(self, task: Callable[[], None]) -> None:
        """What is wrong with one task is none of the others'."""
        try:
            task()
        except Exception as error:
            self._failed(error)

    def _answer_all(self, events: list[tuple[str, Any, int]], now: float) -> None:
        """In one transaction; if that is impossible for one of them, each in its own."""
        reserved: list[SecurityAssociation] = []
        with self.pump.pause_for_reservation():
            try:
                with self._kernel.request(now):
                    for kind, ident, count in events:
                        self._answer(kind, ident, count, now, reserved)
            except KernelError as error:
                self._cannot_keep(error)
                return  # packets are dropped with a name, and ask again
            except Exception:
                if len(events) == 1:
                    raise
                for event in events:
                    self._guard(lambda event=event: self._answer_all([event], now))  # type: ignore[misc]
                return
        self._keeps = True
        for sa in reserved:
            self.pump.grant(sa.traffic)

    def _answer(self, kind: str, ident: Any, count: int, now: float, reserved: list[SecurityAssociation]) -> None:
        engine = self._kernel.engine
        if kind == ACQUIRE:
            index, family = ident
            interface = self._kernel.interfaces.by_index(index)
            if interface is not None and len(policies := if_ipsec.of(interface).policies) == 4:
                policy = policies[1 if family == 4 else 3]
                for _ in range(min(count, ACQUIRES_AT_ONCE)):
                    engine.acquire_for_policy(policy, now)
            return
        if kind == REFUSED:
            self._devices.refused(*ident)
            return
        spi, id = ident
        sa = engine.sad.by_spi.get(spi)
        if sa is None or sa.id != id or not sa.usable:
            return
        if kind == RESERVE and not sa.no_send_reason:
            engine.reserve(sa)
            reserved.append(sa)
        elif kind == EDGE:
            if self._edges.reserve(sa, count, now):
                reserved.append(sa)
        elif kind == EXHAUSTED:
            engine.exhausted(sa, now)

    def _place_again(self) -> None:
        for sa in list(self._unplaced.values()):
            self.sa_changed(sa)

    def _look_at_edges(self, now: float) -> None:
        if not self._edges:
            return
        with suppress(KernelError):
            with self.pump.pause_for_reservation(), self._kernel.request(now):
                reserved = self._edges.look(self._kernel.engine.sad.by_spi, now)
            for sa in reserved:
                self.pump.grant(sa.traffic)

    # what was counted

    def interface_counters(self, index: int) -> tuple[int, int, int, int, int, int] | None:
        """FreeBSD's (ipackets, ibytes, ierrors, opackets, obytes, oerrors) of an ipsec interface."""
        return self.pump.interface_counters(index)

    def statistics(self) -> dict[str, Any]:
        """What the control operation STATISTICS answers; see `datapath.statistics.report` for the members."""
        report = self.pump.statistics()
        report["ah"] = [0] * _AH_COUNTERS + report.pop("ah_histogram")
        interfaces = {}
        for index, entry in self.pump.interfaces.items():
            counters = self.pump.interface_counters(index)
            if counters is not None:
                names = ("ipackets", "ibytes", "ierrors", "opackets", "obytes", "oerrors")
                interfaces[entry.name] = dict(zip(names, counters, strict=True))
        report["interfaces"] = interfaces
        report["core"] = self.pump.core_name
        return report


def _raise(error: Exception) -> None:
    raise error


def _packed(address: str) -> bytes:
    """4 or 16 bytes of a numeric text without a zone."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
