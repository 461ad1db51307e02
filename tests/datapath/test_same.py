"""Both cores give the same bytes, the same drop reasons, the same counters."""

from __future__ import annotations

import errno
import random
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipsectools.datapath.events import REFUSED, Events
from ipsectools.datapath.tables import SA, Interface, Settings
from ipsectools.esp.drops import DROPS
from ipsectools.esp.sa import EspSA
from ipsectools.host.api import OuterPacket
from ipsectools.wire.checksum import ones_sum, pseudo_header
from tests.datapath.reference import (
    ECN,
    NEEDS_CSUM,
    TCPV4,
    TCPV6,
    UDP_L4,
    last_destination,
    segments,
    vnet_header,
)
from tests.datapath.world import (
    ALGORITHMS,
    IN_SPI,
    OUT_SPI,
    World,
    compiled,
    ends_of,
    ipv4,
    ipv6,
    tcp,
    traffic,
    udp,
    with_checksum,
)

pytestmark = [compiled.marks[0]]
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

NOTHING = bytes(10)
SA_FLAGS = st.sampled_from([0, 0x200, 0x300, 0x400, 0x600])


def observed(world: World) -> dict[str, object]:
    """Everything that the rest of the program could see of a pump."""
    report = world.pump.statistics()
    fields = ("sequence", "iv", "packets", "bytes", "received_high")
    sent = [
        (p.src, p.dst, p.payload, p.protocol, p.ports, p.tos, p.ttl, p.df, p.doubt, p.mark) for p in world.wire.sent
    ]
    return {
        "sent": sent,
        "written": world.tun.written,
        "injected": world.wire.injected,
        "injected_on": world.wire.injected_on,
        "interface": world.pump.interface_counters(world.index),
        "sas": [[getattr(sa.traffic, field) for field in fields] for sa in (world.outbound, world.inbound)],
        **report,
    }


def pair(**fields: object) -> tuple[World, World]:
    return World("python", **fields), World("compiled", **fields)


def test_the_compiled_core_knows_the_drop_reasons() -> None:
    from ipsectools.datapath import _fast

    assert set(_fast.DROP_NAMES) <= set(DROPS)


# -- out ---------------------------------------------------------------------------------------------------------------

addresses = st.sampled_from(["172.16.0.3", "172.16.0.5", "10.1.2.3"])
bodies = st.one_of(st.binary(max_size=80), st.integers(0, 1400).map(lambda n: (bytes(range(251)) * 6)[:n]))
ip_options = st.sampled_from([b"", b"\x01\x01\x01\x00", b"\x44\x08\x05\x00\x01\x02\x03\x04", b"\x01" * 40])
tcp_options = st.sampled_from([b"", b"\x01\x01\x08\x0a" + b"\x12\x34\x56\x78" * 2, b"\x02\x04\x05\xb4", b"\x01" * 40])
# hop-by-hop, destination options and a routing header (on its way to another destination) before the transport header
extension_headers = st.sampled_from(
    [
        (None, b""),
        (0, b"\x01\x04\0\0\0\0"),
        (60, b"\x01\x04\0\0\0\0"),
        (60, b"\x01\x0c" + bytes(12)),
        (43, b"\x02\x01\0\0\0\0" + bytes(range(16))),
    ]
)


