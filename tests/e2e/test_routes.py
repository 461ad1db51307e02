"""Routes into a tunnel while Linux withdraws or skips them: nothing leaves in clear, and they come back.

A has default routes beside the tunnel, so that what the tunnel does not get would leave by em0, where we listen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.netlink import Netlink
from tests.e2e.numbers import stop_ipsecd
from tests.e2e.wayout import (
    ALL_NETWORKS,
    DESTINATIONS,
    GUARDED,
    OWN6,
    answers,
    guards,
    is_clear,
    networks,
    probe,
    route_away,
    routes,
    wait_until,
)
from tests.traffic.scene import INNER, OUTER, tunnel
from tests.traffic.test_crash import kill_ipsecd

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.lab.host import Host

    Pair = tuple[Host, Host]
    State = tuple[Callable[[Host], None], Callable[[Host], None]]

pytestmark = pytest.mark.traffic

PROBED = [*DESTINATIONS, OWN6]


def by_netlink(up: bool) -> Callable[[Host], None]:
    """Another program sets ipsec0 up or down."""

    def set_up(host: Host) -> None:
        with Netlink(host) as netlink:
            netlink.set_up("ipsec0", up)

    return set_up


def by_ifconfig(*words: str) -> Callable[[Host], None]:
    return lambda host: void(host.run("ifconfig", "ipsec0", *words))


def void(_: object) -> None:
    """A statement as an expression."""


def set_mtu(mtu: int) -> Callable[[Host], None]:
    def set_it(host: Host) -> None:
        with Netlink(host) as netlink:
            netlink.set_mtu("ipsec0", mtu)

    return set_it


def set_ipv6(name: str, value: int) -> Callable[[Host], None]:
    return lambda host: host.set_kernel(f"net/ipv6/conf/{name}", value)


def ignore_linkdown(value: int) -> Callable[[Host], None]:
    def set_it(host: Host) -> None:
        for family in ("ipv4", "ipv6"):
            for name in ("all", "ipsec0"):
                host.set_kernel(f"net/{family}/conf/{name}/ignore_routes_with_linkdown", value)

    return set_it


def lo(up: bool) -> Callable[[Host], None]:
    """IPv6's unreachable routes are lo's, and go with it."""

    def set_it(host: Host) -> None:
        with Netlink(host) as netlink:
            netlink.set_up("lo", up)

    return set_it


def forgetful_down(host: Host) -> None:
    """Down on a host where an interface loses its IPv6 addresses then."""
    host.set_kernel("net/ipv6/conf/ipsec0/keep_addr_on_down", 0)
    by_netlink(False)(host)


def down_and_up(host: Host) -> None:
    """So fast that nobody sees the interface down."""
    host.set_kernel("net/ipv6/conf/ipsec0/keep_addr_on_down", 0)
    with Netlink(host) as netlink:
        for _ in range(3):
            netlink.set_up("ipsec0", False)
            netlink.set_up("ipsec0", True)


def no_ipv4_address(host: Host) -> None:
    """With its last IPv4 address an interface loses all IPv4 routes."""
    with Netlink(host) as netlink:
        netlink.address("ipsec0", f"{INNER['inet'][0]}/32", peer=INNER["inet"][1], add=False)


def old_name(host: Host) -> None:
    by_ifconfig("name", "vpn")(host)
    probe(host, PROBED)
    host.run("ifconfig", "vpn", "name", "ipsec0")


def lose_device(host: Host) -> None:
    with Netlink(host) as netlink:
        netlink.delete("ipsec0")


def nothing(host: Host) -> None:
    pass


STATES: dict[str, State] = {
    "down by ifconfig": (by_ifconfig("down"), by_ifconfig("up")),
    "down by another program": (by_netlink(False), by_netlink(True)),
    "down, addresses forgotten": (forgetful_down, by_netlink(True)),
    "down and up": (down_and_up, nothing),
    "small MTU": (set_mtu(1000), set_mtu(1400)),
    "IPv6 switched off": (set_ipv6("ipsec0/disable_ipv6", 1), set_ipv6("ipsec0/disable_ipv6", 0)),
    "no IPv4 address": (
        no_ipv4_address,
        by_ifconfig("inet", INNER["inet"][0] + "/16", INNER["inet"][1]),
    ),
    "lo down": (lo(False), lo(True)),
    "renamed": (old_name, nothing),
    "no end points": (by_ifconfig("deletetunnel"), by_ifconfig("tunnel", *OUTER["inet"])),
    "no carrier wanted": (ignore_linkdown(1), ignore_linkdown(0)),
}


def is_whole(host: Host) -> bool:
    return networks(host) == ALL_NETWORKS and guards(host) == GUARDED


def test_while_ipsecd_lives(hosts: Pair) -> None:
    """In every state nothing leaves in clear; after it, everything is as it was."""
    a, b = hosts
    tunnel(a, b)
    route_away(a)
    wait_until(lambda: is_whole(a))
    with Capture(a) as capture:
        for name, (begin, end) in STATES.items():
            begin(a)
            # Who deletes an address means the route to its peer, too; the others stay.
            gone = [INNER["inet"][1]] if name == "no IPv4 address" else []
            for _ in range(3):
                probe(a, [each for each in PROBED if each not in gone])
            assert not is_clear(capture, PROBED), name
            end(a)
            probe(a, PROBED)
            wait_until(lambda: is_whole(a))
            wait_until(lambda: answers(a))
            assert not is_clear(capture, PROBED), name
        # The proof that we would have seen it.
        by_netlink(False)(a)
        with Netlink(a) as netlink:
            netlink.route("10.0.0.0/8", metric=0xFFFFFFFF, protocol=0, add=False)
        probe(a, PROBED)
        wait_until(lambda: is_clear(capture, PROBED) == ["10.1.2.3"])


@pytest.mark.parametrize(
    "end",
    [pytest.param(kill_ipsecd, id="killed"), pytest.param(stop_ipsecd, id="stopped", marks=pytest.mark.long)],
)
def test_while_nobody_runs(hosts: Pair, end: Callable[[Host], None]) -> None:
    """Guards hold without ipsecd, and the next one brings back what has gone."""
    a, b = hosts
    tunnel(a, b)
    route_away(a)
    wait_until(lambda: is_whole(a))
    states = ("down by another program", "down, addresses forgotten", "down and up", "small MTU", "IPv6 switched off")
    with Capture(a) as capture:
        for name in ("no carrier wanted", *states, "device lost"):
            end(a)
            wait_until(lambda: not a.processes("ipsecd"))
            for step in STATES.get(name, (lose_device,)):
                step(a)
                for _ in range(3):
                    probe(a, PROBED)
                assert not is_clear(capture, PROBED), name
            a.run("setkey", "-D")
            a.run("ifconfig", "ipsec0")
            a.run("ipsecd")
            wait_until(lambda: is_whole(a))
            wait_until(lambda: answers(a))
            assert not is_clear(capture, PROBED), name


def test_ipv6_only_tunnel_has_a_route_to_its_peer(hosts: Pair) -> None:
    """The address is given while the link is down; Linux brings back only its own route."""
    a, _b = hosts
    for unit in range(12):
        name = f"ipsec{unit}"
        a.run("ifconfig", name, "create", "reqid", str(1000 + unit))
        a.run("ifconfig", name, "inet6", "tunnel", *OUTER["inet6"])
        a.run("ifconfig", name, "inet6", f"fd77::{unit + 1:x}", f"fd78::{unit + 1:x}", "prefixlen", "128")
        assert f"fd78::{unit + 1:x}" in {route.destination for route in routes(a, name)}, unit


def test_destroy_takes_routes_and_guards_along(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b)
    route_away(a)
    with Netlink(a) as netlink:
        netlink.route("10.0.0.0/8", interface="ipsec0", table=77)
    wait_until(lambda: guards(a) == GUARDED | {("inet", "10.0.0.0", 8, 77)})
    by_netlink(False)(a)
    a.run("ifconfig", "ipsec0", "destroy")
    assert not guards(a)
    a.run("ifconfig", "ipsec0", "create")
    a.run("ifconfig", "ipsec0", "up")
    assert not routes(a)


def test_a_guard_stands_before_the_command_has_ended(hosts: Pair) -> None:
    a, _b = hosts
    a.run("ifconfig", "ipsec0", "create", "reqid", "5")
    a.run("ifconfig", "ipsec0", "inet", "172.16.0.3/32", "172.16.0.5")
    assert guards(a) == {("inet", "172.16.0.5", 32, 254)}
    a.run("ifconfig", "ipsec0", "inet", "172.16.0.3", "delete")
    assert not guards(a)
    assert a.run("ifconfig", "ipsec0", "inet", "172.16.0.3/32", "192.168.0.5", check=False).status == 0
    assert guards(a) == {("inet", "192.168.0.5", 32, 254)}


def test_what_an_administrator_decides(hosts: Pair) -> None:
    """Routes that somebody deletes or replaces are gone, guards with them; a second route is used meanwhile."""
    a, b = hosts
    tunnel(a, b)
    route_away(a)
    wait_until(lambda: is_whole(a))
    with Netlink(a) as netlink, Capture(a) as capture:
        # Deleted while it stands.
        netlink.route("10.0.0.0/8", add=False, protocol=0)
        wait_until(lambda: not any(prefix[1] == "10.0.0.0" for prefix in guards(a)))
        # A guard alone: put back.
        netlink.route("fd10::/16", metric=0xFFFFFFFF, protocol=0, add=False)
        wait_until(lambda: ("inet6", "fd10::", 16, 254) in guards(a))
        # Replaced while it is withdrawn.
        netlink.set_up("ipsec0", False)
        netlink.route("fd10::/16", gateway="2001:db8::5", metric=1024)
        probe(a, ["fd10::1"])
        wait_until(lambda: is_clear(capture, PROBED) == ["fd10::1"])
        netlink.set_up("ipsec0", True)
        wait_until(lambda: networks(a) == ALL_NETWORKS - {"10.0.0.0/8", "fd10::/16"})
        wait_until(lambda: not any(prefix[1] == "fd10::" for prefix in guards(a)))
        # Another way of normal metric is somebody's wish.
        netlink.route("10.0.0.0/8", interface="ipsec0", metric=5)
        netlink.route("10.0.0.0/8", gateway="192.168.0.5", metric=50)
        wait_until(lambda: ("inet", "10.0.0.0", 8, 254) in guards(a))
        netlink.set_up("ipsec0", False)
        probe(a, ["10.1.2.3"])
        wait_until(lambda: "10.1.2.3" in is_clear(capture, PROBED))


def test_doctor_and_why_tell_of_guards(hosts: Pair) -> None:
    a, b = hosts
    tunnel(a, b)
    route_away(a)
    wait_until(lambda: is_whole(a))
    assert "guard" not in a.run("ipsectools", "doctor", check=False).output
    by_netlink(False)(a)
    why = a.run("ipsectools", "why", INNER["inet"][0], "10.1.2.3", check=False)
    assert why.status == 1
    assert "the route to 10.0.0.0/8 into a tunnel is withdrawn" in why.output
    assert "ifconfig ipsec0 up\n" in why.output
    doctor = a.run("ipsectools", "doctor", check=False).output
    assert "note    10.0.0.0/8 is guarded, but no route leads into a tunnel" in doctor
    a.run("ifconfig", "ipsec0", "up")
    assert a.run("ipsectools", "why", INNER["inet"][0], "10.1.2.3").status == 0
    stop_ipsecd(a)
    with Netlink(a) as netlink:
        netlink.route("10.0.0.0/8", metric=0xFFFFFFFF, protocol=0, add=False)
    doctor = a.run("ipsectools", "doctor", check=False).output
    assert "note    10.0.0.0/8 is routed into ipsec0 without a guard" in doctor
    assert "; run ipsecd\n" in doctor


def test_ipv6_addresses_that_somebody_deletes(hosts: Pair) -> None:
    """They are gone, also from a tunnel that is down, where Linux has withdrawn their routes before."""
    a, b = hosts
    tunnel(a, b)
    for up in (True, False):
        with Netlink(a) as netlink:
            netlink.address("ipsec0", "fd99::1/64")
            wait_until(lambda: ("inet6", "fd99::", 64, 254) in guards(a))
            netlink.set_up("ipsec0", up)
            wait_until(lambda up=up: ("UP" in a.run("ifconfig", "ipsec0").output) == up)  # type: ignore[misc]
            netlink.address("ipsec0", "fd99::1/64", add=False)
        wait_until(lambda: "fd99::1" not in a.run("ifconfig", "ipsec0").output)
        a.run("ifconfig", "ipsec0", "up")
        assert not any(prefix[1].startswith("fd99") for prefix in guards(a))
        assert "fd99::/64" not in networks(a)
