"""PF_KEYv2 extensions: a builder (returns the extension's bytes) and a reader (returns its fields) for each.

Readers trust that the extension has the size that `message.parse` checked. Integers are in host order except SPI and
ports, which the readers and builders convert.
"""

from __future__ import annotations

from struct import Struct

from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    EXT_LIFETIME_HARD,
    EXT_SA,
    EXT_SPIRANGE,
    EXT_X_NAT_T_FRAG,
    EXT_X_NAT_T_TYPE,
    EXT_X_SA2,
    EXT_X_SA_REPLAY,
    IPSEC_ULPROTO_ANY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SA = Struct("=HH4sBBBBI")
_LIFETIME = Struct("=HHIQQQ")
_ADDRESS = Struct("=HHBBH")
_KEY = Struct("=HHHH")
_SA2 = Struct("=HHBBHII")
_SPIRANGE = Struct("=HHIII")
_REPLAY = Struct("=HHI")
_BYTE = Struct("=HHBxxx")
_WORD = Struct("=HHHH")
_ALGORITHM = Struct("=BBHHH")
_COMBINATION = Struct("=BBHHHHHIIIQQQQQQ")
_IDENTITY = Struct("=HHHHQ")


def pad8(data: bytes) -> bytes:
    """The data filled with zeros to a multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)


def sa(spi: int, *, replay: int = 0, state: int = 0, auth: int = 0, encrypt: int = 0, flags: int = 0) -> bytes:
    return _SA.pack(2, EXT_SA, spi.to_bytes(4, "big"), replay, state, auth, encrypt, flags)


def read_sa(extension: bytes) -> tuple[int, int, int, int, int, int]:
    """spi, replay (bytes of window), state, auth, encrypt, flags."""
    _, _, spi, replay, state, auth, encrypt, flags = _SA.unpack(extension)
    return int.from_bytes(spi, "big"), replay, state, auth, encrypt, flags


def sa2(mode: int, reqid: int, sequence: int = 0) -> bytes:
    return _SA2.pack(2, EXT_X_SA2, mode, 0, 0, sequence, reqid)


def read_sa2(extension: bytes) -> tuple[int, int, int]:
    """mode, sequence, reqid."""
    _, _, mode, _, _, sequence, reqid = _SA2.unpack(extension)
    return mode, sequence, reqid


def lifetime(
    kind: int = EXT_LIFETIME_HARD, *, allocations: int = 0, bytes: int = 0, addtime: int = 0, usetime: int = 0
) -> bytes:
    return _LIFETIME.pack(4, kind, allocations, bytes, addtime, usetime)


def read_lifetime(extension: bytes) -> tuple[int, int, int, int]:
    """allocations, bytes, addtime, usetime."""
    _, _, allocations, size, addtime, usetime = _LIFETIME.unpack(extension)
    return allocations, size, addtime, usetime


def address(kind: int, sockaddr: bytes, *, protocol: int = IPSEC_ULPROTO_ANY, prefixlen: int | None = None) -> bytes:
    """An address extension; the prefix is the whole address unless given."""
    if prefixlen is None:
        prefixlen = sockaddrs.full_prefixlen(sockaddr)
    return _ADDRESS.pack(1 + (len(sockaddr) + 7) // 8, kind, protocol, prefixlen, 0) + pad8(sockaddr)


def read_address(extension: bytes) -> tuple[int, int, bytes]:
    """protocol, prefixlen, sockaddr."""
    return extension[4], extension[5], extension[8 : 8 + extension[8]]


def key(kind: int, data: bytes, bits: int | None = None) -> bytes:
    """A key extension of KEY_AUTH or KEY_ENCRYPT type."""
    if bits is None:
        bits = len(data) * 8
    return _KEY.pack(1 + (len(data) + 7) // 8, kind, bits, 0) + pad8(data)


def read_key(extension: bytes) -> tuple[int, bytes]:
    """bits, and as many whole bytes of the key as they say (and are there)."""
    bits = _KEY.unpack_from(extension)[2]
    return bits, extension[8 : 8 + bits // 8]


def spirange(low: int, high: int) -> bytes:
    return _SPIRANGE.pack(2, EXT_SPIRANGE, low, high, 0)


def read_spirange(extension: bytes) -> tuple[int, int]:
    _, _, low, high, _ = _SPIRANGE.unpack(extension)
    return low, high


def sa_replay(packets: int) -> bytes:
    return _REPLAY.pack(1, EXT_X_SA_REPLAY, packets)


def read_sa_replay(extension: bytes) -> int:
    packets: int = _REPLAY.unpack(extension)[2]
    return packets


def nat_t_type(type: int) -> bytes:
    return _BYTE.pack(1, EXT_X_NAT_T_TYPE, type)


def nat_t_port(kind: int, port: int) -> bytes:
    return _KEY.pack(1, kind, 0, 0)[:4] + port.to_bytes(2, "big") + b"\0\0"


def read_nat_t_port(extension: bytes) -> int:
    return int.from_bytes(extension[4:6], "big")


def nat_t_frag(size: int) -> bytes:
    return _WORD.pack(1, EXT_X_NAT_T_FRAG, size, 0)


def read_nat_t_frag(extension: bytes) -> int:
    size: int = _WORD.unpack(extension)[2]
    return size


def read_identity(extension: bytes) -> tuple[int, int, bytes]:
    """type, id, the bytes behind them (with padding)."""
    _, _, type, _, number = _IDENTITY.unpack_from(extension)
    return type, number, extension[16:]


def supported(kind: int, algorithms: Sequence[tuple[int, int, int, int]]) -> bytes:
    """SUPPORTED_AUTH or SUPPORTED_ENCRYPT of (id, ivlen, min bits, max bits)."""
    body = b"".join(_ALGORITHM.pack(*algorithm, 0) for algorithm in algorithms)
    return _KEY.pack(1 + len(algorithms), kind, 0, 0) + body


def read_supported(extension: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(id, ivlen, min bits, max bits) of every algorithm."""
    for offset in range(8, len(extension), 8):
        yield _ALGORITHM.unpack_from(extension, offset)[:4]


def combination(
    *,
    encrypt: int = 0,
    encrypt_bits: tuple[int, int] = (0, 0),
    auth: int = 0,
    auth_bits: tuple[int, int] = (0, 0),
    soft: tuple[int, int, int, int] = (0, 0, 0, 0),
    hard: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> bytes:
    """A sadb_comb of 72 bytes; bits are (min, max), limits (allocations, bytes, addtime, usetime)."""
    return _COMBINATION.pack(
        auth,
        encrypt,
        0,
        *auth_bits,
        *encrypt_bits,
        0,
        soft[0],
        hard[0],
        soft[1],
        hard[1],
        soft[2],
        hard[2],
        soft[3],
        hard[3],
    )


def proposal(kind: int, replay: int, combinations: bytes) -> bytes:
    return Struct("=HHBxxx").pack(1 + len(combinations) // 8, kind, replay) + combinations
