"""What an SA brings that no interface of ours takes: dropped, or given to IP input on the link of arrival."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.netlink import Netlink
from tests.datapath.world import ipv4, ipv6, udp, with_checksum
from tests.e2e.doors import Books
from tests.e2e.test_natt import natt_tunnel
from tests.traffic.scene import GCM, OUTER, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]
VARIABLE = "net.inet.ipsec.accept_unclaimed"
PORT = 4000
HONEST = ("172.16.0.3", "fd00::3")
LIES = (OUTER["inet"][1], "127.0.0.1", "0.0.0.0", OUTER["inet6"][1], "::1", "::")
"""Sources that would be B itself, or nobody."""


def datagram(source: str, body: bytes) -> bytes:
    """An inner packet from that source to B."""
    if ":" not in source:
        return with_checksum(ipv4(udp(body, 1000, PORT), src=source, dst=OUTER["inet"][1]), 20)
    src, dst = (socket.inet_pton(socket.AF_INET6, each) for each in (source, OUTER["inet6"][1]))
    return with_checksum(ipv6(udp(body, 1000, PORT), src=src, dst=dst), 40)


def sender(host: Host) -> Callable[[str, bytes], None]:
    """Puts inner packets with any source into A's tunnel."""
    raw = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM)

    def send(source: str, body: bytes) -> None:
        raw.sendto(datagram(source, body), ("ipsec0", 0x86DD if ":" in source else 0x0800))

    return send


class Listener:
    """A UDP socket of the host, for both families, that knows where datagrams came in."""

    def __init__(self, host: Host, device: str = "") -> None:
        self.socket = host.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        if device:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        self.socket.bind(("::", PORT))

    def get(self, timeout: float = 10) -> tuple[str, bytes, int]:
        """Source, body, index of the interface."""
        self.socket.settimeout(timeout)
        data, ancillary, _, source = self.socket.recvmsg(100, 100)
        return source[0].removeprefix("::ffff:"), data, struct.unpack("=I", ancillary[0][2][16:20])[0]

    def is_silent(self) -> bool:
        try:
            self.get(0.05)
        except TimeoutError:
            return True
        return False


@pytest.mark.parametrize(
    ("outer", "core"),
    [
        ("inet", "auto"),
        ("inet6", "python"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("inet", "python"), ("inet6", "auto"), ("natt", "auto"), ("natt", "python"))
        ),
    ],
)
def test_unclaimed_packets(hosts: Pair, outer: str, core: str) -> None:
    a, b = hosts
    b.environment["IPSECTOOLS_CORE"] = core
    if outer == "natt":
        natt_tunnel(hosts, "inet", (4500, 4500))
    else:
        tunnel(a, b, GCM, outer)
    with Netlink(b) as netlink:
        em0 = netlink.index("em0")
    b.set_kernel("net/ipv4/conf/em0/rp_filter", 0)
    b.set_kernel("net/ipv4/conf/all/rp_filter", 0)
    # The interface stays, but its SAs are another's now; so does ipsecd.
    b.run("ifconfig", "ipsec0", "reqid", "777")
    listener, on_loopback, send = Listener(b), Listener(b, "lo"), sender(a)
    books = Books(b)
    with Capture(b) as outside, Capture(b, "lo") as loopback:
        for source in (*HONEST, *LIES):
            send(source, b"no")
        wait_for(books, "in-no-interface", len(HONEST + LIES))
        assert listener.is_silent() and on_loopback.is_silent()
        assert "packets violated process security policy" in b.run("netstat", "-s", "-p", "ipsec").output
        assert not outside.clear() and not loopback.packets()

        assert b.run("sysctl", f"{VARIABLE}=1").output == f"{VARIABLE}: 0 -> 1\n"
        for source in (*LIES, *HONEST):
            send(source, b"yes")
        assert {listener.get(), listener.get()} == {(source, b"yes", em0) for source in HONEST}
        wait_for(books, "in-host-refused", len(LIES))
        assert listener.is_silent() and on_loopback.is_silent()
        assert not loopback.packets()
        seen = [each for each in outside.packets() if each.kind == "clear" and not each.outgoing]
        assert {each.source for each in seen if each.source in HONEST} == set(HONEST)  # as a packet filter sees them

        # em0's reverse-path filter decides, not the loopback's, which has none.
        b.set_kernel("net/ipv4/conf/em0/rp_filter", 1)
        send("10.9.9.9", b"from nowhere")
        send(OUTER["inet"][0], b"from there")
        assert listener.get() == (OUTER["inet"][0], b"from there", em0)
        assert listener.is_silent()

        assert b.run("sysctl", f"{VARIABLE}=0").output == f"{VARIABLE}: 1 -> 0\n"
        send(HONEST[0], b"no more")
        wait_for(books, "in-no-interface", len(HONEST + LIES) + 1)
        assert listener.is_silent()
    with Netlink(b) as netlink, pytest.raises(OSError):
        netlink.index("unclaimed0")
    assert books.closed()[0]["injected"] == 4


def wait_for(books: Books, reason: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if books.closed()[1].get(reason, 0) == count:
            return
        time.sleep(0.02)
    raise AssertionError(books.closed())
