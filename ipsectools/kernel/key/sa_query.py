"""GET, DELETE, FLUSH and DUMP."""

from __future__ import annotations

from ipsectools.errno import ENOENT, ESRCH
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.records import sa_record
from ipsectools.kernel.key.requests import end_point, protocol_of, require
from ipsectools.kernel.key.tables import HEADS, SAS, TRAFFIC
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_SA,
    IPPROTO_TCP,
    IPSEC_PROTO_ANY,
    SADB_DUMP,
    SADB_GET,
)
from ipsectools.pfkey.message import Message, echo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.key.sockets import KeySocket


def _find(engine: KeyEngine, message: Message) -> SecurityAssociation:
    """The SA by SPI, if it has the request's protocol and addresses; mode and reqid do not count. ESRCH else.

    That of TCP signatures is found by its addresses; the SPI does not count.
    """
    found = message.extensions
    protocol, src, dst = protocol_of(message), end_point(found[EXT_ADDRESS_SRC]), end_point(found[EXT_ADDRESS_DST])
    if protocol == IPPROTO_TCP:
        sa = engine.tcp_signature(src, dst)
    else:
        sa = engine.sad.by_spi.get(int.from_bytes(found[EXT_SA][4:8], "big"))
    if sa is None or (sa.protocol, sa.src, sa.dst) != (protocol, src, dst):
        raise Refused(ESRCH)
    return sa


def get(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    require(message.extensions, EXT_SA, EXT_ADDRESS_SRC, EXT_ADDRESS_DST)
    sa = _find(engine, message)
    engine.delivery.to_one(socket, sa_record(sa, SADB_GET, message.seq, message.pid, references=2))


def delete(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """One SA by SPI; without an SA extension all that are not larval between the addresses, even if that is none."""
    found = message.extensions
    require(found, EXT_ADDRESS_SRC, EXT_ADDRESS_DST)
    if EXT_SA in found:
        engine.remove_sa(_find(engine, message))
        parts = (found[EXT_SA], found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST])
        engine.delivery.to_all(echo(message, *parts))
        return
    protocol = protocol_of(message)
    src, dst = end_point(found[EXT_ADDRESS_SRC]), end_point(found[EXT_ADDRESS_DST])
    for head in engine.sad.heads_between(protocol, src, dst):
        for sa in head.alive:
            engine.remove_sa(sa)
    engine.delivery.to_all(echo(message, found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST]))


def flush(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """All SAs, or those of one protocol, larval ones too, and their heads."""
    protocol = protocol_of(message)
    sad = engine.sad
    heads = [head for head in sad.heads.values() if protocol in (IPSEC_PROTO_ANY, head.protocol)]
    everything = len(heads) == len(sad.heads)
    for head in heads:
        for sa in (*head.larval, *head.alive):
            if everything:
                sad.unlink(sa)
                engine.forget_sa(sa)
            else:
                engine.remove_sa(sa)
        sad.remove_head(head)
        if not everything:
            engine.store.delete(HEADS, head.id)
    if everything and heads:
        for table in (SAS, TRAFFIC, HEADS):
            engine.store.clear(table)
    engine.delivery.to_all(echo(message))


def dump(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """A message per SA, whose seq counts down to 0: the SAs of now, each as it is when its message is taken."""
    protocol = protocol_of(message)
    found = [sa for sa in engine.sad if protocol in (IPSEC_PROTO_ANY, sa.head.protocol)]
    if not found:
        raise Refused(ENOENT)

    def messages() -> Iterator[bytes]:
        for seq, sa in zip(range(len(found) - 1, -1, -1), found, strict=True):
            yield sa_record(sa, SADB_DUMP, seq, message.pid, references=1)

    engine.delivery.dump(socket, messages)
