"""Kernel and pump together: what requests change for packets, what packets ask of the key engine."""

from __future__ import annotations

import pytest

from ipsectools import answers
from ipsectools.daemon.forwarding import Forwarder
from ipsectools.datapath.events import RESERVE
from ipsectools.errno import ENOSPC, KernelError
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.kernel.kernel import Kernel
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_KEY_ENCRYPT,
    MODE_TUNNEL,
    SADB_ACQUIRE,
    SADB_ADD,
    SADB_DELETE,
    SADB_FLUSH,
    SADB_GETSPI,
    SADB_REGISTER,
    SADB_UPDATE,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build
from tests.datapath.world import CORES, ipv4
from tests.kernel.typed import differences

pytestmark = pytest.mark.parametrize("core", CORES)
A, B = "192.168.0.3", "192.168.0.5"
PING = ipv4(b"\x08\0\xf7\xfe\0\1\0\0", 1)


class Host:
    """A kernel with its data path on a host in memory, ipsec0 up with reqid 100."""

    def __init__(self, core: str) -> None:
        self.host = SimulatedHost()
        self.now = 1_700_000_000.0
        self.kernel = Kernel(None, self.host, self.now)
        self.control("NEWADDR", name="em0", family="inet", address=A, prefixlen=24)
        self.woken = 0
        self.reports: list[str] = []
        self.forwarder = Forwarder(self.kernel, self.host, self.wake, core, self.reports.append)
        self.got: list[bytes] = []
        self.pfkey = self.kernel.open_pfkey(lambda message: self.got.append(message) or True)
        self.control("SIOCIFCREATE2", name="ipsec0")
        self.control("IPSECSREQID", name="ipsec0", reqid=100)
        self.control("SIOCSIFPHYADDR", name="ipsec0", src=A, dst=B)
        self.control("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
        self.tun = self.host.open_tun("ipsec0")
        self.wire = self.host._wires[0]

    def wake(self) -> None:
        self.woken += 1

    def control(self, op: str, **arguments: object) -> object:
        return self.kernel.control(op, arguments, self.now)

    def send(self, count: int = 1) -> list[int]:
        """Routes packets into ipsec0; the SPIs of what left."""
        before = len(self.wire.sent)
        for _ in range(count):
            self.tun.inject(PING)
        while self.forwarder.pump.step():
            pass
        return [int.from_bytes(packet.payload[:4], "big") for packet in self.wire.sent[before:]]

    def request(self, type: int, spi: int = 0, *, reqid: int = 100, src: str = A, dst: str = B, enc: int = 12) -> None:
        body = b""
        if spi:
            key = b"VerySecureKey!!1" + (b"salt" if enc == 20 else b"")
            body += ext.sa(spi, encrypt=enc if type == SADB_ADD else 0)
            if type == SADB_ADD:
                body += ext.sa2(MODE_TUNNEL, reqid)
            for kind, address in ((EXT_ADDRESS_SRC, src), (EXT_ADDRESS_DST, dst)):
                body += ext.address(kind, sockaddr.from_text(address), protocol=255)
            if type == SADB_ADD:
                body += ext.key(EXT_KEY_ENCRYPT, key)
        assert self.pfkey.send(build(type, SATYPE_ESP, body, seq=1), self.now) == 0

    def take(self, type: int) -> list[bytes]:
        got, self.got[:] = [message for message in self.got if message[1] == type], []
        return got


def test_the_oldest_sa_sends_or_the_newest(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    host.request(SADB_ADD, 1001)
    assert host.send() == [1000]
    host.control("SYSCTLSET", name="net.key.preferred_oldsa", value=0)
    assert host.send() == [1001]
    host.control("SYSCTLSET", name="net.key.preferred_oldsa", value=1)
    host.request(SADB_DELETE, 1000)
    assert host.send() == [1001]
    host.request(SADB_FLUSH)
    assert host.send() == []
    assert host.forwarder.statistics()["drops"]["out-no-sa"] == 1


def test_a_moved_sa_sends_for_its_old_tunnel_no_more(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    assert host.send() == [1000]
    moved = [
        ext.address(kind, sockaddr.from_text(address)) for kind, address in ((27, "192.168.0.4"), (28, "192.168.0.6"))
    ]
    ends = ext.address(EXT_ADDRESS_SRC, sockaddr.from_text(A)) + ext.address(EXT_ADDRESS_DST, sockaddr.from_text(B))
    body = ext.sa(1000) + ext.sa2(MODE_TUNNEL, 100) + ends + b"".join(moved)
    assert host.pfkey.send(build(SADB_UPDATE, SATYPE_ESP, body), host.now) == 0
    assert host.take(SADB_UPDATE)[0][2] == 0
    assert host.send() == []
    host.control("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.4", dst="192.168.0.6")
    host.control("NEWADDR", name="em0", family="inet", address="192.168.0.4", prefixlen=24)
    assert host.send() == [1000]


@pytest.mark.parametrize("ended", ["larval", "deleted"])
def test_a_newer_head_without_an_sa_hides_an_older_one_until_it_is_removed(core: str, ended: str) -> None:
    """FreeBSD looks at the newest head that fits, even if only a larval SA is in it, or none."""
    host = Host(core)
    host.request(SADB_ADD, 1000)
    ends = ext.address(EXT_ADDRESS_SRC, sockaddr.from_text(A)) + ext.address(EXT_ADDRESS_DST, sockaddr.from_text(B))
    any_mode = ext.sa2(0, 100)
    request = build(SADB_GETSPI, SATYPE_ESP, any_mode + ends + ext.spirange(2000, 2000))
    assert host.pfkey.send(request, host.now) == 0
    assert host.send() == []
    if ended == "deleted":
        host.request(SADB_DELETE, 2000)
    else:
        host.now += 30
        host.kernel.tick(host.now)
    assert host.send() == []
    host.kernel.tick(host.now + 1)
    assert host.send() == [1000]


def test_acquire_is_sent_for_one_packet_in_twelve(core: str) -> None:
    host = Host(core)
    host.request(SADB_REGISTER)
    host.take(SADB_ACQUIRE)
    host.send(30)
    assert host.woken
    host.forwarder.handle_events(host.now)
    assert len(host.take(SADB_ACQUIRE)) == 3


def test_blocks_of_numbers_follow_each_other(core: str) -> None:
    """Far more packets than are reserved at first; none is lost, every number is used once."""
    from ipsectools.kernel.key.tables import FIRST_BLOCK

    host = Host(core)
    host.request(SADB_ADD, 1000, enc=20)
    host.send(20)
    traffic = host.kernel.engine.sad.by_spi[1000].traffic
    traffic.sequence = traffic.sequence_limit - 100
    traffic.iv = traffic.iv_limit - 100
    seen = set()
    for _ in range(19):
        host.send(20)
        host.forwarder.handle_events(host.now)
    for packet in host.wire.sent:
        seen.add((packet.payload[4:8], packet.payload[8:16]))
    assert len(seen) == len({sequence for sequence, _ in seen}) == len({iv for _, iv in seen}) == 400
    limits = host.kernel.engine.sad.by_spi[1000].traffic
    assert limits.sequence_limit >= FIRST_BLOCK + 300


def test_an_exhausted_sa_dies(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    sa = host.kernel.engine.sad.by_spi[1000]
    sa.traffic.sequence_limit = 1 << 40
    host.forwarder.pump.grant(sa.traffic)
    sa.traffic.sequence = 0xFFFFFFFF
    assert host.send() == []
    host.forwarder.handle_events(host.now)
    assert 1000 not in host.kernel.engine.sad.by_spi
    host.send()
    assert host.forwarder.statistics()["drops"]["out-no-sa"] == 1


def test_statistics_and_counters_reach_the_control_door(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    host.send(3)
    statistics = host.control("STATISTICS")
    assert differences(statistics, answers.Statistics) == [] and statistics["core"] == host.forwarder.pump.core_name
    assert statistics["esp"][12] == 3 and len(statistics["esp"]) == 276 and len(statistics["ah"]) == 275
    (interface,) = host.control("LISTIF", name="ipsec0")
    assert list(interface["statistics"].values()) == [0, 0, 0, 3, 3 * len(PING), 0]


def test_a_request_that_is_undone_leaves_packets_alone(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    host.forwarder.reloaded()
    assert host.send() == [1000]


def test_interfaces_come_and_go(core: str) -> None:
    host = Host(core)
    host.request(SADB_ADD, 1000)
    host.control("IPSECSREQID", name="ipsec0", reqid=101)
    assert host.send() == []
    host.control("IPSECSREQID", name="ipsec0", reqid=100)
    assert host.send() == [1000]
    host.control("SIOCIFDESTROY", name="ipsec0")
    assert not host.forwarder.pump.interfaces
    host.forwarder.stop()
    assert host.forwarder not in host.kernel.observers


def test_without_room_for_the_first_numbers_of_an_sa_it_waits(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request that fails is told as a change to whoever made it: that must not go round for ever."""
    host = Host(core)
    store, commit = host.kernel.store, host.kernel.store.commit
    kept: list[bool] = []

    def only_the_first() -> None:
        if store.changed:
            kept.append(not kept)
            assert len(kept) < 20
            if len(kept) > 1:
                raise KernelError(ENOSPC)
        commit()

    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", only_the_first)
        host.request(SADB_ADD, 0x1000, enc=20)
        assert host.send(3) == []
    drops = host.forwarder.pump.statistics()["drops"]
    assert drops["out-sequence-unreserved"] == 3
    assert len(host.reports) == 1 and "No space left" in host.reports[0]
    host.forwarder.handle_events(host.now)  # what the packets asked for
    assert host.send(3) == [0x1000] * 3


@pytest.mark.parametrize("enc", [12, 20])
def test_an_sa_without_room_for_its_counters_waits(core: str, monkeypatch: pytest.MonkeyPatch, enc: int) -> None:
    """Packets say so, and ask for no other SA; it is used as soon as there is room."""
    host = Host(core)

    def full(sa: SecurityAssociation) -> None:
        raise KernelError(ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(host.kernel.engine.counters, "place", full)
        host.request(SADB_ADD, 0x1000, enc=enc)
        assert host.send(3) == []
        host.forwarder.handle_events(host.now + 1)
        assert host.send(2) == []
    drops = host.forwarder.pump.statistics()["drops"]
    assert (drops["out-ledger-unavailable"], drops["out-no-sa"]) == (5, 0)
    (sa,) = host.kernel.engine.sad.by_spi.values()
    assert "its counters cannot be kept" in sa.no_send_reason and sa.traffic.sequence == 0
    assert len(host.reports) == 1 and "room for their counters" in host.reports[0]
    host.forwarder.handle_events(host.now + 2)
    assert sa.no_send_reason == ""
    assert host.send(3) == [0x1000] * 3 and sa.traffic.sequence == 3


def test_a_mistake_with_one_sa_is_none_of_the_others(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one in what else is due."""
    host = Host(core)
    errors: list[Exception] = []
    forwarder, engine = host.forwarder, host.kernel.engine
    monkeypatch.setattr(forwarder, "_failed", errors.append)
    for spi in (1000, 1001, 1002):
        host.request(SADB_ADD, spi)
    reserve = engine.reserve

    def mistaken(sa: SecurityAssociation) -> None:
        if sa.spi == 1001:
            raise ZeroDivisionError
        reserve(sa)

    def broken(*_arguments: object) -> None:
        raise OverflowError

    monkeypatch.setattr(engine, "reserve", mistaken)
    monkeypatch.setattr(forwarder.pump, "open_endpoints", broken)
    before = {}
    for spi, sa in engine.sad.by_spi.items():
        sa.traffic.sequence = sa.traffic.sequence_limit
        before[spi] = sa.traffic.sequence_limit
        forwarder._events.put(RESERVE, (spi, sa.id))
    host.now += 1
    forwarder.handle_events(host.now)
    raised = [spi for spi, sa in engine.sad.by_spi.items() if sa.traffic.sequence_limit > before[spi]]
    assert raised == [1000, 1002]
    assert [type(error) for error in errors] == [OverflowError, ZeroDivisionError]
