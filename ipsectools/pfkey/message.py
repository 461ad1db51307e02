"""PF_KEYv2 messages: the 16-byte header, and the extensions behind it, each a multiple of 8 bytes.

`parse` reads a request with the checks of FreeBSD's keysock and key engine whose failure fails the write itself.
`extensions` walks a message without them, for whoever reads what a kernel sent. Building is concatenation: every
builder in `pfkey.extensions` returns bytes, `build` puts the header before them.
"""

from __future__ import annotations

from struct import Struct
from sys import byteorder

from ipsectools.errno import EINVAL, ENOBUFS, KernelError
from ipsectools.pfkey.constants import IDENTTYPE_ADDR, MESSAGE_MAX_BYTES, PF_KEY_V2, SADB_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER_BYTES = 16
HEADER = Struct("=BBBBHHII")
"""version, type, errno, satype, length in 8-byte units, reserved, seq, pid."""

_PAIR = Struct("=HH")
_UNBOUNDED = 0xFFFF * 8

# extension type -> (fewest bytes, most bytes, offset of a socket address in it or 0)
_SIZES: dict[int, tuple[int, int, int]] = {
    1: (16, 16, 0),
    2: (32, 32, 0),
    3: (32, 32, 0),
    4: (32, 32, 0),
    5: (8, _UNBOUNDED, 8),
    6: (8, _UNBOUNDED, 8),
    7: (8, _UNBOUNDED, 8),
    8: (8, _UNBOUNDED, 0),
    9: (8, _UNBOUNDED, 0),
    10: (16, _UNBOUNDED, 16),
    11: (16, _UNBOUNDED, 16),
    12: (16, _UNBOUNDED, 0),
    13: (8, _UNBOUNDED, 0),
    14: (8, _UNBOUNDED, 0),
    15: (8, _UNBOUNDED, 0),
    16: (16, 16, 0),
    18: (16, _UNBOUNDED, 0),
    19: (16, 16, 0),
    20: (8, 8, 0),
    21: (8, 8, 0),
    22: (8, 8, 0),
    23: (8, _UNBOUNDED, 8),
    24: (8, _UNBOUNDED, 8),
    25: (8, 8, 0),
    26: (8, 8, 0),
    27: (8, _UNBOUNDED, 8),
    28: (8, _UNBOUNDED, 8),
}
OFFLOAD_SIZES: dict[int, tuple[int, int, int]] = {29: (32, 32, 0), 30: (32, 32, 0), 31: (40, 40, 0)}
"""Extensions of kernels with IPSEC_OFFLOAD (FreeBSD 15)."""


class Message:
    """A request that passed `parse`: the fields of its header, and its extensions by type (bytes, header included).

    `flaw` is the errno of a header that is wrong in a way which the kernel reports in a reply (version, type); such a
    message has no extensions.
    """

    __slots__ = ("data", "errno", "extensions", "flaw", "pid", "reserved", "satype", "seq", "type")

    def __init__(self, data: bytes) -> None:
        self.data = data
        _, self.type, self.errno, self.satype, _, self.reserved, self.seq, self.pid = HEADER.unpack_from(data)
        self.extensions: dict[int, bytes] = {}
        self.flaw = 0


def parse(data: bytes, sizes: Mapping[int, tuple[int, int, int]] = _SIZES) -> Message:
    """Reads a request as the kernel does on a write. Raises KernelError with the errno with which the write fails.

    `sizes` says which extensions are known. Checks in FreeBSD's order.
    """
    length = len(data)
    if length < HEADER_BYTES or length != int.from_bytes(data[4:6], byteorder) * 8:
        raise KernelError(EINVAL)
    message = Message(data)
    if data[0] != PF_KEY_V2 or message.type > SADB_MAX:
        message.flaw = EINVAL
        return message
    if length > MESSAGE_MAX_BYTES:
        raise KernelError(ENOBUFS)
    found = message.extensions
    offset = HEADER_BYTES
    while offset < length:
        units, kind = _PAIR.unpack_from(data, offset)
        size = units * 8
        bounds = sizes.get(kind)
        if bounds is None or kind in found:
            raise KernelError(EINVAL)
        fewest, most, address = bounds
        if not fewest <= size <= most:
            raise KernelError(EINVAL)
        end = offset + size
        if address and (address == 8 or int.from_bytes(data[offset + 4 : offset + 6], byteorder) == IDENTTYPE_ADDR):
            if size <= address:
                raise KernelError(EINVAL)
            if offset + address >= length:
                raise KernelError(ENOBUFS)
            if size != address + (data[offset + address] + 7 & ~7):
                raise KernelError(EINVAL)
        if end > length:
            raise KernelError(ENOBUFS)
        found[kind] = data[offset:end]
        offset = end
    return message


def extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The extensions of a message in order, (type, bytes with header). Stops at the first that does not fit in it."""
    offset = HEADER_BYTES
    while offset + 4 <= len(data):
        units, kind = _PAIR.unpack_from(data, offset)
        if not units or offset + units * 8 > len(data):
            return
        yield kind, data[offset : offset + units * 8]
        offset += units * 8


def build(
    type: int,
    satype: int,
    body: bytes = b"",
    *,
    seq: int = 0,
    pid: int = 0,
    errno: int = 0,
    reserved: int = 0,
) -> bytes:
    """A message of the extensions in `body`."""
    return HEADER.pack(PF_KEY_V2, type, errno, satype, (HEADER_BYTES + len(body)) // 8, reserved, seq, pid) + body


def with_errno(data: bytes, errno: int) -> bytes:
    """The same message with another errno byte: how the kernel answers a request that it does not do."""
    return data[:2] + bytes((errno,)) + data[3:]


def echo(request: Message, *parts: bytes) -> bytes:
    """A reply that keeps type, satype, seq, pid and `reserved` of the request."""
    body = b"".join(parts)
    units = (HEADER_BYTES + len(body)) // 8
    return (
        HEADER.pack(PF_KEY_V2, request.type, 0, request.satype, units, request.reserved, request.seq, request.pid)
        + body
    )
