"""Routes into ipsec interfaces on a host with Linux's habits: guards, and what comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipsectools.errno import EINVAL, ENOBUFS, ENOSPC, ENXIO, KernelError
from ipsectools.host.api import Address, Route
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.host.simulated.routing import UNREACHABLE
from ipsectools.kernel.addresses import routes

from .driver import Driver
from .linux_like import LinuxLike

PEER, PEER6, OWN6 = "172.16.0.5", "fd00::5", "fd00::3"
OF_ADDRESSES = {("inet", PEER, 32, 254), ("inet6", PEER6, 128, 254), ("inet6", OWN6, 128, 254)}
LAN = ("inet", "10.0.0.0", 8, 254)
DAEMON = 12
"""The protocol of a routing daemon (bird)."""


@pytest.fixture
def host() -> LinuxLike:
    return LinuxLike()


@pytest.fixture
def driver(host: LinuxLike, tmp_path: Path) -> Driver:
    driver = Driver(f"{tmp_path}/state.db", host)
    driver.call("SIOCIFCREATE2", name="ipsec0")
    driver.call("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
    driver.call("NEWADDR", name="ipsec0", family="inet", address="172.16.0.3", prefixlen=16, peer=PEER)
    driver.call("NEWADDR", name="ipsec0", family="inet6", address=OWN6, prefixlen=128, peer=PEER6)
    driver.call("NEWADDR", name="em0", family="inet", address="192.168.0.3", prefixlen=24)
    # The way beside the tunnel.
    for family in ("inet", "inet6"):
        nowhere = "0.0.0.0" if family == "inet" else "::"
        host.routing.add_by_user(Route(family, nowhere, 0, (index_of(driver, "em0"),), metric=100))
    look(driver)
    return driver


def index_of(driver: Driver, name: str = "ipsec0") -> int:
    index: int = driver.interface(name)["index"]
    return index


def look(driver: Driver) -> None:
    """Lets the kernel take note of what others did."""
    driver.kernel.host_changed(driver.now)


def lan(driver: Driver, **options: Any) -> Route:
    return Route("inet", "10.0.0.0", 8, (index_of(driver),), **options)


def add(driver: Driver, host: LinuxLike, route: Route) -> None:
    host.routing.add_by_user(route)
    look(driver)


def ways(driver: Driver, host: LinuxLike) -> dict[str, str]:
    """Where packets to the peers and to the LAN behind the other end go."""
    words = {index_of(driver): "tunnel", UNREACHABLE: "unreachable", index_of(driver, "em0"): "clear"}
    links = {each: host.routing.link_to(each) for each in (PEER, PEER6, "10.1.1.1")}
    return {each: words.get(link, "-") if link is not None else "-" for each, link in links.items()}


def all_go(word: str) -> dict[str, str]:
    return {PEER: word, PEER6: word, "10.1.1.1": word}


def test_guards_of_addresses(driver: Driver, host: LinuxLike) -> None:
    assert host.guards() == OF_ADDRESSES
    driver.call("DELADDR", name="ipsec0", family="inet6", address=OWN6)
    assert host.guards() == {("inet", PEER, 32, 254)}
    driver.call("NEWADDR", name="ipsec0", family="inet6", address="fd01::1", prefixlen=64)
    assert host.guards() == {("inet", PEER, 32, 254), ("inet6", "fd01::", 64, 254), ("inet6", "fd01::1", 128, 254)}


def test_only_of_ipsec_interfaces(driver: Driver, host: LinuxLike) -> None:
    driver.call("SIOCIFCREATE2", name="tun0")
    driver.call("NEWADDR", name="tun0", family="inet", address="10.9.0.1", prefixlen=32, peer="10.9.0.2")
    host.routing.add_by_user(Route("inet", "10.8.0.0", 16, (index_of(driver, "tun0"),)))
    look(driver)
    assert host.guards() == OF_ADDRESSES


def test_a_guard_stands_before_its_address(driver: Driver, host: LinuxLike, monkeypatch: pytest.MonkeyPatch) -> None:
    guards = []
    monkeypatch.setattr(host, "add_address", lambda address: guards.append(host.guards()))
    driver.call("NEWADDR", name="ipsec0", family="inet", address="10.9.0.1", prefixlen=32, peer="10.9.0.2")
    assert ("inet", "10.9.0.2", 32, 254) in guards[0]


@pytest.mark.parametrize("foreign", [False, True])
def test_down_and_up(driver: Driver, host: LinuxLike, foreign: bool) -> None:
    add(driver, host, lan(driver, table=254))
    add(driver, host, lan(driver, table=7))
    assert ways(driver, host) == all_go("tunnel")
    for flags in ({"set": 0, "clear": 1}, {"set": 1, "clear": 0}):
        if foreign:
            SimulatedHost.set_link(host, index_of(driver), up=bool(flags["set"]))
            if not flags["set"]:
                assert ways(driver, host) == all_go("unreachable")
            look(driver)
        else:
            driver.call("SIOCSIFFLAGS", name="ipsec0", **flags)
        assert ways(driver, host) == all_go("tunnel" if flags["set"] else "unreachable")
        assert host.routing.link_to("10.1.1.1", 7) == (index_of(driver) if flags["set"] else UNREACHABLE)


def test_without_ipv4_addresses(driver: Driver, host: LinuxLike) -> None:
    """Linux takes all IPv4 routes away with the last address."""
    add(driver, host, lan(driver))
    driver.call("DELADDR", name="ipsec0", family="inet", address="172.16.0.3")
    assert ways(driver, host) == {PEER: "clear", PEER6: "tunnel", "10.1.1.1": "tunnel"}


def test_ipv6_route_to_the_peer(driver: Driver, host: LinuxLike) -> None:
    """The address comes while the link is down; Linux makes only its own route when it comes up."""
    for unit in range(1, 13):
        driver.call("SIOCIFCREATE2", name=f"ipsec{unit}")
        driver.call(
            "NEWADDR", name=f"ipsec{unit}", family="inet6", address=f"fd77::{unit}", prefixlen=128, peer=f"fd78::{unit}"
        )
        assert host.routing.link_to(f"fd78::{unit}") == index_of(driver, f"ipsec{unit}")


def test_restarts(driver: Driver, host: LinuxLike) -> None:
    """What was withdrawn while nobody ran comes back; what was added meanwhile is guarded."""
    add(driver, host, lan(driver))
    driver.kernel.close(clean=False)
    SimulatedHost.set_link(host, index_of_link(host), up=False)
    assert host.routing.link_to("10.1.1.1") == UNREACHABLE
    SimulatedHost.set_link(host, index_of_link(host), up=True)
    assert host.routing.link_to("10.1.1.1") == UNREACHABLE
    host.routing.add(Route("inet", "10.64.0.0", 16, (index_of_link(host),)))
    driver.restart(clean=False, host=host)
    assert ways(driver, host) == all_go("tunnel")
    assert host.guards() == OF_ADDRESSES | {LAN, ("inet", "10.64.0.0", 16, 254)}


def index_of_link(host: LinuxLike, name: str = "ipsec0") -> int:
    return next(link.index for link in host.links() if link.name == name)


def test_guards_that_were_lost_while_nobody_ran(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    wanted = set(host.guards())
    driver.kernel.close(clean=False)
    host.routing.guards.clear()
    driver.restart(clean=False, host=host)
    assert host.guards() == wanted


def test_a_device_that_was_lost(driver: Driver, host: LinuxLike) -> None:
    """It is made again with another index, and its routes lead into that one."""
    add(driver, host, lan(driver))
    lost = index_of(driver)
    driver.kernel.close(clean=False)
    SimulatedHost.destroy_link(host, lost)
    assert host._attach("eth7", "ether", None) == lost
    assert host.routing.link_to("10.1.1.1") == UNREACHABLE
    driver.restart(clean=False, host=host)
    assert index_of(driver) != lost
    assert ways(driver, host) == all_go("tunnel")


def test_destroy_takes_routes_and_guards_along(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    driver.call("SIOCIFDESTROY", name="ipsec0")
    assert not host.guards()
    driver.call("SIOCIFCREATE2", name="ipsec0")
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    driver.restart(host=host)
    assert not host.guards()
    assert not host.routes([index_of(driver)])


def test_so_does_another_vnet(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    driver.call("SIOCSIFVNET", name="ipsec0", vnet="blue")
    assert not host.guards()
    driver.call("SIOCSIFRVNET", name="ipsec0", vnet="blue")
    assert not host.guards()


def test_who_is_gone_for_another_program(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    SimulatedHost.destroy_link(host, index_of(driver))
    look(driver)
    assert not host.guards()


def test_a_request_that_fails_leaves_routes_alone(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    before = set(host.guards())
    host.fail_at, host.errno = 1, EINVAL
    args = {"name": "ipsec0", "family": "inet", "address": "10.9.0.1", "prefixlen": 32, "peer": "10.9.0.2"}
    assert driver.errno("NEWADDR", **args) == EINVAL
    assert host.guards() == before
    host.fail_at, host.errno = 2, ENXIO  # the state of a vnet is changed first
    assert driver.errno("SIOCSIFVNET", name="ipsec0", vnet="red") == ENXIO
    assert host.guards() == before
    assert ways(driver, host) == all_go("tunnel")


def test_two_interfaces_with_one_peer(driver: Driver, host: LinuxLike) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec1")
    driver.call("NEWADDR", name="ipsec1", family="inet", address="172.16.0.4", prefixlen=16, peer=PEER)
    driver.call("SIOCIFDESTROY", name="ipsec1")
    assert host.guards() == OF_ADDRESSES


@pytest.mark.parametrize("restart", [False, True])
def test_two_interfaces_with_one_network(driver: Driver, host: LinuxLike, restart: bool) -> None:
    """Each has a route of its own to it, in the same place: that comes back beside the other one's, and stays."""
    driver.call("SIOCIFCREATE2", name="ipsec1")
    driver.call("NEWADDR", name="ipsec1", family="inet6", address="fd00::4", prefixlen=128, peer=PEER6)
    add(driver, host, lan(driver))
    host.routing.add_by_user(Route("inet", "10.0.0.0", 8, (index_of(driver, "ipsec1"),)), beside=True)
    look(driver)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    if restart:
        driver.kernel.close()
        SimulatedHost.set_link(host, index_of_link(host), up=True)
        driver.restart(host=host)
    else:
        driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    destinations = [route.destination for route in host.routes([index_of(driver)])]
    assert {"10.0.0.0", PEER6} <= {*destinations} and len(destinations) == len({*destinations})
    driver.call("SIOCIFDESTROY", name="ipsec1")
    assert ways(driver, host) == all_go("tunnel")


