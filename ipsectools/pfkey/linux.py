"""Linux's dialect of PF_KEYv2 (linux/pfkeyv2.h, net/key/af_key.c), translated to FreeBSD's and back. No I/O.

It differs in: socket addresses (u16 family and no length, AF_INET6 10), ipsecrequests (16 bytes with a 32-bit reqid
before the addresses), the `fwd` direction, the scope byte of a policy (unused), the replay window (packets, not bytes),
the higher flags of an SA, extensions from 24 upwards, some algorithm numbers, and errno numbers above 34.

A message that cannot be taken apart is passed on as it is: the key engine refuses it.
"""

from __future__ import annotations

import errno as _host
from struct import Struct
from sys import byteorder

from ipsectools import errno as freebsd_errno
from ipsectools.pfkey.constants import (
    AALG_AES128GMAC,
    AALG_AES192GMAC,
    AALG_AES256GMAC,
    AALG_CHACHA20POLY1305,
    AF_INET,
    AF_INET6,
    EALG_CHACHA20POLY1305,
    EXT_ADDRESS_DST,
    EXT_ADDRESS_PROXY,
    EXT_ADDRESS_SRC,
    EXT_IDENTITY_DST,
    EXT_IDENTITY_SRC,
    EXT_PROPOSAL,
    EXT_SA,
    EXT_SUPPORTED_AUTH,
    EXT_SUPPORTED_ENCRYPT,
    EXT_X_NAT_T_OAI,
    EXT_X_POLICY,
    IDENTTYPE_ADDR,
    SADB_X_PROMISC,
    SADB_X_SPDADD,
    SADB_X_SPDDELETE,
    SADB_X_SPDSETIDX,
    SADB_X_SPDUPDATE,
)
from ipsectools.pfkey.message import HEADER, HEADER_BYTES, extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINUX_AF_INET6 = 10
DIR_FORWARD = 3
"""Linux's third policy direction."""

_EXTENSIONS_IN_COMMON = EXT_X_NAT_T_OAI
"""The highest extension with the same meaning in both; Linux's 24 to 26 (security context, KM address, filter) and
FreeBSD's 24 to 31 have nothing to do with each other."""

_SA = Struct("=HHIBBBBI")
_POLICY = Struct("=HHHBBII")
_REQUEST = Struct("=HHBBH")
_LINUX_REQUEST = Struct("=HHBBHII")
_FAMILY = Struct("=H")

_FLAGS_IN_COMMON = 0x0FFE  # without OLD, whose bit is PFS in Linux
_NO_ALGORITHM = 255
_ONLY_FREEBSD_AUTH = (AALG_AES128GMAC, AALG_AES192GMAC, AALG_AES256GMAC, AALG_CHACHA20POLY1305)

_TO_LINUX: dict[int, int] = {
    number: getattr(_host, name)
    for name, number in vars(freebsd_errno).items()
    if name.startswith("E") and isinstance(number, int) and hasattr(_host, name)
}


def errno_to_linux(number: int) -> int:
    """Linux's number of a FreeBSD error number; the same number if Linux has no such error."""
    return _TO_LINUX.get(number, number)


def answer_without_kernel(message: bytes) -> bytes | None:
    """The answer to a request that only Linux's kernel has a use for, else None.

    Adding, updating or deleting a `fwd` policy succeeds without effect: FreeBSD's inbound policies cover forwarding.
    """
    if len(message) >= HEADER_BYTES and message[1] in (
        SADB_X_SPDADD,
        SADB_X_SPDUPDATE,
        SADB_X_SPDSETIDX,
        SADB_X_SPDDELETE,
    ):
        for kind, extension in extensions(message):
            if kind == EXT_X_POLICY and len(extension) >= 16 and extension[6] == DIR_FORWARD:
                return message
    return None


def to_freebsd(message: bytes) -> bytes:
    """A request of a Linux client as FreeBSD's key engine reads it."""
    return _translate(message, _EXTENSIONS_TO_FREEBSD, lambda number: number)


