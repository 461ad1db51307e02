"""The process that is a faulty link: `faulty_link.py LEFT RIGHT CONTROL` copies frames between two packet sockets.

LEFT and RIGHT are packet(7) sockets bound to the two interfaces, CONTROL a sequenced-packet socket: one JSON request,
one JSON answer. Only IP packets other than neighbour discovery suffer; each direction has its faults and its own random
numbers, so that a run with the same seed and the same packets does the same. What is held back is bounded in number and
time. The process ends when the control socket closes.

Runs alone, isolated from site-packages (`python -I -S`).
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_STATISTICS = 263, 6
ETHERNET = 14
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
UDP, ICMPV6 = 17, 58
MOST_HELD = 64
"""Packets held back at the same time in one direction; beyond it, packets are not reordered."""
LONGEST_HELD = 0.02
"""Seconds after which a packet that was held back goes on although nothing overtook it."""
BATCH = 64
ROUTER = {4: bytes([192, 168, 0, 254]), 6: bytes.fromhex("20010db80000000000000000000000fe")}
"""Where the messages of a link that has too small an MTU come from."""

COUNTERS = (
    "arrived",
    "passed",
    "lost",
    "duplicated",
    "held",
    "corrupted",
    "too_big",
    "cut",
    "others",
    "refused",
    "missed",
)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) & 1:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Direction:
    """Frames from one socket to the other."""

    def __init__(self, source: socket.socket, target: socket.socket, seed: str) -> None:
        self.source = source
        self.target = target
        self.random = random.Random(seed)
        self.faults: dict[str, float] = {}
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.held: list[list[object]] = []  # [frames that still may overtake it, when it goes at the latest, frame]

    def drain(self) -> None:
        for _ in range(BATCH):
            try:
                frame = self.source.recv(70000)
            except BlockingIOError:
                return
            self.take(frame)

    def take(self, frame: bytes) -> None:
        """A frame's way through the faults: size, loss, corruption, duplication, order."""
        kind = int.from_bytes(frame[12:14], "big")
        packet = frame[ETHERNET:]
        if not concerns(kind, packet):
            self.counters["others"] += 1
            self.send(frame)
            return
        counters, faults, chance = self.counters, self.faults, self.random.random
        counters["arrived"] += 1
        mtu = int(faults.get("mtu", 0))
        if mtu and ip_length(kind, packet) > mtu:
            self.too_big(frame, kind, mtu)
            return
        if chance() < faults.get("loss", 0):
            counters["lost"] += 1
            return
        if chance() < faults.get("corruption", 0):
            counters["corrupted"] += 1
            frame = self.corrupt(frame, kind)
        copies = 1
        if chance() < faults.get("duplication", 0):
            counters["duplicated"] += 1
            copies = 2
        if chance() < faults.get("reordering", 0) and len(self.held) < MOST_HELD:
            counters["held"] += 1
            overtakers = self.random.randint(1, int(faults.get("depth", 8)))
            self.held.append([overtakers, time.monotonic() + LONGEST_HELD, frame])
            copies -= 1
        for _ in range(copies):
            self.pass_on(frame)

    def pass_on(self, frame: bytes) -> None:
        """Sends it, then those that have been overtaken often enough."""
        self.counters["passed"] += 1
        self.send(frame)
        if self.held:
            for waiting in self.held:
                waiting[0] = int(waiting[0]) - 1  # type: ignore[call-overload]
            self.release()

    def release(self, everything: bool = False) -> None:
        now = time.monotonic()
        ready = [w for w in self.held if everything or w[0] <= 0 or w[1] <= now]  # type: ignore[operator]
        if ready:
            self.held = [w for w in self.held if w not in ready]
            for waiting in ready:
                self.counters["passed"] += 1
                self.send(waiting[2])  # type: ignore[arg-type]

    def send(self, frame: bytes) -> None:
        for _ in range(50):
            try:
                self.target.send(frame)
                return
            except BlockingIOError:
                select.select([], [self.target], [], 0.02)
            except OSError:
                break
        self.counters["refused"] += 1

    def corrupt(self, frame: bytes, kind: int) -> bytes:
        """Flips one bit behind the IP header (and behind UDP's: what the system itself would throw away is no test)."""
        start = ETHERNET + (40 if kind == ETH_P_IPV6 else (frame[ETHERNET] & 15) * 4)
        end = ETHERNET + ip_length(kind, frame[ETHERNET:])
        protocol = frame[ETHERNET + (6 if kind == ETH_P_IPV6 else 9)]
        if protocol == UDP:
            start += 8
        if start >= end:
            return frame
        place = self.random.randrange(start, end)
        return frame[:place] + bytes([frame[place] ^ 1 << self.random.randrange(8)]) + frame[place + 1 :]

    def too_big(self, frame: bytes, kind: int, mtu: int) -> None:
        """What a router does before a link with this MTU: cut, or refuse and tell the sender (not if `silent`)."""
        packet = frame[ETHERNET:][: ip_length(kind, frame[ETHERNET:])]
        if kind == ETH_P_IP and not packet[6] & 0x40:
            self.counters["cut"] += 1
            for piece in cut(packet, mtu):
                self.pass_on(frame[:ETHERNET] + piece)
            return
        self.counters["too_big"] += 1
        if not self.faults.get("silent"):
            answer = refusal(packet, kind, mtu)
            self.source.send(frame[6:12] + frame[:6] + frame[12:14] + answer)

    def count_missed(self) -> None:
        statistics = self.source.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.counters["missed"] += struct.unpack("=II", statistics)[1]


