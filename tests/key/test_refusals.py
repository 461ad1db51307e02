"""Every way in which the key engine says no: the errno, whether the write fails or a reply comes, and to whom."""

from __future__ import annotations

import pytest

from ipsectools.errno import (
    EACCES,
    EAFNOSUPPORT,
    EAGAIN,
    EEXIST,
    EINVAL,
    ENOBUFS,
    ENOENT,
    EOPNOTSUPP,
    EPROTONOSUPPORT,
    ESRCH,
    KernelError,
)
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    AALG_AES128GMAC,
    AALG_CHACHA20POLY1305,
    AALG_NULL,
    AALG_SHA1HMAC,
    AALG_SHA2_512,
    EALG_AESCTR,
    EALG_AESGCM16,
    EALG_CHACHA20POLY1305,
    EALG_NULL,
    MODE_ANY,
    MODE_TRANSPORT,
    MODE_TUNNEL,
    SADB_ACQUIRE,
    SADB_ADD,
    SADB_DELETE,
    SADB_DUMP,
    SADB_EXPIRE,
    SADB_FLUSH,
    SADB_GET,
    SADB_GETSPI,
    SADB_REGISTER,
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
)
from ipsectools.pfkey.message import HEADER, build
from tests.key.driver import KEY, A, B, C, Client, Driver, add, address, pair

SA = ext.sa(0x1000, encrypt=12)
ENCRYPT = ext.key(9, KEY)
HMAC = ext.key(8, bytes(20))
HARD, SOFT = ext.lifetime(3, addtime=30), ext.lifetime(4, addtime=20)
TUNNEL = ext.sa2(MODE_TUNNEL, 100)


@pytest.fixture
def client() -> Client:
    return Driver().client()


# header

SATYPE_ROWS = [
    *[
        (type, 0, EINVAL)
        for type in (SADB_GETSPI, SADB_UPDATE, SADB_ADD, SADB_DELETE, SADB_GET, SADB_ACQUIRE, SADB_EXPIRE)
    ],
    *[(type, 0, 0) for type in (SADB_REGISTER, SADB_FLUSH)],
    (SADB_DUMP, 0, ENOENT),
    *[
        (type, satype, EINVAL)
        for type in (
            SADB_X_SPDADD,
            SADB_X_SPDDELETE,
            SADB_X_SPDGET,
            SADB_X_SPDFLUSH,
            SADB_X_SPDSETIDX,
            SADB_X_SPDUPDATE,
            SADB_X_SPDDELETE2,
        )
        for satype in (2, 3, 9, 11)
    ],
    *[(type, satype, EOPNOTSUPP) for type in (SADB_FLUSH, SADB_REGISTER, SADB_ADD) for satype in (5, 6, 7, 8)],
    *[(type, 1, EINVAL) for type in (SADB_FLUSH, SADB_DUMP, SADB_REGISTER)],
    (SADB_X_PROMISC, 1, 0),
    (SADB_X_PROMISC, 0, 0),
    *[(SADB_X_PROMISC, satype, EINVAL) for satype in (2, 3, 9, 11)],
    *[(SADB_FLUSH, satype, EINVAL) for satype in (4, 10, 12, 13, 255)],
    *[(SADB_X_SPDDUMP, satype, EINVAL) for satype in (3, 5, 8, 9, 255)],
    *[(SADB_X_SPDDUMP, satype, ENOENT) for satype in (0, 1, 2, 4)],
    *[(type, 0, EINVAL) for type in (0, 12, 17, 21)],
    *[(type, 3, EINVAL) for type in (0, SADB_EXPIRE, 12, 17, 21)],
]


@pytest.mark.parametrize(("type", "satype", "errno"), SATYPE_ROWS)
def test_satype(client: Client, type: int, satype: int, errno: int) -> None:
    assert client.errno(build(type, satype)) == errno


def test_version_and_type(client: Client) -> None:
    assert client.errno(HEADER.pack(1, SADB_FLUSH, 0, 0, 2, 0, 0, 0)) == EINVAL
    assert client.errno(HEADER.pack(2, 23, 0, 0, 2, 0, 0, 0)) == EINVAL
    assert client.errno(HEADER.pack(3, SADB_FLUSH, 0, 0, 500, 0, 0, 0) + bytes(500 * 8 - 16)) == EINVAL


