"""Pumps in memory for the tests of the data path, and packets to put into them."""

from __future__ import annotations

import struct

import pytest

from ipsectools.datapath import core_status
from ipsectools.datapath.events import Events
from ipsectools.datapath.pump import Pump
from ipsectools.datapath.tables import SA, Interface
from ipsectools.esp.traffic import Traffic
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.wire.checksum import checksum, pseudo_header

compiled = pytest.param(
    "compiled", marks=pytest.mark.skipif(core_status()[0] != "compiled", reason="the compiled core was not built")
)
CORES = ["python", compiled]

LOCAL, REMOTE = bytes((192, 168, 0, 3)), bytes((192, 168, 0, 5))
LOCAL6, REMOTE6 = bytes.fromhex("20010db8000000000000000000000003"), bytes.fromhex("20010db8000000000000000000000005")
OUT_SPI, IN_SPI = 10000, 10001
REQID = 100
PLENTY = 1 << 62

ALGORITHMS = {
    "null": {"enc": 11, "enc_key": b""},
    "null-sha1": {"enc": 11, "enc_key": b"", "auth": 3, "auth_key": b"a" * 20},
    "cbc": {"enc": 12, "enc_key": b"c" * 16},
    "cbc-sha256": {"enc": 12, "enc_key": b"c" * 32, "auth": 5, "auth_key": b"a" * 32},
    "cbc-sha384": {"enc": 12, "enc_key": b"c" * 24, "auth": 6, "auth_key": b"a" * 100},
    "cbc-sha512": {"enc": 12, "enc_key": b"c" * 16, "auth": 7, "auth_key": b"a" * 64},
    "cbc-null": {"enc": 12, "enc_key": b"c" * 16, "auth": 251, "auth_key": b""},
    "ctr-sha1": {"enc": 13, "enc_key": b"c" * 20, "auth": 3, "auth_key": b"a"},
    "gcm128": {"enc": 20, "enc_key": b"c" * 20},
    "gcm256": {"enc": 20, "enc_key": b"c" * 36, "auth": 13},
    "chacha": {"enc": 15, "enc_key": b"c" * 36},
}


def traffic(limit: int = PLENTY, **values: int) -> Traffic:
    """The counters of an SA with `limit` numbers reserved in every respect."""
    new = Traffic()
    new.sequence_limit = new.iv_limit = new.received_limit = limit
    for field, value in values.items():
        setattr(new, field, value)
    return new


class World:
    """One host in memory with one pump and one interface, ipsec0."""

    def __init__(self, core: str, *, family: int = 4, algorithm: str = "gcm128", **fields: object) -> None:
        """`fields` are those of both SAs; `algorithm` is one of ALGORITHMS."""
        self.host = SimulatedHost()
        self.events = Events()
        self.pump = Pump(self.host, self.events, core)
        self.index = self.host.create_tun("ipsec0", 1400)
        self.tun = self.host.open_tun("ipsec0")
        self.local, self.remote = (LOCAL, REMOTE) if family == 4 else (LOCAL6, REMOTE6)
        self.fields = {"reqid": REQID, **ALGORITHMS[algorithm], **fields}
        natt = self.fields.pop("natt", None)
        self.outbound = self.sa(OUT_SPI, self.local, self.remote, natt=natt)
        self.inbound = self.sa(IN_SPI, self.remote, self.local, natt=natt[::-1] if natt else None)
        self.pump.set_inbound(self.inbound)
        self.set_interface()
        self.wire = self.host._wires[0]

    def sa(self, spi: int, src: bytes, dst: bytes, **fields: object) -> SA:
        known = {**self.fields, **fields}
        counters = self.pump.new_traffic(known.pop("traffic", None) or traffic())
        return SA(spi, src, dst, traffic=counters, **known)

    def interface(self, **fields: object) -> Interface:
        known = {"src": self.local, "dst": self.remote, "reqid": REQID, "outbound": self.outbound, **fields}
        return Interface(self.index, "ipsec0", **known)

    def set_interface(self, **fields: object) -> None:
        self.pump.set_interface(self.interface(**fields))

    def send(self, *inners: bytes) -> list[bytes]:
        """Routes inner packets into ipsec0; the ESP of what left."""
        before = len(self.wire.sent)
        for inner in inners:
            self.tun.inject(inner)
        while self.pump.step():
            pass
        return [packet.payload for packet in self.wire.sent[before:]]

    def receive(self, *outers: object) -> list[bytes]:
        """Lets outer packets arrive; the inner packets that the host got over ipsec0."""
        before = len(self.tun.written)
        for outer in outers:
            self.wire.feed(outer)
        while self.pump.step():
            pass
        return self.tun.written[before:]

    @property
    def drops(self) -> dict[str, int]:
        """What was dropped, by reason."""
        return {name: count for name, count in self.pump.statistics()["drops"].items() if count}

    def is_balanced(self) -> bool:
        """Whether everything that came in went out or has a named reason."""
        report = self.pump.statistics()
        balance = report["balance"]
        out = sum(count for name, count in report["drops"].items() if name.startswith("out-"))
        into = sum(count for name, count in report["drops"].items() if name.startswith("in-"))
        return (
            balance["taken"] == balance["sent"] + out
            and balance["arrived"] == balance["delivered"] + balance["injected"] + into
        )


