"""Traffic between two lab hosts whose every byte is accounted for: numbered datagrams, and TCP streams."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

SO_RCVBUFFORCE = 33


class Arrivals:
    """The numbers of the datagrams that arrived one way, in order of arrival, out of 0..sent-1."""

    __slots__ = ("altered", "numbers", "outstanding", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.outstanding = 0
        self.numbers: list[int] = []
        self.altered = 0

    @property
    def complete(self) -> bool:
        """Each arrived once, unaltered, and in order."""
        return self.numbers == list(range(self.sent)) and not self.altered

    def __repr__(self) -> str:
        distinct = len(set(self.numbers))
        ordered = all(a < b for a, b in zip(self.numbers, self.numbers[1:], strict=False))
        return (
            f"Arrivals({self.sent} sent, {self.sent - distinct} lost, {len(self.numbers) - distinct} twice, "
            f"{self.altered} altered, {'in order' if ordered else 'out of order'})"
        )


class Counters:
    """Two UDP sockets that send each other numbered datagrams. `size` is the UDP payload in bytes (at least 8)."""

    def __init__(self, a: Host, a_address: str, b: Host, b_address: str, size: int = 64) -> None:
        family = socket.AF_INET6 if ":" in a_address else socket.AF_INET
        self._filling = bytes(i & 0xFF for i in range(size - 8))
        self._ends = [host.socket(family, socket.SOCK_DGRAM) for host in (a, b)]
        for end, address in zip(self._ends, (a_address, b_address), strict=True):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            with contextlib.suppress(OSError):  # more than the system's limit, where that is allowed
                end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            end.bind((address, 0))
            end.setblocking(False)
        names = [end.getsockname() for end in self._ends]
        for end, name in zip(self._ends, reversed(names), strict=True):
            end.connect(name)
        self.forth, self.back = Arrivals(), Arrivals()

    def send(self, count: int) -> None:
        """Sends the next `count` datagrams each way. One that the system refuses counts as sent."""
        for end, arrivals in zip(self._ends, (self.forth, self.back), strict=True):
            for number in range(arrivals.sent, arrivals.sent + count):
                try:
                    end.send(struct.pack(">Q", number) + self._filling)
                except OSError:
                    continue
            arrivals.sent += count
            arrivals.outstanding += count

    def collect(self, timeout: float) -> None:
        """Books what arrives until everything is there, or nothing more comes for `timeout` seconds."""
        waiting = {self._ends[1]: self.forth, self._ends[0]: self.back}
        while any(arrivals.outstanding > 0 for arrivals in waiting.values()):
            if not self._book(waiting, timeout):
                for arrivals in waiting.values():
                    arrivals.outstanding = 0  # lost: nobody waits for them again
                return

    def wait_for_all(self, patience: float) -> None:
        """Books what arrives until everything ever sent is there, or `patience` seconds are over."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(len(each.numbers) < each.sent for each in (self.forth, self.back)):
            self._book({self._ends[1]: self.forth, self._ends[0]: self.back}, 0.05)

    def drain(self) -> None:
        """Books what is there now."""
        while self._book({self._ends[1]: self.forth, self._ends[0]: self.back}, 0):
            pass

    def _book(self, waiting: dict[socket.socket, Arrivals], timeout: float) -> bool:
        ready, _, _ = select.select(list(waiting), [], [], timeout)
        for end in ready:
            arrivals = waiting[end]
            while True:
                try:
                    data = end.recv(65536)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # an error that the network reported for an earlier datagram
                arrivals.numbers.append(int.from_bytes(data[:8]))
                arrivals.outstanding -= 1
                arrivals.altered += data[8:] != self._filling
        return bool(ready)

    def run(self, count: int, burst: int = 32, timeout: float = 5) -> None:
        """`count` datagrams each way in bursts, never more under way than sockets hold."""
        for start in range(0, count, burst):
            self.send(min(burst, count - start))
            self.collect(timeout)

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def __enter__(self) -> Counters:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tcp_stream(a: Host, b: Host, b_address: str, amount: int, *, timeout: float = 20) -> bool:
    """Sends `amount` bytes from A to B over TCP; True if exactly they arrived. Gives up after `timeout` seconds."""
    family = socket.AF_INET6 if ":" in b_address else socket.AF_INET
    deadline = time.monotonic() + timeout
    block = hashlib.shake_128(b"ipsectools").digest(1 << 16)
    expected, got = hashlib.sha256(), hashlib.sha256()
    with b.socket(family, socket.SOCK_STREAM) as listener, a.socket(family, socket.SOCK_STREAM) as sender:
        listener.bind((b_address, 0))
        listener.listen(1)
        sender.settimeout(timeout)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        with receiver:
            sender.setblocking(False)
            receiver.setblocking(False)
            sent = received = 0
            while received < amount and time.monotonic() < deadline:
                readable, writable, _ = select.select([receiver], [sender] if sent < amount else [], [], 0.5)
                if writable:
                    piece = block[: min(len(block), amount - sent)]
                    number = sender.send(piece)
                    expected.update(piece[:number])
                    sent += number
                if readable:
                    data = receiver.recv(1 << 18)
                    if not data:
                        return False
                    got.update(data)
                    received += len(data)
    return received == amount and expected.digest() == got.digest()