@pytest.mark.parametrize(
    ("data", "errno"),
    [
        (b"", EINVAL),
        (build(SADB_FLUSH, 0)[:15], EINVAL),
        (build(SADB_FLUSH, 0) + bytes(8), EINVAL),
        (build(SADB_ADD, 3, ext.key(9, bytes(2048))), ENOBUFS),
        (build(SADB_ADD, 0, SA + SA), EINVAL),
        (build(SADB_ADD, 3, bytes.fromhex("0400090000000000")), ENOBUFS),
    ],
)
def test_a_malformed_message_fails_the_write_and_has_no_answer(client: Client, data: bytes, errno: int) -> None:
    other = client.driver.client()
    assert client.send(data) == errno
    assert client.take() == other.take() == []


def mixed(src: bytes, dst: bytes) -> bytes:
    return build(SADB_GET, 3, SA + src + dst)


V4, V6 = sockaddr.from_text("10.0.0.1"), sockaddr.from_text("fd00::1")
ADDRESS_ROWS = {
    "protocols differ": (ext.address(5, V4, protocol=6), ext.address(6, V4, protocol=17), EINVAL),
    "families differ": (ext.address(5, V4), ext.address(6, V6), EINVAL),
    "lengths differ": (
        ext.address(5, V4, prefixlen=32),
        ext.address(6, b"\x18\x02" + V4[2:] + bytes(8), prefixlen=32),
        EINVAL,
    ),
    "length wrong for the family": tuple(
        [ext.address(kind, b"\x18\x02" + V4[2:] + bytes(8), prefixlen=32) for kind in (5, 6)] + [EINVAL]
    ),
    "family unknown": tuple([ext.address(kind, b"\x10\x05" + V4[2:]) for kind in (5, 6)] + [EAFNOSUPPORT]),
    "IPv4 source prefix 33": (ext.address(5, V4, prefixlen=33), ext.address(6, V4), EINVAL),
    "IPv4 destination prefix 33": (ext.address(5, V4), ext.address(6, V4, prefixlen=33), EINVAL),
    "IPv6 prefix 129": (ext.address(5, V6, prefixlen=129), ext.address(6, V6), EINVAL),
    "prefix 0 is fine": (ext.address(5, V4, prefixlen=0), ext.address(6, V4, prefixlen=0), ESRCH),
}


@pytest.mark.parametrize("name", ADDRESS_ROWS)
def test_addresses(client: Client, name: str) -> None:
    src, dst, errno = ADDRESS_ROWS[name]
    assert client.errno(mixed(src, dst)) == errno


# SAs


def message(type: int, *parts: bytes, satype: int = 3) -> bytes:
    return build(type, satype, b"".join(parts))


