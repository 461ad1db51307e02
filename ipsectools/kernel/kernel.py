"""The emulated kernel: one state file, one host, interfaces and the key engine, behind two doors.

Every request (`request()`) is one transaction: what it changed is in the state file, and observers have been told,
before an answer leaves. A request that fails leaves nothing behind: not in the file, not in memory, not on the host.

A kernel belongs to one thread. Its work for a request does not grow with the number of SAs or interfaces, except for
listing them all.
"""

from __future__ import annotations

from functools import partial

from ipsectools.errno import EPERM, KernelError
from ipsectools.kernel import control
from ipsectools.kernel.addresses import inet6, route_table, routes
from ipsectools.kernel.errors import StateError
from ipsectools.kernel.interfaces import kinds, sync, tunnel
from ipsectools.kernel.interfaces.interface import TABLES as INTERFACE_TABLES
from ipsectools.kernel.interfaces.list import Interfaces
from ipsectools.kernel.key.dispatch import Dispatcher
from ipsectools.kernel.key.ledger import Ledger
from ipsectools.kernel.state import KernelState
from ipsectools.kernel.statefile import APPLICATION_ID, SIMULATED_ID
from ipsectools.kernel.store import Store, Table
from ipsectools.kernel.sysctl import TABLES as SYSCTL_TABLES
from ipsectools.pfkey.constants import MAKE_NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Any

    from ipsectools.host.api import Host
    from ipsectools.kernel.key.sockets import KeySocket
    from ipsectools.kernel.store import Value


