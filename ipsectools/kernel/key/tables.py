"""What the key engine keeps in the state file, and how its objects become rows and come back.

An SA without a row in `sa_traffic` has not moved in any second before the last: where blocks are reserved, the first
of sequence numbers is (`FIRST_BLOCK`). A limit of 0 there: nothing is reserved.
"""

from __future__ import annotations

from struct import Struct

from ipsectools.esp.traffic import NO_LIMIT
from ipsectools.kernel.key.sad import SaHead, SecurityAssociation
from ipsectools.kernel.key.spd import Policy
from ipsectools.kernel.store import Table
from ipsectools.pfkey.policy import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.kernel.store import Value

FIRST_BLOCK = 65536
"""Sequence numbers that may be used before anything more is written (and as many each time they run out), where blocks
are reserved."""

META = Table("key_meta", "name TEXT", "value ANY")
HEADS = Table("sa_head", "id INTEGER", "protocol INTEGER", "mode INTEGER", "reqid INTEGER", "src BLOB", "dst BLOB")
SAS = Table(
    "sa",
    "id INTEGER",
    "head INTEGER",
    "spi INTEGER",
    '"order" INTEGER',
    "state INTEGER",
    "created INTEGER",
    "seq INTEGER",
    "pid INTEGER",
    "flags INTEGER",
    "auth INTEGER",
    "encrypt INTEGER",
    "window INTEGER",
    "hard BLOB",
    "soft BLOB",
    "key_auth BLOB",
    "key_encrypt BLOB",
    "natt BLOB",
    "stamp INTEGER",
    secret=True,
)
TRAFFIC = Table(
    "sa_traffic",
    "id INTEGER",
    "sequence BLOB",
    "sequence_limit BLOB",
    "packets INTEGER",
    "bytes INTEGER",
    "first_used INTEGER",
    "received_high BLOB",
    "received_limit BLOB",
    "iv BLOB",
    "iv_limit BLOB",
)
UNCERTAIN = Table("sa_uncertain", "id INTEGER")
"""SAs whose rows in `sa_traffic` are older than what they may have used, although the last end was a clean one."""

POLICIES = Table(
    "policy",
    "id INTEGER",
    '"order" INTEGER',
    "scope INTEGER",
    "direction INTEGER",
    "type INTEGER",
    "priority INTEGER",
    "protocol INTEGER",
    "src BLOB",
    "src_prefixlen INTEGER",
    "dst BLOB",
    "dst_prefixlen INTEGER",
    "requests BLOB",
    "created INTEGER",
    "lastused INTEGER",
    "lifetime BLOB",
)
ACQUIRES = Table(
    "acquire",
    "seq INTEGER",
    "protocol INTEGER",
    "mode INTEGER",
    "reqid INTEGER",
    "src BLOB",
    "dst BLOB",
    "created INTEGER",
    "count INTEGER",
)
LEDGER = Table("key_ledger", "fingerprint BLOB", "mark BLOB")

ALL_TABLES = (META, HEADS, SAS, TRAFFIC, UNCERTAIN, POLICIES, ACQUIRES, LEDGER)

_LIMITS = Struct("<IQQQ")
_PORTS = Struct("<HH")
_LIFETIME = Struct("<QQ")
_REQUEST = Struct("<HBBI")


def u64(value: int) -> bytes:
    """SQLite's integers have a sign; big-endian bytes hold all of u64 and compare the same way."""
    return value.to_bytes(8, "big")


def head_row(head: SaHead) -> tuple[Value, ...]:
    return head.id, head.protocol, head.mode, head.reqid, head.src, head.dst


def head_from_row(row: tuple[Any, ...]) -> SaHead:
    return SaHead(*row)


def sa_row(sa: SecurityAssociation) -> tuple[Value, ...]:
    natt = None
    if sa.natt is not None:
        natt = _PORTS.pack(*sa.natt) + bytes((len(sa.oai),)) + sa.oai + sa.oar
    return (
        sa.id,
        sa.head.id,
        sa.spi,
        sa.order,
        sa.state,
        sa.created,
        sa.seq,
        sa.pid,
        sa.flags,
        sa.auth,
        sa.encrypt,
        sa.window,
        None if sa.hard is None else _LIMITS.pack(*sa.hard),
        None if sa.soft is None else _LIMITS.pack(*sa.soft),
        sa.key_auth,
        sa.key_encrypt,
        natt,
        sa.stamp,
    )


