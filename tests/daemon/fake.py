"""A kernel that answers simply, served by the real sockets on the real loop in a thread of the test."""

import socket
import threading
from pathlib import Path

from ipsectools.daemon import listener
from ipsectools.daemon.control_server import ControlServer
from ipsectools.daemon.loop import Loop
from ipsectools.daemon.pfkey_server import PfkeyServer
from ipsectools.errno import EINVAL, ENOENT, KernelError

MESSAGE_BYTES = 16
REFUSED, DUMP, TO_ALL, FAILS = 200, 10, 3, 201
"""Message types: write refused with EINVAL; a dump of `FakeKernel.dump`; a copy to every socket; a mistake of ours."""


def message(kind: int, text: bytes = b"") -> bytes:
    return bytes([2, kind]) + text.ljust(MESSAGE_BYTES - 2, b"\0")


class FakeSocket:
    def __init__(self, kernel, deliver, deliver_stream):
        self.kernel = kernel
        self.deliver = deliver
        self.deliver_stream = deliver_stream
        self.lost = 0
        self.drawn = 0

    def send(self, data, now):
        kind = data[1] if len(data) > 1 else REFUSED
        if kind == REFUSED:
            return EINVAL
        if kind == FAILS:
            raise ZeroDivisionError
        if kind == TO_ALL:
            for other in [*(each for each in self.kernel.sockets if each is not self), self]:
                other.lost += not other.deliver(data)
        elif kind == DUMP:
            self.deliver_stream(self._draw(self.kernel.dump))
        else:
            self.lost += not self.deliver(data)
        return 0

    def _draw(self, messages):
        for each in messages:
            self.drawn += 1
            yield each

    def close(self):
        self.kernel.sockets.remove(self)


class FakeKernel:
    def __init__(self):
        self.sockets = []
        self.dump = []

    def control(self, op, args, now):
        if op == "ECHO":
            return args
        if op == "MUCH":
            return "x" * args["bytes"]
        if op == "FAILS":
            raise ZeroDivisionError("secret")
        raise KernelError(ENOENT, "no such op")

    def open_pfkey(self, deliver, deliver_stream=None):
        self.sockets.append(FakeSocket(self, deliver, deliver_stream))
        return self.sockets[-1]


class Served:
    """The two servers over a FakeKernel in `directory`."""

    def __init__(self, directory: Path):
        self.directory = str(directory)
        self.kernel = FakeKernel()
        self.failures = []
        self.loop = Loop((), lambda: None, self.failures.append)
        self.control = ControlServer(
            self.loop,
            listener.bind(self.directory, "control", socket.SOCK_STREAM),
            self.kernel.control,
            self.failures.append,
        )
        self.pfkey = PfkeyServer(
            self.loop, listener.bind(self.directory, "pfkey", socket.SOCK_SEQPACKET), self.kernel, self.failures.append
        )
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def connect(self, name: str, directory: str | None = None) -> socket.socket:
        kind = socket.SOCK_STREAM if name == "control" else socket.SOCK_SEQPACKET
        connection = socket.socket(socket.AF_UNIX, kind)
        connection.connect(f"{directory or self.directory}/{name}")  # blocks while the backlog is full
        connection.settimeout(20)
        return connection

    def close(self):
        self.loop.stop()
        self.loop.wake()
        self._thread.join(20)
        self.control.close()
        self.pfkey.close()
        self.loop.close()