ADD_ROWS = {
    "no SA": (message(SADB_ADD, TUNNEL, pair(), ENCRYPT), EINVAL),
    "no source": (message(SADB_ADD, SA, address(6, B), ENCRYPT), EINVAL),
    "no destination": (message(SADB_ADD, SA, address(5, A), ENCRYPT), EINVAL),
    "no encryption key": (message(SADB_ADD, SA, pair()), EINVAL),
    "AH without a key": (message(SADB_ADD, ext.sa(0x1000, auth=3), pair(), satype=2), EINVAL),
    "AH": (message(SADB_ADD, ext.sa(0x1000, auth=3), pair(), HMAC, satype=2), 0),
    "AH with an encryption key": (message(SADB_ADD, ext.sa(0x1000, auth=3), pair(), HMAC, ENCRYPT, satype=2), EINVAL),
    "AH without an algorithm": (message(SADB_ADD, ext.sa(0x1000), pair(), HMAC, satype=2), EINVAL),
    "AH with an encryption algorithm": (
        message(SADB_ADD, ext.sa(0x1000, auth=3, encrypt=12), pair(), HMAC, satype=2),
        EINVAL,
    ),
    "derived AH": (message(SADB_ADD, ext.sa(0x1000, auth=3, flags=0x20), pair(), HMAC, satype=2), EINVAL),
    "old AH": (message(SADB_ADD, ext.sa(0x1000, auth=3, flags=1), pair(), HMAC, satype=2), EINVAL),
    "IPComp": (message(SADB_ADD, ext.sa(0x1000, encrypt=2), pair(), satype=9), 0),
    "IPComp with an SPI of 32 bits": (message(SADB_ADD, ext.sa(0x10000, encrypt=2), pair(), satype=9), EINVAL),
    "raw IPComp": (message(SADB_ADD, ext.sa(0x10000, encrypt=2, flags=0x80), pair(), satype=9), 0),
    "IPComp with LZS": (message(SADB_ADD, ext.sa(0x1000, encrypt=3), pair(), satype=9), EINVAL),
    "IPComp with a key": (message(SADB_ADD, ext.sa(0x1000, encrypt=2), pair(), HMAC, satype=9), EINVAL),
    "IPComp with an authentication": (message(SADB_ADD, ext.sa(0x1000, auth=3, encrypt=2), pair(), satype=9), EINVAL),
    "TCP signature": (message(SADB_ADD, ext.sa(0x1000, auth=252), pair(), ext.key(8, KEY), satype=11), EINVAL),
    "only hard": (add(extra=HARD), EINVAL),
    "only soft": (add(extra=SOFT), EINVAL),
    "both lifetimes": (add(extra=HARD + SOFT), 0),
    "larval state": (add(state=0), 0),
    "SPI 255": (add(255), EINVAL),
    "SPI 256": (add(256), 0),
    "SPI 0": (add(0), EINVAL),
    "no X_SA2": (add(mode=None), 0),
    "one identity": (add(extra=ext.pad8(bytes.fromhex("02000a0001000000") + bytes(8))), EINVAL),
    "identities of two types": (
        add(extra=bytes.fromhex("02000a0001000000") + bytes(8) + bytes.fromhex("02000b0002000000") + bytes(8)),
        EINVAL,
    ),
    "unknown flag": (add(flags=0x1000), EINVAL),
    "every known flag that goes together": (add(flags=0x0FC0), 0),
    "OLD with DERIV": (add(flags=0x21), EINVAL),
    "IV4B without OLD": (add(flags=0x10), EINVAL),
    "OLD with authentication": (add(flags=1, auth=3, extra=HMAC), EINVAL),
    "OLD": (add(flags=1), 0),
    "replay window of 2^32-32 packets": (add(extra=ext.sa_replay(0xFFFFFFE0)), EINVAL),
    "replay window that no memory holds": (add(extra=ext.sa_replay(0xFFFFFFDF)), ENOBUFS),
    "replay window of 65536 packets": (add(extra=ext.sa_replay(65536)), 0),
    "empty authentication key": (add(auth=3, extra=ext.key(8, b"")), EINVAL),
    "empty NULL authentication key": (add(auth=AALG_NULL, extra=ext.key(8, b"")), EINVAL),
    "NULL authentication": (add(auth=AALG_NULL, extra=ext.key(8, b"x")), 0),
    "NULL authentication without a key": (add(auth=AALG_NULL), EINVAL),
    "unused authentication key": (add(extra=HMAC), 0),
    "more bits than bytes": (add(extra=ext.key(8, bytes(20), bits=8 * 25)), EINVAL),
    "empty key": (add(key=b""), EINVAL),
    "empty NULL key": (add(key=b"", encrypt=EALG_NULL), 0),
    "NULL": (add(key=b"\0", encrypt=EALG_NULL), 0),
    "NULL with 256 bytes": (add(key=bytes(256), encrypt=EALG_NULL), 0),
    "NULL with 257 bytes": (add(key=bytes(257), encrypt=EALG_NULL), EINVAL),
    **{f"encryption {id}": (add(encrypt=id), EINVAL) for id in (0, 2, 3, 6, 7, 18, 19, 22, 23, 255)},
    **{f"AES-CBC with {size} bytes": (add(key=bytes(size)), 0) for size in (16, 24, 32)},
    **{f"AES-CBC with {size} bytes": (add(key=bytes(size)), EINVAL) for size in (1, 15, 17, 20, 33)},
    **{
        f"{name} with {size} bytes": (add(key=bytes(size), encrypt=id), errno)
        for name, id in (("CTR", EALG_AESCTR), ("GCM", EALG_AESGCM16))
        for size, errno in ((20, 0), (28, 0), (36, 0), (16, EINVAL), (3, EINVAL), (24, EINVAL), (37, EINVAL))
    },
    **{
        f"ChaCha20 with {size} bytes": (add(key=bytes(size), encrypt=EALG_CHACHA20POLY1305), errno)
        for size, errno in ((36, 0), (32, EINVAL), (35, EINVAL), (20, EINVAL))
    },
    "HMAC": (add(auth=AALG_SHA1HMAC, extra=HMAC), 0),
    "HMAC without a key": (add(auth=AALG_SHA1HMAC), EINVAL),
    "HMAC with 1 byte": (add(auth=AALG_SHA1HMAC, extra=ext.key(8, b"k")), 0),
    "SHA1 with 64 bytes": (add(auth=AALG_SHA1HMAC, extra=ext.key(8, bytes(64))), 0),
    "SHA1 with 65 bytes": (add(auth=AALG_SHA1HMAC, extra=ext.key(8, bytes(65))), EINVAL),
    "SHA512 with 128 bytes": (add(auth=AALG_SHA2_512, extra=ext.key(8, bytes(128))), 0),
    "SHA512 with 129 bytes": (add(auth=AALG_SHA2_512, extra=ext.key(8, bytes(129))), EINVAL),
    **{f"authentication {id}": (add(auth=id, extra=HMAC), EINVAL) for id in (2, 8, 9, 249, 250, 252, 255)},
    "AEAD with authentication": (
        add(key=bytes(20), encrypt=EALG_AESGCM16, auth=AALG_SHA1HMAC, extra=HMAC),
        EINVAL,
    ),
    "AEAD with its own authentication": (
        add(key=bytes(20), encrypt=EALG_AESGCM16, auth=AALG_AES128GMAC, extra=ext.key(8, bytes(16))),
        EINVAL,
    ),
    "GMAC as authentication": (add(auth=AALG_AES128GMAC, extra=ext.key(8, bytes(16))), EOPNOTSUPP),
    "Poly1305 as authentication": (add(auth=AALG_CHACHA20POLY1305, extra=ext.key(8, bytes(16))), EOPNOTSUPP),
}


