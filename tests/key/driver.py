"""A key engine on a store in memory, PF_KEY clients that keep what they get, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

from ipsectools.datapath.kept_traffic import kept, left
from ipsectools.esp.traffic import Traffic
from ipsectools.kernel.key.dispatch import Dispatcher
from ipsectools.kernel.key.ledger import Ledger
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.kernel.store import Store
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EALG_AESCBC,
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_KEY_ENCRYPT,
    MODE_TUNNEL,
    SADB_ADD,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build

EPOCH = 1_700_000_000

SYSCTL = {
    "net.key.spi_trycnt": 1000,
    "net.key.spi_minval": 256,
    "net.key.spi_maxval": 268435455,
    "net.key.larval_lifetime": 30,
    "net.key.blockacq_count": 10,
    "net.key.blockacq_lifetime": 20,
    "net.key.esp_keymin": 256,
    "net.key.ah_keymin": 128,
    "net.key.esp_auth": 0,
    "net.key.preferred_oldsa": 1,
}

A, B, C = "192.168.0.3", "192.168.0.5", "192.168.0.7"
KEY = b"VerySecureKey!!1"


class Client:
    """A PF_KEY socket of the driver, and what came to it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.got: list[bytes] = []
        self.room = 1 << 30
        self.socket = driver.engine.open_socket(self._take)

    def _take(self, message: bytes) -> bool:
        if len(self.got) >= self.room:
            return False
        self.got.append(message)
        return True

    def send(self, message: bytes) -> int:
        """Sends, commits, delivers; returns the errno of the write."""
        errno = self.socket.send(message, self.driver.now)
        self.driver.store.commit()
        return self.driver.engine.flush_outbox() or errno

    def take(self) -> list[bytes]:
        got, self.got = self.got, []
        return got

    def ask(self, message: bytes) -> list[bytes]:
        """Sends a message whose write succeeds; returns what came back to this client."""
        assert self.send(message) == 0
        return self.take()

    def errno(self, message: bytes) -> int:
        """The errno in the (last) answer to a message; the answer to a refused one is the message itself."""
        *_, answer = self.ask(message)
        if answer[2]:
            assert answer[:2] + message[2:3] + answer[3:] == message
        return answer[2]


class Attacher:
    """Has SAs count where a data path would: in the traffic page, if there is one."""

    def __init__(self, engine: Dispatcher) -> None:
        self.engine = engine
        for sa in engine.sad.by_spi.values():
            self.sa_changed(sa)

    def sa_changed(self, sa: SecurityAssociation) -> None:
        place = self.engine.counters.place(sa) if sa.usable else None
        if place is not None and isinstance(sa.traffic, Traffic):
            sa.traffic = kept(sa.traffic, place)

    def sa_removed(self, sa: SecurityAssociation) -> None:
        if not isinstance(sa.traffic, Traffic):
            sa.traffic = left(sa.traffic)
        self.engine.counters.leave(sa)


class Driver:
    """The key engine as its kernel drives it: a transaction a call, delivery after it."""

    def __init__(
        self,
        now: float = EPOCH,
        make_ledger: Callable[[Store], Ledger] = lambda store: Ledger(store, draw=lambda: 0),
        path: str | None = None,
    ) -> None:
        """`make_ledger`: IVs begin at 0 as FreeBSD's do, unless a test wants them random. `path`: of the state file."""
        self.now = now
        self.sysctl = dict(SYSCTL)
        self.path = path
        self.make_ledger = make_ledger
        self.store = Store(path, Dispatcher.TABLES)
        self.engine = self.make_engine()

    def make_engine(self) -> Dispatcher:
        engine = Dispatcher(self.store, self.sysctl.__getitem__, self.make_ledger)
        engine.load(self.now)
        self.store.commit()
        engine.observers.append(Attacher(engine))
        return engine

    def client(self) -> Client:
        return Client(self)

    def end(self) -> None:
        """A call of the kernel is over."""
        self.store.commit()
        self.engine.flush_outbox()

    def tick(self) -> None:
        for task in self.engine.tasks(self.now):
            task()
            self.end()

    def advance(self, seconds: int) -> None:
        """Second by second, as the recorded kernel's clock: its timer runs before the clock shows the new second."""
        for _ in range(seconds):
            self.tick()
            self.now += 1

    def restart(self, clean: bool = True, between: Callable[[], None] = lambda: None) -> None:
        """The process ends and another one takes over the state file; sockets are gone.

        `between` is called while nobody has the file (if it is one).
        """
        if clean:
            self.engine.save_traffic(self.now, clean=True)
            self.store.commit()
        else:
            self.store.rollback()
        if self.path is not None:
            self.store.close()
            between()
            self.store = Store(self.path, Dispatcher.TABLES)
        self.engine = self.make_engine()


def address(kind: int, text: str, protocol: int = 255, prefixlen: int | None = None, port: int = 0) -> bytes:
    return ext.address(kind, sockaddr.from_text(text, port), protocol=protocol, prefixlen=prefixlen)


def pair(src: str = A, dst: str = B, **options: int) -> bytes:
    return address(EXT_ADDRESS_SRC, src, **options) + address(EXT_ADDRESS_DST, dst, **options)


def add(
    spi: int = 0x1000,
    src: str = A,
    dst: str = B,
    *,
    key: bytes = KEY,
    encrypt: int = EALG_AESCBC,
    mode: int | None = MODE_TUNNEL,
    reqid: int = 100,
    extra: bytes = b"",
    seq: int = 0,
    pid: int = 0,
    type: int = SADB_ADD,
    **sa: int,
) -> bytes:
    """An ADD (or UPDATE) of an ESP SA."""
    body = ext.sa(spi, encrypt=encrypt, **sa)
    if mode is not None:
        body += ext.sa2(mode, reqid)
    body += pair(src, dst) + ext.key(EXT_KEY_ENCRYPT, key) + extra
    return build(type, SATYPE_ESP, body, seq=seq, pid=pid)
