"""Hostile bytes for a core: not collected by pytest, run it by hand, best with a core built with sanitizers.

    python -m tests.datapath.fuzz_core [SECONDS [SEED [CORE]]]

Every virtio header, inner packet and outer packet may be anything; some outer packets are authentic with nonsense
inside. After each round the books have to balance: what came in went out, or has a named reason.
"""

from __future__ import annotations

import random
import struct
import sys
import time

from ipsectools.esp.sa import EspSA
from ipsectools.host.api import OuterPacket
from tests.datapath.world import ALGORITHMS, IN_SPI, World, ipv4, ipv6, tcp, traffic, udp, with_checksum

_ODD = (0, 1, 2, 6, 8, 10, 16, 19, 20, 28, 39, 40, 54, 60, 128, 255, 256, 511, 512, 1400, 65535)


def main(seconds: float, seed: int, core: str) -> None:
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        Fuzz(rng, core).run(40)
        rounds += 1
    print(f"seed {seed}, core {core}: {rounds} rounds, nothing found")


class Fuzz:
    """One host with SAs of a random kind."""

    def __init__(self, rng: random.Random, core: str) -> None:
        self.rng = rng
        self.algorithm = rng.choice(list(ALGORITHMS))
        flags = rng.choice((0, 0x100, 0x200, 0x400, 0x40, 0x500))
        natt = rng.choice((None, None, (4500, 4500), (4500, 10000)))
        window = rng.choice((0, 8, 32, 64, 1024))
        mode = rng.choice((0, 1, 2, 2, 2, 2))
        self.world = World(
            core,
            family=rng.choice((4, 6)),
            algorithm=self.algorithm,
            natt=natt,
            flags=flags,
            window=window,
            mode=mode,
        )
        known = ALGORITHMS[self.algorithm]
        self.peer = EspSA(
            IN_SPI,
            known["enc"],
            known["enc_key"],
            known.get("auth", 0),
            known.get("auth_key", b""),
            flags,
            0,
            traffic(),
        )
        self.sequence = 1
        self.compiled = core == "compiled"
        if self.compiled:
            self.core = self.world.pump.driver.core
            self.core.coalesce = rng.random() < 0.8
            self.core.joined = self.check_joined

    def check_joined(self, index: int, header: bytes, packet: bytes) -> None:
        """What goes to the device together has to be something that Linux takes."""
        flags, kind, length, size, start, offset = struct.unpack("=BBHHHH", header)
        if kind:
            assert flags & 1 and size and length <= len(packet) <= 65535 and start + offset + 2 <= length, (
                header,
                packet,
            )

    def run(self, rounds: int) -> None:
        world, rng = self.world, self.rng
        for _ in range(rounds):
            if rng.random() < 0.5:
                inner = [self.inner() for _ in range(rng.randrange(1, 80))]
                if self.compiled and rng.random() < 0.8:
                    self.core.outbound(world.index, [self.with_header(each) for each in inner])
                else:
                    world.send(*inner)
            else:
                world.receive(*(self.outer() for _ in range(rng.randrange(1, 150))))
        assert world.is_balanced(), (self.algorithm, world.pump.statistics())

    def size(self) -> int:
        rng = self.rng
        return rng.choice(_ODD) if rng.random() < 0.3 else rng.randrange(0, rng.choice((50, 200, 1500, 9000, 65000)))

    def inner(self) -> bytes:
        rng = self.rng
        body = rng.randbytes(self.size())
        kind = rng.randrange(8)
        if kind == 0:
            return body[:65535]
        if kind < 3:
            upper = udp(body[:60000])
            protocol = 17
        else:
            upper = tcp(
                body[:60000], seq=rng.getrandbits(32), flags=rng.getrandbits(8), options=bytes(rng.choice((0, 0, 12)))
            )
            protocol = 6
        if rng.random() < 0.5:
            packet = ipv4(upper, protocol, options=bytes(4 * rng.choice((0, 0, 0, 1, 10))), df=rng.random() < 0.5)
        else:
            packet = ipv6(upper, protocol)
        if rng.random() < 0.5:
            changed = bytearray(packet)
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(min(len(changed), 80))] = rng.choice(
                    (0, 1, 4, 5, 6, 15, 16, 0x3F, 0x45, 0x60, 0xFF)
                )
            packet = bytes(changed)
        if rng.random() < 0.2:
            packet = packet[: rng.randrange(len(packet) + 1)]
        return packet

    def with_header(self, packet: bytes) -> tuple[bytes, bytes]:
        """The packet with a virtio_net_hdr that may fit it."""
        rng = self.rng
        start = (packet[0] & 15) * 4 if packet and packet[0] >> 4 == 4 else 40
        values = [
            1,
            rng.choice((0, 1, 4, 5)),
            start + 20,
            rng.choice((1, 2, 100, 500, 1400)),
            start,
            rng.choice((6, 16)),
        ]
        if rng.random() < 0.4:
            place = rng.randrange(6)
            values[place] = rng.getrandbits(8) if place < 2 else rng.choice((*_ODD, rng.getrandbits(16)))
        if len(packet) > 20000:
            values[3] = max(values[3], 100)  # a segment for each byte would take long
        return struct.pack("=BBHHHH", *values), packet

    def stream(self) -> bytes:
        """A good segment of one of a few flows: what gets joined."""
        rng = self.rng
        flow = rng.randrange(4)
        body = rng.randbytes(rng.choice((1, 100, 100, 100, 1000)))
        self.sequence += len(body)
        if flow < 2:
            packet = ipv4(
                tcp(body, seq=self.sequence - len(body) & 0xFFFFFFFF, sport=flow), 6, df=True, id=self.sequence % 65536
            )
            return with_checksum(packet, 20)
        return with_checksum(ipv6(udp(body, sport=flow), 17), 40)

    def outer(self) -> OuterPacket:
        rng = self.rng
        world = self.world
        kind = rng.random()
        if kind < 0.1:
            esp = rng.randbytes(rng.randrange(0, 200))
        elif kind < 0.2:
            esp = IN_SPI.to_bytes(4, "big") + rng.randbytes(rng.choice(_ODD))
        else:
            inner = self.stream() if rng.random() < 0.7 else self.inner()[:64000]
            if not inner or inner[0] >> 4 not in (4, 6):
                inner = b"\x45" + inner
            number = rng.choice(
                (rng.randrange(1, 1 << 33), *[self.world.inbound.traffic.received_high + rng.randrange(1, 4)] * 9)
            )
            block = 16 if self.peer.pad_to == 16 else 8
            esp = self.peer.seal_with(
                inner, number, rng.randbytes(16 if block == 16 and "cbc" in self.algorithm else 8)
            )
        if rng.random() < 0.2 and esp:
            changed = bytearray(esp)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            esp = bytes(changed)
        if rng.random() < 0.1:
            esp = esp[: rng.randrange(len(esp) + 1)]
        natt = world.inbound.natt
        ports = natt if natt is not None and rng.random() < 0.9 else rng.choice((None, None, None, (1, 2)))
        src, dst = world.remote, world.local
        return OuterPacket(src, dst, esp[:65535], protocol=50 if ports is None else 17, ports=ports)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        float(given[0]) if given else 60.0,
        int(given[1]) if len(given) > 1 else random.SystemRandom().getrandbits(32),
        given[2] if len(given) > 2 else "compiled",
    )
