"""A host that lives its own life: what it lost, what others changed on it, and another vnet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipsectools.errno import EEXIST, ENXIO, KernelError
from ipsectools.host.api import Address
from ipsectools.host.simulated.host import SimulatedHost

from .driver import Driver
from .linux_like import LinuxLike
from .test_faults import prepare, seen
from .test_if_ipsec import four, heard

UP, RUNNING = 0x1, 0x40


@pytest.fixture
def host() -> LinuxLike:
    return LinuxLike()


@pytest.fixture
def driver(host: LinuxLike, tmp_path: Path) -> Driver:
    driver = Driver(f"{tmp_path}/state.db", host)
    prepare(driver)
    return driver


def without_counters(state: Any) -> Any:
    """Nor what only Linux knows of Ethernet devices."""
    interfaces, *rest = state
    return [interface | dict.fromkeys(("statistics", "lladdr", "members")) for interface in interfaces], *rest


def test_adoption(driver: Driver, host: LinuxLike) -> None:
    before = seen(driver)
    host.calls.clear()
    driver.restart(clean=False, host=host)
    assert seen(driver) == before
    assert set(host.calls) <= {"set_receive_fib", "set_send_fibs"}


def lose(host: LinuxLike, name: str) -> None:
    SimulatedHost.destroy_link(host, host._names[name])


def test_lost_devices_are_made_again(driver: Driver, host: LinuxLike) -> None:
    driver.call("SIOCSIFMTU", name="ipsec0", value=1300)
    driver.call("SIOCSIFFIB", name="ipsec0", fib=3)
    before = seen(driver)
    driver.kernel.close(clean=False)
    for name in ("ipsec0", "ipsec1", "epair0b", "bridge0"):
        lose(host, name)
    host.receive_fibs.clear()
    driver.restart(clean=False, host=host)
    assert without_counters(seen(driver)) == without_counters(before)
    assert host.receive_fibs[driver.interface("ipsec0")["index"]] == 3
    assert host.send_fibs == {1, 3}
    lose(host, "ipsec0")
    driver.kernel.host_changed(driver.now)
    assert (host.receive_fibs, host.send_fibs) == ({}, {1})


SPDDUMP = bytes((2, 18, 0, 0, 2)) + bytes(11)


def test_another_index(driver: Driver, host: LinuxLike) -> None:
    """The policies of a tunnel name the interface by its index."""
    index = driver.interface("ipsec0")["index"]
    driver.kernel.close(clean=False)
    lose(host, "ipsec0")
    assert host._attach("eth7", "ether", None) == index
    driver.restart(host=host)
    moved = driver.interface("ipsec0")["index"]
    assert moved != index
    client = driver.client()
    assert client.send(SPDDUMP) == 0
    assert sorted((direction, at) for _, direction, _, at in heard(client)) == [(d, moved) for d in (1, 1, 2, 2)]
    assert driver.names()[-1] == "eth7"


def test_a_host_that_refuses_at_start(driver: Driver, host: LinuxLike) -> None:
    before = seen(driver)
    driver.kernel.close(clean=False)
    lose(host, "ipsec0")
    host.fail_at = 1
    driver.restart(host=host)
    assert driver.interface("ipsec0")["tunnel"]
    assert driver.errno("SIOCSIFMTU", name="ipsec0", value=1300) == ENXIO
    driver.kernel.host_changed(driver.now)
    assert driver.interface("ipsec0")["inet"]
    driver.restart(host=host)
    assert without_counters(seen(driver)) == without_counters(before)


def test_devices_that_go_while_we_look(driver: Driver, host: LinuxLike) -> None:
    client = driver.client()
    index = driver.interface("ipsec0")["index"]
    lose(host, "ipsec0")
    driver.recorder.take()
    driver.kernel.host_changed(driver.now)
    assert "ipsec0" not in driver.names()
    assert heard(client) == four(15, 1, index)
    assert ("interface_removed", index) in driver.recorder.take()
    assert driver.call("SIOCIFCREATE2", name="ipsec") == "ipsec0"
    driver.restart(clean=False, host=host)
    assert driver.interface("ipsec0")["tunnel"] is None


def test_what_others_configure(driver: Driver, host: LinuxLike) -> None:
    index, em0 = driver.interface("ipsec0")["index"], driver.interface("em0")["index"]
    SimulatedHost.set_link(host, index, mtu=1280, name="vpn0", alias="by ip(8)", up=False)
    SimulatedHost.delete_address(host, Address(index, "inet", "172.16.0.3", 32))
    SimulatedHost.add_address(host, Address(index, "inet", "10.0.0.1", 32, peer="10.0.0.2"))
    SimulatedHost.add_address(host, Address(em0, "inet6", "2001:db8::3", 64, preferred=50, valid=100))
    driver.recorder.take()
    driver.kernel.host_changed(driver.now)
    assert ("interface_changed", "vpn0") in driver.recorder.take()
    interface = driver.interface("vpn0")
    assert not interface["flags"] & UP
    assert [interface[each] for each in ("mtu", "description", "drivername")] == [1280, "by ip(8)", "ipsec0"]
    assert [each["address"] for each in interface["inet"]] == ["10.0.0.1"]
    [found] = driver.interface("em0")["inet6"]
    assert (found["address"], found["pltime_left"], found["vltime_left"]) == ("2001:db8::3", 50, 100)
    assert driver.interface("em0")["nd6"] == 0x21
    before = seen(driver)
    driver.restart(clean=False, host=host)
    assert seen(driver) == before
    assert driver.errno("SIOCIFCREATE2", name="ipsec0") == EEXIST


def test_running_follows_the_host(driver: Driver, host: LinuxLike) -> None:
    em0 = driver.interface("em0")["index"]
    source = Address(em0, "inet", "192.168.0.3", 24, broadcast="192.168.0.255")
    for change, running in ((SimulatedHost.delete_address, False), (SimulatedHost.add_address, True)):
        change(host, source)
        driver.kernel.host_changed(driver.now)
        assert bool(driver.interface("ipsec0")["flags"] & RUNNING) == running


def test_only_what_changed_is_looked_at(driver: Driver, host: LinuxLike, monkeypatch: pytest.MonkeyPatch) -> None:
    SimulatedHost.set_link(host, driver.interface("ipsec0")["index"], mtu=1300)
    SimulatedHost.set_link(host, driver.interface("em0")["index"], mtu=1400)
    changed = {driver.interface("em0")["index"], 99}
    monkeypatch.setattr(host, "changed_links", lambda: changed)
    driver.kernel.host_changed(driver.now)
    assert driver.interface("em0")["mtu"] == 1400
    assert driver.interface("ipsec0")["mtu"] == 1400


def test_creation_that_was_cut_off(driver: Driver, host: LinuxLike) -> None:
    """Killed between the host's device and the state file: nobody was told of it, so it goes."""
    create = host.create_tun

    def cut_off(*args: Any) -> int:
        create(*args)
        raise KeyboardInterrupt

    before = seen(driver)
    host.create_tun = cut_off  # type: ignore[method-assign]
    kernel = driver.kernel
    kernel._abort = lambda: None  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        driver.call("SIOCIFCREATE2", name="ipsec5")
    del host.create_tun
    assert any(link.name == "ipsec5" for link in host.links())
    driver.restart(clean=False, host=host)
    assert not any(link.name == "ipsec5" for link in host.links())
    assert seen(driver) == before


