"""The key engine: one object that owns SAD, SPD and acquire list, answers PF_KEY requests and lets time pass.

Requests come from `KeySocket.send`, interfaces' policies and packets without an SA from the kernel. Whatever a call
changes is in the store's open transaction and in memory when it returns; the kernel then commits and calls
`flush_outbox`, or rolls back and calls `drop_outbox` and `load`.
"""

from __future__ import annotations

import gc
from os import urandom
from struct import error as StructError

from ipsectools.errno import EEXIST, ENOBUFS, KernelError
from ipsectools.kernel.key.acquire_list import load as load_acquires
from ipsectools.kernel.key.counters import Counters
from ipsectools.kernel.key.deadlines import Timers
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.ledger import Ledger
from ipsectools.kernel.key.sad import ORDER_STEP, Sad, SecurityAssociation
from ipsectools.kernel.key.sockets import Delivery, KeySocket
from ipsectools.kernel.key.spd import Spd
from ipsectools.kernel.key.tables import (
    ACQUIRES,
    ALL_TABLES,
    HEADS,
    META,
    POLICIES,
    SAS,
    TRAFFIC,
    fill_sa,
    head_from_row,
    head_row,
    policy_from_row,
    policy_row,
    sa_row,
)
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    IPPROTO_ESP,
    IPPROTO_TCP,
    MANUAL_REQID_MAX,
    MODE_TUNNEL,
    SASTATE_DEAD,
    SASTATE_LARVAL,
)
from ipsectools.pfkey.message import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any, Protocol

    from ipsectools.kernel.key.acquire_list import Acquire
    from ipsectools.kernel.key.sad import SaHead
    from ipsectools.kernel.key.sockets import Item
    from ipsectools.kernel.key.spd import Policy
    from ipsectools.kernel.store import Store

    Handler = Callable[["KeyEngine", KeySocket, Message, int], None]

    class Observer(Protocol):
        """Hears of changes in the SAD while a request is handled (before the commit)."""

        def sa_changed(self, sa: SecurityAssociation) -> None:
            """The SA is new, or has become mature or dying, or has other end points, or is hidden by another head (a
            larval SA is told then) or hidden no longer."""
            ...

        def sa_removed(self, sa: SecurityAssociation) -> None: ...


_REQID_TRIES = 63
_COUNTERS = ("policy_id", "reqid", "acquire_seq")
_TCPMD5 = "tcpmd5"


