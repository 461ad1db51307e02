"""What is checked of every request before its handler sees it, in FreeBSD's order: satype, then addresses."""

from __future__ import annotations

from ipsectools.errno import EAFNOSUPPORT, EINVAL, EOPNOTSUPP
from ipsectools.kernel.key.errors import Refused
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    SADB_ACQUIRE,
    SADB_ADD,
    SADB_DELETE,
    SADB_EXPIRE,
    SADB_GET,
    SADB_GETSPI,
    SADB_UPDATE,
    SADB_X_PROMISC,
    SADB_X_SPDADD,
    SADB_X_SPDDELETE,
    SADB_X_SPDDELETE2,
    SADB_X_SPDDUMP,
    SADB_X_SPDFLUSH,
    SADB_X_SPDGET,
    SADB_X_SPDSETIDX,
    SADB_X_SPDUPDATE,
    SATYPE_AH,
    SATYPE_ESP,
    SATYPE_IPCOMP,
    SATYPE_MIP,
    SATYPE_OSPFV2,
    SATYPE_RIPV2,
    SATYPE_RSVP,
    SATYPE_TCPSIGNATURE,
    SATYPE_UNSPEC,
    SCOPE_ANY,
    SCOPE_GLOBAL,
    SCOPE_IFNET,
    SCOPE_PCB,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.pfkey.message import Message

_NEED_SATYPE = frozenset((SADB_GETSPI, SADB_UPDATE, SADB_ADD, SADB_DELETE, SADB_GET, SADB_ACQUIRE, SADB_EXPIRE))
_WITHOUT_SATYPE = frozenset(
    (
        SADB_X_SPDADD,
        SADB_X_SPDDELETE,
        SADB_X_SPDGET,
        SADB_X_SPDFLUSH,
        SADB_X_SPDSETIDX,
        SADB_X_SPDUPDATE,
        SADB_X_SPDDELETE2,
    )
)
_SERVED = frozenset((SATYPE_AH, SATYPE_ESP, SATYPE_IPCOMP, SATYPE_TCPSIGNATURE))
_NOT_SERVED = frozenset((SATYPE_RSVP, SATYPE_OSPFV2, SATYPE_RIPV2, SATYPE_MIP))
_DUMP_SCOPES = frozenset((SCOPE_ANY, SCOPE_GLOBAL, SCOPE_IFNET, SCOPE_PCB))


def check_satype(message: Message) -> None:
    """The rules for the satype byte that hold before any handler. Raises Refused."""
    satype, type = message.satype, message.type
    if type == SADB_X_SPDDUMP:
        if satype not in _DUMP_SCOPES:
            raise Refused(EINVAL)
    elif satype in _SERVED:
        if type in _WITHOUT_SATYPE:
            raise Refused(EINVAL)
    elif satype == SATYPE_UNSPEC:
        if type in _NEED_SATYPE:
            raise Refused(EINVAL)
    elif satype in _NOT_SERVED:
        raise Refused(EOPNOTSUPP)
    elif satype != 1 or type != SADB_X_PROMISC:
        raise Refused(EINVAL)


def check_addresses(src: bytes, dst: bytes) -> None:
    """The rules for a source and a destination address extension that hold before any handler. Raises Refused."""
    if src[4] != dst[4] or src[9] != dst[9] or src[8] != dst[8]:
        raise Refused(EINVAL)
    length = sockaddrs.length_of_family(src[9])
    if not length:
        raise Refused(EAFNOSUPPORT)
    most = 32 if length == sockaddrs.SOCKADDR_IN_BYTES else 128
    if src[8] != length or src[5] > most or dst[5] > most:
        raise Refused(EINVAL)