def test_a_state_file_without_room(driver: Driver, host: LinuxLike, tmp_path: Path) -> None:
    """What cannot be written down is guarded all the same, comes back, and is written down when there is room."""
    store = driver.kernel.store
    execute = store._execute
    store._execute = lambda *_values: store._fail_with(ENOSPC)  # type: ignore[method-assign,misc]

    def until_now(change: Callable[[], None]) -> None:
        change()
        with pytest.raises(KernelError):
            look(driver)
        driver.now += 20
        with pytest.raises(KernelError):
            driver.kernel.tick(driver.now)

    other = Route("inet", "10.64.0.0", 16, (index_of(driver),))
    until_now(lambda: [host.routing.add_by_user(route) for route in (lan(driver), other)] and None)
    guards = OF_ADDRESSES | {LAN, other.prefix}
    assert host.guards() == guards
    until_now(lambda: SimulatedHost.set_link(host, index_of_link(host), up=False))
    assert host.guards() == guards
    assert ways(driver, host)["10.1.1.1"] == "unreachable"
    store._execute = execute  # type: ignore[method-assign]
    SimulatedHost.set_link(host, index_of_link(host), up=True)
    driver.now += 20
    driver.kernel.tick(driver.now)
    look(driver)
    assert ways(driver, host) == all_go("tunnel")
    driver.restart(clean=False, host=host)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host) == all_go("tunnel") and host.guards() == guards


