"""What both cores promise: order of checks, counters, numbers, path MTU, loops, changes in force at once."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from ipsectools.datapath.events import ACQUIRE, EDGE, EXHAUSTED, RESERVE
from ipsectools.datapath.tables import SA, Interface, Settings, largest_inner
from ipsectools.errno import EADDRNOTAVAIL
from ipsectools.esp.sa import EspSA
from ipsectools.esp.tunnel import MODE_ANY, MODE_TUNNEL
from ipsectools.host.api import OuterPacket
from ipsectools.wire.checksum import checksum
from tests.datapath.world import ALGORITHMS, CORES, IN_SPI, LOCAL, OUT_SPI, REMOTE, World, ipv4, ipv6, traffic, udp

pytestmark = pytest.mark.parametrize("core", CORES)
PING = ipv4(b"\x08\0\xf7\xfe\0\1\0\0", 1)


def peer_of(world: World, spi: int = IN_SPI, **fields: object) -> EspSA:
    """Seals what a peer would send to the inbound SA."""
    sa = world.inbound
    known = {
        "enc": sa.enc,
        "enc_key": sa.enc_key,
        "auth": sa.auth,
        "auth_key": sa.auth_key,
        "flags": sa.flags,
        **fields,
    }
    return EspSA(spi, known["enc"], known["enc_key"], known["auth"], known["auth_key"], known["flags"], 0, traffic())


def outer(world: World, esp: bytes, ports: tuple[int, int] | None = None) -> OuterPacket:
    return OuterPacket(world.remote, world.local, esp, protocol=17 if ports else 50, ports=ports)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("family", [4, 6])
def test_round_trip(core: str, algorithm: str, family: int) -> None:
    world = World(core, algorithm=algorithm, family=family, window=64)
    inners = [ipv4(bytes(size)) for size in range(60)] + [ipv6(bytes(size)) for size in range(60)]
    sealed = world.send(*inners)
    there = EspSA(
        OUT_SPI,
        world.outbound.enc,
        world.outbound.enc_key,
        world.outbound.auth,
        world.outbound.auth_key,
        0,
        64,
        traffic(),
    )
    assert [there.open(esp)[0] for esp in sealed] == inners
    back = peer_of(world)
    assert world.receive(*(outer(world, back.seal(inner)) for inner in inners)) == inners
    size = sum(map(len, inners))
    assert world.pump.interface_counters(world.index) == (120, size, 0, 120, size, 0)
    assert world.outbound.traffic.packets == world.inbound.traffic.packets == 120
    assert world.inbound.traffic.bytes == size
    assert world.outbound.traffic.bytes == sum(map(len, sealed)) + 120 * (20 if family == 4 else 40)
    assert world.outbound.traffic.first_used and world.is_balanced()


def test_without_an_sa_packets_are_counted_and_asked_for(core: str) -> None:
    world = World(core)
    world.set_interface(outbound=None)
    assert not world.send(PING, PING, ipv6(b""))
    assert sorted(world.events.take()) == [(ACQUIRE, (world.index, 4), 2), (ACQUIRE, (world.index, 6), 1)]
    statistics = world.pump.statistics()
    assert statistics["ipsec"][4] == statistics["ipsec"][7] == 2  # nosa, inval
    assert statistics["ipsec6"][4] == statistics["ipsec6"][7] == 1
    assert world.pump.interface_counters(world.index) == (0, 0, 0, 3, 2 * len(PING) + 40, 0)


def test_esp_disabled(core: str) -> None:
    world = World(core)
    world.pump.set_settings(Settings(esp_enable=0))
    assert not world.send(PING)
    assert not world.receive(outer(world, peer_of(world).seal(PING)))
    assert world.drops == {"out-esp-disabled": 1, "in-esp-disabled": 1}
    assert world.pump.statistics()["esp"][17] == 2
    assert world.pump.interface_counters(world.index)[5] == 1
    world.set_interface(outbound=None)  # comes before the choice of an SA: none is asked for
    assert not world.send(PING, ipv6(b""))
    assert world.drops == {"out-esp-disabled": 3, "in-esp-disabled": 1} and not world.events.take()
    statistics = world.pump.statistics()
    assert (statistics["ipsec"][7], statistics["ipsec6"][7]) == (2, 1)  # invalid outbound packets
    assert world.pump.interface_counters(world.index) == (0, 0, 0, 3, 2 * len(PING) + 40, 3)


def test_too_big(core: str) -> None:
    """Counted as output, but its bytes are not: FreeBSD looks at its length in between."""
    world = World(core)
    fits = ipv4(bytes(65478 - 20))  # with 2 bytes of trailer a multiple of 4, the last below 65535 - 20 - 8 - 8 - 16
    assert len(world.send(fits)) == 1
    assert not world.send(fits + b"1234")
    assert world.drops == {"out-too-big": 1}
    esp = world.pump.statistics()["esp"]
    assert (esp[12], esp[15], esp[16]) == (2, len(fits), 1)
    assert world.pump.interface_counters(world.index) == (0, 0, 0, 2, 2 * len(fits) + 4, 1)
    assert world.outbound.traffic.sequence == 1


@pytest.mark.parametrize(("algorithm", "counted"), [("null", {}), ("cbc-null", {251: 3}), ("gcm256", {13: 3})])
def test_the_histogram_of_authenticators(core: str, algorithm: str, counted: dict[int, int]) -> None:
    """Two packets out and one in; an SA without an authenticator is not in it."""
    world = World(core, algorithm=algorithm)
    world.send(PING, PING)
    world.receive(outer(world, peer_of(world).seal(PING)))
    histogram = world.pump.statistics()["ah_histogram"]
    assert len(histogram) == 256
    assert {number: count for number, count in enumerate(histogram) if count} == counted


@pytest.mark.parametrize("packet", [PING, ipv6(b"x" * 9)])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"up": False}, "out-interface-down"),
        ({"running": False}, "out-not-running"),
        ({"monitor": True}, "out-monitor"),
        ({"src": None, "dst": None}, "out-no-tunnel"),
    ],
)
def test_enetdown(core: str, packet: bytes, fields: dict[str, object], reason: str) -> None:
    world = World(core)
    world.set_interface(**fields)
    world.send(packet)
    assert world.drops == {reason: 1}
    assert world.pump.interface_counters(world.index) == (0, 0, 0, 0, 0, 1)


def test_loops_are_cut(core: str) -> None:
    world = World(core)
    sealed = world.send(PING)[0]
    around = ipv4(sealed, 50, src="192.168.0.3", dst="192.168.0.5")
    later = ipv4(bytes(30), 50, src="192.168.0.3", dst="192.168.0.5", fragment=0x10)
    foreign = ipv4(sealed, 50, src="192.168.0.7", dst="192.168.0.5")
    assert len(world.send(around, later, foreign)) == 1
    assert world.drops == {"out-loop": 2}
    assert world.pump.interface_counters(world.index)[5] == 2


def test_loops_of_natt_packets_are_cut(core: str) -> None:
    world = World(core, natt=(4500, 4500))
    sealed = world.send(PING)[0]
    ends = {"src": "192.168.0.3", "dst": "192.168.0.5"}
    around = ipv4(udp(sealed, 4500, 4500), **ends)
    later = ipv4(bytes(30), fragment=0x10, **ends)
    ike = ipv4(udp(bytes(40), 4500, 4500), **ends)
    dns = ipv4(udp(bytes(40), 53, 53), **ends)
    assert len(world.send(around, later, ike, dns)) == 2
    assert world.drops == {"out-loop": 2}


def test_changes_are_in_force_at_once(core: str) -> None:
    world = World(core)
    back = peer_of(world)
    world.set_interface(up=False)
    assert not world.receive(outer(world, back.seal(PING)))
    world.set_interface()
    assert world.receive(outer(world, back.seal(PING))) == [PING]
    world.pump.remove_inbound(IN_SPI)
    assert not world.receive(outer(world, back.seal(PING)))
    assert world.drops == {"in-interface-down": 1, "in-unknown-spi": 1}
    world.pump.remove_interface(world.index)
    assert world.pump.interface_counters(world.index) is None


@pytest.mark.parametrize(("mode", "reqid"), [(MODE_TUNNEL, 101), (MODE_ANY, 100)])
def test_packets_of_an_sa_without_an_interface(core: str, mode: int, reqid: int) -> None:
    """They are dropped; if they are accepted, the host has them as received on the link of arrival."""
    world = World(core, mode=mode)
    world.set_interface(reqid=reqid)
    peer = peer_of(world)

    def arrival() -> OuterPacket:
        packet = outer(world, peer.seal(PING))
        packet.interface = 7
        return packet

    assert not world.receive(arrival()) and not world.wire.injected
    assert world.drops == {"in-no-interface": 1}
    assert world.pump.statistics()["ipsec"][0] == 1  # ips_in_polvio
    world.pump.set_settings(Settings(accept_unclaimed=1))
    assert world.wire.tells_arrival
    assert not world.receive(arrival())
    assert (world.wire.injected, world.wire.injected_on) == ([PING], [7])
    world.wire.refuses_injected = EADDRNOTAVAIL
    assert not world.receive(arrival())
    assert world.drops == {"in-no-interface": 1, "in-host-refused": 1}
    world.pump.set_settings(Settings())
    assert not world.wire.tells_arrival
    assert not world.receive(arrival())
    assert world.drops == {"in-no-interface": 2, "in-host-refused": 1}
    assert world.is_balanced()
    if mode == MODE_TUNNEL:
        world.pump.set_interface(world.interface())
        assert world.receive(arrival()) == [PING]


def test_an_sa_keeps_its_window_when_it_is_set_again(core: str) -> None:
    world = World(core, window=64)
    first, second, third = (outer(world, peer.seal(PING)) for peer in [peer_of(world)] * 3)
    assert len(world.receive(first, third)) == 2
    old = world.inbound
    same = SA(
        IN_SPI, old.src, old.dst, traffic=old.traffic, natt=(4500, 4500), window=64, **ALGORITHMS["gcm128"], reqid=100
    )
    world.pump.set_inbound(same)
    assert len(world.receive(first, second, third)) == 1
    assert world.drops == {"in-replay": 2}


def test_rekeying_loses_nothing(core: str) -> None:
    """Packets of the old SA arrive among those of the new one."""
    world = World(core, window=64)
    world.pump.set_inbound(world.sa(20001, world.remote, world.local))
    old, new = peer_of(world), peer_of(world, 20001)
    packets = [ipv4(bytes([number])) for number in range(40)]
    sealed = [(new if number % 3 else old).seal(packet) for number, packet in enumerate(packets)]
    assert world.receive(*(outer(world, esp) for esp in sealed)) == packets


def test_many_interfaces_with_the_same_end_points(core: str) -> None:
    world = World(core)
    for number in range(300):
        index = world.host.create_tun(f"ipsec{number + 1}", 1400)
        sa = world.sa(50000 + number, LOCAL, REMOTE, reqid=1000 + number)

        entry = Interface(index, f"ipsec{number + 1}", src=LOCAL, dst=REMOTE, reqid=1000 + number, outbound=sa)
        world.pump.set_interface(entry)
        world.pump.set_inbound(world.sa(60000 + number, REMOTE, LOCAL, reqid=1000 + number))
    tun = world.host.open_tun("ipsec123")
    world.receive(outer(world, peer_of(world, 60122).seal(PING)))
    assert tun.written == [PING]
    tun.inject(PING)
    world.pump.step()
    assert int.from_bytes(world.wire.sent[-1].payload[:4], "big") == 50122


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("natt", [None, (4500, 4500)])
def test_path_mtu(core: str, version: int, natt: tuple[int, int] | None) -> None:
    """With DF outside, the sender of a packet that does not fit is told what does."""
    world = World(core, natt=natt)
    world.wire.mtu = 1360
    world.pump.set_settings(Settings(dfbit=1))
    big = ipv4(bytes(1340)) if version == 4 else ipv6(bytes(1340))
    assert not world.send(big)
    assert world.drops == {"out-mtu": 1}
    (answer,) = world.tun.written
    if version == 4:
        mtu = int.from_bytes(answer[26:28], "big")
        assert answer[20:22] == b"\x03\x04" and answer[12:20] == big[16:20] + big[12:16]
        assert answer[28:] == big[: len(answer) - 28] and checksum(answer[:20]) == checksum(answer[20:]) == 0
    else:
        mtu = int.from_bytes(answer[44:48], "big")
        assert answer[40:42] == b"\x02\x00" and answer[8:40] == big[24:40] + big[8:24]
    fits = ipv4(bytes(mtu - 20)) if version == 4 else ipv6(bytes(mtu - 40))
    assert len(world.send(fits)) == 1
    assert not world.send(fits[:4] + fits[4:] + b"12345678")  # eight more would need another padding block
    world.wire.mtu = 1500  # what was learned has aged
    assert len(world.send(big)) == 1


def told(packet: bytes) -> int:
    """The MTU in a message about a packet that was too big."""
    return int.from_bytes(packet[26:28] if packet[0] >> 4 == 4 else packet[44:48], "big")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("natt", [None, (4500, 4500)])
@pytest.mark.parametrize("path", [68, 552, 600, 1300])
def test_a_path_mtu_is_no_black_hole(core: str, version: int, natt: tuple[int, int] | None, path: int) -> None:
    """Nobody is told less than he can make use of; what is no longer than that leaves, in fragments if need be."""
    world = World(core, natt=natt)
    world.wire.mtu = path
    world.pump.set_settings(Settings(dfbit=2, min_pmtu=576))

    def inner(size: int) -> bytes:
        return ipv4(bytes(size - 20), df=True) if version == 4 else ipv6(bytes(size - 40))

    smallest = 576 if version == 4 else 1280
    fits = largest_inner(world.outbound, max(path, 576))
    for _ in range(2):  # the second time it is remembered
        world.tun.written.clear()
        assert not world.send(inner(1400))
        most = told(world.tun.written[0])
        assert most == max(smallest, fits)
        assert len(world.send(inner(most), inner(most - 100), inner(min(fits, most)))) == 3
        whole = [packet.df for packet in world.wire.sent[-3:]]
        assert whole == [most <= fits, most - 100 <= fits, True]
        assert {packet.doubt for packet in world.wire.sent[-3:] if not packet.df} <= {path < 576}
    assert world.drops == {"out-mtu": 2}
    assert world.is_balanced()
    world.wire.mtu = 1500  # what was believed has aged
    world.pump.look_at_paths()
    assert len(world.send(inner(1400))) == (1 if path < 576 or fits >= 1400 else world.wire.sent[-1].df)


def test_paths_that_are_not_believed(core: str) -> None:
    """With min_pmtu as large as the device's MTU no message about the path has any effect, with DF or without."""
    world = World(core)
    world.wire.mtu = 600
    for dfbit in (0, 1):
        world.pump.set_settings(Settings(dfbit=dfbit, min_pmtu=1500))
        world.pump.look_at_paths()
        assert len(world.send(ipv4(bytes(1350)), ipv6(bytes(1350)))) == 2
        assert {(packet.df, packet.doubt) for packet in world.wire.sent[-2:]} == {(bool(dfbit), True)}
    world.pump.set_settings(Settings(dfbit=1, min_pmtu=9000))  # nor has what the device refuses
    world.wire.device_mtu = 1400
    assert not world.send(ipv4(bytes(1379)))
    assert world.drops == {"out-mtu": 1} and world.is_balanced()
    world.wire.mtu = 1500
    world.pump.set_settings(Settings(dfbit=1, min_pmtu=576))
    world.pump.look_at_paths()
    world.send(PING)
    assert not world.wire.sent[-1].doubt


