"""What lies between the tunnel's ends: small MTUs, loops, and SAs that change while packets flow."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.faults import Faults, FaultyLink
from ipsectools.lab.flow import Counters, tcp_stream
from ipsectools.lab.netlink import Netlink
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books, control
from tests.e2e.flood import Flood
from tests.e2e.wayout import wait_until
from tests.traffic.scene import CBC_SHA256, GCM, INNER, OUTER, REQIDS, SPIS, assert_pings, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.capture import Seen
    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]
Scene = tuple["Host", "Host", FaultyLink]


def mtus_told(packets: list[Seen]) -> list[int]:
    """The MTUs of fragmentation-needed and packet-too-big messages among what the inside saw arrive."""
    found = []
    for seen in packets:
        packet = seen.packet
        if not seen.outgoing and packet[0] >> 4 == 4 and packet[9] == 1 and packet[20:22] == b"\x03\x04":
            found.append(int.from_bytes(packet[26:28], "big"))
        if not seen.outgoing and packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] == 2:
            found.append(int.from_bytes(packet[44:48], "big"))
    return found


@pytest.mark.parametrize("outer", OUTER)
def test_a_smaller_link_on_the_way(faulty: Scene, outer: str) -> None:
    """With DF clear (FreeBSD's default) a smaller link costs fragments, and over IPv6 the first packet."""
    a, b, link = faulty
    tunnel(a, b, CBC_SHA256, outer)
    link.set(Faults(mtu=1300), Faults(mtu=1300))
    for _ in range(3):  # over IPv6, the path MTU is learned by this, at A, then at B
        ping(a, INNER["inet"][1], size=1350, count=1, timeout=0.3)
    with Capture(b) as capture:
        for host, side in ((a, 1), (b, 0)):
            assert ping(host, INNER["inet"][side], sizes=[1200, 1250, 1300, 1350])
            assert ping(host, INNER["inet6"][side], sizes=[1150, 1200, 1250, 1300])
        assert tcp_stream(a, b, INNER["inet"][1], 500_000)
        assert not capture.clear()
        assert max(seen.size for seen in capture.packets() if not seen.outgoing) <= 1300


def test_a_smaller_link_and_df(faulty: Scene) -> None:
    """With DF set, the sender inside is told what fits, in both families; when the link grows again, it is noticed."""
    a, b, link = faulty
    a.set_kernel("net/ipv4/route/mtu_expires", 2)
    for host in (a, b):
        host.run("sysctl", "net.inet.ipsec.dfbit=1")
    tunnel(a, b, GCM)
    link.set(Faults(mtu=1000), Faults())
    books = Books(a)
    with Capture(a, "ipsec0") as inside, Capture(a) as outside:
        for _ in range(20):  # the first to learn of it is this host itself, from the router
            ping(a, INNER["inet"][1], size=1300, count=1, timeout=0.1)
            if told := mtus_told(inside.packets()):
                break
        else:
            raise AssertionError("the sender was never told")
        # The outer packet of the largest inner one: IP, ESP, IV, padding, ICV; nothing larger would fit.
        assert 1000 - 20 - 8 - 8 - 16 - 8 <= told[0] <= 1000 - 20 - 8 - 8 - 16 - 2
        assert books.closed()[1].keys() == {"out-mtu"}
        outside.forget()
        # Whoever listens to such messages gets through.
        assert tcp_stream(a, b, INNER["inet"][1], 500_000)
        assert max(seen.size for seen in outside.esp() if seen.outgoing) <= 1000
    link.set()
    for _ in range(50):
        time.sleep(0.1)
        if ping(a, INNER["inet"][1], size=1300, count=1, timeout=0.05).received:
            break
    else:
        raise AssertionError("the small MTU was never forgotten")


def test_too_big_over_ipv6_is_told_inside(faulty: Scene) -> None:
    """Inner packets up to the interface's MTU pass whatever the outer link does; larger ones meet Linux' own rules."""
    a, b, link = faulty
    tunnel(a, b, GCM, "inet6")
    for host in (a, b):
        host.run("ifconfig", "ipsec0", "mtu", "8192")
    with Capture(a) as capture:
        assert ping(a, INNER["inet"][1], sizes=[0, 1400, 4000, 8100])
        assert ping(b, INNER["inet6"][0], sizes=[0, 1400, 4000, 8100])
        assert max(seen.size for seen in capture.packets()) <= 1500
        assert not capture.clear()
    assert link.counters()["forth"]["lost"] == 0


def cpu_ticks(host: Host) -> int:
    """The processor time that the host's ipsecd has used, in clock ticks."""
    (pid,) = host.processes("ipsecd")
    with open(host.path(f"/proc/{pid}/stat")) as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("outer", OUTER)
def test_a_tunnel_that_leads_into_itself(hosts: Pair, outer: str) -> None:
    a, b = hosts
    tunnel(a, b, GCM, outer)
    assert_pings(a, b)
    books = Books(a)
    far = OUTER[outer][1] + ("/32" if outer == "inet" else "/128")
    with Netlink(a) as netlink, Capture(a) as capture:
        netlink.route(far, interface="ipsec0")
        assert ping(a, INNER["inet"][1], count=10, timeout=0.1).received == 0
        before = cpu_ticks(a), books.closed()
        time.sleep(0.5)
        after = cpu_ticks(a), books.closed()
        assert not capture.clear()
    balance, drops = after[1]
    # Each packet goes in once, and its outer packet once more; that is all.
    assert drops.keys() == {"out-loop"} and drops["out-loop"] >= 10
    assert balance["taken"] <= 2 * balance["sent"] + 10 <= 60
    assert after[1] == before[1], "it goes round and round"
    assert after[0] - before[0] <= 5
    with Netlink(a) as netlink:
        netlink.route(far, interface="ipsec0", add=False)
    # Its guard goes with the route that somebody deleted, as soon as ipsecd is told of that.
    wait_until(lambda: ping(a, INNER["inet"][1], count=1, timeout=0.1).received == 1)
    assert_pings(a, b)


def test_a_loop_of_two_tunnels(hosts: Pair) -> None:
    """Each tunnel's far end lies behind the other one."""
    a, _ = hosts
    a.run("ifconfig", "ipsec0", "create", "reqid", "100")
    a.run("ifconfig", "ipsec1", "create", "reqid", "101")
    for unit, remote in (0, "10.99.0.1"), (1, "10.98.0.1"):
        a.run("ifconfig", f"ipsec{unit}", "inet", "tunnel", OUTER["inet"][0], remote)
        a.run("ifconfig", f"ipsec{unit}", "inet", f"172.{18 + unit}.0.1/32", f"172.{18 + unit}.0.2")
        a.setkey(
            f"add {OUTER['inet'][0]} {remote} esp {500 + unit} -m tunnel -u {100 + unit} {GCM.options(500 + unit)};"
        )
    with Netlink(a) as netlink, Capture(a) as capture:
        netlink.route("10.99.0.1/32", interface="ipsec1")
        netlink.route("10.98.0.1/32", interface="ipsec0")
        books = Books(a)
        for unit in (0, 1):
            ping(a, f"172.{18 + unit}.0.2", count=10, timeout=0.05)
        time.sleep(0.3)
        balance, drops = books.closed()
        assert drops["out-loop"] >= 20
        assert balance["taken"] <= 100
        assert not capture.esp() + capture.clear()


def test_rekeying_under_load_loses_nothing(hosts: Pair) -> None:
    """New SAs come beside the old ones, each end goes over to them when it likes, and the old ones go at last."""
    a, b = hosts
    tunnel(a, b, GCM, more="-r 64")
    with (
        Capture(a) as capture,
        Counters(a, INNER["inet"][0], b, INNER["inet"][1], size=200) as counters,
        Flood(counters) as flood,
    ):
        books = Books(a), Books(b)
        flood.go()
        wait_for_traffic(counters)
        for turn in range(6):
            rekey(hosts, (SPIS[0] + 2 * turn, SPIS[1] + 2 * turn), (SPIS[0] + 2 * turn + 2, SPIS[1] + 2 * turn + 2))
            wait_for_traffic(counters)
        flood.pause()
        assert counters.forth.complete, (counters.forth, [book.closed() for book in books])
        assert counters.back.complete, (counters.back, [book.closed() for book in books])
        assert counters.forth.sent > 100
        assert [book.closed()[1] for book in books] == [{}, {}]
        assert not capture.clear()
        assert len({seen.spi for seen in capture.esp()}) == 2 * 7


def wait_for_traffic(counters: Counters) -> None:
    """Until a datagram that is sent from now on has arrived each way."""
    sent = counters.forth.sent
    for _ in range(6000):
        if all(arrivals.numbers and arrivals.numbers[-1] >= sent for arrivals in (counters.forth, counters.back)):
            return
        time.sleep(0.01)
    raise AssertionError(f"no traffic: {counters.forth} {counters.back}")


def rekey(hosts: Pair, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Replaces the two SAs of the tunnel by ones with new SPIs, as a key management daemon does."""
    ends = OUTER["inet"]
    for reqid, host in zip(REQIDS, hosts, strict=True):
        host.setkey(
            "".join(
                f"add {source} {destination} esp {spi} -m tunnel -u {reqid} -r 64 {GCM.options(spi)};\n"
                for source, destination, spi in ((*ends, new[0]), (*ends[::-1], new[1]))
            )
        )
    # FreeBSD sends with the oldest SA: its end makes a host go over to the new one.
    hosts[0].setkey(f"delete {ends[0]} {ends[1]} esp {old[0]};")
    hosts[1].setkey(f"delete {ends[1]} {ends[0]} esp {old[1]};")
    time.sleep(0.1)  # what is under way arrives
    hosts[0].setkey(f"delete {ends[1]} {ends[0]} esp {old[1]};")
    hosts[1].setkey(f"delete {ends[0]} {ends[1]} esp {old[0]};")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_soak(faulty: Scene, soak_seconds: float) -> None:
    """Minutes of traffic with new keys every five seconds: nothing is lost that the link did not lose."""
    a, b, link = faulty
    tunnel(a, b, GCM, more="-r 64")
    lossy = Faults(loss=0.001, reordering=0.01)
    link.set(lossy, lossy, seed=5)
    books = Books(a), Books(b)
    resident = [memory(host) for host in (a, b)]
    with (
        Counters(a, INNER["inet"][0], b, INNER["inet"][1], size=400) as counters,
        Flood(counters) as flood,
    ):
        flood.go()
        end = time.monotonic() + soak_seconds
        old = SPIS
        while time.monotonic() < end:
            new = old[0] + 2, old[1] + 2
            rekey((a, b), old, new)
            old = new
            assert flood.error is None, flood.error
            time.sleep(max(0.0, min(5.0, end - time.monotonic())))
        flood.pause()
        link.set()
        counters.collect(0.5)
        counters.drain()
        crossed = link.counters()
        for way, arrivals in (("forth", counters.forth), ("back", counters.back)):
            distinct = len(set(arrivals.numbers))
            assert len(arrivals.numbers) == distinct and not arrivals.altered
            # The link may also have lost what Linux sent by itself.
            assert arrivals.sent - distinct <= crossed[way]["lost"], (way, arrivals, [x.closed() for x in books])
            assert crossed[way]["lost"] - (arrivals.sent - distinct) <= 3
    assert [book.closed()[1] for book in books] == [{}, {}]
    for host, before in zip((a, b), resident, strict=True):
        assert memory(host) < before + 20_000, f"ipsecd of {host.name} grew"
        assert control(host, "IPSECDSTATUS")


def memory(host: Host) -> int:
    """Resident kilobytes of the host's ipsecd."""
    (pid,) = host.processes("ipsecd")
    with open(host.path(f"/proc/{pid}/status")) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


@pytest.fixture
def soak_seconds() -> float:
    return float(os.environ.get("SOAK_SECONDS", "600"))