def with_extension(header: int | None, body: bytes, upper: bytes, protocol: int, traffic_class: int) -> bytes:
    """An IPv6 packet with one extension header, or none."""
    if header is None:
        return ipv6(upper, protocol, traffic_class=traffic_class)
    extension = bytes([protocol, (2 + len(body)) // 8 - 1]) + body
    return ipv6(upper, header, extensions=extension, traffic_class=traffic_class)


def left_to_the_device(packet: bytes, start: int, protocol: int) -> bytes:
    """The packet as Linux gives it to a device that makes checksums: the pseudo header's sum is in its place."""
    src, dst = ends_of(packet)
    if packet[0] >> 4 == 6:
        dst = last_destination(packet)
    at = start + (16 if protocol == 6 else 6)
    seed = ones_sum(pseudo_header(src, dst, protocol, len(packet) - start))
    return packet[:at] + seed.to_bytes(2, "big") + packet[at + 2 :]


@st.composite
def plain_packets(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(virtio_net_hdr, packet) without segmentation, some of them with a checksum to fill in, some malformed."""
    kind = draw(st.sampled_from(["udp4", "udp6", "tcp4", "tcp6", "raw", "esp", "short"]))
    body = draw(bodies)
    tos = draw(st.integers(0, 255))
    upper = tcp(body, flags=draw(st.integers(0, 255)), options=draw(tcp_options)) if kind[:3] == "tcp" else udp(body)
    if kind in ("udp4", "tcp4"):
        options = draw(ip_options)
        packet = ipv4(upper, 6 if kind == "tcp4" else 17, tos=tos, df=draw(st.booleans()), options=options)
        start = 20 + len(options)
    elif kind in ("udp6", "tcp6"):
        packet = with_extension(*draw(extension_headers), upper, 6 if kind == "tcp6" else 17, tos)
        start = len(packet) - len(upper)
    elif kind == "raw":
        return NOTHING, draw(st.binary(min_size=1, max_size=120))
    elif kind == "esp":  # what this host itself sends, routed back into the tunnel
        inner = OUT_SPI.to_bytes(4, "big") + bytes(20)
        fragment = draw(st.sampled_from([0, 0x2000, 0x20]))
        protocol = draw(st.sampled_from([50, 17]))
        payload = inner if protocol == 50 else udp(inner, 4500, 4500)
        return NOTHING, ipv4(payload, protocol, src="192.168.0.3", dst="192.168.0.5", fragment=fragment)
    else:
        return NOTHING, ipv4(b"")[: draw(st.integers(1, 21))]
    if draw(st.booleans()):
        offset = 16 if kind[:3] == "tcp" else 6
        wrong = draw(st.sampled_from([0, 0, 0, 7]))
        return vnet_header(NEEDS_CSUM, 0, 0, 0, start, offset + wrong if len(packet) > start + 25 else offset), packet
    return NOTHING, packet


@st.composite
def super_packets(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(virtio_net_hdr, packet) to be cut."""
    version = draw(st.sampled_from([4, 6]))
    is_tcp = draw(st.booleans())
    size = draw(st.sampled_from([1, 7, 64, 536, 1347, 1348]))
    body = (bytes(range(253)) * 40)[: draw(st.integers(1, min(size * 12, 9000)))]
    upper = (
        tcp(body, seq=draw(st.integers(0, 2**32 - 1)), flags=draw(st.integers(0, 255)), options=draw(tcp_options))
        if is_tcp
        else udp(body)
    )
    protocol = 6 if is_tcp else 17
    if version == 4:
        options = draw(ip_options)
        id = draw(st.sampled_from([0, 1, 65530]))
        tos = draw(st.integers(0, 255))
        packet = ipv4(upper, protocol, options=options, id=id, df=draw(st.booleans()), tos=tos)
        start = 20 + len(options)
        kind = TCPV4
    else:
        packet = with_extension(*draw(extension_headers), upper, protocol, draw(st.integers(0, 255)))
        start = len(packet) - len(upper)
        kind = TCPV6
    if not is_tcp:
        kind = UDP_L4
    elif draw(st.booleans()):
        kind |= ECN
    length = start + len(upper) - len(body)
    packet = left_to_the_device(packet, start, protocol)
    return vnet_header(NEEDS_CSUM, kind, length, size, start, 16 if is_tcp else 6), packet


def send_to_both(python: World, fast: World, packets: list[tuple[bytes, bytes]]) -> None:
    """Packets as Linux gives them to a TUN device without offloads, and with."""
    sealed: dict[int, OuterPacket] = {}  # with those that the wire refuses, each once
    send = python.wire.send
    python.wire.send = lambda batch: sealed.update({id(packet): packet for packet in batch}) or send(batch)
    for header, packet in packets:
        python.send(*segments(header, packet))
    if python.outbound.enc == 12:  # the compiled core gets the IVs that the other one drew
        ivs = b"".join(packet.payload[8:24] for packet in sealed.values())
        if len(ivs) > 4096:
            return
        fast.pump.driver.core.set_random(ivs)
    # What the wire refuses at first leaves after the rest of its batch.
    for batch in [packets] if fast.wire.mtu >= 1500 else [[packet] for packet in packets]:
        fast.pump.driver.core.outbound(fast.index, batch)
    assert observed(fast) == observed(python)
    assert fast.is_balanced()


@given(
    st.lists(st.one_of(plain_packets(), super_packets()), min_size=1, max_size=4),
    st.sampled_from(sorted(ALGORITHMS)),
    st.sampled_from([4, 6]),
    st.sampled_from([None, (4500, 4500)]),
    SA_FLAGS,
    st.builds(
        Settings,
        dfbit=st.integers(0, 3),
        ecn=st.integers(-1, 2),
        ecn6=st.integers(-1, 2),
        ttl=st.just(33),
        min_pmtu=st.sampled_from([0, 576, 1000, 1500]),
    ),
    st.sampled_from([68, 576, 700, 1000, 1300, 1500]),
)
@few
def test_out(
    packets: list[tuple[bytes, bytes]],
    algorithm: str,
    family: int,
    natt: tuple[int, int] | None,
    flags: int,
    values: Settings,
    mtu: int,
) -> None:
    python, fast = pair(algorithm=algorithm, family=family, natt=natt, flags=flags)
    for world in (python, fast):
        world.pump.set_settings(values)
        world.wire.mtu = mtu
        world.pump.look_at_paths()
    send_to_both(python, fast, packets)


@pytest.mark.parametrize("flags", range(256))
def test_every_combination_of_tcp_flags(flags: int) -> None:
    python, fast = pair(algorithm="null")
    upper = tcp(bytes(300), flags=flags)
    four, six = left_to_the_device(ipv4(upper, 6), 20, 6), left_to_the_device(ipv6(upper, 6), 40, 6)
    send_to_both(
        python,
        fast,
        [
            (vnet_header(NEEDS_CSUM, TCPV4, 40, 128, 20, 16), four),
            (vnet_header(NEEDS_CSUM, TCPV6 | ECN, 60, 128, 40, 16), six),
        ],
    )
    assert len(python.wire.sent) == 6


def test_a_checksum_of_zero_is_written_as_its_other_zero() -> None:
    """Linux does so for every protocol, when it makes one itself; a segment of TCP may have it."""
    python, fast = pair(algorithm="null")
    packets = []
    for whole, start, protocol, at in (
        (ipv4(tcp(b""), 6), 20, 6, 36),
        (ipv4(udp(b"")), 20, 17, 26),
        (ipv6(tcp(b""), 6), 40, 6, 56),
        (with_extension(60, b"\x01\x04\0\0\0\0", udp(b"\0\0"), 17, 0), 48, 17, 54),
    ):
        seeded = left_to_the_device(whole, start, protocol)
        # whatever was missing to 0xffff goes into the seed: the sum of all is zero then
        seed = int.from_bytes(seeded[at : at + 2], "big")
        missing = 0xFFFF - ones_sum(seeded[start:])
        total = (seed + missing) % 0xFFFF
        packets.append(
            (
                vnet_header(NEEDS_CSUM, 0, 0, 0, start, at - start),
                seeded[:at] + total.to_bytes(2, "big") + seeded[at + 2 :],
            )
        )
    send_to_both(python, fast, packets)
    inners = [EspSA(OUT_SPI, 11, b"", 0, b"", 0, 0, traffic()).open(sent.payload)[0] for sent in fast.wire.sent]
    assert [inner[at : at + 2] for inner, at in zip(inners, (36, 26, 56, 54), strict=True)] == [b"\xff\xff"] * 4


@pytest.mark.parametrize("algorithm", ["cbc-sha256", "gcm128", "null"])
@pytest.mark.parametrize(
    "fields",
    [
        {"auth_key": b"k" * 300},  # not used without an authenticator, however long
        {"auth": 9},
        {"auth": 5, "auth_key": b""},
        {"auth": 5, "auth_key": b"k" * 65},
        {"auth": 7, "auth_key": b"k" * 129},
        {"auth": 12},
        {"auth": 14},
        {"enc_key": b"k" * 37},
        {"flags": 1},
    ],
)
def test_what_cannot_be_set_up(algorithm: str, fields: dict[str, object]) -> None:
    known = {**ALGORITHMS[algorithm], **fields}
    python, fast = World("python"), World("compiled")
    for world in (python, fast):
        world.outbound = world.sa(OUT_SPI, world.local, world.remote, **{"auth": 0, "auth_key": b"", **known})
        world.set_interface()
    if known["enc"] == 12:  # random IVs differ
        for world in (python, fast):
            world.send(ipv4(b"x"))
        assert python.pump.statistics() == fast.pump.statistics()
    else:
        send_to_both(python, fast, [(NOTHING, ipv4(b"x"))])


@pytest.mark.parametrize("seed", range(4))
def test_a_large_window(seed: int) -> None:
    """Numbers that jump as far as the window is wide, and farther."""
    python, fast = pair(algorithm="null-sha1", window=8192)
    rng = random.Random(seed)
    sealer = EspSA(IN_SPI, 11, b"", 3, b"a" * 20, 0, 0, traffic())
    number = 1
    packets = []
    for _ in range(600):
        number = max(1, number + rng.choice((1, 2, 7, 64, 500, 520, 4000, 8191, 8192, 16000, 17000, -3, -600, -8000)))
        packets.append(OuterPacket(python.remote, python.local, sealer.seal_with(ipv4(b"x"), number, b"")))
        if rng.random() < 0.3:
            packets.append(rng.choice(packets[-20:]))
    for world in (python, fast):
        world.receive(*packets)
    assert observed(fast) == observed(python)
    assert python.drops["in-replay"] > 10


@pytest.mark.parametrize("accept", [0, 1])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("family", [4, 6])
def test_what_no_interface_takes(accept: int, mode: int, family: int) -> None:
    python, fast = pair(family=family, mode=mode)
    for world in (python, fast):
        world.pump.set_settings(Settings(accept_unclaimed=accept))
        world.set_interface(reqid=101)
        sealer = EspSA(IN_SPI, 20, b"c" * 20, 0, b"", 0, 0, traffic())
        for inner in (ipv4(udp(b"x")), ipv6(udp(b"x"))):
            world.receive(OuterPacket(world.remote, world.local, sealer.seal(inner), interface=3))
    assert observed(fast) == observed(python)
    assert fast.is_balanced()
    assert len(fast.wire.injected) == (2 if accept and mode != 1 else 0)


class Nothing:
    """The wire of a core with sockets of its own."""

    def path_mtu(self, dst: bytes, fib: int = 0) -> int:
        return 65535

    def inject(self, packet: bytes, index: int) -> int:
        return 0


@pytest.mark.parametrize("sizes", [(1300, 1300, 800), (65300, 65300), (65300, 65300, 10), (65507 - 16, 65507 - 16)])
def test_trains_of_datagrams(sizes: tuple[int, ...]) -> None:
    """Over a UDP socket packets leave many at a time, as long as they are not too long for that."""
    from ipsectools.datapath import _fast

    loopback = bytes((127, 0, 0, 1))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
    ):
        for each in (here, there):
            each.bind(("127.0.0.1", 0))
        there.settimeout(5)
        ports = here.getsockname()[1], there.getsockname()[1]
        core = _fast.Core(Nothing(), Events(), in_memory=False)
        core.set_settings(Settings())
        counters = _fast.Traffic()
        counters.sequence_limit = 100
        counters.grant()
        sa = SA(OUT_SPI, loopback, loopback, enc=11, enc_key=b"", natt=ports, traffic=counters)
        core.set_interface(Interface(1, "ipsec0", src=loopback, dst=loopback, outbound=sa))
        core.add_endpoint(loopback, ports[0], here.fileno(), False)
        inners = [ipv4(bytes([number]) * (size - 20)) for number, size in enumerate(sizes)]
        core.outbound(1, inners)
        opener = EspSA(OUT_SPI, 11, b"", 0, b"", 0, 0, traffic())
        assert [opener.open(there.recv(65536))[0] for _ in inners] == inners
        assert core.counters.sent == len(inners) and not core.counters.drops


@pytest.mark.parametrize("algorithm", ["cbc", "gcm128", "null-sha1"])
def test_every_size(algorithm: str) -> None:
    python, fast = pair(algorithm=algorithm)
    for start in range(0, 1400, 200):
        python, fast = pair(algorithm=algorithm)
        send_to_both(python, fast, [(NOTHING, ipv4(bytes(size))) for size in range(start, start + 200)])


def test_super_packets_that_cannot_be() -> None:
    """Headers that point anywhere: dropped by name, never read beyond the packet."""
    packet = ipv4(tcp(bytes(100)), 6)
    sixth = ipv6(udp(bytes(100)))
    world = World("compiled")
    core = world.pump.driver.core
    count = 0
    for kind in (TCPV4, TCPV6, UDP_L4, 3, 77):
        for start, offset in ((0, 0), (19, 16), (21, 16), (40, 6), (65535, 65535), (20, 15), (150, 16), (139, 16)):
            for size in (0, 1, 65535):
                for each in (packet, sixth, packet[:30], b"", b"\x45"):
                    core.outbound(world.index, [(vnet_header(NEEDS_CSUM, kind, 9999, size, start, offset), each)])
                    count += 1
    assert world.drops["out-malformed"] > count / 2
    assert world.is_balanced()


@pytest.mark.parametrize(
    "interface", [{"up": False}, {"running": False}, {"monitor": True}, {"src": None, "dst": None}, {"outbound": None}]
)
@pytest.mark.parametrize("packet", [ipv4(b"x" * 9), ipv6(b"x" * 9), b"\x00", b"\x45"])
def test_interfaces_that_do_not_send(interface: dict[str, object], packet: bytes) -> None:
    python, fast = pair()
    for world in (python, fast):
        world.set_interface(**interface)
    send_to_both(python, fast, [(NOTHING, packet)])
    assert sorted(python.events.take(), key=str) == sorted(fast.events.take(), key=str)


@pytest.mark.parametrize("esn", [0, 0x400])
@pytest.mark.parametrize("start", [0, 9, 10, 0xFFFFFFFE, 0xFFFFFFFFFFFFFFFE])
def test_numbers_run_out(esn: int, start: int) -> None:
    worlds = pair()
    for world in worlds:
        counters = traffic(min(max(10, start + 5), 2**64 - 1), sequence=start)
        world.outbound = world.sa(OUT_SPI, world.local, world.remote, traffic=counters, flags=esn)
        world.set_interface()
    send_to_both(*worlds, [(NOTHING, ipv4(b"x"))] * 5)
    assert [kind for kind, *_ in worlds[0].events.take()] == [kind for kind, *_ in worlds[1].events.take()]


# -- in ----------------------------------------------------------------------------------------------------------------


@st.composite
def arrivals(draw: st.DrawFn, sealer: EspSA, world: World) -> OuterPacket:
    """An outer packet: often right, often not."""
    inner = draw(
        st.one_of(
            bodies.map(lambda body: ipv4(udp(body))),
            bodies.map(lambda body: ipv6(udp(body))),
            st.sampled_from([b"\x45", b"\x60", ipv4(b"")[:19], ipv6(b"")[:39]]),
        )
    )
    iv = {11: b"", 12: bytes(16)}.get(sealer.enc, draw(st.integers(0, 99)).to_bytes(8, "big"))
    sequence = draw(st.sampled_from([0, 1, 2, 3, 31, 32, 33, 64, 65, 100, 2**32 - 1, 2**32, 2**32 + 5]))
    data = sealer.seal_with(inner, sequence, iv)
    mistake = draw(st.sampled_from(["", "", "", "", "flip", "cut", "extend", "spi", "dst", "random"]))
    dst = world.local
    if mistake == "flip":
        at = draw(st.integers(0, len(data) * 8 - 1))
        data = (int.from_bytes(data, "big") ^ 1 << at).to_bytes(len(data), "big")
    elif mistake == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif mistake == "extend":
        data += bytes(draw(st.integers(1, 40)))
    elif mistake == "spi":
        data = draw(st.sampled_from([bytes(4), b"\0\0\0\xff", b"\1\2\3\4"])) + data[4:]
    elif mistake == "dst":
        dst = draw(st.sampled_from([world.remote, bytes(4), bytes(16)]))
    elif mistake == "random":
        data = IN_SPI.to_bytes(4, "big") + draw(st.binary(max_size=100))
    ports = draw(st.sampled_from([None, (4500, 4500), (4501, 4500), (4500, 500)]))
    if ports and draw(st.booleans()):
        data = draw(st.sampled_from([b"\xff", b"", b"\0\0\0\0ike", b"\xff\xff", data]))
    return OuterPacket(world.remote, dst, data, protocol=17 if ports else 50, ports=ports)


@given(
    st.data(),
    st.sampled_from(sorted(ALGORITHMS)),
    st.sampled_from([4, 6]),
    st.sampled_from([0, 32, 64]),
    st.sampled_from([0, 0x100, 0x200, 0x300, 0x400, 0x40]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([None, (4500, 4500)]),
)
@few
def test_in(
    data: st.DataObject, algorithm: str, family: int, window: int, flags: int, mode: int, natt: tuple[int, int] | None
) -> None:
    python, fast = pair(algorithm=algorithm, family=family, window=window, flags=flags, mode=mode, natt=natt)
    sealer = EspSA(
        IN_SPI,
        python.inbound.enc,
        python.inbound.enc_key,
        python.inbound.auth,
        python.inbound.auth_key,
        flags,
        0,
        traffic(),
    )
    packets = data.draw(st.lists(arrivals(sealer, python), min_size=1, max_size=8))
    for world in (python, fast):
        world.set_interface(up=data.draw(st.just(True)), monitor=False, reqid=100 if len(packets) % 7 else 101)
        world.receive(*packets)
    assert observed(fast) == observed(python)
    assert fast.is_balanced()


@pytest.mark.parametrize("algorithm", ["cbc-sha512", "ctr-sha1", "gcm256", "chacha"])
@pytest.mark.parametrize("family", [4, 6])
def test_large_packets(algorithm: str, family: int) -> None:
    """Of every size up to the largest; none costs another its room (CVE-2022-20679)."""
    sizes = [1800, 2048, 8192, 9000, 16384, 32768, *range(65380, 65500, 12)]
    python, fast = pair(algorithm=algorithm, family=family, window=64)
    send_to_both(python, fast, [(NOTHING, ipv4(bytes(size - 20))) for size in sizes])
    assert {"out-too-big"} == set(python.drops)
    sa = python.inbound
    sealer = EspSA(IN_SPI, sa.enc, sa.enc_key, sa.auth, sa.auth_key, 0, 0, traffic(), outer_header=len(sa.src) + 20)
    sealed = [sealer.seal(ipv6(bytes(size - 40))) for size in sizes]
    packets = [OuterPacket(sa.src, sa.dst, esp) for esp in sealed if isinstance(esp, bytes)] * 2
    for world in (python, fast):
        world.receive(*packets)
    assert observed(fast) == observed(python)
    assert len(python.tun.written) == len(packets) // 2 > 6
    assert python.drops["in-replay"] == len(packets) // 2


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("natt", [None, (4500, 4500)])
def test_hostile_packets_of_every_length(algorithm: str, natt: tuple[int, int] | None) -> None:
    """Nothing passes that an SA with authentication did not make; both cores drop each for the same reason."""
    python, fast = pair(algorithm=algorithm, window=64, natt=natt)
    junk = [IN_SPI.to_bytes(4, "big") + bytes(range(200))[: max(0, length - 4)] for length in range(4, 201)]
    junk += [bytes(length) for length in range(5)]
    for world in (python, fast):
        world.receive(
            *(
                OuterPacket(world.remote, world.local, each, protocol=17 if ports else 50, ports=ports)
                for each in junk
                for ports in (None, (4500, 4500))
            )
        )
    assert observed(fast) == observed(python)
    if ALGORITHMS[algorithm].get("auth") or ALGORITHMS[algorithm]["enc"] in (15, 20):
        assert not python.tun.written and not python.wire.injected
    assert fast.is_balanced()


# -- joining -----------------------------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Inner packets of a few interleaved flows, with everything that must not be joined among them."""
    packets = []
    state = {port: [draw(st.integers(0, 2**32 - 1)), 1] for port in (1, 2, 3)}
    for _ in range(draw(st.integers(1, 30))):
        port = draw(st.sampled_from([1, 1, 1, 1, 2, 3]))
        version = 6 if port == 2 else 4
        size = draw(st.sampled_from([100, 100, 100, 100, 60, 101, 0]))
        body = bytes([port]) * size
        seq, id = state[port]
        odd = draw(
            st.sampled_from(
                [""] * 12 + ["flags", "window", "checksum", "tos", "ttl", "gap", "fragment", "options", "id"]
            )
        )
        is_tcp = port != 3
        if is_tcp:
            flags = draw(st.integers(0, 255)) if odd == "flags" else draw(st.sampled_from([0x10, 0x10, 0x10, 0x18]))
            if odd == "gap":
                seq += 7
            upper = tcp(
                body,
                seq=seq & 0xFFFFFFFF,
                flags=flags,
                window=501 if odd == "window" else 500,
                sport=port,
                options=b"\x01\x01\x08\x0a" + (b"\x22" if odd == "options" else b"\x11") * 8,
            )
            state[port][0] = seq + size
        else:
            upper = udp(body, port)
        protocol = 6 if is_tcp else 17
        state[port][1] += 1 if odd != "id" else 5
        if version == 4:
            packet = ipv4(
                upper,
                protocol,
                id=id & 0xFFFF,
                tos=8 if odd == "tos" else 0,
                ttl=9 if odd == "ttl" else 64,
                fragment=0x2000 if odd == "fragment" else 0,
            )
            packet = with_checksum(packet, 20)
        else:
            packet = ipv6(upper, protocol, traffic_class=8 if odd == "tos" else 0, hops=9 if odd == "ttl" else 64)
            packet = with_checksum(packet, 40)
        if odd == "checksum":
            packet = packet[:-1] + bytes([packet[-1] ^ 1]) if size else packet
        packets.append(packet)
    return packets


def flow_of(packet: bytes) -> bytes:
    return packet[9:10] + packet[12:24] if packet[0] >> 4 == 4 else packet[6:7] + packet[8:44]


@given(streams())
@few
def test_joined_packets_fall_apart_into_the_same(packets: list[bytes]) -> None:
    world = World("compiled", algorithm="null")
    core = world.pump.driver.core
    core.coalesce = True
    joined: list[tuple[bytes, bytes]] = []
    core.joined = lambda index, header, packet: joined.append((header, packet))
    sealer = EspSA(IN_SPI, 11, b"", 0, b"", 0, 0, traffic())
    core.inbound([OuterPacket(world.remote, world.local, sealer.seal(packet)) for packet in packets])
    apart = [segment for header, packet in joined for segment in segments(header, packet)]
    assert sorted(apart) == sorted(packets)
    for flow in {flow_of(packet) for packet in packets}:
        assert [p for p in apart if flow_of(p) == flow] == [p for p in packets if flow_of(p) == flow]
    assert world.pump.statistics()["balance"]["delivered"] == len(packets)


@pytest.mark.parametrize("version", [4, 6])
def test_a_train_of_segments_becomes_one_packet(version: int) -> None:
    """If nothing were ever joined, the test above would pass too."""
    world = World("compiled", algorithm="null")
    core = world.pump.driver.core
    core.coalesce = True
    joined: list[tuple[bytes, bytes]] = []
    core.joined = lambda index, header, packet: joined.append((header, packet))
    body = bytes(range(200)) * 5
    upper = tcp(body, flags=0x18)
    whole = ipv4(upper, 6) if version == 4 else ipv6(upper, 6)
    start = 20 if version == 4 else 40
    parts = segments(vnet_header(NEEDS_CSUM, TCPV4 if version == 4 else TCPV6, start + 20, 100, start, 16), whole)
    sealer = EspSA(IN_SPI, 11, b"", 0, b"", 0, 0, traffic())
    core.inbound([OuterPacket(world.remote, world.local, sealer.seal(packet)) for packet in parts])
    assert len(parts) == 10 and len(joined) == 1
    assert segments(*joined[0]) == parts


@given(streams())
@few
def test_what_the_host_does_not_take_joined_goes_apart(packets: list[bytes]) -> None:
    """Nothing is lost or altered or overtaken; each kind is tried once, and that is said once."""
    world = World("compiled", algorithm="null")
    core = world.pump.driver.core
    core.coalesce = True
    taken: list[bytes] = []
    refused: list[int] = []

    def take(index: int, header: bytes, packet: bytes) -> int:
        if header[1]:
            refused.append(header[1])
            return errno.EINVAL
        taken.append(packet)
        return 0

    core.joined = take
    sealer = EspSA(IN_SPI, 11, b"", 0, b"", 0, 0, traffic())
    core.inbound([OuterPacket(world.remote, world.local, sealer.seal(packet)) for packet in packets])
    assert sorted(taken) == sorted(packets)
    for flow in {flow_of(packet) for packet in packets}:
        assert [p for p in taken if flow_of(p) == flow] == [p for p in packets if flow_of(p) == flow]
    report = world.pump.statistics()
    assert report["balance"]["delivered"] == len(packets) and not any(report["drops"].values())
    said = [ident for kind, ident, _ in world.events.take() if kind == REFUSED]
    assert sorted(said) == sorted({(world.index, kind) for kind in refused})


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("answer", [errno.EINVAL, errno.EIO])
def test_a_train_that_the_host_does_not_take(version: int, answer: int) -> None:
    """If nothing were ever refused, the test above would pass too. A device that takes nothing at all is not blamed."""
    world = World("compiled", algorithm="null")
    core = world.pump.driver.core
    core.coalesce = True
    tried: list[int] = []

    def take(index: int, header: bytes, packet: bytes) -> int:
        tried.append(header[1])
        return answer if header[1] or answer == errno.EIO else 0

    core.joined = take
    upper = tcp(bytes(range(200)) * 5, flags=0x18)
    whole = ipv4(upper, 6) if version == 4 else ipv6(upper, 6)
    start = 20 if version == 4 else 40
    kind = TCPV4 if version == 4 else TCPV6
    parts = segments(vnet_header(NEEDS_CSUM, kind, start + 20, 100, start, 16), whole)
    sealer = EspSA(IN_SPI, 11, b"", 0, b"", 0, 0, traffic())
    for _ in range(2):
        core.inbound([OuterPacket(world.remote, world.local, sealer.seal(packet)) for packet in parts])
    alone = [0] * len(parts)
    refused = [ident for what, ident, _ in world.events.take() if what == REFUSED]
    report = world.pump.statistics()
    if answer == errno.EIO:
        assert tried == [kind, *alone, kind, *alone]
        assert (refused, report["drops"]["in-tun-error"]) == ([], 2 * len(parts))
    else:
        assert tried == [kind, *alone, *alone]
        assert (refused, report["balance"]["delivered"]) == ([(world.index, kind)], 2 * len(parts))