def test_no_icmp_about_icmp_errors(core: str) -> None:
    world = World(core)
    world.wire.mtu = 1000
    world.pump.set_settings(Settings(dfbit=1))
    world.send(ipv4(b"\x03\x01" + bytes(1300), 1), ipv4(bytes(1300), fragment=0x10), ipv4(bytes(1300), dst="224.0.0.5"))
    assert not world.tun.written and world.drops == {"out-fragmentation-needed": 3}


def test_natt(core: str) -> None:
    world = World(core, natt=(4500, 4501))
    world.send(PING)
    assert world.wire.sent[0].ports == (4500, 4501) and world.wire.encapsulated == {(LOCAL, 4500)}
    sealed = peer_of(world)
    cases = [
        outer(world, sealed.seal(PING), (4501, 4500)),
        outer(world, sealed.seal(PING)),  # protocol 50 is still taken
        outer(world, sealed.seal(PING), (4501, 500)),
        outer(world, b"\xff", (4501, 4500)),
        outer(world, b"", (4501, 4500)),
        outer(world, bytes(4) + b"IKE", (4501, 4500)),
        outer(world, b"\0\1\2\3" + bytes(30), (4501, 4500)),
    ]
    assert world.receive(*cases) == [PING, PING]
    names = ("in-natt-ports", "in-natt-keepalive", "in-natt-short", "in-non-esp-marker", "in-natt-no-sa")
    assert world.drops == dict.fromkeys(names, 1)
    statistics = world.pump.statistics()
    assert statistics["esp"][2] == 2 and statistics["esp"][11] == 2
    assert statistics["ipsec"][13:15] == [2, 3]  # one of the headers taken out was UDP's
    moved = world.sa(IN_SPI, world.remote, world.local, natt=(4700, 4500), traffic=world.inbound.traffic)
    world.pump.set_inbound(moved)  # the port changed behind the NAT
    assert world.receive(outer(world, sealed.seal(PING), (4700, 4500))) == [PING]
    world.set_interface(outbound=None)
    world.pump.remove_inbound(IN_SPI)
    assert not world.wire.encapsulated