@pytest.mark.parametrize("name", ADD_ROWS)
def test_add(client: Client, name: str) -> None:
    request, errno = ADD_ROWS[name]
    assert client.errno(request) == errno
    assert client.errno(build(SADB_DUMP, 0)) == (ENOENT if errno else 0)


PORTS = ext.nat_t_port(21, 4500) + ext.nat_t_port(22, 4501)
NATT = ext.nat_t_type(2) + PORTS
NATT_ROWS = {
    "whole": (NATT, 0, True),
    "without a type": (PORTS, 0, False),
    "without a port": (NATT[:16], 0, False),
    "of another type": (ext.nat_t_type(1) + PORTS, EINVAL, False),
    "port 0": (ext.nat_t_type(2) + ext.nat_t_port(21, 0) + ext.nat_t_port(22, 1), EINVAL, False),
    "original address of a strange family": (NATT + ext.address(23, b"\x10\x05" + bytes(14)), EINVAL, False),
}


@pytest.mark.parametrize("name", NATT_ROWS)
def test_nat_t(client: Client, name: str) -> None:
    extra, errno, stored = NATT_ROWS[name]
    assert client.errno(add(mode=MODE_TRANSPORT, extra=extra)) == errno
    if not errno:
        (record,) = client.ask(build(SADB_DUMP, 0))
        assert (NATT in record) == stored


def test_spis_are_unique_over_everything(client: Client) -> None:
    assert client.errno(add()) == 0
    assert client.errno(add()) == EEXIST
    assert client.errno(add(src=B, dst=C, mode=MODE_TRANSPORT, reqid=7)) == EEXIST
    assert client.errno(message(SADB_ADD, ext.sa(0x1000, auth=3), pair(), HMAC, satype=2)) == EEXIST
    assert client.errno(message(SADB_GETSPI, pair(), ext.spirange(0x1000, 0x1000))) == EEXIST
    assert client.errno(message(SADB_GETSPI, pair(), ext.spirange(0x1001, 0x1001))) == 0
    assert client.errno(add(0x1001)) == EEXIST