# what an administrator decides


def test_deleted(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver))
    host.routing.delete_by_user(lan(driver))
    look(driver)
    assert host.guards() == OF_ADDRESSES
    SimulatedHost.set_link(host, index_of(driver), up=False)
    SimulatedHost.set_link(host, index_of(driver), up=True)
    look(driver)
    driver.restart(host=host)
    assert ways(driver, host)["10.1.1.1"] == "clear"


def test_a_deleted_guard(driver: Driver, host: LinuxLike) -> None:
    """It comes back while there is a route for it; without one it is the route that is meant."""
    add(driver, host, lan(driver))
    host.routing.delete_guard_by_user(LAN)
    host.routing.delete_guard_by_user(("inet", PEER, 32, 254))
    look(driver)
    assert host.guards() == OF_ADDRESSES | {LAN}
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    host.routing.delete_guard_by_user(LAN)
    look(driver)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert host.guards() == OF_ADDRESSES
    assert ways(driver, host)["10.1.1.1"] == "clear"


@pytest.mark.parametrize("running", [True, False])
def test_replaced(driver: Driver, host: LinuxLike, running: bool) -> None:
    """A route in the very place of a withdrawn one takes that for good."""
    add(driver, host, lan(driver))
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    replacement = Route("inet", "10.0.0.0", 8, (index_of(driver, "em0"),))
    if running:
        add(driver, host, replacement)
    else:
        driver.kernel.close()
        host.routing.add(replacement)
        SimulatedHost.set_link(host, index_of_link(host), up=True)
        driver.restart(host=host)
    assert host.guards() == OF_ADDRESSES
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host)["10.1.1.1"] == "clear"