def test_less_than_an_esp_header(core: str) -> None:
    """What came in UDP passes by the check for a whole header: its length is looked at first."""
    world = World(core, natt=(4500, 4500))
    start = IN_SPI.to_bytes(4, "big") + b"abc"
    world.receive(*(outer(world, start[:size], (4500, 4500)) for size in (4, 5, 6, 7)))
    assert world.drops == {"in-short": 1, "in-length": 3}
    world.receive(*(outer(world, start[:size]) for size in range(8)))
    assert world.drops == {"in-short": 9, "in-length": 3}
    statistics = world.pump.statistics()
    assert statistics["esp"][0] == 9 and statistics["esp"][6] == 3 and statistics["esp"][11] == 12


def test_numbers_are_asked_for_at_half_and_nobody_waits(core: str) -> None:
    world = World(core)
    counters = traffic(10)
    world.outbound = world.sa(OUT_SPI, LOCAL, REMOTE, traffic=counters)
    counters = world.outbound.traffic
    world.set_interface()
    world.send(*[PING] * 4)
    assert not world.events.take()
    world.send(*[PING] * 2)
    assert [kind for kind, *_ in world.events.take()] == [RESERVE]
    assert len(world.send(*[PING] * 6)) == 4
    assert world.drops == {"out-sequence-unreserved": 2}
    assert [kind for kind, *_ in world.events.take()] == [RESERVE]
    assert world.send(*[PING] * 300) == []
    assert not world.events.take()  # once is enough
    counters.sequence_limit += 10
    counters.iv_limit += 10
    world.pump.grant(counters)
    assert len(world.send(*[PING] * 5)) == 5
    assert counters.sequence == 15


