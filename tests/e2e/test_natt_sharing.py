"""NAT-T and the sockets of IKE daemons that come and go, and ports that SAs change."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools import preload
from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import (
    EALG_AESCBC,
    EXT_KEY_ENCRYPT,
    EXT_X_NAT_T_DPORT,
    EXT_X_NAT_T_SPORT,
    MODE_TUNNEL,
    NAT_T_ESPINUDP,
    SADB_ADD,
    SADB_UPDATE,
    SATYPE_ESP,
)
from ipsectools.pfkey.message import build
from tests.e2e.doors import PfKey
from tests.e2e.test_natt import ANY, MARKER, Pair, natt_tunnel, pytestmark, udp
from tests.key.driver import pair
from tests.traffic.scene import INNER, MANUAL, OUTER, REQIDS, SPIS, assert_pings, assert_sequences, configure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.lab.host import Host

__all__ = ["pytestmark"]
PATIENCE = 5.0
"""Seconds; ipsecd looks at its ports once a second."""


def within(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def bind(host: Host, outer: str, owner: int | None = None) -> socket.socket:
    """Port 4500 for all addresses, as an IKE daemon asks for it. `owner`: a uid other than the test's."""
    sock = host.socket(socket.AF_INET if outer == "inet" else socket.AF_INET6, socket.SOCK_DGRAM)
    if owner is not None:
        os.fchown(sock.fileno(), owner, -1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    try:
        sock.bind((ANY[outer], 4500))
    except OSError:
        sock.close()
        raise
    return sock


def is_taken(host: Host, outer: str) -> bool:
    """Whether nobody else can have B's address and port."""
    try:
        udp(host, outer, OUTER[outer][1], 4500).close()
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return True
    return False


@pytest.mark.parametrize("outer", OUTER)
def test_a_daemon_that_starts_after_the_tunnel(hosts: Pair, outer: str) -> None:
    """It gets the port and what is its; ESP goes on. When it ends, the port is the tunnel's again."""
    a, b = hosts
    natt_tunnel(hosts, outer, (4500, 4500))
    assert_pings(a, b)
    with bind(b, outer) as daemon, udp(a, outer, OUTER[outer][0], 4555) as peer, Capture(a) as capture:

        def hears() -> bool:
            peer.sendto(MARKER + b"IKE", (OUTER[outer][1], 4500))
            time.sleep(0.02)
            try:
                return any(daemon.recvfrom(2000)[1][1] == 4555 for _ in range(100))
            except BlockingIOError:
                return False

        within(hears, "the daemon does not hear its messages")
        assert hears()
        daemon.sendto(MARKER + b"answer", (OUTER[outer][0], 4555))
        assert peer.recv(2000) == MARKER + b"answer"
        assert_pings(a, b)
        assert {seen.ports for seen in capture.esp()} == {(4500, 4500)}
        assert_sequences(capture.esp())
    within(lambda: is_taken(b, outer), "the port is not taken back")
    assert_pings(a, b)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's lab has no other users")
def test_other_users_do_not_get_the_port(hosts: Pair) -> None:
    natt_tunnel(hosts, "inet", (4500, 4500))
    with pytest.raises(OSError) as caught:
        bind(hosts[1], "inet", owner=65534)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.skipif(preload.library() is None, reason="the preload library was not built: no C compiler")
def test_a_daemon_that_does_not_know_how_to_share(hosts: Pair) -> None:
    """`pfkey-run` helps it to the port."""
    natt_tunnel(hosts, "inet", (4500, 4500))
    program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('0.0.0.0', 4500)); print('bound')"
    assert "Address already in use" in hosts[1].run(sys.executable, "-c", program, check=False).errors
    assert hosts[1].run("ipsectools", "pfkey-run", sys.executable, "-c", program).output == "bound\n"


def test_ports_that_an_update_changes(hosts: Pair) -> None:
    """What a key manager does when the translation between the hosts has changed."""
    a, b = hosts
    for side, host in enumerate(hosts):
        configure(host, side, MANUAL)
        host.setkey("flush;\n")
    outer = OUTER["inet"]

    def tell(kind: int, ports: tuple[int, int]) -> None:
        for reqid, host in zip(REQIDS, hosts, strict=True):
            with PfKey(host) as door:
                for spi, place in zip(SPIS, (1, -1), strict=True):
                    source, destination = outer[::place]
                    sport, dport = ports[::place]
                    key = ext.key(EXT_KEY_ENCRYPT, MANUAL.key(spi)) if kind == SADB_ADD else b""
                    body = (
                        ext.sa(spi, encrypt=EALG_AESCBC)
                        + ext.sa2(MODE_TUNNEL, reqid)
                        + pair(source, destination)
                        + ext.nat_t_type(NAT_T_ESPINUDP)
                        + ext.nat_t_port(EXT_X_NAT_T_SPORT, sport)
                        + ext.nat_t_port(EXT_X_NAT_T_DPORT, dport)
                        + key
                    )
                    door.send(build(kind, SATYPE_ESP, body, pid=4242))
                    answer = door.receive(kind)
                    assert answer is not None and answer[2] == 0, answer

    for kind, ports in ((SADB_ADD, (4500, 4500)), (SADB_UPDATE, (4600, 4500)), (SADB_UPDATE, (4600, 4700))):
        tell(kind, ports)
        with Capture(a, natt_ports=ports) as capture:
            assert_pings(a, b)
            assert {seen.ports for seen in capture.esp()} == {ports, ports[::-1]}
    assert ping(a, INNER["inet6"][1])
    udp(a, "inet", outer[0], 4500).close()  # nobody's any more
