"""The SAD: security associations in heads (SAs that share addresses, protocol, mode and reqid), FreeBSD's order kept.

Lists are newest first. Every lookup, insertion and removal takes constant time at any number of SAs: SAs are linked to
their neighbours, heads are found by three dictionaries. Orders are numbers with gaps, so that an SA can be put between
two others; they are also what the state file keeps.
"""

from __future__ import annotations

from os import urandom

from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    IPPROTO_ESP,
    MODE_ANY,
    SA_FLAG_ESN,
    SA_FLAG_OLD,
    SASTATE_DEAD,
    SASTATE_LARVAL,
    SATYPE_OF_PROTOCOL,
)
from ipsectools.pfkey.extensions import read_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER_STEP = 1 << 20
"""Distance between the orders of two SAs made one after the other."""


class SecurityAssociation:
    """One SA. What PF_KEY said of it is here, what packets change is in `traffic`.

    `spi` is a number, `window` the replay window in bytes of bitmap (8 packets each), `hard`/`soft` are (allocations,
    bytes, addtime, usetime) or None, `natt` the UDP ports (sport, dport) or None, `oai`/`oar` socket addresses or
    empty. `stamp` is a random number that tells it from all SAs that had its id before, `slot` its place in the traffic
    page (0: none). Keys are whole PF_KEY extensions (`auth_key`, `encryption_key` give the bytes). `order` is the place
    in its list, `deadline` the second at which a timer has to look at it. `resumed` is None, or the number at which its
    sequence went on after an end without warning and the last one saved before. `no_send_reason` says why nothing may
    be sent with it (empty: sending is fine).
    """

    __slots__ = (
        "auth",
        "created",
        "deadline",
        "encrypt",
        "flags",
        "hard",
        "head",
        "id",
        "key_auth",
        "key_encrypt",
        "ledger_key",
        "natt",
        "newer",
        "no_send_reason",
        "oai",
        "oar",
        "older",
        "order",
        "pid",
        "receive_block",
        "received_at",
        "resumed",
        "saved_packets",
        "seq",
        "slot",
        "soft",
        "spi",
        "stamp",
        "state",
        "traffic",
        "traffic_row",
        "window",
    )

    def __init__(self, id: int, spi: int, head: SaHead) -> None:
        self.id = id
        self.spi = spi
        self.head = head
        self.order = 0
        self.state = SASTATE_LARVAL
        self.stamp = 0
        self.slot = 0
        self.created = 0
        self.seq = 0
        self.pid = 0
        self.flags = 0
        self.auth = 0
        self.encrypt = 0
        self.window = 0
        self.hard: tuple[int, int, int, int] | None = None
        self.soft: tuple[int, int, int, int] | None = None
        self.key_auth = b""
        self.key_encrypt = b""
        self.natt: tuple[int, int] | None = None
        self.oai = b""
        self.oar = b""
        self.traffic = Traffic()
        self.traffic_row = False
        self.saved_packets = 0
        self.ledger_key = b""
        self.no_send_reason = ""
        self.receive_block = 0
        self.received_at = 0.0
        self.resumed: tuple[int, int] | None = None
        self.deadline: float | None = None
        self.newer: SecurityAssociation | None = None
        self.older: SecurityAssociation | None = None

    def __repr__(self) -> str:
        return f"<SA {SATYPE_OF_PROTOCOL.get(self.head.protocol)} spi={self.spi:#x} state={self.state}>"

    @property
    def shown_sequence(self) -> int:
        """The sequence number that messages tell: the last one known to be used.

        Where it goes on after an end without warning is `resumed[0]`; nobody is told that before it is used.
        """
        sequence = self.traffic.sequence
        if self.resumed is not None and self.resumed[0] == sequence:
            return self.resumed[1]
        return sequence

    @property
    def protocol(self) -> int:
        return self.head.protocol

    @property
    def mode(self) -> int:
        return self.head.mode

    @property
    def reqid(self) -> int:
        return self.head.reqid

    @property
    def src(self) -> bytes:
        """The source as a socket address (port 0)."""
        return self.head.src

    @property
    def dst(self) -> bytes:
        """The destination as a socket address (port 0)."""
        return self.head.dst

    @property
    def src_address(self) -> bytes:
        """The source as 4 or 16 bytes."""
        return sockaddrs.address(self.head.src)

    @property
    def dst_address(self) -> bytes:
        """The destination as 4 or 16 bytes."""
        return sockaddrs.address(self.head.dst)

    @property
    def encryption_key(self) -> bytes:
        """Key and salt."""
        return _key_bytes(self.key_encrypt)

    @property
    def auth_key(self) -> bytes:
        return _key_bytes(self.key_auth)

    @property
    def window_packets(self) -> int:
        return self.window * 8

    @property
    def ring_length(self) -> int:
        """Bytes of the replay window's bitmap, 0 without a window."""
        if not self.window:
            return 0
        from ipsectools.esp.replay import ring_length

        return ring_length(self.window * 8)

    @property
    def esn(self) -> bool:
        return bool(self.flags & SA_FLAG_ESN)

    @property
    def has_lifetimes(self) -> bool:
        return self.hard is not None

    @property
    def alive(self) -> bool:
        return self.state not in (SASTATE_LARVAL, SASTATE_DEAD)

    @property
    def usable(self) -> bool:
        """True if packets may use it: alive, ESP, and not ESP as of RFC 1827."""
        return self.alive and self.head.protocol == IPPROTO_ESP and not self.flags & SA_FLAG_OLD