def fill_sa(sa: SecurityAssociation, row: tuple[Any, ...]) -> None:
    """Sets everything but id, SPI, head and traffic from a row."""
    (_, _, _, sa.order, sa.state, sa.created, sa.seq, sa.pid, sa.flags, sa.auth, sa.encrypt, sa.window) = row[:12]
    _, hard, soft, sa.key_auth, sa.key_encrypt, natt, sa.stamp = row[11:]
    sa.hard = None if hard is None else _LIMITS.unpack(hard)
    sa.soft = None if soft is None else _LIMITS.unpack(soft)
    if natt is None:
        sa.natt, sa.oai, sa.oar = None, b"", b""
    else:
        sa.natt = _PORTS.unpack_from(natt)
        split = 5 + natt[4]
        sa.oai, sa.oar = natt[5:split], natt[split:]


def traffic_row(sa: SecurityAssociation) -> tuple[Value, ...]:
    traffic = sa.traffic
    return (
        sa.id,
        u64(sa.shown_sequence),
        u64(traffic.sequence_limit % NO_LIMIT),
        traffic.packets,
        traffic.bytes,
        traffic.first_used,
        u64(traffic.received_high),
        u64(traffic.received_limit % NO_LIMIT),
        u64(traffic.iv),
        u64(traffic.iv_limit),
    )


def fill_traffic(sa: SecurityAssociation, row: tuple[Any, ...]) -> None:
    traffic = sa.traffic
    traffic.sequence = int.from_bytes(row[1], "big")
    traffic.sequence_limit = int.from_bytes(row[2], "big")
    traffic.packets, traffic.bytes, traffic.first_used = row[3:6]
    traffic.received_high = int.from_bytes(row[6], "big")
    traffic.received_limit = int.from_bytes(row[7], "big")
    traffic.iv = int.from_bytes(row[8], "big")
    traffic.iv_limit = int.from_bytes(row[9], "big")


def limits_of(row: tuple[Any, ...]) -> tuple[int, int, int]:
    """sequence_limit, received_limit and iv_limit of a traffic row."""
    return int.from_bytes(row[2], "big"), int.from_bytes(row[7], "big"), int.from_bytes(row[9], "big")


def policy_row(policy: Policy) -> tuple[Value, ...]:
    requests = b"".join(
        _REQUEST.pack(request.protocol, request.mode, request.level, request.reqid)
        + bytes((len(request.src), len(request.dst)))
        + request.src
        + request.dst
        for request in policy.requests
    )
    return (
        policy.id,
        policy.order,
        policy.scope,
        policy.direction,
        policy.type,
        policy.priority,
        policy.protocol,
        policy.src,
        policy.src_prefixlen,
        policy.dst,
        policy.dst_prefixlen,
        requests,
        policy.created,
        policy.lastused,
        _LIFETIME.pack(policy.lifetime, policy.validtime),
    )


def policy_from_row(row: tuple[Any, ...]) -> Policy:
    (id, order, scope, direction, type, priority, protocol, src, src_prefixlen, dst, dst_prefixlen) = row[:11]
    requests, created, lastused, lifetime = row[11:]
    policy = Policy(
        id,
        scope,
        direction,
        type,
        priority,
        protocol,
        (src, src_prefixlen),
        (dst, dst_prefixlen),
        _requests_from_row(requests),
    )
    policy.order = order
    policy.created = created
    policy.lastused = lastused
    policy.lifetime, policy.validtime = _LIFETIME.unpack(lifetime)
    return policy


def _requests_from_row(packed: bytes) -> tuple[Request, ...]:
    found: list[Request] = []
    offset = 0
    while offset < len(packed):
        protocol, mode, level, reqid = _REQUEST.unpack_from(packed, offset)
        src_bytes, dst_bytes = packed[offset + 8], packed[offset + 9]
        middle = offset + 10 + src_bytes
        end = middle + dst_bytes
        found.append(Request(protocol, mode, level, reqid, packed[offset + 10 : middle], packed[middle:end]))
        offset = end
    return tuple(found)
