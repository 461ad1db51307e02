"""An independent implementation of ESP, scapy's, at the other end of the wire."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.host import Host
from ipsectools.lab.ping import ping
from tests.traffic.scene import ALGORITHMS, INNER, OUTER, SPIS, Algorithm, configure, tunnel

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]

TRANSFORMS = [algorithm for algorithm in ALGORITHMS if algorithm.scapy_cipher]


def scapy_sa(algorithm: Algorithm, spi: int) -> Any:
    """scapy's SA of the direction that this SPI stands for."""
    from scapy.layers.inet import IP
    from scapy.layers.ipsec import ESP, SecurityAssociation

    source, destination = OUTER["inet"] if spi == SPIS[0] else reversed(OUTER["inet"])
    return SecurityAssociation(  # type: ignore[no-untyped-call]
        ESP,
        spi=spi,
        crypt_algo=algorithm.scapy_cipher,
        crypt_key=None if algorithm.scapy_cipher == "NULL" else algorithm.key(spi),
        auth_algo=algorithm.scapy_authenticator,
        auth_key=algorithm.auth_key(spi) if algorithm.scapy_authenticator else None,
        tunnel_header=IP(src=source, dst=destination),
    )


@pytest.mark.parametrize("algorithm", TRANSFORMS, ids=str)
def test_scapy_decrypts_what_we_send(hosts: Pair, algorithm: Algorithm) -> None:
    from scapy.layers.inet import ICMP, IP

    a, b = hosts
    tunnel(a, b, algorithm)
    sizes = [0, 1, 13, 14, 15, 16, 100, 1372]
    with Capture(a) as capture:
        assert ping(a, INNER["inet"][1], sizes=sizes)
        packets = capture.esp()
    for spi, kind in zip(SPIS, (8, 0), strict=True):
        witness = scapy_sa(algorithm, spi)
        inner = [witness.decrypt(IP(seen.packet)) for seen in packets if seen.spi == spi]
        assert [len(packet[ICMP].payload) for packet in inner] == sizes
        assert {packet[ICMP].type for packet in inner} == {kind}
        assert {packet[IP].ttl for packet in inner} == {64}


@pytest.mark.parametrize("algorithm", TRANSFORMS, ids=str)
def test_we_decrypt_what_scapy_sends(hosts: Pair, algorithm: Algorithm) -> None:
    """Only B has a tunnel. What scapy seals goes out of A's wire as it is; B's answer comes back sealed by us."""
    from scapy.layers.inet import ICMP, IP
    from scapy.packet import Raw

    a, b = hosts
    configure(b, 1, algorithm)
    forth, back = (scapy_sa(algorithm, spi) for spi in SPIS)
    with a.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ESP) as wire:
        for number, size in enumerate((0, 1, 15, 16, 17, 1000), 1):
            data = bytes(i & 0xFF for i in range(size))
            request = IP(src=INNER["inet"][0], dst=INNER["inet"][1]) / ICMP(id=7, seq=number) / Raw(data)
            sealed = forth.encrypt(request, seq_num=number)
            wire.sendto(bytes(sealed)[20:], (OUTER["inet"][1], 0))
            answer = back.decrypt(IP(receive(wire)))
            assert (answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq) == (0, 7, number)
            assert bytes(answer[ICMP].payload) == data


def receive(wire: socket.socket) -> bytes:
    """The next ESP packet with its outer header."""
    deadline = time.monotonic() + 10
    assert select.select([wire], [], [], deadline - time.monotonic())[0], "no answer"
    return wire.recv(65536)