GETSPI_ROWS = {
    "no source": (message(SADB_GETSPI, address(6, B)), EINVAL),
    "no destination": (message(SADB_GETSPI, address(5, A)), EINVAL),
    "reserved SPIs": (message(SADB_GETSPI, pair(), ext.spirange(1, 255)), EINVAL),
    "SPI 0": (message(SADB_GETSPI, pair(), ext.spirange(0, 0)), EEXIST),
    "one": (message(SADB_GETSPI, pair(), ext.spirange(300, 300)), 0),
    "the whole range": (message(SADB_GETSPI, pair(), ext.spirange(0, 0xFFFFFFFF)), 0),
    "automatic": (message(SADB_GETSPI, pair()), 0),
    "IPComp": (message(SADB_GETSPI, pair(), ext.spirange(0x90000, 0x12), satype=9), 0),
}


@pytest.mark.parametrize("name", GETSPI_ROWS)
def test_getspi(client: Client, name: str) -> None:
    request, errno = GETSPI_ROWS[name]
    assert client.errno(request) == errno


def test_getspi_gives_up(client: Client) -> None:
    client.driver.sysctl["net.key.spi_trycnt"] = 3
    client.driver.engine.random32 = lambda: 0  # type: ignore[method-assign]
    assert client.errno(message(SADB_GETSPI, pair(), ext.spirange(300, 301))) == 0
    assert client.errno(message(SADB_GETSPI, pair(), ext.spirange(300, 301))) == EEXIST


def test_getspi_reads_the_range_of_sysctl_as_unsigned(client: Client) -> None:
    client.driver.sysctl.update({"net.key.spi_minval": -1, "net.key.spi_maxval": -1})
    (answer,) = client.ask(message(SADB_GETSPI, pair()))
    assert ext.read_sa(answer[16:32])[0] == 0xFFFFFFFF


def update(**options: object) -> bytes:
    return add(type=SADB_UPDATE, **options)  # type: ignore[arg-type]


def test_update(client: Client) -> None:
    assert client.errno(update()) == EINVAL  # unknown SPI
    larval = build(SADB_GETSPI, 3, TUNNEL + pair() + ext.spirange(0x1000, 0x1000), pid=7)
    assert client.errno(larval) == 0
    assert client.errno(update(pid=8)) == EINVAL
    assert client.errno(update(pid=7, reqid=101)) == ESRCH
    assert client.errno(update(pid=7, mode=MODE_TRANSPORT)) == ESRCH
    assert client.errno(update(pid=7, mode=None)) == ESRCH
    assert client.errno(update(pid=7, dst=C)) == ESRCH
    assert client.errno(update(pid=7, extra=HARD)) == EINVAL
    assert client.errno(build(SADB_UPDATE, 3, SA + TUNNEL + pair(), pid=7)) == EINVAL  # no key
    assert client.errno(update(pid=7, key=bytes(17))) == EINVAL
    assert client.errno(update(pid=7, reqid=0)) == 0  # reqid 0 matches any
    assert client.errno(update(pid=7)) == EINVAL  # mature: no keys any more
    mature = SA + TUNNEL + pair()
    assert client.errno(build(SADB_UPDATE, 3, mature, pid=7)) == 0
    assert client.errno(build(SADB_UPDATE, 3, SA + TUNNEL + address(5, A), pid=7)) == EINVAL
    assert client.errno(build(SADB_UPDATE, 3, mature + NATT[:8], pid=7)) == EINVAL  # NAT-T type without ports
    assert client.errno(build(SADB_UPDATE, 3, mature + address(27, "fd00::1"), pid=7)) == EINVAL
    assert client.errno(build(SADB_UPDATE, 3, mature + ext.address(28, b"\1", prefixlen=0), pid=7)) == EINVAL
    assert client.errno(build(SADB_UPDATE, 3, mature + address(27, C) + address(28, "fd00::1"), pid=7)) == EINVAL
    strange = b"".join(ext.address(kind, b"\x10\x05" + bytes(14)) for kind in (27, 28))
    assert client.errno(build(SADB_UPDATE, 3, mature + strange, pid=7)) == EAFNOSUPPORT
    assert client.errno(build(SADB_UPDATE, 3, mature + NATT, pid=7)) == 0
    assert client.errno(build(SADB_UPDATE, 3, mature, pid=7)) == EINVAL  # an SA with NAT-T needs it each time
    assert client.errno(build(SADB_UPDATE, 3, mature + address(27, C) + address(28, B), pid=7)) == 0
    assert client.errno(build(SADB_UPDATE, 3, mature, pid=7)) == ESRCH  # it has moved away


