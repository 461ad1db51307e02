"""GETSPI, ADD and UPDATE: how SAs come into being and grow up."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL, ESRCH
from ipsectools.kernel.key import acquire, validate
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.requests import protocol_of, require, sa_index
from ipsectools.kernel.key.sad import ORDER_STEP, SecurityAssociation
from ipsectools.kernel.key.tables import SAS, sa_row
from ipsectools.pfkey import extensions
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_IDENTITY_DST,
    EXT_IDENTITY_SRC,
    EXT_KEY_AUTH,
    EXT_KEY_ENCRYPT,
    EXT_LIFETIME_HARD,
    EXT_LIFETIME_SOFT,
    EXT_SA,
    EXT_SPIRANGE,
    EXT_X_NAT_T_DPORT,
    EXT_X_NAT_T_OAI,
    EXT_X_NAT_T_OAR,
    EXT_X_NAT_T_SPORT,
    EXT_X_NAT_T_TYPE,
    EXT_X_NEW_ADDRESS_DST,
    EXT_X_NEW_ADDRESS_SRC,
    EXT_X_SA2,
    IPPROTO_AH,
    IPPROTO_ESP,
    IPPROTO_IPCOMP,
    IPPROTO_TCP,
    MODE_ANY,
    SASTATE_LARVAL,
    SASTATE_MATURE,
)
from ipsectools.pfkey.message import Message, echo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sockets import KeySocket

    Extensions = dict[int, bytes]

_RESERVED_SPI_MAX = 255
_CPI_MAX = 0xFFFF
_U32 = 0xFFFFFFFF

_ECHOED = (
    EXT_SA,
    EXT_X_SA2,
    EXT_ADDRESS_SRC,
    EXT_ADDRESS_DST,
    EXT_LIFETIME_HARD,
    EXT_LIFETIME_SOFT,
    EXT_IDENTITY_SRC,
    EXT_IDENTITY_DST,
    EXT_X_NAT_T_TYPE,
    EXT_X_NAT_T_SPORT,
    EXT_X_NAT_T_DPORT,
    EXT_X_NAT_T_OAI,
    EXT_X_NAT_T_OAR,
    EXT_X_NEW_ADDRESS_SRC,
    EXT_X_NEW_ADDRESS_DST,
)
"""What the answer to ADD and UPDATE repeats, in this order: no keys."""


def getspi(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    found = message.extensions
    require(found, EXT_ADDRESS_SRC, EXT_ADDRESS_DST)
    index = sa_index(message)
    protocol = index[0]
    spi = _choose_spi(engine, protocol, found.get(EXT_SPIRANGE))
    if spi <= _RESERVED_SPI_MAX and protocol in (IPPROTO_ESP, IPPROTO_AH):
        raise Refused(EINVAL)
    head = engine.head_for(*index)
    sa = engine.sad.make_sa(spi, head)
    sa.order = sa.id * ORDER_STEP
    sa.created, sa.seq, sa.pid = now, message.seq, message.pid
    engine.sad.link(sa)
    engine.store_sa(sa)
    if head.alive.newest is None:  # it may hide an older head, whose SAs are not used any more then
        engine.sa_changed(sa)
    acquire.finish(engine, message.seq, index)
    reply = echo(message, extensions.sa(spi), found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST])
    engine.delivery.to_one(socket, reply)


def _choose_spi(engine: KeyEngine, protocol: int, spirange: bytes | None) -> int:
    if spirange is not None:
        low, high = extensions.read_spirange(spirange)
    else:
        low, high = (engine.sysctl(f"net.key.spi_{end}val") & _U32 for end in ("min", "max"))
    if protocol == IPPROTO_IPCOMP:
        low, high = sorted((min(low, _CPI_MAX), min(high, _CPI_MAX)))
    taken = engine.sad.by_spi
    if low == high:
        if low and low not in taken:
            return low
        raise Refused(EEXIST)
    span = (high - low + 1) & 0xFFFFFFFF or 1 << 32
    for _ in range(engine.sysctl("net.key.spi_trycnt")):
        spi = (low + engine.random32() % span) & 0xFFFFFFFF
        if spi and spi not in taken:
            return spi
    raise Refused(EEXIST)


def add(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    found = message.extensions
    index = sa_index(message) if _has_needed(message, found) else None
    if index is None:
        raise Refused(EINVAL)
    sad = engine.sad
    spi = int.from_bytes(found[EXT_SA][4:8], "big")
    if index[0] == IPPROTO_TCP:  # its addresses name it, so that any SPI does
        if engine.tcp_signature(*index[3:]) is not None:
            raise Refused(EEXIST)
        if spi in sad.by_spi:
            spi = _choose_spi(engine, IPPROTO_TCP, None)
    elif spi in sad.by_spi:
        raise Refused(EEXIST)
    if spi <= _RESERVED_SPI_MAX and index[0] in (IPPROTO_ESP, IPPROTO_AH):
        raise Refused(EINVAL)
    head = sad.find_head(*index)
    known_head = head is not None
    if head is None:
        head = sad.make_head(*index)
    sa = sad.make_sa(spi, head)
    validate.set_values(sa, found, head.mode, tcpmd5=engine.tcpmd5)
    if not known_head:
        engine.enter_head(head)
    sa.state = SASTATE_MATURE
    sa.order = sa.id * ORDER_STEP
    sa.created, sa.seq, sa.pid = now, message.seq, message.pid
    sad.link(sa)
    engine.counters.start(sa)
    engine.store.put(SAS, sa_row(sa))
    engine.timers.watch(sa)
    engine.sa_changed(sa)
    if message.seq:
        acquire.finish(engine, message.seq, index)
    _answer(engine, message)


def _has_needed(message: Message, found: Extensions) -> bool:
    """SA and both addresses, a key for the protocol, both lifetimes or none."""
    protocol = protocol_of(message)
    return (
        EXT_SA in found
        and EXT_ADDRESS_SRC in found
        and EXT_ADDRESS_DST in found
        and (protocol != IPPROTO_ESP or EXT_KEY_ENCRYPT in found)
        and (protocol != IPPROTO_AH or EXT_KEY_AUTH in found)
        and (EXT_LIFETIME_HARD in found) == (EXT_LIFETIME_SOFT in found)
    )


def _answer(engine: KeyEngine, message: Message) -> None:
    found = message.extensions
    engine.delivery.to_all(echo(message, *[found[kind] for kind in _ECHOED if kind in found]))


def update(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    found = message.extensions
    require(found, EXT_SA, EXT_ADDRESS_SRC, EXT_ADDRESS_DST)
    if (EXT_LIFETIME_HARD in found) != (EXT_LIFETIME_SOFT in found):
        raise Refused(EINVAL)
    protocol, mode, reqid, src, dst = sa_index(message)
    sa = engine.sad.by_spi.get(int.from_bytes(found[EXT_SA][4:8], "big"))
    if sa is None or sa.pid != message.pid:
        raise Refused(EINVAL)
    head = sa.head
    if (
        (head.protocol, head.src, head.dst) != (protocol, src, dst)
        or head.mode not in (MODE_ANY, mode)
        or (reqid and head.reqid != reqid)
    ):
        raise Refused(ESRCH)
    if sa.state == SASTATE_LARVAL:
        _complete(engine, sa, message, now)
    else:
        _change(engine, sa, message, mode, reqid)
    engine.timers.watch(sa)
    engine.sa_changed(sa)
    _answer(engine, message)


def _complete(engine: KeyEngine, sa: SecurityAssociation, message: Message, now: int) -> None:
    """A larval SA gets its values and becomes mature; an error leaves it larval."""
    found = message.extensions
    if not _has_needed(message, found):
        raise Refused(EINVAL)
    try:
        validate.set_values(sa, found, sa.head.mode, tcpmd5=engine.tcpmd5)
    except Refused:
        engine.store_sa(sa)
        raise
    sa.created = now
    engine.sad.mature(sa, SASTATE_MATURE)
    engine.counters.start(sa)
    engine.store_sa(sa)


def _change(engine: KeyEngine, sa: SecurityAssociation, message: Message, mode: int, reqid: int) -> None:
    """A mature or dying SA: other lifetimes, perhaps other addresses or UDP ports."""
    found = message.extensions
    if EXT_KEY_ENCRYPT in found or EXT_KEY_AUTH in found:
        raise Refused(EINVAL)
    if EXT_LIFETIME_HARD in found or sa.state == SASTATE_MATURE:
        validate.set_lifetimes(sa, found)
        sa.deadline = None
        engine.store_sa(sa)
        engine.timers.watch(sa)
    if (
        EXT_X_NEW_ADDRESS_SRC in found
        or EXT_X_NEW_ADDRESS_DST in found
        or EXT_X_NAT_T_TYPE in found
        or sa.natt is not None
    ):
        _move(engine, sa, message, mode, reqid)
    else:
        sa.state = SASTATE_MATURE
        engine.store_sa(sa)


def _move(engine: KeyEngine, sa: SecurityAssociation, message: Message, mode: int, reqid: int) -> None:
    """New end points or UDP ports for an SA that is in use (key_updateaddresses): same keys, counters and age.

    One new address is enough: the other end stays.
    """
    found = message.extensions
    head = sa.head
    src, dst, target_mode = head.src, head.dst, head.mode
    moving = EXT_X_NEW_ADDRESS_SRC in found or EXT_X_NEW_ADDRESS_DST in found
    if moving:
        src, dst = (
            found[kind][8:] if kind in found else own
            for kind, own in ((EXT_X_NEW_ADDRESS_SRC, src), (EXT_X_NEW_ADDRESS_DST, dst))
        )
        validate.check_address_pair(src, dst)
        src, dst = sockaddrs.without_port(src), sockaddrs.without_port(dst)
        known = engine.sad.find_head(head.protocol, mode, reqid, src, dst)
        target_mode = known.mode if known is not None else mode
    elif head.protocol != IPPROTO_ESP or not validate.has_nat_t(found):
        raise Refused(EINVAL)
    validate.set_nat_t(sa, found, target_mode, src, dst)
    if moving:
        head = engine.head_for(head.protocol, mode, reqid, src, dst)
    sa.state = SASTATE_MATURE
    for changed in engine.sad.move_by_age(sa, head):
        engine.store_sa(changed)