def test_a_host_that_does_not_tell(driver: Driver, host: LinuxLike, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forgotten because the host could not be asked."""

    def refuse(links: object) -> list[Route]:
        raise KernelError(ENOBUFS)

    add(driver, host, lan(driver))
    guards = set(host.guards())
    driver.kernel.close()
    with monkeypatch.context() as patch:
        patch.setattr(host, "routes", refuse)
        driver.restart(host=host)
    assert host.guards() == guards
    driver.restart(host=host)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host) == all_go("tunnel")


def test_a_second_way(driver: Driver, host: LinuxLike) -> None:
    add(driver, host, lan(driver, metric=5))
    add(driver, host, Route("inet", "10.0.0.0", 8, (index_of(driver, "em0"),), metric=50))
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    assert ways(driver, host)["10.1.1.1"] == "clear"
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host)["10.1.1.1"] == "tunnel"


def test_paths(driver: Driver, host: LinuxLike) -> None:
    """A route of two paths comes back with both."""
    driver.call("SIOCIFCREATE2", name="ipsec1")
    driver.call("SIOCSIFFLAGS", name="ipsec1", set=1, clear=0)
    links = index_of(driver), index_of(driver, "ipsec1")
    add(driver, host, Route("inet", "10.0.0.0", 8, links))
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    assert ways(driver, host)["10.1.1.1"] == "unreachable"
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    [route] = host.routes([links[1]])
    assert route.links == links
    driver.call("SIOCIFDESTROY", name="ipsec1")
    assert LAN in host.guards()


def test_routing_daemons(driver: Driver, host: LinuxLike) -> None:
    """Their routes are guarded until they do not come back; to put them back is their business."""
    add(driver, host, lan(driver, protocol=DAEMON))
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    assert ways(driver, host)["10.1.1.1"] == "unreachable"
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host)["10.1.1.1"] == "unreachable"
    driver.now += routes.PATIENCE - 1
    driver.kernel.tick(driver.now)
    assert LAN in host.guards()
    driver.now += 2
    driver.kernel.tick(driver.now)
    assert host.guards() == OF_ADDRESSES
    add(driver, host, lan(driver, protocol=DAEMON))
    driver.now += 2 * routes.PATIENCE
    driver.kernel.tick(driver.now)
    driver.kernel.tick(driver.now + 1)
    assert LAN in host.guards()


# IPv6 addresses that Linux takes away by itself


def test_withdrawn_addresses(driver: Driver, host: LinuxLike) -> None:
    index = index_of(driver)
    add(driver, host, Route("inet6", "fd10::", 16, (index,), metric=1024))
    host.refuse_ipv6(index)
    look(driver)
    assert [each["address"] for each in driver.interface("ipsec0")["inet6"] if each["address"] == OWN6] == [OWN6]
    assert host.routing.link_to(PEER6) == host.routing.link_to("fd10::1") == host.routing.link_to(OWN6) == UNREACHABLE
    driver.kernel.tick(driver.now)
    assert not any(address.address == OWN6 for address in host.addresses())
    host.allow_ipv6()
    driver.kernel.tick(driver.now)
    assert any(address.address == OWN6 and address.peer == PEER6 for address in host.addresses())
    assert host.routing.link_to(PEER6) == host.routing.link_to("fd10::1") == index


def test_a_withdrawn_address_can_be_deleted(driver: Driver, host: LinuxLike) -> None:
    host.refuse_ipv6(index_of(driver))
    look(driver)
    driver.call("DELADDR", name="ipsec0", family="inet6", address=OWN6)
    assert host.guards() == {("inet", PEER, 32, 254)}
    host.allow_ipv6()
    driver.kernel.tick(driver.now)
    assert not any(address.address == OWN6 for address in host.addresses())


def test_an_address_that_somebody_deletes_is_gone(driver: Driver, host: LinuxLike) -> None:
    SimulatedHost.delete_address(host, Address(index_of(driver), "inet6", OWN6, 128))
    look(driver)
    assert host.guards() == {("inet", PEER, 32, 254)}


# the state file


def test_a_state_file_of_an_older_release(driver: Driver, host: LinuxLike, tmp_path: Path) -> None:
    """It has no table of routes; there is none to take over but what the host has."""
    add(driver, host, lan(driver))
    driver.kernel.close()
    database = sqlite3.connect(tmp_path / "state.db")
    database.execute("DROP TABLE route")
    database.commit()
    database.close()
    host.routing.guards.clear()
    driver.restart(host=host)
    assert host.guards() == OF_ADDRESSES | {LAN}
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=0, clear=1)
    driver.call("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
    assert ways(driver, host) == all_go("tunnel")


def test_what_moves_no_packets_changes_no_routes(host: LinuxLike, tmp_path: Path, driver: Driver) -> None:
    """A command that opens the kernel itself only looks."""
    from ipsectools.kernel.kernel import Kernel

    driver.kernel.close()
    host.routing.guards.clear()
    Kernel(f"{tmp_path}/state.db", host, driver.now, moves_traffic=False).close()
    assert not host.guards()