def test_update_of_ipcomp_with_nat_t(client: Client) -> None:
    assert client.errno(message(SADB_ADD, ext.sa(0x1000, encrypt=2), pair(), satype=9)) == 0
    assert client.errno(message(SADB_UPDATE, ext.sa(0x1000, encrypt=2), pair(), NATT, satype=9)) == EINVAL


@pytest.mark.parametrize("type", [SADB_GET, SADB_DELETE])
def test_get_and_delete(client: Client, type: int) -> None:
    assert client.errno(add()) == 0
    assert client.errno(message(type, ext.sa(0x1001), pair())) == ESRCH
    assert client.errno(message(type, SA, pair(A, C))) == ESRCH
    assert client.errno(message(type, SA, pair(B, A))) == ESRCH
    assert client.errno(message(type, SA, pair(), satype=2)) == ESRCH
    assert client.errno(message(type, SA, address(5, A))) == EINVAL
    assert client.errno(message(type, SA, address(6, A))) == EINVAL
    assert client.errno(message(type, pair())) == (EINVAL if type == SADB_GET else 0)
    if type == SADB_GET:
        assert client.errno(message(type, SA, pair())) == 0
    assert client.errno(message(SADB_DELETE, pair())) == 0  # none left, or none there


def test_register_twice(client: Client) -> None:
    for satype in (2, 3, 9, 11):
        assert client.errno(build(SADB_REGISTER, satype)) == 0
        assert client.errno(build(SADB_REGISTER, satype)) == EEXIST
    assert client.errno(build(SADB_REGISTER, 0)) == 0
    assert client.errno(build(SADB_REGISTER, 0)) == 0


PROPOSAL = ext.proposal(13, 32, ext.combination(encrypt=12))


def test_acquire(client: Client) -> None:
    assert client.ask(build(SADB_ACQUIRE, 3)) == []  # a daemon's report: never an answer
    assert client.ask(build(SADB_ACQUIRE, 3, seq=9, errno=1)) == []
    assert client.errno(message(SADB_ACQUIRE, pair())) == EINVAL
    assert client.errno(message(SADB_ACQUIRE, address(5, A), PROPOSAL)) == EINVAL
    assert client.ask(message(SADB_ACQUIRE, pair(), PROPOSAL)) == []  # not registered
    assert client.errno(message(SADB_GETSPI, pair())) == 0
    assert client.errno(message(SADB_ACQUIRE, pair(), PROPOSAL)) == EEXIST  # a larval SA's head is enough


# policies


def request(level: int = 2, reqid: int = 0, protocol: int = 50) -> bytes:
    ends = sockaddr.from_text(A), sockaddr.from_text(B)
    return policies.Request(protocol, MODE_TUNNEL, level, reqid, *ends).pack()


def spd(type: int, body: bytes, *, policy: int = 2, direction: int = 2, extra: bytes = b"") -> bytes:
    selector = pair("10.0.0.0", "10.1.0.0", prefixlen=24)
    return build(type, 0, policies.policy(policy, direction, body) + selector + extra)


