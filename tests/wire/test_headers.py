"""Header objects against scapy, against each other, and against whatever bytes come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools.wire import esp, icmp, ipv4, ipv6, udp
from ipsectools.wire.checksum import checksum, ones_sum, pseudo_header

pytest.importorskip("scapy")
from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPerror6, IPv6
from scapy.packet import Raw

A4, B4 = bytes((192, 168, 0, 3)), bytes((192, 168, 0, 5))
A6, B6 = bytes.fromhex("fd00" + "0" * 27 + "3"), bytes.fromhex("fd00" + "0" * 27 + "5")
A4_TEXT, B4_TEXT, A6_TEXT, B6_TEXT = "192.168.0.3", "192.168.0.5", "fd00::3", "fd00::5"
bounded = settings(max_examples=60, deadline=None)


def fields(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in type(header).__slots__}


# --- checksum -----------------------------------------------------------------------------------------------------


def slow_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for place in range(0, len(data), 2):
        total += data[place] << 8 | (data[place + 1] if place + 1 < len(data) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=2000))
@bounded
def test_checksum_is_rfc_1071s(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)
    assert checksum(memoryview(data)) == slow_checksum(data)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\xff\xfe\0\1", b"\xff", b"\1"]
)
def test_checksum_of_zeros_in_both_guises(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)


def test_checksum_of_the_rfc() -> None:
    assert ones_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2  # RFC 1071 section 3
    header = bytes.fromhex("45000054090400004001f988c0a87b03c0a87bc8")  # RFC 3602, case 7
    assert checksum(header) == 0
    assert checksum(header[:10] + b"\0\0" + header[12:]) == 0xF988


# --- IPv4 ---------------------------------------------------------------------------------------------------------

ipv4_headers = st.builds(
    ipv4.Ipv4Header,
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    tos=st.integers(0, 255),
    ttl=st.integers(0, 255),
    id=st.integers(0, 65535),
    df=st.booleans(),
    mf=st.booleans(),
    fragment_offset=st.integers(0, 0x1FFF).map(lambda units: units * 8),
    options=st.integers(0, 10).map(lambda words: b"\1" * (4 * words)),
)


@given(ipv4_headers, st.binary(max_size=60))
@bounded
def test_ipv4_round_trip(header: ipv4.Ipv4Header, payload: bytes) -> None:
    packet = header.emit(payload)
    header.total_length = len(packet)
    parsed = ipv4.parse(packet)
    assert parsed is not None
    assert fields(parsed) == fields(header)
    assert packet[parsed.header_length :] == payload
    assert checksum(packet[: parsed.header_length]) == 0


def test_ipv4_is_scapys() -> None:
    ours = ipv4.Ipv4Header(A4, B4, 50, tos=0xB8, ttl=33, id=0x1234, df=True).emit(b"payload")
    assert ours == bytes(
        IP(src=A4_TEXT, dst=B4_TEXT, proto=50, tos=0xB8, ttl=33, id=0x1234, flags="DF") / Raw(b"payload")
    )
    fragment = ipv4.Ipv4Header(A4, B4, 17, mf=True, fragment_offset=1480).emit(b"x" * 8)
    assert fragment == bytes(IP(src=A4_TEXT, dst=B4_TEXT, id=0, proto=17, flags="MF", frag=185) / Raw(b"x" * 8))


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p[:19],
        lambda p: b"\x65" + p[1:],
        lambda p: b"\x44" + p[1:],  # header shorter than a header
        lambda p: b"\x4f" + p[1:40],  # longer than the packet
        lambda p: p[:2] + b"\0\x13" + p[4:],  # total length below the header's
        lambda p: b"",
    ],
)
def test_ipv4_refuses(damage: Any) -> None:
    packet = ipv4.Ipv4Header(A4, B4, 1).emit(bytes(30))
    assert ipv4.parse(packet) is not None
    assert ipv4.parse(damage(packet)) is None


# --- IPv6, UDP, ESP -----------------------------------------------------------------------------------------------


@given(
    st.builds(
        ipv6.Ipv6Header,
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=16, max_size=16),
        st.integers(0, 255),
        traffic_class=st.integers(0, 255),
        flow_label=st.integers(0, 0xFFFFF),
        hop_limit=st.integers(0, 255),
    ),
    st.binary(max_size=60),
)
@bounded
def test_ipv6_round_trip(header: ipv6.Ipv6Header, payload: bytes) -> None:
    packet = header.emit(payload)
    header.payload_length = len(payload)
    parsed = ipv6.parse(packet)
    assert parsed is not None
    assert fields(parsed) == fields(header)
    assert packet[ipv6.HEADER_LENGTH :] == payload
    assert ipv6.parse(packet[:39]) is None
    assert ipv6.parse(b"\x45" + packet[1:]) is None


def test_ipv6_is_scapys() -> None:
    ours = ipv6.Ipv6Header(A6, B6, 50, traffic_class=0x8A, flow_label=0xABCDE, hop_limit=7).emit(b"payload")
    assert ours == bytes(IPv6(src=A6_TEXT, dst=B6_TEXT, nh=50, tc=0x8A, fl=0xABCDE, hlim=7) / Raw(b"payload"))


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=60))
@bounded
def test_udp_round_trip(source: int, destination: int, payload: bytes) -> None:
    datagram = udp.UdpHeader(source, destination).emit(payload)
    parsed = udp.parse(datagram)
    assert parsed is not None
    assert fields(parsed) == {"source": source, "destination": destination, "length": len(datagram), "checksum": 0}
    summed = udp.UdpHeader(source, destination).emit(payload, (A6, B6))
    assert checksum(pseudo_header(A6, B6, 17, len(summed)) + summed) == 0
    assert summed[6:8] != b"\0\0"


def test_udp_is_scapys() -> None:
    ours = udp.UdpHeader(4500, 4501)
    theirs = UDP(sport=4500, dport=4501) / Raw(b"payload")
    assert ours.emit(b"payload", (A6, B6)) == bytes(IPv6(src=A6_TEXT, dst=B6_TEXT) / theirs)[40:]
    assert ours.emit(b"payload", (A4, B4)) == bytes(IP(src=A4_TEXT, dst=B4_TEXT) / theirs)[20:]
    theirs[UDP].chksum = 0
    assert ours.emit(b"payload") == bytes(IP(src=A4_TEXT, dst=B4_TEXT) / theirs)[20:]


def test_udp_refuses() -> None:
    assert udp.parse(bytes(7)) is None
    assert udp.parse(b"\0\1\0\1\0\7\0\0") is None


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b"", udp.ENCAPSULATED_SHORT),
        (b"\xff", udp.ENCAPSULATED_KEEPALIVE),
        (b"\xfe", udp.ENCAPSULATED_SHORT),
        (b"\xff\xff", udp.ENCAPSULATED_SHORT),
        (b"\0\0\0", udp.ENCAPSULATED_SHORT),
        (b"\0\0\0\0", udp.ENCAPSULATED_IKE),
        (b"\0\0\0\0IKE", udp.ENCAPSULATED_IKE),
        (b"\0\0\x27\x10", udp.ENCAPSULATED_ESP),
        (b"\xff\xff\xff\xff", udp.ENCAPSULATED_ESP),
    ],
)
def test_what_a_natt_payload_is(payload: bytes, what: str) -> None:
    assert udp.encapsulated(payload) == what


def test_esp() -> None:
    packet = esp.EspHeader(10000, 0xFFFFFFFF).emit(b"rest")
    assert packet == b"\0\0\x27\x10\xff\xff\xff\xffrest"
    parsed = esp.parse(packet)
    assert parsed is not None
    assert (parsed.spi, parsed.sequence) == (10000, 0xFFFFFFFF)
    assert esp.parse(packet[:7]) is None


# --- ICMP ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=60), st.booleans())
@bounded
def test_echo_round_trip(id: int, sequence: int, payload: bytes, reply: bool) -> None:
    echo = icmp.Echo(id, sequence, payload, reply=reply)
    for parsed in (icmp.parse_echo(echo.emit()), icmp.parse_echo_v6(echo.emit_v6(A6, B6), A6, B6)):
        assert parsed is not None
        assert fields(parsed) == fields(echo)
    assert icmp.parse_echo(echo.emit()[:7]) is None
    assert icmp.parse_echo_v6(echo.emit_v6(A6, B6), A6, A6) is None
    damaged = bytearray(echo.emit())
    damaged[4] ^= 1
    assert icmp.parse_echo(bytes(damaged)) is None


def test_echo_is_scapys() -> None:
    ours = icmp.Echo(7, 9, b"payload")
    assert ours.emit() == bytes(ICMP(id=7, seq=9) / Raw(b"payload"))
    theirs = IPv6(src=A6_TEXT, dst=B6_TEXT) / ICMPv6EchoRequest(id=7, seq=9, data=b"payload")
    assert ours.emit_v6(A6, B6) == bytes(theirs)[40:]


@pytest.mark.parametrize("length", [28, 100, 1400, 9000])
def test_fragmentation_needed(length: int) -> None:
    packet = ipv4.Ipv4Header(A4, B4, 17, df=True, id=5).emit(bytes(length - 20))
    message = icmp.too_big(packet, 1300)
    assert message is not None
    assert len(message) <= 576
    parsed = IP(message)
    assert bytes(parsed) == message
    assert (parsed.src, parsed.dst, parsed.proto) == (B4_TEXT, A4_TEXT, 1)
    assert (parsed[ICMP].type, parsed[ICMP].code, parsed[ICMP].nexthopmtu) == (3, 4, 1300)
    assert parsed[IPerror].id == 5
    assert packet.startswith(message[28:])
    assert len(message) == min(576, 28 + length)
    assert checksum(message[:20]) == checksum(message[20:]) == 0


@pytest.mark.parametrize("length", [48, 1400, 9000])
def test_packet_too_big(length: int) -> None:
    packet = ipv6.Ipv6Header(A6, B6, 17, flow_label=77).emit(bytes(length - 40))
    router = bytes.fromhex("fd00" + "0" * 27 + "9")
    message = icmp.too_big(packet, 1300, router)
    assert message is not None
    assert len(message) == min(1280, 48 + length)
    parsed = IPv6(message)
    assert (parsed.src, parsed.dst, parsed.nh) == ("fd00::9", A6_TEXT, 58)
    assert parsed[ICMPv6PacketTooBig].mtu == 1300
    assert parsed[IPerror6].fl == 77
    assert checksum(pseudo_header(router, A6, 58, len(message) - 40) + message[40:]) == 0


def test_too_big_never_promises_less_than_a_link_must_carry() -> None:
    small4 = icmp.too_big(ipv4.Ipv4Header(A4, B4, 17).emit(bytes(100)), 10)
    small6 = icmp.too_big(ipv6.Ipv6Header(A6, B6, 17).emit(bytes(1400)), 500)
    assert small4 is not None
    assert small6 is not None
    assert int.from_bytes(small4[26:28], "big") == 68
    assert int.from_bytes(small6[44:48], "big") == 1280


def v4(payload: bytes = b"\x08" + bytes(30), **options: Any) -> bytes:
    arguments = {"src": A4, "dst": B4, "protocol": 1} | options
    return ipv4.Ipv4Header(**arguments).emit(payload)


def v6(payload: bytes = b"\x80" + bytes(30), **options: Any) -> bytes:
    arguments = {"src": A6, "dst": B6, "next_header": 58} | options
    return ipv6.Ipv6Header(**arguments).emit(payload)


MULTICAST = bytes((224, 0, 0, 5))
MULTICAST_V6 = b"\xff\x02" + bytes(13) + b"\1"


@pytest.mark.parametrize(
    "packet",
    [
        v4(b"\x03" + bytes(30)),
        v4(b"\x0b" + bytes(30)),
        v4(b""),
        v4(fragment_offset=8),
        v4(dst=MULTICAST),
        v4(dst=b"\xff\xff\xff\xff"),
        v4(src=MULTICAST),
        v4(src=bytes(4)),
        v4(src=bytes((127, 0, 0, 1))),
        v4()[:19],
        v6(b"\x01" + bytes(30)),
        v6(b""),
        v6(src=bytes(16)),
        v6(src=MULTICAST_V6),
        v6(dst=MULTICAST_V6),
        v6()[:39],
        b"",
        b"\x50" + bytes(60),
    ],
)
def test_no_error_answers_these(packet: bytes) -> None:
    assert icmp.too_big(packet, 1280) is None


def test_errors_answer_these() -> None:
    assert icmp.too_big(v4(), 1280)
    assert icmp.too_big(v4(mf=True), 1280)
    assert icmp.too_big(v6(), 1280)
    assert icmp.too_big(v6(dst=MULTICAST_V6), 1280, A6)


# --- anything at all ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x45", b"\x4f", b"\x60"]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(data: bytes, start: bytes) -> None:
    data = start + data
    for parse in (ipv4.parse, ipv6.parse, udp.parse, esp.parse, icmp.parse_echo, udp.encapsulated):
        parse(data)
    icmp.parse_echo_v6(data, A6, B6)
    icmp.too_big(data, 1400)
