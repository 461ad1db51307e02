"""SAs of TCP signatures: refused until the module tcpmd5 is loaded, then known by their addresses."""

from __future__ import annotations

import struct
from socket import inet_aton

import pytest

from ipsectools.errno import EEXIST, EINVAL, ENOENT, ESRCH
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import (
    AALG_SHA1HMAC,
    AALG_TCP_MD5,
    MODE_TRANSPORT,
    SADB_ADD,
    SADB_DELETE,
    SADB_DUMP,
    SADB_GET,
    SADB_GETSPI,
    SADB_UPDATE,
    SATYPE_AH,
    SATYPE_TCPSIGNATURE,
)
from ipsectools.pfkey.message import build
from tests.key.driver import KEY, A, B, C, Client, Driver, add, pair

SECRET = ext.key(8, b"TCP-MD5 BGP secret")


def tcp(
    spi: int = 0x1000,
    *,
    src: str = A,
    dst: str = B,
    key: bytes = SECRET,
    auth: int = AALG_TCP_MD5,
    encrypt: int = 0,
    extra: bytes = b"",
    type: int = SADB_ADD,
) -> bytes:
    return build(type, SATYPE_TCPSIGNATURE, ext.sa(spi, auth=auth, encrypt=encrypt) + extra + pair(src, dst) + key)


def named(type: int, spi: int, src: str = A, dst: str = B, satype: int = SATYPE_TCPSIGNATURE) -> bytes:
    return build(type, satype, ext.sa(spi) + pair(src, dst))


def spis(client: Client) -> list[int]:
    records = client.ask(build(SADB_DUMP, SATYPE_TCPSIGNATURE))
    return [] if records[0][2] == ENOENT else [spi_of(record) for record in records]


def spi_of(record: bytes) -> int:
    return int(struct.unpack_from(">I", record, 20)[0])


@pytest.fixture
def client() -> Client:
    driver = Driver()
    driver.engine.set_tcpmd5(True)
    driver.end()
    return driver.client()


def test_the_default_is_to_refuse() -> None:
    client = Driver().client()
    assert client.errno(tcp()) == EINVAL
    assert client.errno(add(0x1000)) == 0
    assert client.errno(tcp()) == EINVAL  # also with an SPI that is in use
    assert client.errno(named(SADB_GET, 0x1000)) == ESRCH
    assert spis(client) == []


def test_add_get_delete(client: Client) -> None:
    request = tcp()
    (answer,) = client.ask(request)
    assert answer[16:] == request[16 : -len(SECRET)]  # the key is not told
    (record,) = client.ask(named(SADB_GET, 0x1000))
    assert (record[2:4], spi_of(record)) == (bytes((0, SATYPE_TCPSIGNATURE)), 0x1000)
    assert record.endswith(SECRET)
    assert client.ask(named(SADB_GET, 7))[0][16:] == record[16:]  # only the addresses count
    assert client.errno(named(SADB_GET, 0x1000, A, C)) == ESRCH
    assert client.errno(named(SADB_GET, 0x1000, B, A)) == ESRCH
    assert client.errno(named(SADB_GET, 0x1000, satype=SATYPE_AH)) == ESRCH
    assert client.errno(named(SADB_DELETE, 0x1000, A, C)) == ESRCH
    assert client.errno(named(SADB_DELETE, 7)) == 0
    assert client.errno(named(SADB_DELETE, 7)) == ESRCH
    assert spis(client) == []


def test_no_packet_uses_it(client: Client) -> None:
    client.ask(tcp(extra=ext.sa2(0, 100)))
    engine = client.driver.engine
    assert not engine.sad.by_spi[0x1000].usable
    assert engine.outbound_sa(A, B, 100) is None
    assert engine.inbound_sa(0x1000, inet_aton(B)) is None


def test_delete_all(client: Client) -> None:
    client.ask(tcp())
    client.ask(tcp(0x1001, src=B, dst=A))
    assert client.errno(build(SADB_DELETE, SATYPE_TCPSIGNATURE, pair())) == 0
    assert spis(client) == [0x1001]


@pytest.mark.parametrize("spi", [0, 1, 255, 0xFFFFFFFF])
def test_any_spi(client: Client, spi: int) -> None:
    assert client.errno(tcp(spi)) == 0
    assert spis(client) == [spi]


