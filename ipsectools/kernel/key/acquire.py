"""ACQUIRE: asking key management daemons for an SA, and the list that keeps the kernel from asking too often.

Of the packets that find no SA the first makes a message; then as many as net.key.blockacq_count says, and one more,
pass in silence before the same request (same seq) goes out again. A timer forgets a request after
net.key.blockacq_lifetime seconds.
"""

from __future__ import annotations

from ipsectools.errno import EEXIST
from ipsectools.kernel.key.acquire_list import Acquire, key_of
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.requests import require, sa_index
from ipsectools.kernel.key.tables import ACQUIRES
from ipsectools.kernel.key.validate import ENCRYPTION_ALGORITHMS
from ipsectools.pfkey import extensions
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.algorithms import AUTHENTICATIONS
from ipsectools.pfkey.constants import (
    CALG_DEFLATE,
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_PROPOSAL,
    IPPROTO_ESP,
    IPPROTO_IPCOMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPSEC_ULPROTO_ANY,
    SADB_ACQUIRE,
    SATYPE_OF_PROTOCOL,
)
from ipsectools.pfkey.message import HEADER_BYTES, Message, build
from ipsectools.pfkey.policy import policy as policy_extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.acquire_list import Index
    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sockets import KeySocket
    from ipsectools.kernel.key.spd import Policy

_PROPOSED_REPLAY = 32
_SOFT = (1, 0, 0, 28800)
_HARD = (1, 0, 86400, 0)
"""Limits of every combination (allocations, bytes, addtime, usetime), with the kernel's slip that leaves two at 0."""
_HMACS = tuple((row.id, row.min_bits) for row in AUTHENTICATIONS.values() if row.hash)


def tick(engine: KeyEngine, now: int) -> None:
    lifetime = engine.sysctl("net.key.blockacq_lifetime")
    for key, entry in list(engine.acquires.items()):
        if now - entry.created > lifetime:
            del engine.acquires[key]
            engine.store.delete(ACQUIRES, entry.seq)
    engine.save_acquires()


def finish(engine: KeyEngine, seq: int, index: Index) -> None:
    """An SA for request `seq` is on its way: the request is over at the next tick, if it was for exactly this index."""
    if not seq:
        return
    entry = engine.acquires.get(key_of(index))
    if entry is not None and entry.seq == seq:
        entry.created = 0
        engine.store_acquire(entry)


def from_user(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """A daemon's report that it failed (bare header): the request may be repeated afresh. Or a daemon that wants an
    ACQUIRE made: EEXIST if a head for such an SA exists."""
    if len(message.data) == HEADER_BYTES:
        if message.seq and message.errno:
            for entry in engine.acquires.values():
                if entry.seq == message.seq:
                    entry.count, entry.created = 0, now
                    engine.store_acquire(entry)
        return
    require(message.extensions, EXT_ADDRESS_SRC, EXT_ADDRESS_DST, EXT_PROPOSAL)
    index = sa_index(message)
    if engine.sad.find_head(*index) is not None:
        raise Refused(EEXIST)
    engine.delivery.begin(None)
    _request(engine, index, None, now)


def for_policy(engine: KeyEngine, policy_id: int, now: int) -> None:
    """A packet under this policy found no SA. Nothing happens if the policy does not name the end points."""
    policy = engine.spd.by_id.get(policy_id)
    if policy is None or not policy.requests or not policy.requests[0].src:
        return
    request = policy.requests[0]
    src, dst = sockaddrs.without_port(request.src), sockaddrs.without_port(request.dst)
    _request(engine, (request.protocol, request.mode, request.reqid, src, dst), policy, now)


def _request(engine: KeyEngine, index: Index, policy: Policy | None, now: int) -> None:
    """Sends an ACQUIRE unless one for the same index was sent shortly before."""
    key = key_of(index)
    entry = engine.acquires.get(key)
    if entry is None:
        seq = 1 if engine.acquire_seq >= 0xFFFFFFFF else engine.acquire_seq + 1
        engine.count("acquire_seq", seq)
        entry = engine.acquires[key] = Acquire(seq, index, now)
        engine.store_acquire(entry)
    elif entry.count <= engine.sysctl("net.key.blockacq_count"):
        entry.count += 1
        entry.unsaved = True
        return
    else:
        entry.count, entry.created = 0, now
        engine.store_acquire(entry)
    engine.delivery.to_registered(_message(engine, entry, policy))


def _message(engine: KeyEngine, entry: Acquire, policy: Policy | None) -> bytes:
    protocol, mode, reqid, src, dst = entry.index
    body = _addresses(src, dst, policy)
    if policy is not None:
        body += policy_extension(policy.type, policy.direction, id=policy.id, priority=policy.priority)
    if reqid:
        body += extensions.sa2(mode, reqid)
    combinations = _combinations(engine, protocol)
    if combinations:
        body += extensions.proposal(EXT_PROPOSAL, _PROPOSED_REPLAY, combinations)
    return build(SADB_ACQUIRE, SATYPE_OF_PROTOCOL[protocol], body, seq=entry.seq)


def _addresses(src: bytes, dst: bytes, policy: Policy | None) -> bytes:
    """The end points; where the policy selects a TCP or UDP port, its protocol, prefix length and port."""
    protocol = IPSEC_ULPROTO_ANY
    prefixlens: list[int | None] = [None, None]
    if policy is not None and policy.protocol in (IPPROTO_TCP, IPPROTO_UDP):
        protocol = policy.protocol
        if sockaddrs.port(policy.src):
            src = src[:2] + policy.src[2:4] + src[4:]
            prefixlens[0] = policy.src_prefixlen
        if sockaddrs.port(policy.dst):
            dst = dst[:2] + policy.dst[2:4] + dst[4:]
            prefixlens[1] = policy.dst_prefixlen
    return extensions.address(EXT_ADDRESS_SRC, src, protocol=protocol, prefixlen=prefixlens[0]) + extensions.address(
        EXT_ADDRESS_DST, dst, protocol=protocol, prefixlen=prefixlens[1]
    )


def _combinations(engine: KeyEngine, protocol: int) -> bytes:
    """What is proposed; nothing for TCP signatures, or if the least key length is beyond every algorithm's."""
    if protocol == IPPROTO_TCP:
        return b""
    if protocol == IPPROTO_IPCOMP:
        return extensions.combination(encrypt=CALG_DEFLATE, soft=_SOFT, hard=_HARD)
    hmacs = [(id, bits) for id, bits in _HMACS if bits >= engine.sysctl("net.key.ah_keymin")]
    if protocol != IPPROTO_ESP:
        return b"".join(
            extensions.combination(auth=id, auth_bits=(bits, bits), soft=_SOFT, hard=_HARD)
            for id, bits in reversed(hmacs)
        )
    least = engine.sysctl("net.key.esp_keymin")
    # with esp_auth there is one combination for each HMAC, but what it says of the HMAC is lost
    copies = len(hmacs) if engine.sysctl("net.key.esp_auth") else 1
    return b"".join(
        extensions.combination(encrypt=id, encrypt_bits=(max(least, low), high), soft=_SOFT, hard=_HARD) * copies
        for id, _, low, high in ENCRYPTION_ALGORITHMS
        if high >= least
    )