class Kernel(KernelState):
    """Raises StateError on opening if the state file cannot be used."""

    def __init__(
        self,
        state_path: str | None,
        host: Host,
        now: float,
        *,
        moves_traffic: bool = True,
        make_ledger: Callable[[Store], Ledger] = Ledger,
    ) -> None:
        """`moves_traffic` False: no data path will be attached (see `Dispatcher.load`)."""
        self._host_tables = {name: Table(name, *columns) for name, columns in host.tables.items()}
        tables = [
            *INTERFACE_TABLES,
            route_table.TABLE,
            *kinds.tables(),
            *sync.TABLES,
            *SYSCTL_TABLES,
            *Dispatcher.TABLES,
        ]
        tables += self._host_tables.values()
        mark = SIMULATED_ID if host.tables else APPLICATION_ID
        super().__init__(Store(state_path, tables, application_id=mark), host, now, make_ledger)
        self.link_followers += [inet6.attach_link_local, inet6.finish_detection]
        self._routes = routes.Routes(self, active=moves_traffic)
        self.address_followers.append(self._routes.guard)
        self._in_request = False
        self._closed = False
        self._telling = False
        self.undelivered = 0
        """The errno of the last request's answer: ENOBUFS if its requester had no room for it."""
        self._request = _Request(self)
        self._moves_traffic = moves_traffic
        try:
            with self.request(now):
                self._load()
                sync.reconcile(self)
                self._routes.reconcile()
        except BaseException as error:
            self.store.close()
            if isinstance(error, KernelError):
                raise StateError(f"{state_path}: {error}") from None
            raise

    # requests

    def request(self, now: float) -> _Request:
        """The context of one request. Not to be nested, but an observer may make requests of its own."""
        self.now = now
        return self._request

    def _begin(self) -> None:
        assert not self._in_request
        self._in_request = True

    def _finish(self) -> None:
        self._commit()
        self._conclude()

    def _commit(self) -> None:
        try:
            self._routes.settle()
            self.store.commit()
        except KernelError:
            self._abort()
            raise
        self._routes.committed()
        self._undo.clear()
        self._in_request = False

    def _conclude(self) -> None:
        if not self._telling:
            try:
                self._tell_observers()
            finally:
                self.undelivered = self.engine.flush_outbox()

    def _tell_observers(self) -> None:
        self._telling = True
        failures: list[Exception] = []
        try:
            while self._events:
                _, (name, values) = self._events.popitem(last=False)
                for observer in self.observers:
                    try:
                        getattr(observer, name)(*values)
                    except Exception as error:  # a mistake of one of them, which the others are told nevertheless
                        failures.append(error)
        finally:
            self._telling = False
        if failures:
            raise failures[0]

    def _abort(self) -> None:
        touched = self.store.changed or bool(self._undo)
        if not self._telling:
            self.engine.drop_outbox()
        try:
            if touched:
                self._take_back()
            self._routes.settle_guards()
        finally:
            self._in_request = False
        if touched:
            self._tell("reloaded")
            if not self._telling:
                self._tell_observers()

    def _take_back(self) -> None:
        self.store.rollback()
        undo, self._undo = self._undo, []
        for step in reversed(undo):
            try:
                step()
            except KernelError:
                continue  # the host has gone on; what it has now is read below
        self._load()
        try:
            # A host that could not be taken back completely is followed.
            sync.reconcile(self)
            self._routes.reconcile()
            self._routes.settle()
            self.store.commit()
            self._routes.committed()
        except KernelError:
            self.store.rollback()
        self._events.clear()

    def _load(self) -> None:
        """Memory as the state file has it, links as the host has them."""
        self.host.load(_HostRows(self.store, self._host_tables))
        self.sysctl.load()
        self.interfaces = Interfaces(self.store)
        self.interfaces.load()
        self.engine.load(self.now, moves_traffic=self._moves_traffic)
        self._routes.load()
        sync.attach(self)
        for kind in kinds.KINDS.values():
            kind.load(self)
        tunnel.find_local_addresses(self)

    # doors

    def control(self, op: str, args: dict[str, Any], now: float, privileged: bool = True) -> Any:
        """One request of ifconfig(8), sysctl(8), ...: an operation of CONTRIBUTING's table. Raises KernelError.

        `args` may be anything that a hostile client sent; `privileged` says that the client is root or the owner.
        """
        self.host.process_events()
        with self.request(now):
            return control.perform(self, op, args, privileged and self.host.may_change)

    def open_pfkey(
        self, deliver: Callable[[bytes], bool], deliver_stream: Callable[[Iterator[bytes]], None] | None = None
    ) -> PfkeySocket:
        """A PF_KEY socket; what is sent to it goes to `deliver`, which says False if it has no room.

        `deliver_stream`, if given, gets the messages of a dump, to draw them as the reader takes them.
        """
        socket = self.engine.open_socket(deliver)
        socket.deliver_stream = deliver_stream
        return PfkeySocket(self, socket)

    def tick(self, now: float, failed: Callable[[Exception], None] | None = None) -> None:
        """Lets the timers fire that are due; to be called once a second.

        Each task is a request of its own. What one raises, KernelError if nothing can be kept, goes to `failed` and
        holds up no other; without `failed` the first error is raised after all have been tried.
        """
        errors: list[Exception] = []
        failed = failed or errors.append
        for look in (self.store.check, self.engine.counters.check_page, self.host.process_events):
            try:
                look()
            except Exception as error:
                failed(error)
        tasks = self.engine.tasks(now)
        tasks += partial(inet6.expire, self), self._routes.tick
        for task in tasks:
            try:
                with self.request(now):
                    task()
            except Exception as error:
                failed(error)
        if errors:
            raise errors[0]

    def host_changed(self, now: float) -> None:
        """Takes over what happened to the host's links and addresses. Raises KernelError if it cannot be kept."""
        if self._in_request:
            return  # by this request itself, which knows
        with self.request(now):
            self._routes.take_news()
            sync.follow(self)

    def close(self, clean: bool = True) -> None:
        """Lets go of the state file. `clean`: no packets move any more, so all counters are kept exactly as they are.

        Without it everything is as if the process had been killed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if clean:
                with self.request(self.now):
                    self.engine.save_traffic(self.now, clean=True)
        except KernelError:
            pass  # no room: the next start goes on above what was reserved
        finally:
            self.store.close()


class _Request:
    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def __enter__(self) -> None:
        self._kernel._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._kernel._finish()
        else:
            self._kernel._abort()


class PfkeySocket:
    """A PF_KEY socket of a kernel, open until `close`."""

    __slots__ = ("_kernel", "_socket")

    def __init__(self, kernel: Kernel, socket: KeySocket) -> None:
        self._kernel = kernel
        self._socket = socket

    def send(self, message: bytes, now: float) -> int:
        """One message; 0, or FreeBSD's errno if the write itself fails. Replies have gone to `deliver` by then."""
        if self._is_pretence(message):
            return EPERM
        try:
            with self._kernel.request(now):
                errno = self._socket.send(message, now)
        except KernelError as error:
            return error.errno
        return errno or self._kernel.undelivered

    def send_all(self, messages: Sequence[bytes], now: float, answered: Callable[[int], None]) -> bool:
        """Several messages in one transaction: for each its replies go to `deliver`, then its result to `answered`.

        None leaves before all are permanent. False: they cannot be done together, and nothing has happened. Not for
        messages that change the socket itself, which no rollback takes back.
        """
        kernel = self._kernel
        if any(map(self._is_pretence, messages)):
            return False
        delivery = kernel.engine.delivery
        results = []
        kernel.now = now
        kernel._begin()
        try:
            for message in messages:
                results.append((self._socket.send(message, now), delivery.take()))
        except BaseException as error:
            kernel._abort()
            if isinstance(error, Exception):
                return False
            raise
        try:
            kernel._commit()
        except KernelError:
            return False
        try:
            kernel._conclude()
        finally:
            for errno, outbox in results:
                answered(errno or delivery.give(self._socket, outbox))
        return True

    def _is_pretence(self, message: bytes) -> bool:
        """Whether it would make what cannot have an effect on this host."""
        return not self._kernel.host.may_protect and (len(message) < 2 or message[1] not in MAKE_NOTHING)

    def close(self) -> None:
        self._socket.close()


class _HostRows:
    """A simulated host's tables in the state file (`host.api.Rows`)."""

    __slots__ = ("_store", "_tables")

    def __init__(self, store: Store, tables: dict[str, Table]) -> None:
        self._store = store
        self._tables = tables

    def read(self, table: str) -> Iterable[tuple[Value, ...]]:
        return self._store.rows(self._tables[table])

    def put(self, table: str, row: Sequence[Value]) -> None:
        self._store.put(self._tables[table], row)

    def delete(self, table: str, key: int | str) -> None:
        self._store.delete(self._tables[table], key)