def ipv4(
    payload: bytes,
    protocol: int = 17,
    *,
    tos: int = 0,
    df: bool = False,
    id: int = 1,
    ttl: int = 64,
    options: bytes = b"",
    src: str = "172.16.0.3",
    dst: str = "172.16.0.5",
    fragment: int = 0,
) -> bytes:
    """An IPv4 packet; `fragment` is the offset field (flags other than DF and offset)."""
    ends = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    header = bytearray(
        struct.pack(
            "!BBHHHBBH",
            0x45 + len(options) // 4,
            tos,
            20 + len(options) + len(payload),
            id,
            fragment | (0x4000 if df else 0),
            ttl,
            protocol,
            0,
        )
        + ends
        + options
    )
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + payload


def ipv6(
    payload: bytes,
    next_header: int = 17,
    *,
    traffic_class: int = 0,
    hops: int = 64,
    extensions: bytes = b"",
    src: bytes = LOCAL6,
    dst: bytes = REMOTE6,
) -> bytes:
    """An IPv6 packet; `extensions` stand between its header and the payload."""
    first = 6 << 28 | traffic_class << 20
    return (
        struct.pack("!IHBB", first, len(extensions) + len(payload), next_header, hops)
        + src
        + dst
        + extensions
        + payload
    )


def ends_of(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet."""
    return (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])


def udp(body: bytes, sport: int = 1000, dport: int = 2000) -> bytes:
    """A UDP datagram without checksum."""
    return struct.pack("!4H", sport, dport, 8 + len(body), 0) + body


def tcp(
    body: bytes,
    *,
    seq: int = 1,
    ack: int = 1,
    flags: int = 0x10,
    window: int = 500,
    sport: int = 1000,
    dport: int = 2000,
    options: bytes = b"",
) -> bytes:
    """A TCP segment without checksum."""
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, offset, flags, window, 0, 0) + options + body


def with_checksum(packet: bytes, transport: int) -> bytes:
    """The packet with the checksum of its TCP segment or UDP datagram, which starts at `transport`."""
    protocol = (
        packet[9]
        if packet[0] >> 4 == 4
        else 17
        if packet[transport + 4 : transport + 6] == (len(packet) - transport).to_bytes(2, "big")
        else 6
    )
    at = transport + (16 if protocol == 6 else 6)
    data = packet[:at] + b"\0\0" + packet[at + 2 :]
    src, dst = ends_of(packet)
    body = data[transport:]
    value = checksum(pseudo_header(src, dst, protocol, len(body)) + body)
    if protocol == 17 and value == 0:
        value = 0xFFFF
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]
