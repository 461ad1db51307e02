"""What the handlers of PF_KEY messages read alike from a request."""

from __future__ import annotations

from ipsectools.errno import EINVAL
from ipsectools.kernel.key.errors import Refused
from ipsectools.pfkey import extensions
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import EXT_ADDRESS_DST, EXT_ADDRESS_SRC, EXT_X_SA2, MODE_ANY, PROTOCOL_OF_SATYPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.pfkey.message import Message


def sa_index(message: Message) -> tuple[int, int, int, bytes, bytes]:
    """protocol, mode, reqid, src and dst (socket addresses without ports) that a request speaks of."""
    found = message.extensions
    mode, _, reqid = extensions.read_sa2(found[EXT_X_SA2]) if EXT_X_SA2 in found else (MODE_ANY, 0, 0)
    return protocol_of(message), mode, reqid, end_point(found[EXT_ADDRESS_SRC]), end_point(found[EXT_ADDRESS_DST])


def protocol_of(message: Message) -> int:
    protocol = PROTOCOL_OF_SATYPE.get(message.satype)
    if protocol is None:
        raise Refused(EINVAL)
    return protocol


def end_point(address: bytes) -> bytes:
    """What identifies the end of an SA in an address extension."""
    return sockaddrs.without_port(address[8 : 8 + address[8]])


def require(found: dict[int, bytes], *kinds: int) -> None:
    for kind in kinds:
        if kind not in found:
            raise Refused(EINVAL)
