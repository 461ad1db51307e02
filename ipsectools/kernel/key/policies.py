"""Messages about global policies: X_SPDADD, X_SPDUPDATE, X_SPDSETIDX, X_SPDDELETE, X_SPDDELETE2, X_SPDGET, X_SPDDUMP,
X_SPDFLUSH."""

from __future__ import annotations

from ipsectools.errno import EACCES, EEXIST, EINVAL, ENOENT, KernelError
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.records import policy_record
from ipsectools.kernel.key.requests import require
from ipsectools.kernel.key.spd import Policy, selector
from ipsectools.pfkey import extensions
from ipsectools.pfkey.constants import (
    DIR_INBOUND,
    DIR_OUTBOUND,
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_LIFETIME_HARD,
    EXT_X_POLICY,
    LEVEL_UNIQUE,
    MANUAL_REQID_MAX,
    POLICY_DISCARD,
    POLICY_IPSEC,
    POLICY_NONE,
    SADB_X_SPDDUMP,
    SADB_X_SPDGET,
    SADB_X_SPDUPDATE,
    SCOPE_GLOBAL,
    SCOPE_IFNET,
)
from ipsectools.pfkey.message import HEADER_BYTES, Message, echo
from ipsectools.pfkey.policy import POLICY_BYTES, Request, read_policy, read_requests, set_id, set_reqid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sockets import KeySocket
    from ipsectools.kernel.key.spd import Selector

    Extensions = dict[int, bytes]


def _selector(found: Extensions) -> Selector:
    """The selector of a request, after the checks on direction and type. Raises Refused EINVAL."""
    type, direction, _, _, _ = read_policy(found[EXT_X_POLICY])
    if direction not in (DIR_INBOUND, DIR_OUTBOUND) or type not in (POLICY_DISCARD, POLICY_NONE, POLICY_IPSEC):
        raise Refused(EINVAL)
    protocol, src_prefixlen, src = extensions.read_address(found[EXT_ADDRESS_SRC])
    _, dst_prefixlen, dst = extensions.read_address(found[EXT_ADDRESS_DST])
    return selector(direction, protocol, (src, src_prefixlen), (dst, dst_prefixlen))


def add(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """Adds a policy; X_SPDUPDATE replaces one with the same selector (new id, new place), the others find it EEXIST.

    An X_SPDUPDATE with bad requests deletes the old policy nevertheless.
    """
    found = message.extensions
    require(found, EXT_ADDRESS_SRC, EXT_ADDRESS_DST, EXT_X_POLICY)
    extension = found[EXT_X_POLICY]
    wanted = _selector(found)
    type, direction, _, _, priority = read_policy(extension)
    if type == POLICY_IPSEC and len(extension) == POLICY_BYTES:
        raise Refused(EINVAL)
    existing = engine.spd.find(wanted)
    if existing is not None:
        if message.type != SADB_X_SPDUPDATE:
            raise Refused(EEXIST)
        engine.remove_policy(existing)
    requests: tuple[Request, ...] = ()
    if type == POLICY_IPSEC:
        requests, extension = _requests(engine, message)
    protocol, src_prefixlen, src = extensions.read_address(found[EXT_ADDRESS_SRC])
    _, dst_prefixlen, dst = extensions.read_address(found[EXT_ADDRESS_DST])
    policy = Policy(
        engine.new_policy_id(),
        SCOPE_GLOBAL,
        direction,
        type,
        priority,
        protocol,
        (src, src_prefixlen),
        (dst, dst_prefixlen),
        requests,
    )
    policy.created = policy.lastused = now
    parts = [set_id(extension, policy.id)]
    if EXT_LIFETIME_HARD in found:
        _, _, policy.lifetime, policy.validtime = extensions.read_lifetime(found[EXT_LIFETIME_HARD])
        parts.append(found[EXT_LIFETIME_HARD])
    engine.add_policy(policy)
    engine.delivery.to_all(echo(message, *parts, found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST]))


def _requests(engine: KeyEngine, message: Message) -> tuple[tuple[Request, ...], bytes]:
    """The requests as the SPD keeps them, and the extension with the reqids that were assigned filled in.

    Only level UNIQUE has a reqid; 0, or one above the manual ones, asks for an automatic one. That is given while the
    requests are read: bad ones behind it do not take it back, and the answer to them shows it.
    """
    extension = message.extensions[EXT_X_POLICY]

    def assign(offset: int, request: Request) -> None:
        nonlocal extension
        if request.level != LEVEL_UNIQUE:
            request.reqid = 0
        elif not 0 < request.reqid <= MANUAL_REQID_MAX:
            request.reqid = engine.new_reqid()
            extension = set_reqid(extension, offset, request.reqid)

    try:
        parsed = read_requests(extension, assign)
    except KernelError as error:
        refusal = Refused(error.errno)
        parts = [extension if kind == EXT_X_POLICY else each for kind, each in message.extensions.items()]
        refusal.answer = message.data[:HEADER_BYTES] + b"".join(parts)
        raise refusal from None
    return tuple(request for _, request in parsed), extension


def delete(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    found = message.extensions
    require(found, EXT_ADDRESS_SRC, EXT_ADDRESS_DST, EXT_X_POLICY)
    policy = engine.spd.find(_selector(found))
    if policy is None:
        raise Refused(EINVAL)
    engine.remove_policy(policy)
    extension = set_id(found[EXT_X_POLICY], policy.id)
    engine.delivery.to_all(echo(message, extension, found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST]))


def _by_id(engine: KeyEngine, message: Message, errno: int) -> Policy:
    require(message.extensions, EXT_X_POLICY)
    policy = engine.spd.by_id.get(read_policy(message.extensions[EXT_X_POLICY])[3])
    if policy is None:
        raise Refused(errno)
    return policy


def delete_by_id(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    policy = _by_id(engine, message, EINVAL)
    if policy.scope == SCOPE_IFNET:
        raise Refused(EACCES)
    engine.remove_policy(policy)
    engine.delivery.to_all(echo(message, message.extensions[EXT_X_POLICY]))


def get(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    policy = _by_id(engine, message, ENOENT)
    record = policy_record(policy, SADB_X_SPDGET, message.seq, message.pid, references=2)
    engine.delivery.to_one(socket, record)


def dump(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """A message per policy of a scope (satype: 0 all), whose seq counts down to 0."""
    found = list(engine.spd.walk(message.satype))
    if not found:
        raise Refused(ENOENT)

    def messages() -> Iterator[bytes]:
        for seq, policy in zip(range(len(found) - 1, -1, -1), found, strict=True):
            yield policy_record(policy, SADB_X_SPDDUMP, seq, message.pid)

    engine.delivery.dump(socket, messages)


def flush(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """All global policies; those of interfaces stay."""
    if len(message.data) != HEADER_BYTES:
        raise Refused(EINVAL)
    for policy in list(engine.spd.walk(SCOPE_GLOBAL)):
        engine.remove_policy(policy)
    engine.delivery.to_all(echo(message))
