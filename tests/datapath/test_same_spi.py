"""An SA is gone and another one has its SPI: nothing that was kept or asked for the first falls upon the second."""

from __future__ import annotations

import pytest

from ipsectools.esp.sa import EspSA
from ipsectools.host.api import OuterPacket
from ipsectools.kernel.key.counters import RECEIVE_BLOCK
from ipsectools.kernel.key.sad import SecurityAssociation
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_KEY_ENCRYPT,
    MODE_TUNNEL,
    SADB_ADD,
    SADB_FLUSH,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build
from tests.datapath.test_forwarding import PING, A, B, Host
from tests.datapath.world import CORES, traffic

pytestmark = pytest.mark.parametrize("core", CORES)
KEY = b"VerySecureKey!!1"
OUT, IN = 1000, 2000


class Peer:
    """The other end of an SA that arrives here: its packets by number."""

    def __init__(self) -> None:
        self.esp = EspSA(IN, 12, KEY, 0, b"", 0, 0, traffic())

    def packet(self, sequence: int) -> OuterPacket:
        sealed = self.esp.seal_with(PING, sequence, bytes(16))
        return OuterPacket(sockaddr.address(sockaddr.from_text(B)), sockaddr.address(sockaddr.from_text(A)), sealed)


def add(host: Host) -> None:
    """Both SAs anew, the inbound one with a replay window."""
    host.request(SADB_FLUSH)
    for spi, src, dst in ((OUT, A, B), (IN, B, A)):
        body = ext.sa(spi, encrypt=12, replay=8) + ext.sa2(MODE_TUNNEL, 100)
        for kind, address in ((EXT_ADDRESS_SRC, src), (EXT_ADDRESS_DST, dst)):
            body += ext.address(kind, sockaddr.from_text(address), protocol=255)
        assert host.pfkey.send(build(SADB_ADD, SATYPE_ESP, body + ext.key(EXT_KEY_ENCRYPT, KEY)), host.now) == 0


def sa_of(host: Host, spi: int) -> SecurityAssociation:
    return host.kernel.engine.sad.by_spi[spi]


def receive(host: Host, *sequences: int) -> None:
    peer = Peer()
    for sequence in sequences:
        host.wire.feed(peer.packet(sequence))
        while host.forwarder.pump.step():
            host.forwarder.handle_events(host.now)


def test_edges_are_lowered_for_the_sa_that_is_there(core: str) -> None:
    """What the first had seen once made the limit of the second negative."""
    host = Host(core)
    add(host)
    receive(host, *range(1, 9000, 400))
    host.now += 1
    host.forwarder.handle_events(host.now)
    assert sa_of(host, IN).traffic.received_high == 8801
    add(host)
    receive(host, 1, 1000, 2)
    for _ in range(3):
        host.now += 20
        host.forwarder.handle_events(host.now)
    seen = sa_of(host, IN).traffic
    assert (seen.packets, seen.received_high) == (2, 1000)
    assert 1000 + RECEIVE_BLOCK <= seen.received_limit <= 1000 + 2 * RECEIVE_BLOCK


def test_what_packets_asked_for_the_first_is_not_done_to_the_second(core: str) -> None:
    host = Host(core)
    add(host)
    outbound = sa_of(host, OUT).traffic
    outbound.sequence_limit = 1 << 40
    host.forwarder.pump.grant(outbound)
    outbound.sequence = 0xFFFFFFFF
    assert host.send() == []  # exhausted
    host.wire.feed(Peer().packet(1 << 20))
    while host.forwarder.pump.step():
        pass
    add(host)
    before = sa_of(host, OUT).traffic.sequence_limit, sa_of(host, IN).traffic.received_limit
    host.forwarder.handle_events(host.now)
    assert sa_of(host, OUT).alive
    assert (sa_of(host, OUT).traffic.sequence_limit, sa_of(host, IN).traffic.received_limit) == before
    assert host.send() == [OUT]


def test_an_sa_made_after_a_rollback_has_no_id_that_was_another_s(core: str) -> None:
    host = Host(core)
    add(host)
    ids = {sa_of(host, spi).id for spi in (OUT, IN)}
    host.request(SADB_FLUSH)
    try:
        with host.kernel.request(host.now):
            host.kernel.engine.new_reqid()
            raise ValueError("something else is wrong")
    except ValueError:
        pass
    add(host)
    assert ids.isdisjoint(sa_of(host, spi).id for spi in (OUT, IN))
