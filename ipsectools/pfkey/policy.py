"""sadb_x_policy and the ipsecrequests in it (netipsec/ipsec.h of FreeBSD).

A request is 8 bytes (u16 length in bytes, u16 protocol, u8 mode, u8 level, u16 reqid) and, if its length says so, two
socket addresses without padding between them.
"""

from __future__ import annotations

from struct import Struct

from ipsectools.errno import EINVAL, EPROTONOSUPPORT, KernelError
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    EXT_X_POLICY,
    IPPROTO_AH,
    IPPROTO_ESP,
    IPPROTO_IPCOMP,
    LEVEL_UNIQUE,
    MAX_REQUESTS,
    MODE_TRANSPORT,
    MODE_TUNNEL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_POLICY = Struct("=HHHBBII")
_REQUEST = Struct("=HHBBH")

POLICY_BYTES = 16
REQUEST_BYTES = 8


class Request:
    """One transform of a policy. `src`/`dst` are socket addresses, empty where the packet's own are meant.

    `reqid` may have 32 bits (policies of interfaces); a message carries the low 16.
    """

    __slots__ = ("dst", "level", "mode", "protocol", "reqid", "src")

    def __init__(
        self, protocol: int, mode: int, level: int, reqid: int = 0, src: bytes = b"", dst: bytes = b""
    ) -> None:
        self.protocol = protocol
        self.mode = mode
        self.level = level
        self.reqid = reqid
        self.src = src
        self.dst = dst

    def pack(self) -> bytes:
        size = REQUEST_BYTES + len(self.src) + len(self.dst)
        header = _REQUEST.pack(size, self.protocol, self.mode, self.level, self.reqid & 0xFFFF)
        return header + self.src + self.dst


def policy(
    type: int, direction: int, requests: bytes = b"", *, scope: int = 0, id: int = 0, priority: int = 0
) -> bytes:
    """A policy extension with packed requests, as far as they fill units of 8 bytes.

    Only a request between two families does not, and libipsec cuts it off, too.
    """
    units = (POLICY_BYTES + len(requests)) // 8
    extension = _POLICY.pack(units, EXT_X_POLICY, type, direction, scope, id, priority) + requests
    return extension[: units * 8]


def read_policy(extension: bytes) -> tuple[int, int, int, int, int]:
    """type, direction, scope, id, priority."""
    _, _, type, direction, scope, id, priority = _POLICY.unpack_from(extension)
    return type, direction, scope, id, priority


def pack_requests(requests: Sequence[Request]) -> bytes:
    return b"".join(request.pack() for request in requests)


def read_requests(extension: bytes, assign: Callable[[int, Request], None] | None = None) -> list[tuple[int, Request]]:
    """The requests of a policy extension, each with its offset in it, with the checks of FreeBSD's key engine.

    `assign` is called for each as soon as FreeBSD gives it its reqid: before its addresses are looked at. Raises
    KernelError: EPROTONOSUPPORT for a protocol that is not ESP, AH or IPComp, else EINVAL.
    """
    found: list[tuple[int, Request]] = []
    offset, end = POLICY_BYTES, len(extension)
    while offset < end:
        if end - offset < REQUEST_BYTES:
            raise KernelError(EINVAL)
        size, protocol, mode, level, reqid = _REQUEST.unpack_from(extension, offset)
        if not REQUEST_BYTES <= size <= end - offset or len(found) == MAX_REQUESTS:
            raise KernelError(EINVAL)
        if protocol not in (IPPROTO_ESP, IPPROTO_AH, IPPROTO_IPCOMP):
            raise KernelError(EPROTONOSUPPORT)
        if mode not in (MODE_TRANSPORT, MODE_TUNNEL) or level > LEVEL_UNIQUE:
            raise KernelError(EINVAL)
        request = Request(protocol, mode, level, reqid)
        if assign is not None:
            assign(offset, request)
        if size > REQUEST_BYTES:
            request.src, request.dst = _read_pair(extension[offset + REQUEST_BYTES : offset + size])
        elif mode == MODE_TUNNEL:
            raise KernelError(EINVAL)
        found.append((offset, request))
        offset += size
    if not found:
        raise KernelError(EINVAL)
    return found


def _read_pair(data: bytes) -> tuple[bytes, bytes]:
    if not sockaddrs.is_valid(data):
        raise KernelError(EINVAL)
    src, rest = data[: data[0]], data[data[0] :]
    if not sockaddrs.is_valid(rest) or rest[:2] != src[:2]:
        raise KernelError(EINVAL)
    return src, rest[: rest[0]]


def set_id(extension: bytes, id: int) -> bytes:
    """The same policy extension with another id."""
    return extension[:8] + _ID.pack(id) + extension[12:]


def set_reqid(extension: bytes, offset: int, reqid: int) -> bytes:
    """The same policy extension with another reqid (its low 16 bits) in the request at `offset`."""
    return extension[: offset + 6] + _REQID.pack(reqid & 0xFFFF) + extension[offset + 8 :]


_ID = Struct("=I")
_REQID = Struct("=H")