class KeyEngine:
    """The key engine of one emulated kernel."""

    TABLES = ALL_TABLES

    def __init__(
        self, store: Store, sysctl: Callable[[str], int], make_ledger: Callable[[Store], Ledger] = Ledger
    ) -> None:
        """`sysctl` gives the value of a `net.key` variable by its full name."""
        self.store = store
        self.sysctl = sysctl
        self.delivery = Delivery()
        self.counters = Counters(store, make_ledger)
        self.observers: list[Observer] = []
        self.sad = Sad()
        self.spd = Spd()
        self.acquires: dict[bytes, Acquire] = {}
        self.timers = Timers()
        self.policy_id = 0
        self.reqid = 0
        self.acquire_seq = 0
        self.tcpmd5 = False
        """The module of that name is loaded: SAs of TCP signatures are accepted."""
        self._departed: list[SecurityAssociation] = []

    # life

    def load(self, now: float, *, moves_traffic: bool = True) -> None:
        """Builds everything in memory from the store: at the start (commit afterwards), and after a rollback.

        `moves_traffic` False: whoever owns this kernel never sends packets (a command's embedded kernel), so that an
        end without `save_traffic(clean=True)` costs no counters. SAs that are still there after a rollback stay the
        same objects, with their traffic. Raises ValueError or KeyError if the rows do not fit together.
        """
        # with so many new objects that all stay, the cyclic collector would only search in vain, again and again
        collects = gc.isenabled()
        gc.disable()
        try:
            self._load(moves_traffic)
        except (StructError, IndexError, TypeError) as error:
            raise ValueError(f"rows that are not what was written ({error})") from None
        finally:
            if collects:
                gc.enable()

    def _load(self, moves_traffic: bool) -> None:
        known = {sa.id: sa for sa in (*self.sad.by_spi.values(), *self._departed)}
        self._departed = []
        meta: dict[str, Any] = {str(row[0]): row[1] for row in self.store.rows(META)}
        for counter, first in zip(_COUNTERS, (0, MANUAL_REQID_MAX + 1, 0), strict=True):
            setattr(self, counter, int(meta.get(counter, first)))
        self.tcpmd5 = bool(meta.get(_TCPMD5, 0))
        self.counters.load(meta, moves_traffic)
        self.spd = Spd()
        for policy in sorted(map(policy_from_row, self.store.rows(POLICIES)), key=lambda policy: policy.order):
            self.spd.add(policy)
        self.acquires = load_acquires(self.store.rows(ACQUIRES))
        self._load_sad(known)
        self.timers = Timers()
        for sa in self.sad.by_spi.values():
            self.timers.watch(sa)

    def _load_sad(self, known: dict[int, SecurityAssociation]) -> None:
        rows: Any = self.store.rows
        # Numbers go on also after a rollback: an SA's id never becomes another's while anybody may still know it.
        serial = self.sad.serial
        sad = self.sad = Sad()
        for head in map(head_from_row, rows(HEADS)):  # by id
            sad.add_head(head)
        traffic = {row[0]: row for row in rows(TRAFFIC)}
        serial = max(serial, sad.serial)
        # A hundred thousand rows at once would be most of the memory of a start.
        found = rows(SAS) if self.store.ascends(SAS, "order") else sorted(rows(SAS), key=lambda row: row[3])
        for row in found:
            id = row[0]
            head = sad.heads[row[1]]
            sa = known.get(id)
            if sa is None:
                sa = SecurityAssociation(id, row[2], head)
                fill_sa(sa, row)
                self.counters.restore(sa, traffic.pop(id, None))
            else:
                sa.head = head
                sa.deadline = None
                fill_sa(sa, row)
                self.counters.keep(sa, traffic.pop(id, None))
            sad.link(sa)
            serial = max(serial, id, sa.order // ORDER_STEP)
        sad.serial = serial
        for sa in self.counters.settle():
            self.remove_sa(sa)
        for id in traffic:  # of no SA: the next one with that id must not begin with these counters
            self.store.delete(TRAFFIC, id)

    def save_traffic(self, now: float, *, clean: bool = False) -> None:
        """Writes the counters that moved: some of them, or (`clean`, when nothing moves any more) all, exactly."""
        moved = self.timers.moved(self.sad)
        if clean:
            self.counters.finish(moved)
            self.save_acquires()
        else:
            self.counters.save(moved)

    # sockets

    @property
    def outbox(self) -> list[tuple[KeySocket, Item]]:
        """What the request so far has to deliver: messages, and functions that make a dump's messages."""
        return self.delivery.outbox

    def flush_outbox(self) -> int:
        """Delivers what the request produced. Returns ENOBUFS if the requester had no room for its answer, else 0."""
        self._departed.clear()
        return self.delivery.flush()

    def drop_outbox(self) -> None:
        """Forgets what the request wanted to deliver (it was rolled back; `load` has to follow)."""
        self.delivery.drop()

    # what handlers share

    def count(self, counter: str, value: int) -> None:
        """Moves one of the persistent counters."""
        setattr(self, counter, value)
        self.store.put(META, (counter, value))

    def new_reqid(self) -> int:
        """The next automatic reqid, shared by policies of level UNIQUE and interfaces."""
        value = MANUAL_REQID_MAX + 1 if self.reqid >= 0xFFFFFFFF else self.reqid + 1
        self.count("reqid", value)
        return value

    def new_policy_id(self) -> int:
        """A policy id that is not in use. Raises Refused ENOBUFS."""
        value = self.policy_id
        for _ in range(self.sysctl("net.key.spi_trycnt")):
            value = 1 if value >= 0xFFFFFFFF else value + 1
            if value not in self.spd.by_id:
                self.count("policy_id", value)
                return value
        raise Refused(ENOBUFS)

    def random32(self) -> int:
        return int.from_bytes(urandom(4), "little")

    def head_for(self, protocol: int, mode: int, reqid: int, src: bytes, dst: bytes) -> SaHead:
        """The head that an SA with this index joins, made and stored if there is none."""
        head = self.sad.find_head(protocol, mode, reqid, src, dst)
        if head is None:
            head = self.sad.make_head(protocol, mode, reqid, src, dst)
            self.enter_head(head)
        return head

    def enter_head(self, head: SaHead) -> None:
        self.sad.add_head(head)
        self.store.put(HEADS, head_row(head))

    def store_sa(self, sa: SecurityAssociation) -> None:
        self.store.put(SAS, sa_row(sa))

    def sa_changed(self, sa: SecurityAssociation) -> None:
        for observer in self.observers:
            observer.sa_changed(sa)

    def remove_sa(self, sa: SecurityAssociation) -> None:
        """Unlinks an SA for good; its head stays."""
        self.sad.unlink(sa)
        self.store.delete(SAS, sa.id)
        self.forget_sa(sa)

    def forget_sa(self, sa: SecurityAssociation) -> None:
        """What is left to do for an SA that is neither in the SAD nor (but for its traffic) in the store."""
        was_larval = sa.state == SASTATE_LARVAL
        self.counters.end(sa)
        sa.state = SASTATE_DEAD
        self._departed.append(sa)
        if not was_larval:
            for observer in self.observers:
                observer.sa_removed(sa)

    def save_acquires(self) -> None:
        """Writes the counts that moved: they change with packets, so they are not written at once."""
        for entry in self.acquires.values():
            if entry.unsaved:
                self.store_acquire(entry)

    def store_acquire(self, entry: Acquire) -> None:
        self.store.put(ACQUIRES, entry.row())
        entry.unsaved = False

    def add_policy(self, policy: Policy) -> None:
        self.spd.add(policy)
        self.store.put(POLICIES, policy_row(policy))

    def remove_policy(self, policy: Policy) -> None:
        self.spd.remove(policy)
        self.store.delete(POLICIES, policy.id)

    # the kernel's side

    def set_tcpmd5(self, loaded: bool) -> None:
        """Says whether the module tcpmd5 is loaded; the state file keeps it."""
        self.tcpmd5 = loaded
        self.store.put(META, (_TCPMD5, int(loaded)))

    def allocate_reqid(self, used: Container[int]) -> int:
        """An automatic reqid that no interface uses. Raises KernelError EEXIST after 63 tries."""
        for _ in range(_REQID_TRIES):
            reqid = self.new_reqid()
            if reqid not in used:
                return reqid
        raise KernelError(EEXIST)

    def outbound_sa(self, src: str | bytes, dst: str | bytes, reqid: int) -> SecurityAssociation | None:
        """The SA for a tunnel's outbound packets: ESP, mode TUNNEL or ANY, this reqid (0: any), these end points.

        Addresses are numeric texts, a zone an interface's index, or 4 or 16 bytes. Only the newest matching head
        counts; net.key.preferred_oldsa says which of its SAs is taken. None: an ACQUIRE is due.
        """
        head = self.sad.find_head(IPPROTO_ESP, MODE_TUNNEL, reqid, self.end_point(src), self.end_point(dst))
        return None if head is None else self._preferred(head)

    def _preferred(self, head: SaHead) -> SecurityAssociation | None:
        return head.alive.oldest if self.sysctl("net.key.preferred_oldsa") else head.alive.newest

    def tcp_signature(self, src: bytes, dst: bytes) -> SecurityAssociation | None:
        """The SA of TCP signatures between two addresses, whatever its SPI: there is one, unless larval ones grew up.

        Only the newest head counts, also if it has none.
        """
        heads = self.sad.heads_between(IPPROTO_TCP, src, dst)
        return self._preferred(max(heads, key=lambda head: head.id)) if heads else None

    def inbound_sa(self, spi: int, dst: bytes) -> SecurityAssociation | None:
        """The ESP SA with this SPI whose destination is this address (4 or 16 bytes); None: no TDB."""
        sa = self.sad.by_spi.get(spi)
        if sa is None or not sa.usable or sa.dst_address != dst:
            return None
        return sa

    def reserve(self, sa: SecurityAssociation) -> None:
        """More sequence numbers and IVs for an SA; commit before sending with them."""
        self.counters.reserve(sa)

    def reserve_received(self, sa: SecurityAssociation, high: int, now: float) -> None:
        """Room to accept sequence number `high` and some beyond it; commit before accepting."""
        self.counters.reserve_received(sa, high, now)

    def end_point(self, address: str | bytes) -> bytes:
        """The socket address of an end point. Raises ValueError if a text is no address."""
        if isinstance(address, bytes):
            return sockaddrs.make(address)
        return sockaddrs.from_text(address)