def concerns(kind: int, packet: bytes) -> bool:
    """Whether the faults apply: to IP, but not to what the link itself needs."""
    if kind == ETH_P_IP:
        return len(packet) >= 20
    return kind == ETH_P_IPV6 and len(packet) > 40 and packet[6] not in (0, ICMPV6)


def ip_length(kind: int, packet: bytes) -> int:
    return 40 + int.from_bytes(packet[4:6], "big") if kind == ETH_P_IPV6 else int.from_bytes(packet[2:4], "big")


def cut(packet: bytes, mtu: int) -> list[bytes]:
    """IPv4 fragments of a packet without options, or of a fragment (RFC 791)."""
    header, data = packet[:20], packet[20:]
    flags = int.from_bytes(header[6:8], "big")
    step = (mtu - 20) & ~7
    pieces = []
    for offset in range(0, len(data), step):
        part = data[offset : offset + step]
        more = 0x2000 if offset + step < len(data) else flags & 0x2000
        new = bytearray(header)
        new[2:4] = (20 + len(part)).to_bytes(2, "big")
        new[6:8] = (more | (flags & 0x1FFF) + offset // 8).to_bytes(2, "big")
        new[10:12] = b"\0\0"
        new[10:12] = checksum(bytes(new)).to_bytes(2, "big")
        pieces.append(bytes(new) + part)
    return pieces


def refusal(packet: bytes, kind: int, mtu: int) -> bytes:
    """The ICMP message about a packet that is too big (RFC 1191, RFC 4443 section 3.2)."""
    if kind == ETH_P_IP:
        body = bytearray(b"\x03\x04\0\0\0\0" + mtu.to_bytes(2, "big") + packet[:548])
        body[2:4] = checksum(bytes(body)).to_bytes(2, "big")
        header = bytearray(b"\x45\xc0" + (20 + len(body)).to_bytes(2, "big") + b"\0\0\0\0\x40\x01\0\0")
        header += ROUTER[4] + packet[12:16]
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        return bytes(header + body)
    body = bytearray(b"\x02\0\0\0" + mtu.to_bytes(4, "big") + packet[:1232])
    ends = ROUTER[6] + packet[8:24]
    body[2:4] = checksum(ends + len(body).to_bytes(4, "big") + b"\0\0\0\x3a" + bytes(body)).to_bytes(2, "big")
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\x40" + ends + bytes(body)


def serve(left: socket.socket, right: socket.socket, control: socket.socket) -> None:
    """Copies until the control socket closes."""
    directions = {"forth": Direction(left, right, "forth"), "back": Direction(right, left, "back")}
    by_socket = {d.source: d for d in directions.values()}
    while True:
        waiting = any(d.held for d in directions.values())
        ready, _, _ = select.select([left, right, control], [], [], LONGEST_HELD / 4 if waiting else None)
        for sock in ready:
            if sock is not control:
                by_socket[sock].drain()
        for direction in directions.values():
            direction.release()
        if control in ready:
            request = control.recv(1 << 16)
            if not request:
                return
            control.send(json.dumps(answer(directions, json.loads(request))).encode())


def answer(directions: dict[str, Direction], request: dict[str, object]) -> object:
    """`set`: {direction: faults}, `seed`: text; always the counters of both directions, nothing held back any more."""
    for name, direction in directions.items():
        direction.drain()
        direction.release(everything=True)
        direction.count_missed()
        faults = request.get("set")
        if isinstance(faults, dict):
            direction.faults = faults[name]
            direction.random = random.Random(f"{request['seed']} {name}")
    return {name: direction.counters for name, direction in directions.items()}


def main() -> None:
    left, right, control = (socket.socket(fileno=int(text)) for text in sys.argv[1:4])
    serve(left, right, control)


if __name__ == "__main__":
    main()