def test_more_ivs_are_asked_for_ahead(core: str) -> None:
    """Their block is so large that what is left of it says when, and 64 packets do not pass over that moment."""
    from ipsectools.esp.traffic import NO_LIMIT

    world = World(core)
    counters = traffic(NO_LIMIT, iv_limit=(1 << 20) + 100)
    world.outbound = world.sa(OUT_SPI, LOCAL, REMOTE, traffic=counters)
    world.set_interface()
    world.send(*[PING] * 99)
    assert not world.events.take()
    world.send(*[PING] * 2)
    assert [kind for kind, *_ in world.events.take()] == [RESERVE]


def test_a_peer_that_jumps_ahead_asks_seldom(core: str) -> None:
    """Each of its packets is beyond what is reserved: they are dropped, at once, and one question is enough."""
    world = World(core, window=64)
    world.inbound = world.sa(IN_SPI, REMOTE, LOCAL, traffic=traffic(4), window=64)
    world.pump.set_inbound(world.inbound)
    peer = peer_of(world)
    packets = []
    for _ in range(100):
        peer.traffic.sequence += 1000
        packets.append(outer(world, peer.seal(PING)))
    assert world.receive(*packets) == []
    assert world.drops == {"in-window-unreserved": 100}
    assert world.events.take() == [(EDGE, (IN_SPI, world.inbound.id), 1001)]