def _key_bytes(extension: bytes) -> bytes:
    return read_key(extension)[1] if extension else b""


class SaList:
    """SAs of one head in order, newest first, linked through the SAs themselves."""

    __slots__ = ("newest", "oldest")

    def __init__(self) -> None:
        self.newest: SecurityAssociation | None = None
        self.oldest: SecurityAssociation | None = None

    def __iter__(self) -> Iterator[SecurityAssociation]:
        sa = self.newest
        while sa is not None:
            older = sa.older
            yield sa
            sa = older

    def push(self, sa: SecurityAssociation) -> None:
        """Makes `sa` the newest."""
        sa.newer = None
        sa.older = self.newest
        if self.newest is None:
            self.oldest = sa
        else:
            self.newest.newer = sa
        self.newest = sa

    def insert_before(self, sa: SecurityAssociation, older: SecurityAssociation | None) -> None:
        """Puts `sa` just before (newer than) `older`; None: behind all."""
        newer = older.newer if older is not None else self.oldest
        sa.newer, sa.older = newer, older
        if newer is None:
            self.newest = sa
        else:
            newer.older = sa
        if older is None:
            self.oldest = sa
        else:
            older.newer = sa

    def remove(self, sa: SecurityAssociation) -> None:
        if sa.newer is None:
            self.newest = sa.older
        else:
            sa.newer.older = sa.older
        if sa.older is None:
            self.oldest = sa.newer
        else:
            sa.older.newer = sa.newer
        sa.newer = sa.older = None


class SaHead:
    """What a group of SAs shares: addresses (socket addresses, port 0), protocol, mode and reqid.

    `id` grows with each head made. `older` and `newer` link the heads of one mode between the same two addresses.
    """

    __slots__ = ("alive", "dst", "exact", "group", "id", "larval", "mode", "newer", "older", "protocol", "reqid", "src")

    def __init__(self, id: int, protocol: int, mode: int, reqid: int, src: bytes, dst: bytes) -> None:
        self.id = id
        self.protocol = protocol
        self.mode = mode
        self.reqid = reqid
        self.src = src
        self.dst = dst
        self.group, self.exact = index_keys(protocol, mode, reqid, src, dst)
        self.larval = SaList()
        self.alive = SaList()
        self.newer: SaHead | None = None
        self.older: SaHead | None = None

    @property
    def empty(self) -> bool:
        return self.larval.newest is None and self.alive.newest is None

    def list_of(self, sa: SecurityAssociation) -> SaList:
        return self.larval if sa.state == SASTATE_LARVAL else self.alive


def index_keys(protocol: int, mode: int, reqid: int, src: bytes, dst: bytes) -> tuple[bytes, bytes]:
    """Dictionary keys of an SA index, without and with the reqid; `src` and `dst` are socket addresses, port 0."""
    group = b"%c%c" % (protocol, mode) + src + dst
    return group, group + reqid.to_bytes(4, "little")