def from_freebsd(message: bytes) -> bytes:
    """A message of FreeBSD's key engine as a Linux client reads it."""
    if len(message) >= 2 * HEADER_BYTES and message[1] == SADB_X_PROMISC:
        inner = from_freebsd(message[HEADER_BYTES:])
        return _with_length(message[:HEADER_BYTES] + inner)
    return _translate(message, _EXTENSIONS_FROM_FREEBSD, errno_to_linux)


def _translate(message: bytes, translators: dict[int, Callable[[bytes], bytes]], errno: Callable[[int], int]) -> bytes:
    if len(message) < HEADER_BYTES or len(message) != HEADER.unpack_from(message)[4] * 8:
        return message
    parts = [message[:2] + bytes((errno(message[2]),)) + message[3:HEADER_BYTES]]
    done = HEADER_BYTES
    for kind, extension in extensions(message):
        done += len(extension)
        if kind <= _EXTENSIONS_IN_COMMON:
            translator = translators.get(kind)
            parts.append(extension if translator is None else translator(extension))
    parts.append(message[done:])
    return _with_length(b"".join(parts))


def _with_length(message: bytes) -> bytes:
    return message[:4] + (len(message) // 8 & 0xFFFF).to_bytes(2, byteorder) + message[6:]


# socket addresses


def _sockaddr_to_freebsd(sockaddr: bytes) -> bytes:
    family = _FAMILY.unpack_from(sockaddr)[0]
    if family == AF_INET:
        return b"\x10\x02" + sockaddr[2:]
    if family == LINUX_AF_INET6:
        return b"\x1c\x1c" + sockaddr[2:]
    return sockaddr


def _sockaddr_from_freebsd(sockaddr: bytes) -> bytes:
    if sockaddr[1] == AF_INET:
        return _FAMILY.pack(AF_INET) + sockaddr[2:]
    if sockaddr[1] == AF_INET6:
        return _FAMILY.pack(LINUX_AF_INET6) + sockaddr[2:]
    return sockaddr


def _at(offset: int, translate: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Translates the socket address at this offset of an extension."""

    def translator(extension: bytes) -> bytes:
        if len(extension) < offset + 8:
            return extension
        return extension[:offset] + translate(extension[offset:])

    return translator


def _identity(translate: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    at16 = _at(16, translate)

    def translator(extension: bytes) -> bytes:
        is_address = int.from_bytes(extension[4:6], byteorder) == IDENTTYPE_ADDR
        return at16(extension) if is_address else extension

    return translator


# SA


def _sa_to_freebsd(extension: bytes) -> bytes:
    if len(extension) != 16:
        return extension
    units, kind, spi, replay, state, auth, encrypt, flags = _SA.unpack(extension)
    if auth in _ONLY_FREEBSD_AUTH:
        auth = _NO_ALGORITHM
    if encrypt == EALG_CHACHA20POLY1305:  # Linux's AES-CCM with 12 bytes of ICV
        encrypt = _NO_ALGORITHM
    return _SA.pack(units, kind, spi, (replay + 7) // 8, state, auth, encrypt, flags & _FLAGS_IN_COMMON)


def _sa_from_freebsd(extension: bytes) -> bytes:
    if len(extension) != 16:
        return extension
    units, kind, spi, replay, state, auth, encrypt, flags = _SA.unpack(extension)
    if auth in _ONLY_FREEBSD_AUTH:  # the authentication that an AEAD brings with it
        auth = 0
    if encrypt == EALG_CHACHA20POLY1305:
        encrypt = _NO_ALGORITHM
    return _SA.pack(units, kind, spi, min(replay * 8, 255), state, auth, encrypt, flags & _FLAGS_IN_COMMON)


def _without(ids: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """Removes algorithms from SUPPORTED_AUTH or SUPPORTED_ENCRYPT."""

    def translator(extension: bytes) -> bytes:
        kept = [extension[at : at + 8] for at in range(8, len(extension), 8) if extension[at] not in ids]
        return (1 + len(kept)).to_bytes(2, byteorder) + extension[2:8] + b"".join(kept)

    return translator


def _proposal_from_freebsd(extension: bytes) -> bytes:
    """Removes the combinations that would mean something else in Linux."""
    combinations = [extension[at : at + 72] for at in range(8, len(extension), 72)]
    kept = b"".join(each for each in combinations if each[1:2] != bytes((EALG_CHACHA20POLY1305,)))
    return (1 + len(kept) // 8).to_bytes(2, byteorder) + extension[2:8] + kept


# policies


def _policy_to_freebsd(extension: bytes) -> bytes:
    if len(extension) < 16:
        return extension
    requests = _requests_to_freebsd(extension[16:])
    return _policy(extension, requests)


def _policy_from_freebsd(extension: bytes) -> bytes:
    if len(extension) < 16:
        return extension
    requests = _requests_from_freebsd(extension[16:])
    return _policy(extension, requests)


def _policy(extension: bytes, requests: bytes) -> bytes:
    _, kind, type, direction, _, id, priority = _POLICY.unpack_from(extension)
    return _POLICY.pack((16 + len(requests)) // 8, kind, type, direction, 0, id, priority) + requests


def _requests_to_freebsd(data: bytes) -> bytes:
    found: list[bytes] = []
    offset = 0
    while offset + _LINUX_REQUEST.size <= len(data):
        size, protocol, mode, level, _, reqid, _ = _LINUX_REQUEST.unpack_from(data, offset)
        if not _LINUX_REQUEST.size <= size <= len(data) - offset:
            break
        pair = _pair(data[offset + _LINUX_REQUEST.size : offset + size], _sockaddr_to_freebsd)
        size_here = _REQUEST.size + len(pair)
        padding = -size_here % 8
        # a reqid that does not fit is one that FreeBSD would replace by its own choice: above the manual ones
        found.append(
            _REQUEST.pack(size_here + padding, protocol, mode, level, min(reqid, 0xFFFF)) + pair + bytes(padding)
        )
        offset += size
    return b"".join(found) + data[offset:]


def _requests_from_freebsd(data: bytes) -> bytes:
    found: list[bytes] = []
    offset = 0
    while offset + _REQUEST.size <= len(data):
        size, protocol, mode, level, reqid = _REQUEST.unpack_from(data, offset)
        if not _REQUEST.size <= size <= len(data) - offset:
            break
        pair = _pair(data[offset + _REQUEST.size : offset + size], _sockaddr_from_freebsd)
        size_here = _LINUX_REQUEST.size + len(pair)
        padding = -size_here % 8
        found.append(
            _LINUX_REQUEST.pack(size_here + padding, protocol, mode, level, 0, reqid, 0) + pair + bytes(padding)
        )
        offset += size
    return b"".join(found) + data[offset:]


def _pair(data: bytes, translate: Callable[[bytes], bytes]) -> bytes:
    """Two socket addresses, one directly behind the other, without the padding that follows them."""
    if len(data) < 16:
        return data
    size = 28 if data[1] == AF_INET6 or _FAMILY.unpack_from(data)[0] == LINUX_AF_INET6 else 16
    if len(data) < 2 * size:
        return data
    return translate(data[:size]) + translate(data[size : 2 * size])


def _translators(
    sockaddr: Callable[[bytes], bytes], others: dict[int, Callable[[bytes], bytes]]
) -> dict[int, Callable[[bytes], bytes]]:
    addresses = (EXT_ADDRESS_SRC, EXT_ADDRESS_DST, EXT_ADDRESS_PROXY, EXT_X_NAT_T_OAI)
    return {
        **{kind: _at(8, sockaddr) for kind in addresses},
        **{kind: _identity(sockaddr) for kind in (EXT_IDENTITY_SRC, EXT_IDENTITY_DST)},
        **others,
    }


_EXTENSIONS_TO_FREEBSD = _translators(_sockaddr_to_freebsd, {EXT_SA: _sa_to_freebsd, EXT_X_POLICY: _policy_to_freebsd})
_EXTENSIONS_FROM_FREEBSD = _translators(
    _sockaddr_from_freebsd,
    {
        EXT_SA: _sa_from_freebsd,
        EXT_X_POLICY: _policy_from_freebsd,
        EXT_PROPOSAL: _proposal_from_freebsd,
        EXT_SUPPORTED_AUTH: _without(_ONLY_FREEBSD_AUTH),
        EXT_SUPPORTED_ENCRYPT: _without((EALG_CHACHA20POLY1305,)),
    },
)