def test_without_marks_nothing_is_asked(core: str) -> None:
    from ipsectools.esp.traffic import NO_LIMIT

    world = World(core, window=64)
    for spi, put in ((OUT_SPI, "outbound"), (IN_SPI, "inbound")):
        ends = (LOCAL, REMOTE) if spi == OUT_SPI else (REMOTE, LOCAL)
        setattr(world, put, world.sa(spi, *ends, traffic=traffic(NO_LIMIT, iv_limit=1 << 40), window=64))
    world.pump.set_inbound(world.inbound)
    world.set_interface()
    peer = peer_of(world)
    for step in (1, 1 << 20, 1 << 31):
        peer.traffic.sequence += step
        assert len(world.receive(outer(world, peer.seal(PING)))) == 1
        assert len(world.send(PING)) == 1
    assert not world.events.take() and not world.drops


def test_the_window_never_passes_what_is_reserved(core: str) -> None:
    world = World(core, window=64)
    world.inbound = world.sa(IN_SPI, REMOTE, LOCAL, traffic=traffic(4), window=64)
    counters = world.inbound.traffic
    world.pump.set_inbound(world.inbound)
    peer = peer_of(world)
    packets = [outer(world, peer.seal(PING)) for _ in range(8)]
    assert len(world.receive(*packets[:6])) == 4
    assert world.drops == {"in-window-unreserved": 2} and counters.received_high == 4
    assert (EDGE, (IN_SPI, world.inbound.id)) in [(kind, ident) for kind, ident, _ in world.events.take()]
    counters.received_limit = 100
    world.pump.grant(counters)
    assert len(world.receive(*packets)) == 4  # also those that were dropped before