def test_one_between_two_addresses(client: Client) -> None:
    assert client.errno(tcp(1)) == 0
    for spi in (1, 2):
        assert client.errno(tcp(spi)) == EEXIST
        assert client.errno(tcp(spi, extra=ext.sa2(MODE_TRANSPORT, 9))) == EEXIST
    assert client.errno(tcp(2, src=B, dst=A)) == 0
    assert client.errno(tcp(3, dst=C)) == 0
    assert sorted(spis(client)) == [1, 2, 3]


def test_a_taken_spi_is_replaced(client: Client) -> None:
    client.ask(add(0x1000))
    (answer,) = client.ask(tcp(0x1000))
    assert (answer[2], spi_of(answer)) == (0, 0x1000)  # the answer repeats the request
    (spi,) = spis(client)
    assert 0x100 <= spi <= 0x0FFFFFFF
    assert spi != 0x1000
    assert client.errno(tcp(spi, dst=C)) == 0
    assert len(set(spis(client))) == 2
    assert client.errno(add(spi)) == EEXIST
    assert client.errno(named(SADB_DELETE, 0x1000)) == 0
    assert client.errno(named(SADB_GET, 0x1000, satype=3)) == 0  # not that of ESP


@pytest.mark.parametrize(
    ("request_", "errno"),
    [
        (tcp(key=ext.key(8, b"k")), 0),
        (tcp(key=ext.key(8, bytes(80))), 0),
        (tcp(key=ext.key(8, bytes(81))), EINVAL),
        (tcp(key=ext.key(8, b"")), EINVAL),
        (tcp(key=b""), EINVAL),
        (tcp(key=ext.key(8, b"k", bits=7)), EINVAL),
        (tcp(auth=0), EINVAL),
        (tcp(encrypt=12), EINVAL),
        (tcp(auth=AALG_SHA1HMAC), EINVAL),
        (tcp(key=SECRET + ext.key(9, KEY)), EINVAL),
        (tcp(key=ext.key(9, KEY)), EINVAL),
    ],
)
def test_values(client: Client, request_: bytes, errno: int) -> None:
    assert client.errno(request_) == errno
    assert spis(client) == ([] if errno else [0x1000])


def test_larval(client: Client) -> None:
    spirange = ext.spirange(0x2000, 0x2000)
    assert client.errno(build(SADB_GETSPI, SATYPE_TCPSIGNATURE, pair() + spirange)) == 0
    assert client.errno(named(SADB_GET, 0x2000)) == ESRCH
    assert client.errno(tcp(0x2000, type=SADB_UPDATE)) == 0
    assert client.errno(named(SADB_GET, 0x2000)) == 0


def test_a_newer_head_without_an_sa_hides_the_older_one(client: Client) -> None:
    assert client.errno(tcp(1, extra=ext.sa2(MODE_TRANSPORT, 1))) == 0
    larval = build(SADB_GETSPI, SATYPE_TCPSIGNATURE, ext.sa2(MODE_TRANSPORT, 2) + pair())
    assert client.errno(larval) == 0
    assert client.errno(named(SADB_GET, 1)) == ESRCH
    assert client.errno(tcp(2, extra=ext.sa2(MODE_TRANSPORT, 2))) == 0
    assert spi_of(client.ask(named(SADB_GET, 1))[0]) == 2


@pytest.mark.parametrize("clean", [True, False])
def test_restart(client: Client, clean: bool) -> None:
    client.ask(tcp())
    driver = client.driver
    driver.restart(clean)
    client = driver.client()
    assert spis(client) == [0x1000]
    assert client.errno(tcp(5)) == EEXIST
    assert client.errno(tcp(5, dst=C)) == 0
    driver.engine.set_tcpmd5(False)
    driver.end()
    driver.restart(clean)
    assert driver.client().errno(tcp(6, src=C)) == EINVAL


def test_a_request_that_is_undone_loads_nothing() -> None:
    driver = Driver()
    driver.engine.set_tcpmd5(True)
    driver.engine.drop_outbox()
    driver.store.rollback()
    driver.engine.load(driver.now)
    assert driver.client().errno(tcp()) == EINVAL
