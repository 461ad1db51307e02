"""SAs of counter modes that share a key are known for it, as long as they do."""

from __future__ import annotations

from typing import Any

from ipsectools.kernel.key.shared_keys import MOST_SPIS
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import (
    EALG_AESCBC,
    EALG_AESCTR,
    EALG_AESGCM16,
    SADB_DELETE,
    SADB_FLUSH,
    SADB_GETSPI,
    SADB_UPDATE,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build
from tests.key.driver import A, B, Driver, add, pair

KEY = bytes(range(20))


def report(driver: Driver) -> list[dict[str, Any]]:
    return driver.engine.counters.shared_keys.report()


def texts(driver: Driver) -> list[str]:
    return [told["text"] for told in report(driver)]


def gcm(spi: int, src: str = A, dst: str = B, key: bytes = KEY, encrypt: int = EALG_AESGCM16) -> bytes:
    return add(spi, src, dst, key=key, encrypt=encrypt)


def test_both_directions_and_further_sas() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(gcm(1000))
    assert report(driver) == []
    client.ask(gcm(1001, B, A))
    assert texts(driver) == ["SPIs 1000, 1001 have the same key, in both directions"]
    (told,) = report(driver)
    assert told["both"] and told["spis"] == [1001, 1000] and "setkey(8)" in told["fix"]
    client.ask(build(SADB_DELETE, SATYPE_ESP, ext.sa(1001) + pair(B, A)))
    assert report(driver) == []
    client.ask(gcm(1002, encrypt=EALG_AESCTR))  # the same key stream
    assert texts(driver) == ["SPIs 1000, 1002 have the same key"]
    for spi in range(2000, 2020):
        client.ask(gcm(spi))
    (told,) = report(driver)
    assert told["text"].endswith(" and 6 more have the same key") and len(told["spis"]) == MOST_SPIS
    client.ask(build(SADB_FLUSH, 0))
    assert report(driver) == []
    client.ask(gcm(1000))
    assert report(driver) == []


def test_other_keys_and_other_modes_share_nothing() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(gcm(1000))
    client.ask(gcm(1001, B, A, key=KEY[:16] + b"salt"))
    for spi, (src, dst) in ((1002, (A, B)), (1003, (B, A))):
        client.ask(add(spi, src, dst, key=KEY[:16], encrypt=EALG_AESCBC))
    assert report(driver) == []


def test_an_sa_of_an_ike_daemon_counts_when_it_has_its_key() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(gcm(1000))
    client.ask(build(SADB_GETSPI, SATYPE_ESP, pair(B, A) + ext.spirange(1001, 1001) + ext.sa2(2, 100)))
    assert report(driver) == []
    message = bytearray(gcm(1001, B, A))
    message[1] = SADB_UPDATE
    assert client.errno(bytes(message)) == 0
    assert texts(driver) == ["SPIs 1000, 1001 have the same key, in both directions"]


def test_they_are_known_after_a_restart_and_a_rollback() -> None:
    driver = Driver()
    client = driver.client()
    client.ask(gcm(1000))
    client.ask(gcm(1001, B, A))
    before = report(driver)
    driver.restart(clean=False)
    assert report(driver) == before
    client = driver.client()
    client.socket.send(gcm(1002), driver.now)
    driver.store.rollback()
    driver.engine.load(driver.now)
    assert report(driver) == before
    client.socket.send(build(SADB_FLUSH, 0), driver.now)
    driver.store.rollback()
    driver.engine.load(driver.now)
    assert report(driver) == before
    assert KEY.hex() not in repr(report(driver)) + repr(driver.engine.counters.shared_keys)
