"""Algorithms, and what of a request may become an SA's value (ADD, and UPDATE of a larval SA).

Bits as REGISTER tells them: of authentication the digest's size, of encryption the key's without salt; `ivlen` is the
cipher's nonce size, not that of ESP's IV.
"""

from __future__ import annotations

from ipsectools.errno import EAFNOSUPPORT, EINVAL, ENOBUFS, EOPNOTSUPP
from ipsectools.esp.algorithms import implicit_authentication
from ipsectools.kernel.key import release
from ipsectools.kernel.key.errors import Refused
from ipsectools.pfkey import extensions
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS
from ipsectools.pfkey.constants import (
    AALG_CHACHA20POLY1305,
    AALG_NONE,
    AALG_TCP_MD5,
    AF_INET,
    CALG_DEFLATE,
    EALG_CHACHA20POLY1305,
    EALG_NONE,
    EALG_NULL,
    EXT_IDENTITY_DST,
    EXT_IDENTITY_SRC,
    EXT_KEY_AUTH,
    EXT_KEY_ENCRYPT,
    EXT_LIFETIME_HARD,
    EXT_LIFETIME_SOFT,
    EXT_SA,
    EXT_X_NAT_T_DPORT,
    EXT_X_NAT_T_OAI,
    EXT_X_NAT_T_OAR,
    EXT_X_NAT_T_SPORT,
    EXT_X_NAT_T_TYPE,
    EXT_X_SA_REPLAY,
    IPPROTO_AH,
    IPPROTO_ESP,
    IPPROTO_IPCOMP,
    IPPROTO_TCP,
    MODE_TUNNEL,
    NAT_T_ESPINUDP,
    SA_FLAG_DERIV,
    SA_FLAG_IV4B,
    SA_FLAG_OLD,
    SA_FLAG_RAWCPI,
    SA_FLAGS_KNOWN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.sad import SecurityAssociation

    Extensions = dict[int, bytes]

_ENCRYPTIONS = {id: row for id, row in ENCRYPTIONS.items() if release.CHACHA20_POLY1305 or id != EALG_CHACHA20POLY1305}
_AUTHENTICATIONS = {
    id: row
    for id, row in AUTHENTICATIONS.items()
    if row.offered and (release.CHACHA20_POLY1305 or id != AALG_CHACHA20POLY1305)
}

AUTH_ALGORITHMS = tuple((row.id, 0, row.min_bits, row.max_bits) for row in _AUTHENTICATIONS.values())
"""(id, ivlen, min bits, max bits) in the order of REGISTER's answer."""
ENCRYPTION_ALGORITHMS = tuple((row.id, row.nonce, row.min_bits, row.max_bits) for row in _ENCRYPTIONS.values())

COUNTER_MODE = frozenset(row.id for row in _ENCRYPTIONS.values() if row.counter_iv and row.usable)
"""Encryption whose IV is a counter that must never repeat under one key."""

_REPLAY_PACKETS_MAX = 0xFFFFFFFF - 32
_WINDOW_BYTES_MAX = 1 << 24
"""A larger window's bitmap would not be allocated (FreeBSD depends on free memory here)."""


def set_values(sa: SecurityAssociation, found: Extensions, mode: int, *, tcpmd5: bool) -> None:
    """Fills an SA from a request's extensions, checking them in FreeBSD's order (key_setsaval).

    `mode` is that of the SA's head, `tcpmd5` says that this module is loaded. Raises Refused (EINVAL, EOPNOTSUPP,
    ENOBUFS); then the algorithms and flags may have been taken over (a larval SA shows them in a dump), nothing else.
    """
    _check_identities(found)
    _, replay, _, auth, encrypt, flags = extensions.read_sa(found[EXT_SA])
    sa.flags, sa.auth, sa.encrypt = flags, auth, encrypt
    if flags & ~SA_FLAGS_KNOWN:
        raise Refused(EINVAL)
    window = _replay_window(found, replay, flags)
    protocol = sa.head.protocol
    key_auth = _key(EXT_KEY_AUTH, found.get(EXT_KEY_AUTH))
    if key_auth and protocol == IPPROTO_IPCOMP:
        raise Refused(EINVAL)
    key_encrypt = b""
    if EXT_KEY_ENCRYPT in found:
        key_encrypt = _encryption_key(found[EXT_KEY_ENCRYPT], protocol, encrypt)
    if protocol == IPPROTO_ESP:
        sa.auth = _check_esp(flags, encrypt, key_encrypt, auth, key_auth)
    elif protocol == IPPROTO_AH:
        if flags & SA_FLAG_DERIV or encrypt != EALG_NONE:
            raise Refused(EINVAL)
        _check_auth(flags, auth, key_auth)
    elif protocol == IPPROTO_IPCOMP:
        if auth != AALG_NONE or encrypt != CALG_DEFLATE or (not flags & SA_FLAG_RAWCPI and sa.spi >= 0x10000):
            raise Refused(EINVAL)
    elif protocol == IPPROTO_TCP and tcpmd5:
        size = len(extensions.read_key(key_auth)[1]) if key_auth else 0
        if auth != AALG_TCP_MD5 or encrypt != EALG_NONE or not AUTHENTICATIONS[AALG_TCP_MD5].accepts_key(size):
            raise Refused(EINVAL)
    else:
        # TCP signatures live in a module of their own
        raise Refused(EINVAL)
    natt = _nat_t(found, protocol, mode, sa.head.src, sa.head.dst)
    sa.window, sa.key_auth, sa.key_encrypt = window, key_auth, key_encrypt
    if natt is not None:
        sa.natt, sa.oai, sa.oar = natt
    set_lifetimes(sa, found)


def set_lifetimes(sa: SecurityAssociation, found: Extensions) -> None:
    """Takes over both limits, or none if the request has none."""
    hard, soft = found.get(EXT_LIFETIME_HARD), found.get(EXT_LIFETIME_SOFT)
    sa.hard = None if hard is None else extensions.read_lifetime(hard)
    sa.soft = None if soft is None else extensions.read_lifetime(soft)


def _check_identities(found: Extensions) -> None:
    if EXT_IDENTITY_SRC not in found and EXT_IDENTITY_DST not in found:
        return
    src, dst = found.get(EXT_IDENTITY_SRC), found.get(EXT_IDENTITY_DST)
    if src is None or dst is None or src[4:6] != dst[4:6]:
        raise Refused(EINVAL)


def _replay_window(found: Extensions, replay: int, flags: int) -> int:
    """Bytes of bitmap: sadb_sa_replay counts them, X_SA_REPLAY, which goes first, counts packets."""
    if flags & SA_FLAG_OLD:
        replay = 0
    extension = found.get(EXT_X_SA_REPLAY)
    if extension is not None:
        packets = extensions.read_sa_replay(extension)
        if packets > _REPLAY_PACKETS_MAX:
            raise Refused(EINVAL)
        replay = (packets + 7) // 8
    if replay > _WINDOW_BYTES_MAX:
        raise Refused(ENOBUFS)
    return replay


def _key(kind: int, extension: bytes | None, may_be_empty: bool = False) -> bytes:
    """A key extension as it is kept: its bytes as `bits` says, padded with zeros. Empty if there is none."""
    if extension is None:
        return b""
    bits, data = extensions.read_key(extension)
    if bits // 8 > len(extension) - 8:
        raise Refused(EINVAL)
    if not bits or len(extension) == 8:
        if not may_be_empty:
            raise Refused(EINVAL)
        bits, data = 0, b""
    return extensions.key(kind, data, bits)


def _encryption_key(extension: bytes, protocol: int, encrypt: int) -> bytes:
    if protocol == IPPROTO_IPCOMP:
        if len(extension) != 8:
            raise Refused(EINVAL)
        return b""
    if protocol != IPPROTO_ESP:
        raise Refused(EINVAL)
    return _key(EXT_KEY_ENCRYPT, extension, encrypt == EALG_NULL and release.EMPTY_KEY_OF_NULL_CIPHER)


def _check_esp(flags: int, encrypt: int, key_encrypt: bytes, auth: int, key_auth: bytes) -> int:
    """Checks ESP's algorithms; returns the authentication id, which an AEAD brings with itself."""
    if flags & SA_FLAG_OLD and flags & SA_FLAG_DERIV:
        raise Refused(EINVAL)
    cipher = _ENCRYPTIONS.get(encrypt)
    if cipher is None or not cipher.usable or not key_encrypt:
        raise Refused(EINVAL)
    if flags & SA_FLAG_IV4B and not flags & SA_FLAG_OLD:
        raise Refused(EINVAL)
    size = len(extensions.read_key(key_encrypt)[1])
    if not cipher.accepts_key(size):
        raise Refused(EINVAL)
    if auth != AALG_NONE:
        _check_auth(flags, auth, key_auth, cipher.aead)
    return implicit_authentication(cipher, size) or auth


def _check_auth(flags: int, auth: int, key_auth: bytes, beside_aead: bool = False) -> None:
    row = _AUTHENTICATIONS.get(auth)
    if row is None or not key_auth or flags & SA_FLAG_OLD:
        raise Refused(EINVAL)
    if not row.accepts_key(len(extensions.read_key(key_auth)[1])) or beside_aead:
        raise Refused(EINVAL)
    if not row.usable:
        raise Refused(EOPNOTSUPP)


def _nat_t(
    found: Extensions, protocol: int, mode: int, src: bytes, dst: bytes
) -> tuple[tuple[int, int], bytes, bytes] | None:
    """Ports and original addresses of an SA in UDP; None if the request does not have all of type and both ports."""
    if protocol != IPPROTO_ESP or not has_nat_t(found):
        return None
    if found[EXT_X_NAT_T_TYPE][4] != NAT_T_ESPINUDP:
        raise Refused(EINVAL)
    ports = (
        extensions.read_nat_t_port(found[EXT_X_NAT_T_SPORT]),
        extensions.read_nat_t_port(found[EXT_X_NAT_T_DPORT]),
    )
    if not all(ports):
        raise Refused(EINVAL)
    oai = oar = b""
    if mode != MODE_TUNNEL:
        oai = _original_address(found.get(EXT_X_NAT_T_OAI), src)
        oar = _original_address(found.get(EXT_X_NAT_T_OAR), dst)
    return ports, oai, oar


def set_nat_t(sa: SecurityAssociation, found: Extensions, mode: int, src: bytes, dst: bytes) -> None:
    """Replaces an SA's NAT-T data by the request's; one that does not have all of it leaves none."""
    sa.natt, sa.oai, sa.oar = _nat_t(found, sa.head.protocol, mode, src, dst) or (None, b"", b"")


def has_nat_t(found: Extensions) -> bool:
    return EXT_X_NAT_T_TYPE in found and EXT_X_NAT_T_SPORT in found and EXT_X_NAT_T_DPORT in found


def _original_address(extension: bytes | None, own: bytes) -> bytes:
    """The socket address as it was sent, port included; empty if its address is the SA's own."""
    if extension is None:
        return b""
    sockaddr = extensions.read_address(extension)[2]
    if not sockaddrs.is_valid(sockaddr):
        raise Refused(EINVAL)
    if sockaddr[1] != AF_INET and not release.NATT_ORIGINAL_ADDRESS_IPV6:
        raise Refused(EINVAL)
    return b"" if sockaddrs.address(sockaddr) == sockaddrs.address(own) else sockaddr


def check_address_pair(src: bytes, dst: bytes) -> None:
    """Both socket addresses of a pair: Refused EINVAL or EAFNOSUPPORT."""
    if src[1] != dst[1] or src[0] != dst[0]:
        raise Refused(EINVAL)
    expected = sockaddrs.length_of_family(src[1])
    if not expected:
        raise Refused(EAFNOSUPPORT)
    if src[0] != expected:
        raise Refused(EINVAL)