class Sad:
    """All heads and SAs."""

    __slots__ = ("_by_exact", "_modes", "_newest", "by_spi", "empty_heads", "heads", "larval", "serial", "version")

    def __init__(self) -> None:
        self.by_spi: dict[int, SecurityAssociation] = {}
        self.heads: dict[int, SaHead] = {}  # by id; oldest first, as dictionaries keep what comes last at the end
        self.empty_heads: dict[int, SaHead] = {}
        self.larval: dict[int, SecurityAssociation] = {}  # by SPI
        self.serial = 0
        self.version = 0  # moves when an SA comes or goes
        self._by_exact: dict[bytes, SaHead] = {}
        self._newest: dict[bytes, SaHead] = {}  # of each group (protocol, mode, addresses)
        self._modes: dict[int, int] = {}  # how many heads there are of each mode

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    # heads

    def make_head(self, protocol: int, mode: int, reqid: int, src: bytes, dst: bytes) -> SaHead:
        """A new head that is not yet in the SAD."""
        return SaHead(self.next_serial(), protocol, mode, reqid, src, dst)

    def make_sa(self, spi: int, head: SaHead) -> SecurityAssociation:
        """A larval SA, not linked yet."""
        sa = SecurityAssociation(self.next_serial(), spi, head)
        sa.stamp = int.from_bytes(urandom(7), "big") | 1
        return sa

    def add_head(self, head: SaHead) -> None:
        """Enters a head; it has to be newer than all others."""
        self.serial = max(self.serial, head.id)
        self.heads[head.id] = head
        self.empty_heads[head.id] = head
        self._by_exact[head.exact] = head
        previous = self._newest.get(head.group)
        head.older = previous
        if previous is not None:
            previous.newer = head
        self._modes[head.mode] = self._modes.get(head.mode, 0) + 1
        self._newest[head.group] = head

    def remove_head(self, head: SaHead) -> None:
        del self.heads[head.id]
        self.empty_heads.pop(head.id, None)
        del self._by_exact[head.exact]
        if head.older is not None:
            head.older.newer = head.newer
        if head.newer is not None:
            head.newer.older = head.older
        elif head.older is not None:
            self._newest[head.group] = head.older
        else:
            del self._newest[head.group]
        self._modes[head.mode] -= 1
        if not self._modes[head.mode]:
            del self._modes[head.mode]

    def find_head(self, protocol: int, mode: int, reqid: int, src: bytes, dst: bytes) -> SaHead | None:
        """The newest head that a search with mode and reqid matches (key_cmpsaidx, CMP_MODE_REQID).

        A head of mode ANY matches every mode, a search with reqid 0 every reqid.
        """
        group, exact = index_keys(protocol, mode, reqid, src, dst)
        found = self._by_exact.get(exact) if reqid else self._newest.get(group)
        if mode != MODE_ANY:
            group, exact = index_keys(protocol, MODE_ANY, reqid, src, dst)
            other = self._by_exact.get(exact) if reqid else self._newest.get(group)
            if other is not None and (found is None or other.id > found.id):
                return other
        return found

    def heads_between(self, protocol: int, src: bytes, dst: bytes) -> list[SaHead]:
        """All heads of a protocol between two addresses, whatever mode and reqid (CMP_HEAD)."""
        found: list[SaHead] = []
        for mode in self._modes:
            head = self._newest.get(index_keys(protocol, mode, 0, src, dst)[0])
            while head is not None:
                found.append(head)
                head = head.older
        return found

    # SAs

    def link(self, sa: SecurityAssociation) -> None:
        """Enters an SA as the newest of the list its state puts it in."""
        sa.head.list_of(sa).push(sa)
        self.by_spi[sa.spi] = sa
        self.version += 1
        self.empty_heads.pop(sa.head.id, None)
        if sa.state == SASTATE_LARVAL:
            self.larval[sa.spi] = sa

    def unlink(self, sa: SecurityAssociation) -> None:
        """Takes an SA out of its list; its head stays, empty perhaps, until a timer removes it."""
        head = sa.head
        head.list_of(sa).remove(sa)
        del self.by_spi[sa.spi]
        self.version += 1
        self.larval.pop(sa.spi, None)
        if head.empty:
            self.empty_heads[head.id] = head

    def mature(self, sa: SecurityAssociation, state: int) -> None:
        """Moves a larval SA to the front of the alive list."""
        sa.head.larval.remove(sa)
        del self.larval[sa.spi]
        sa.state = state
        sa.order = self.next_serial() * ORDER_STEP
        sa.head.alive.push(sa)

    def move_by_age(self, sa: SecurityAssociation, head: SaHead) -> list[SecurityAssociation]:
        """Puts an alive SA into `head` (its own or another), before the first SA with an older creation time.

        Returns the SAs whose order changed.
        """
        old = sa.head
        old.alive.remove(sa)
        sa.head = head
        older = head.alive.newest
        while older is not None and older.created >= sa.created:
            older = older.older
        head.alive.insert_before(sa, older)
        if old.empty:
            self.empty_heads[old.id] = old
        self.empty_heads.pop(head.id, None)
        return self._assign_order(sa)

    def _assign_order(self, sa: SecurityAssociation) -> list[SecurityAssociation]:
        if sa.newer is None:
            sa.order = self.next_serial() * ORDER_STEP
            return [sa]
        low = sa.older.order if sa.older is not None else 0
        if sa.newer.order - low > 1:
            sa.order = (low + sa.newer.order) // 2
            return [sa]
        changed = list(sa.head.alive)
        for each in reversed(changed):
            each.order = self.next_serial() * ORDER_STEP
        return changed

    def __iter__(self) -> Iterator[SecurityAssociation]:
        """All SAs in the order of a dump: heads newest first, in each larval SAs, then alive ones, newest first."""
        for head in reversed(self.heads.values()):
            yield from head.larval
            yield from head.alive