def test_without_numbers_the_sa_is_reported_dead(core: str) -> None:
    world = World(core)
    world.outbound = world.sa(OUT_SPI, LOCAL, REMOTE, traffic=traffic(1 << 40, sequence=0xFFFFFFFE))
    world.set_interface()
    assert len(world.send(PING, PING, PING)) == 1
    assert world.drops == {"out-sequence-exhausted": 2}
    assert EXHAUSTED in [kind for kind, *_ in world.events.take()]


def test_an_sa_that_may_not_send(core: str) -> None:
    world = World(core)
    world.outbound = world.sa(OUT_SPI, LOCAL, REMOTE, blocked="out-ledger-unavailable")
    world.set_interface()
    assert not world.send(PING)
    assert world.drops == {"out-ledger-unavailable": 1}


def test_limits_can_be_lowered(core: str) -> None:
    """Once a second, what is reserved beyond need is given back; nothing above it is accepted from then on."""
    world = World(core, window=64)
    world.inbound.traffic.received_limit = 2
    world.pump.grant(world.inbound.traffic)
    peer = peer_of(world)
    assert len(world.receive(*(outer(world, peer.seal(PING)) for _ in range(3)))) == 2


def test_a_hundred_thousand_sas_cost_no_time_per_change(core: str) -> None:
    world = World(core)
    pump = world.pump
    shared = pump.new_traffic(traffic())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for spi in range(100000, 105000):
        pump.set_inbound(SA(spi, REMOTE, LOCAL, traffic=shared, reqid=100, **ALGORITHMS["gcm128"]))
    used = (tracemalloc.get_traced_memory()[0] - before) / 5000
    tracemalloc.stop()
    assert used < 1200  # no cipher is set up before its first packet
    assert world.receive(outer(world, peer_of(world, 104999).seal(PING))) == [PING]
    for spi in range(100000, 105000):
        pump.remove_inbound(spi)
    assert not world.receive(outer(world, peer_of(world, 104999).seal(PING)))


def test_threads_and_changes(core: str) -> None:
    """In threads of its own the pump takes changes while packets flow, and the books stay balanced."""
    if core == "compiled":
        pytest.skip("no threads on a host in memory")
    world = World(core)
    world.pump.start()
    stop = threading.Event()

    def inject() -> None:
        while not stop.is_set():
            world.tun.inject(PING)
            time.sleep(0.0002)

    feeder = threading.Thread(target=inject)
    feeder.start()
    try:
        for number in range(100):
            world.set_interface(up=bool(number % 2))
            sent = len(world.wire.sent)
            if not number % 2:
                assert len(world.wire.sent) == sent
    finally:
        stop.set()
        feeder.join()
        world.pump.stop()
    assert world.is_balanced()
    world.pump.close()
