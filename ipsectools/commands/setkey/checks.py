"""libipsec's look at a message before it is formatted: alignment of its extensions, then sense of its header."""

from __future__ import annotations

from struct import Struct

from ipsectools.commands.setkey import errors
from ipsectools.pfkey import constants as c

_PAIR = Struct("=HH")
_EXTENSION_MAX = c.EXT_X_IF_HW_OFFL

_NEED_SATYPE = frozenset(
    [c.SADB_GETSPI, c.SADB_UPDATE, c.SADB_ADD, c.SADB_DELETE, c.SADB_GET, c.SADB_ACQUIRE, c.SADB_EXPIRE]
)
_NEED_NO_SATYPE = frozenset([c.SADB_X_SPDADD, c.SADB_X_SPDDELETE, c.SADB_X_SPDGET, c.SADB_X_SPDDUMP, c.SADB_X_SPDFLUSH])
_KNOWN_SATYPES = frozenset([c.SATYPE_AH, c.SATYPE_ESP, c.SATYPE_IPCOMP, c.SATYPE_TCPSIGNATURE])


def align(message: bytes) -> tuple[dict[int, int], str]:
    """Where each extension begins, by type (of a repeated IF_HW_OFFL the last), and what is wrong with them."""
    found: dict[int, int] = {}
    offset, end = 16, len(message)
    while offset < end:
        if offset + 4 > end:
            return found, errors.INVALID_MESSAGE
        units, kind = _PAIR.unpack_from(message, offset)
        size = units * 8
        if size == 0 or offset + size > end:
            return found, errors.INVALID_MESSAGE
        if (kind in found and kind != c.EXT_X_IF_HW_OFFL) or not 1 <= kind <= _EXTENSION_MAX:
            return found, errors.INVALID_EXTENSION_TYPE
        if kind == c.EXT_X_KMPRIVATE:
            return found, errors.INVALID_EXTENSION_TYPE
        found[kind] = offset
        offset += size
    return found, ""


def check(message: bytes, found: dict[int, int]) -> str:
    """What is wrong with the header and the addresses of an aligned message, or nothing."""
    if message[0] != c.PF_KEY_V2:
        return errors.INVALID_VERSION
    kind, satype = message[1], message[3]
    if kind > c.SADB_MAX:
        return errors.INVALID_MESSAGE_TYPE
    if satype == c.SATYPE_UNSPEC:
        if kind in _NEED_SATYPE:
            return errors.INVALID_SATYPE
    elif satype in _KNOWN_SATYPES:
        if kind in _NEED_NO_SATYPE:
            return errors.INVALID_SATYPE
    elif c.SATYPE_RSVP <= satype <= c.SATYPE_MIP:
        return errors.NOT_SUPPORTED
    elif satype != 1 or kind != c.SADB_X_PROMISC:
        return errors.INVALID_SATYPE
    source, destination = found.get(c.EXT_ADDRESS_SRC), found.get(c.EXT_ADDRESS_DST)
    if source is not None and destination is not None:
        if message[source + 4] != message[destination + 4]:
            return errors.PROTOCOL_MISMATCH
        family = message[source + 9 : source + 10]
        if family != message[destination + 9 : destination + 10]:
            return errors.FAMILY_MISMATCH
        if family not in (b"\x02", b"\x1c"):
            return errors.INVALID_FAMILY
    return ""