def test_somebody_elses_device(driver: Driver, host: LinuxLike) -> None:
    SimulatedHost.create_tun(host, "ipsec5", 1500)
    driver.kernel.host_changed(driver.now)
    assert driver.interface("ipsec5")["cloner"] is None
    assert driver.errno("SIOCIFCREATE2", name="ipsec5") == EEXIST
    driver.restart(host=host)
    assert "ipsec5" in driver.names()


# vnets


def test_vnet(driver: Driver, host: LinuxLike, tmp_path: Path) -> None:
    driver.call("IPSECSREQID", name="ipsec0", reqid=100)
    client = driver.client()
    assert driver.errno("SIOCSIFVNET", name="ipsec0", vnet="red") == ENXIO
    assert driver.interface("ipsec0")["tunnel"]
    driver.call("SIOCSIFVNET", name="ipsec0", vnet="blue")
    assert "ipsec0" not in driver.names()
    assert [type for type, *_ in heard(client)] == [15] * 4
    assert driver.errno("IPSECSREQID", name="ipsec1", reqid=100) == 0
    link = host.vnets["blue", "ipsec0"]

    there = LinuxLike()
    there._links[link.index] = link
    there._names[link.name] = link.index
    over_there = Driver(f"{tmp_path}/there.db", there)
    interface = over_there.interface("ipsec0")
    assert [interface[each] for each in ("cloner", "reqid", "groups", "tunnel", "description")] == [
        "ipsec",
        100,
        ["all", "ipsec"],
        None,
        "",
    ]
    assert there.link(link.index).alias == ""  # type: ignore[union-attr]
    assert over_there.errno("SIOCIFDESTROY", name="ipsec0") == 0

    driver.call("IPSECSREQID", name="ipsec1", reqid=101)
    assert driver.errno("SIOCSIFRVNET", name="ipsec0", vnet="red") == ENXIO
    driver.call("SIOCSIFRVNET", name="ipsec0", vnet="blue")
    interface = driver.interface("ipsec0")
    assert [interface[each] for each in ("cloner", "reqid", "groups")] == ["ipsec", 100, ["all", "ipsec"]]
    before = seen(driver)
    driver.restart(clean=False, host=host)
    assert seen(driver) == before