SPD_ROWS = {
    "no source": (build(SADB_X_SPDADD, 0, policies.policy(1, 2) + address(6, B)), EINVAL),
    "no policy": (build(SADB_X_SPDADD, 0, pair()), EINVAL),
    "direction any": (spd(SADB_X_SPDADD, request(), direction=0), EINVAL),
    "direction 3": (spd(SADB_X_SPDADD, request(), direction=3), EINVAL),
    "entrust": (spd(SADB_X_SPDADD, b"", policy=3), EINVAL),
    "bypass": (spd(SADB_X_SPDADD, b"", policy=4), EINVAL),
    "discard": (spd(SADB_X_SPDADD, b"", policy=0), 0),
    "none": (spd(SADB_X_SPDADD, b"", policy=1), 0),
    "none with requests": (spd(SADB_X_SPDADD, b"\xff" * 8, policy=1), 0),
    "ipsec without requests": (spd(SADB_X_SPDADD, b""), EINVAL),
    "ipsec": (spd(SADB_X_SPDADD, request()), 0),
    "TCP": (spd(SADB_X_SPDADD, request(protocol=6)), EPROTONOSUPPORT),
    "with a hard lifetime": (spd(SADB_X_SPDADD, request(), extra=HARD), 0),
    "update of none": (spd(SADB_X_SPDUPDATE, request()), 0),
    "setidx": (spd(SADB_X_SPDSETIDX, request()), 0),
    "delete of none": (spd(SADB_X_SPDDELETE, request()), EINVAL),
    "delete, direction 0": (spd(SADB_X_SPDDELETE, request(), direction=0), EINVAL),
    "delete by id of none": (build(SADB_X_SPDDELETE2, 0, policies.policy(0, 0, id=5)), EINVAL),
    "delete by id without a policy": (build(SADB_X_SPDDELETE2, 0), EINVAL),
    "get of none": (build(SADB_X_SPDGET, 0, policies.policy(0, 0, id=5)), ENOENT),
    "get without a policy": (build(SADB_X_SPDGET, 0), EINVAL),
    "flush with more than a header": (build(SADB_X_SPDFLUSH, 0, SA), EINVAL),
    "flush": (build(SADB_X_SPDFLUSH, 0), 0),
}


@pytest.mark.parametrize("name", SPD_ROWS)
def test_spd(client: Client, name: str) -> None:
    data, errno = SPD_ROWS[name]
    assert client.errno(data) == errno


def test_no_policy_id(client: Client) -> None:
    """ENOBUFS, EAGAIN for an interface; an X_SPDUPDATE has deleted the old policy."""
    driver = client.driver
    assert client.errno(spd(SADB_X_SPDADD, request())) == 0
    driver.sysctl["net.key.spi_trycnt"] = 0
    assert client.errno(spd(SADB_X_SPDADD, request(), direction=1)) == ENOBUFS
    assert client.errno(spd(SADB_X_SPDUPDATE, request())) == ENOBUFS
    assert client.errno(build(SADB_X_SPDDUMP, 0)) == ENOENT
    with pytest.raises(KernelError) as raised:
        driver.engine.install_interface_policies(3, 100, A, B, driver.now)
    assert raised.value.errno == EAGAIN


def test_spd_of_the_same_selector(client: Client) -> None:
    assert client.errno(spd(SADB_X_SPDADD, request())) == 0
    assert client.errno(spd(SADB_X_SPDADD, request())) == EEXIST
    assert client.errno(spd(SADB_X_SPDSETIDX, request())) == EEXIST
    assert client.errno(spd(SADB_X_SPDADD, request(), direction=1)) == 0
    assert client.errno(spd(SADB_X_SPDUPDATE, request(protocol=6))) == EPROTONOSUPPORT
    assert client.errno(spd(SADB_X_SPDDELETE, request())) == EINVAL  # the failed update deleted it


def test_policies_of_interfaces_are_protected(client: Client) -> None:
    driver = client.driver
    ids = driver.engine.install_interface_policies(3, 100, A, B, driver.now)
    driver.end()
    client.take()
    assert client.errno(build(SADB_X_SPDDELETE2, 0, policies.policy(0, 0, id=ids[0]))) == EACCES
    assert client.errno(build(SADB_X_SPDGET, 0, policies.policy(0, 0, id=ids[0]))) == 0
    anything = pair("0.0.0.0", "0.0.0.0", prefixlen=0)
    assert client.errno(build(SADB_X_SPDDELETE, 0, policies.policy(2, 1) + anything)) == EINVAL
    assert client.errno(build(SADB_X_SPDFLUSH, 0)) == 0
    assert client.errno(build(SADB_X_SPDDUMP, 1)) == ENOENT
    assert len(client.ask(build(SADB_X_SPDDUMP, 2))) == 4


def test_a_refusal_goes_to_its_sender_with_the_keys_and_to_no_other(client: Client) -> None:
    other = client.driver.client()
    broken = add(key=bytes(range(17)), mode=MODE_ANY)
    (answer,) = client.ask(broken)
    assert answer == broken[:2] + bytes((EINVAL,)) + broken[3:]
    assert other.take() == []
