"""FreeBSD's recorded walks through if_ipsec and ESP, with kernel, Forwarder and pump: packets, statistics, counters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ipsectools.daemon.forwarding import Forwarder
from ipsectools.host.api import OuterPacket
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.kernel.kernel import Kernel
from ipsectools.wire.checksum import checksum
from tests.datapath.world import CORES, ipv4

DATA = Path(__file__).parent.parent / "data"
RECORDING = json.loads((DATA / "recordings" / "kernel.json").read_text())
MANPAGE = json.loads((DATA / "vectors" / "manpage.json").read_text())
NOW = float(RECORDING["epoch"])
IFF_UP = 1


class Machine:
    """FreeBSD's place taken by a simulated host: understands the recording's `ctl` lines, answers pings."""

    def __init__(self, core: str, address: str) -> None:
        self.host = SimulatedHost()
        self.kernel = Kernel(None, self.host, NOW)
        self.control("NEWADDR", name="em0", family="inet", address=address, prefixlen=24)
        self.control("SYSCTLSET", name="net.inet.ipsec.accept_unclaimed", value=1)  # as FreeBSD
        self.forwarder = Forwarder(self.kernel, self.host, lambda: None, core)
        self.pfkey = self.kernel.open_pfkey(lambda message: True)
        self.wire = self.host._wires[0]
        self.identifier = 0

    def control(self, op: str, **arguments: object) -> object:
        return self.kernel.control(op, arguments, NOW)

    def perform(self, line: str) -> None:
        word, *rest = line.split()
        if word == "create":
            self.control("SIOCIFCREATE2", name=rest[0])
            self.control("IPSECSREQID", name=rest[0], reqid=int(rest[2]))
        elif word == "reqid":
            self.control("IPSECSREQID", name=rest[0], reqid=int(rest[1]))
        elif word == "tunnel":
            self.control("SIOCSIFPHYADDR", name=rest[0], src=rest[1], dst=rest[2])
        elif word == "deletetunnel":
            self.control("SIOCDIFPHYADDR", name=rest[0])
        elif word == "inet":
            address, _, length = rest[1].partition("/")
            self.control("NEWADDR", name=rest[0], family="inet", address=address, prefixlen=int(length), peer=rest[2])
            self.control("SIOCSIFFLAGS", name=rest[0], set=IFF_UP, clear=0)
        elif word in ("up", "down"):
            bits = {"set": IFF_UP, "clear": 0} if word == "up" else {"set": 0, "clear": IFF_UP}
            self.control("SIOCSIFFLAGS", name=rest[0], **bits)
        elif word == "destroy":
            self.control("SIOCIFDESTROY", name=rest[0])
        elif word == "sysctl":
            name, _, value = rest[0].partition("=")
            if value:
                self.control("SYSCTLSET", name=name, value=int(value))
        elif word == "ping":
            tos = int(rest[rest.index("tos") + 1], 16) if "tos" in rest else 0
            body = bytes(56)
            echo = b"\x08\0\0\0\0\1\0\1" + body
            echo = echo[:2] + checksum(echo).to_bytes(2, "big") + echo[4:]
            self.route(ipv4(echo, 1, tos=tos, df="df" in rest))
        else:
            raise AssertionError(line)

    def add_sas(self, messages: list[str]) -> None:
        for message in messages:
            if message.startswith("S 0203"):
                assert self.pfkey.send(bytes.fromhex(message[2:]), NOW) == 0

    def route(self, packet: bytes) -> None:
        """Into ipsec0, if there is one; what the host then receives is answered, if it is a ping."""
        interface = self.kernel.interfaces.by_name("ipsec0")
        if interface is not None and interface.up:
            self.host.open_tun("ipsec0").inject(packet)
            self.turn()

    def receive(self, esp: bytes) -> None:
        self.wire.feed(OuterPacket(bytes((192, 168, 0, 3)), bytes((192, 168, 0, 5)), esp))
        self.turn()

    def turn(self) -> None:
        interface = self.kernel.interfaces.by_name("ipsec0")
        tun = self.host.open_tun("ipsec0") if interface is not None else None
        while self.forwarder.pump.step():
            self.forwarder.handle_events(NOW)
        arrived = self.wire.injected + (tun.written if tun else [])
        self.wire.injected.clear()
        if tun:
            tun.written.clear()
        for packet in arrived:
            if packet[0] == 0x45 and packet[9] == 1 and packet[20] == 8 and checksum(packet[:20]) == 0:
                self.route(packet[:12] + packet[16:20] + packet[12:16] + b"\0" + packet[21:])

    def statistics(self, which: str) -> dict[str, int]:
        return {str(place): value for place, value in enumerate(self.forwarder.statistics()[which]) if value}

    def take_sent(self) -> list[dict[str, object]]:
        sent, self.wire.sent = self.wire.sent, []
        return [
            {
                "len": 20 + len(packet.payload),
                "proto": packet.protocol,
                "tos": packet.tos,
                "df": packet.df,
                "mf_off": 0,
                "ttl": packet.ttl,
                "src": ".".join(map(str, packet.src)),
                "dst": ".".join(map(str, packet.dst)),
                "spi": int.from_bytes(packet.payload[:4], "big"),
                "seq": int.from_bytes(packet.payload[4:8], "big"),
            }
            for packet in sent
        ]


@pytest.mark.parametrize("core", CORES)
def test_header_fields(core: str) -> None:
    machine = Machine(core, "192.168.0.3")
    compared = 0
    for step in RECORDING["scenarios"]["header_fields"]:
        if "ctl" in step:
            machine.perform(step["ctl"])
        elif "setkey" in step:
            machine.add_sas(step["messages"])
        elif "wire" in step:
            assert machine.take_sent() == step["packets"], step
            compared += 1
    assert compared > 30


def arrivals() -> dict[str, bytes]:
    """What was put on the wire in the recording `inbound_manpage`, by the names of its steps."""
    frames = [bytes.fromhex(packet["outer"])[20:] for packet in MANPAGE["packets"]]
    frames = [frame for frame in frames if int.from_bytes(frame[:4], "big") == 10000]
    first, ping = frames[0], next(frame for frame in frames if len(frame) == 88)

    def flipped(place: int) -> bytes:
        changed = bytearray(first)
        changed[place] ^= 1
        return bytes(changed)

    named = {
        "before anything is configured": first,
        "interface but no SA": first,
        "as it should be": first,
        "the same packet again (no replay window)": first,
        "another": frames[2],
        "IV changed (no authentication)": flipped(23),
        "last byte changed (no authentication)": flipped(-1),
        "unknown SPI": (99999).to_bytes(4, "big") + first[4:],
        "SPI 0": bytes(4) + first[4:],
        "SPI 255": (255).to_bytes(4, "big") + first[4:],
    }
    for step in RECORDING["scenarios"]["inbound_manpage"]:
        name = step.get("wire", "")
        cut = re.fullmatch("cut to ([0-9]+) bytes", name)
        if cut:
            named[name] = first[: max(0, int(cut[1]) - 20)]
        named.setdefault(name, ping)
    return named


@pytest.mark.parametrize("core", CORES)
def test_inbound_manpage(core: str) -> None:
    machine = Machine(core, "192.168.0.5")
    frames = arrivals()
    shown = 0
    for step in RECORDING["scenarios"]["inbound_manpage"]:
        if "wire" in step:
            machine.receive(frames[step["wire"]])
            assert machine.take_sent() == step["packets"], step["wire"]
        elif "stats" in step:
            assert machine.statistics(step["stats"]) == step["nonzero"], step
            shown += 1
        elif step.get("ctl", "").startswith("show"):
            interface = machine.kernel.interfaces.by_name("ipsec0")
            assert (interface is None) == (step["answer"] == "errno 6")
            if interface is not None:
                names = re.findall("([io](?:packets|bytes|errors)) ([0-9]+)", step["answer"])
                counters = machine.forwarder.interface_counters(interface.index)
                assert counters == tuple(int(value) for _, value in names), step
                shown += 1
        elif "ctl" in step:
            machine.perform(step["ctl"])
        elif isinstance(step["setkey"], str):
            machine.add_sas(step["messages"])
    assert shown > 30
    used = machine.kernel.engine.sad.by_spi[10000].traffic
    dump = RECORDING["scenarios"]["inbound_manpage"][-1]["stdout"]
    assert f"current: {used.bytes}(bytes)" in dump and f"allocated: {used.packets}\t" in dump
    made = machine.kernel.engine.sad.by_spi[10001].traffic
    assert f"current: {made.bytes}(bytes)" in dump and f"allocated: {made.packets}\t" in dump
