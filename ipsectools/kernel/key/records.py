"""SAs and policies as PF_KEY messages: DUMP, GET and EXPIRE of SAs; dumps, announcements and ends of policies."""

from __future__ import annotations

from struct import Struct

from ipsectools.pfkey import extensions
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_LIFETIME_CURRENT,
    EXT_LIFETIME_HARD,
    EXT_LIFETIME_SOFT,
    EXT_SA,
    EXT_X_NAT_T_DPORT,
    EXT_X_NAT_T_OAI,
    EXT_X_NAT_T_OAR,
    EXT_X_NAT_T_SPORT,
    EXT_X_SA2,
    NAT_T_ESPINUDP,
    PF_KEY_V2,
    POLICY_IPSEC,
    SA_FLAGS_KNOWN,
    SADB_EXPIRE,
    SADB_X_SPDDELETE,
    SADB_X_SPDEXPIRE,
    SATYPE_OF_PROTOCOL,
    SATYPE_UNSPEC,
    SCOPE_GLOBAL,
)
from ipsectools.pfkey.message import build
from ipsectools.pfkey.policy import pack_requests, policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.key.spd import Policy

_START = Struct("=BBBBHHII HH4sBBBBI HHBBHII")
"""Header, SA and X_SA2 of a message about an SA."""
_CURRENT = Struct("=HHIQQQ")
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF
_WINDOW_IN_SA = 255
"""Bytes of window that fit into sadb_sa_replay; a larger one is in X_SA_REPLAY."""


def _start(sa: SecurityAssociation, type: int, rest: int, reserved: int, seq: int, pid: int, state: int) -> bytes:
    """Header, SA and X_SA2 before `rest` bytes of other extensions."""
    head = sa.head
    return _START.pack(
        PF_KEY_V2,
        type,
        0,
        SATYPE_OF_PROTOCOL[head.protocol],
        (48 + rest) >> 3,
        reserved,
        seq,
        pid,
        2,
        EXT_SA,
        sa.spi.to_bytes(4, "big"),
        sa.window if sa.window < _WINDOW_IN_SA else _WINDOW_IN_SA,
        state,
        sa.auth,
        sa.encrypt,
        sa.flags & SA_FLAGS_KNOWN,
        2,
        EXT_X_SA2,
        head.mode,
        0,
        0,
        sa.shown_sequence & _U32,
        head.reqid,
    )


def _current(sa: SecurityAssociation) -> bytes:
    traffic = sa.traffic
    return _CURRENT.pack(
        4,
        EXT_LIFETIME_CURRENT,
        traffic.packets & _U32,
        traffic.bytes & _U64,
        sa.created,
        int(traffic.first_used),
    )


def _replay(sa: SecurityAssociation) -> bytes:
    return extensions.sa_replay(sa.window * 8) if sa.window > _WINDOW_IN_SA else b""


def _limits(kind: int, limits: tuple[int, int, int, int] | None) -> bytes:
    allocations, size, addtime, usetime = limits or (0, 0, 0, 0)
    return extensions.lifetime(kind, allocations=allocations, bytes=size, addtime=addtime, usetime=usetime)


def _addresses(sa: SecurityAssociation) -> bytes:
    return extensions.address(EXT_ADDRESS_SRC, sa.src) + extensions.address(EXT_ADDRESS_DST, sa.dst)


def _nat_t(ports: tuple[int, int], oai: bytes, oar: bytes) -> bytes:
    parts = [
        extensions.nat_t_type(NAT_T_ESPINUDP),
        extensions.nat_t_port(EXT_X_NAT_T_SPORT, ports[0]),
        extensions.nat_t_port(EXT_X_NAT_T_DPORT, ports[1]),
    ]
    if oai:
        parts.append(extensions.address(EXT_X_NAT_T_OAI, oai))
    if oar:
        parts.append(extensions.address(EXT_X_NAT_T_OAR, oar))
    return b"".join(parts)


def sa_record(sa: SecurityAssociation, type: int, seq: int, pid: int, references: int) -> bytes:
    """The whole SA, keys included, as DUMP and GET give it."""
    before = _replay(sa)
    if sa.hard is not None:
        before += _limits(EXT_LIFETIME_HARD, sa.hard) + _limits(EXT_LIFETIME_SOFT, sa.soft)
    behind = _addresses(sa) + sa.key_auth + sa.key_encrypt
    if sa.natt is not None:
        behind += _nat_t(sa.natt, sa.oai, sa.oar)
    rest = len(before) + 32 + len(behind)
    return _start(sa, type, rest, references, seq, pid, sa.state) + before + _current(sa) + behind


def expire(sa: SecurityAssociation, hard: bool, state: int) -> bytes:
    """An EXPIRE message; `state` is what the SA has become."""
    fired = _limits(EXT_LIFETIME_HARD, sa.hard) if hard else _limits(EXT_LIFETIME_SOFT, sa.soft)
    rest = _replay(sa) + _current(sa) + fired + _addresses(sa)
    return _start(sa, SADB_EXPIRE, len(rest), 2, sa.seq, 0, state) + rest


# policies


def _policy_extension(of: Policy) -> bytes:
    requests = pack_requests(of.requests) if of.type == POLICY_IPSEC else b""
    return policy(of.type, of.direction, requests, scope=of.scope, id=of.id, priority=of.priority)


def _selector(of: Policy) -> bytes:
    return extensions.address(
        EXT_ADDRESS_SRC, of.src, protocol=of.protocol, prefixlen=of.src_prefixlen
    ) + extensions.address(EXT_ADDRESS_DST, of.dst, protocol=of.protocol, prefixlen=of.dst_prefixlen)


def _policy_lifetimes(of: Policy) -> bytes:
    return extensions.lifetime(EXT_LIFETIME_CURRENT, addtime=of.created, usetime=of.lastused) + extensions.lifetime(
        EXT_LIFETIME_HARD, addtime=of.lifetime, usetime=of.validtime
    )


def policy_record(of: Policy, type: int, seq: int = 0, pid: int = 0, references: int = 1) -> bytes:
    """A policy as dumps, X_SPDGET and the announcements of interface policies give it."""
    if not of.record:
        of.record = _selector(of) + _policy_extension(of)
    body = of.record + _policy_lifetimes(of) if of.lifetime else of.record
    return build(type, SATYPE_UNSPEC, body, seq=seq, pid=pid, reserved=references)


def interface_policy_gone(of: Policy) -> bytes:
    """The notice that a policy of an interface was removed: it is marked dead before the message is made, so that its
    scope is told as global and its interface not at all."""
    requests = pack_requests(of.requests)
    extension = policy(of.type, of.direction, requests, scope=SCOPE_GLOBAL, id=of.id)
    return build(SADB_X_SPDDELETE, SATYPE_UNSPEC, _selector(of) + extension, reserved=1)


def policy_expire(of: Policy) -> bytes:
    return build(SADB_X_SPDEXPIRE, SATYPE_UNSPEC, _policy_lifetimes(of) + _selector(of) + _policy_extension(of))