@pytest.mark.parametrize(
    "alias",
    [
        "if_ipsec(4) from another vnet: ipsec0 x",
        "if_ipsec(4) from another vnet: tun0 5",
        "if_ipsec(4) from another vnet: ipsec 5",
        "if_ipsec(4) from another vnet: ipsec00 5",
        "if_ipsec(4) from another vnet:",
        "by hand",
    ],
)
def test_no_label(driver: Driver, host: LinuxLike, alias: str) -> None:
    SimulatedHost.set_link(host, SimulatedHost.create_tun(host, "tun9", 1500), alias=alias)
    driver.kernel.host_changed(driver.now)
    interface = driver.interface("tun9")
    assert (interface["cloner"], interface["description"]) == (None, alias)


def test_label_of_what_is_taken(driver: Driver, host: LinuxLike) -> None:
    driver.call("IPSECSREQID", name="ipsec0", reqid=100)
    index = SimulatedHost.create_tun(host, "moved", 1400)
    SimulatedHost.set_link(host, index, alias="if_ipsec(4) from another vnet: ipsec0 100")
    driver.kernel.host_changed(driver.now)
    interface = driver.interface("moved")
    assert [interface[each] for each in ("cloner", "reqid", "drivername")] == ["ipsec", 0, "ipsec2"]


def test_errors_of_a_host_at_start(tmp_path: Path) -> None:
    from ipsectools.kernel.errors import StateError

    class Broken(LinuxLike):
        def links(self) -> list[Any]:
            raise KernelError(ENXIO)

    with pytest.raises(StateError, match="Device not configured"):
        Driver(f"{tmp_path}/state.db", Broken())


def test_an_address_of_the_host_enables_ipv6(driver: Driver, host: LinuxLike) -> None:
    """As if it had been added here: the interface gets its link-local address, too."""
    driver.call("SIOCIFCREATE2", name="ipsec7")
    interface = driver.interface("ipsec7")
    assert interface["nd6"] & 0x8 and not interface["inet6"]
    driver.call("SIOCSIFFLAGS", name="ipsec7", set=1, clear=0)
    SimulatedHost.add_address(host, Address(interface["index"], "inet6", "2001:db8::9", 64))
    driver.kernel.host_changed(driver.now)
    interface = driver.interface("ipsec7")
    assert interface["nd6"] == 0x21
    assert [each["address"][:6] for each in interface["inet6"]] == ["2001:d", "fe80::"]
    assert {each.address[:6] for each in host.addresses() if each.index == interface["index"]} >= {"2001:d", "fe80::"}


def test_a_destination_that_is_routed(driver: Driver, host: LinuxLike) -> None:
    """EEXIST, unless the route is there for another address of an interface."""
    driver.call("SIOCIFCREATE2", name="ipsec7")
    driver.call("SIOCIFCREATE2", name="ipsec8")
    address = {"name": "ipsec7", "family": "inet", "address": "10.7.0.1", "prefixlen": 24, "peer": "10.7.0.2"}
    host.host_routes = {("10.7.0.2", 0)}
    before = seen(driver)
    assert driver.errno("NEWADDR", **address) == EEXIST
    assert seen(driver) == before
    host.host_routes = {("10.7.0.2", 1)}
    driver.call("NEWADDR", **address)
    host.host_routes = {("10.7.0.2", 0)}
    driver.call("NEWADDR", **{**address, "name": "ipsec8"})
    driver.call("DELADDR", name="ipsec8", family="inet")
    driver.call("DELADDR", name="ipsec7", family="inet")
    assert driver.errno("NEWADDR", **address) == EEXIST
