"""The kernel of a lab host through its two sockets, from the test's own process."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipsectools.lab.host import Host


def control(host: Host, op: str, **arguments: object) -> Any:
    """One control operation on the host's running ipsecd. Raises OSError with FreeBSD's errno when it is refused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(20)
        door.connect(host.path(f"{host.environment['IPSECTOOLS_STATE']}/control"))
        request = json.dumps({"op": op, "args": arguments}).encode()
        door.sendall(struct.pack(">I", len(request)) + request)
        (length,) = struct.unpack(">I", _exactly(door, 4))
        answer = json.loads(_exactly(door, length))
    if "errno" in answer:
        raise OSError(answer["errno"], answer.get("detail", ""))
    return answer["value"]


def _exactly(door: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = door.recv(count - len(data))
        if not piece:
            raise EOFError("ipsecd closed the connection")
        data += piece
    return data


class PfKey:
    """A PF_KEY socket on the host's running ipsecd."""

    def __init__(self, host: Host) -> None:
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.connect(host.path(f"{host.environment['IPSECTOOLS_STATE']}/pfkey"))

    def send(self, message: bytes) -> None:
        self._door.send(message)

    def receive(self, kind: int, timeout: float = 10) -> bytes | None:
        """The next message of this type; None if none comes in time."""
        while select.select([self._door], [], [], timeout)[0]:
            message = self._door.recv(1 << 17)
            if not message:
                return None
            if message[1] == kind:
                return message
        return None

    def register(self) -> None:
        """Becomes a key manager for ESP (SADB_REGISTER)."""
        self.send(struct.pack("=BBBBHHII", 2, 7, 0, 3, 2, 0, 1, 0))
        assert self.receive(7) is not None

    def close(self) -> None:
        self._door.close()

    def __enter__(self) -> PfKey:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Books:
    """What a host's data path counted between the making of this object and the question."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._before = control(host, "STATISTICS")

    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        """(balance, drops that happened) as they are now, perhaps in the middle of a packet."""
        now = control(self._host, "STATISTICS")
        balance = {key: value - self._before["balance"][key] for key, value in now["balance"].items()}
        drops = {key: value - self._before["drops"][key] for key, value in now["drops"].items()}
        return balance, {key: value for key, value in drops.items() if value}

    def closed(self) -> tuple[dict[str, int], dict[str, int]]:
        """(balance, drops that happened); both books are balanced to the packet, or this is an AssertionError.

        A packet that is being worked on is in no column yet, so an open book is looked at again for a while."""
        for _ in range(100):
            balance, drops = self.counted()
            out = sum(value for key, value in drops.items() if key.startswith("out-"))
            into = sum(value for key, value in drops.items() if key.startswith("in-"))
            closed = (
                balance["taken"] == balance["sent"] + out
                and balance["arrived"] == balance["delivered"] + balance["injected"] + into
            )
            if closed and out + into == sum(drops.values()):
                return balance, drops
            time.sleep(0.01)
        raise AssertionError(f"{self._host.name}: {balance} {drops}")


def unread(host: Host) -> int:
    """Packets that the system threw away because a raw socket of the host did not read them in time."""
    lost = 0
    for name in ("raw", "raw6", "udp", "udp6"):
        with open(f"/proc/{host.pid}/net/{name}") as table:
            lost += sum(int(line.split()[-1]) for line in list(table)[1:])
    return lost
