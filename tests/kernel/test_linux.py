"""The kernel on a real Linux host, in a network namespace of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.errno import EEXIST, ENXIO
from ipsectools.host.api import ROUTE_BY_HOST, Address, Route
from ipsectools.host.linux import detect, routes, tun
from ipsectools.host.linux.host import LinuxHost

from .driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLONE_NEWNET = 0x40000000
UP, RUNNING = 0x1, 0x40


def in_new_namespace(function: Callable[[], None]) -> None:
    """Runs a function in a thread that has a network namespace of its own; raises what it raises."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET) != 0:
                pytest.skip(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
            if missing := detect.missing():
                pytest.skip(f"packets cannot flow here: {missing}")
            function()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


class LinuxDriver(Driver):
    """A kernel on this namespace, which follows what happens there as ipsecd does."""

    def __init__(self, path: str) -> None:
        self.host = LinuxHost()
        super().__init__(path, self.host)
        self._follow()

    def restart(self, clean: bool = True, host: Any = None) -> None:
        self.kernel.close(clean)
        self.host.close()
        self.host = LinuxHost()
        super().restart(clean, self.host)
        self._follow()

    def _follow(self) -> None:
        list(self.host.watch(lambda: self.kernel.host_changed(self.now)))


def seen(driver: Driver) -> Any:
    """Lifetimes only whether they end: Linux's clock goes on, the driver's does not. Nor whether Linux is still
    looking if somebody else has a new IPv6 address."""
    interfaces = driver.call("LISTIF")
    for interface in interfaces:
        for address in interface["inet6"]:
            address.update({key: value is not None for key, value in address.items() if "ltime" in key})
            address["flags"] = [flag for flag in address["flags"] if flag != "tentative"]
    return [interface | {"statistics": None} for interface in interfaces]


@pytest.fixture
def on_linux(tmp_path: Path) -> Callable[[Callable[[LinuxDriver], None]], None]:
    def run(function: Callable[[LinuxDriver], None]) -> None:
        def inside() -> None:
            driver = LinuxDriver(f"{tmp_path}/state.db")
            try:
                function(driver)
            finally:
                driver.kernel.close()
                driver.host.close()

        in_new_namespace(inside)

    return run


def test_life(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    def body(driver: LinuxDriver) -> None:
        assert driver.names() == ["lo0"]
        assert driver.call("SIOCIFCREATE2", name="ipsec") == "ipsec0"
        index = driver.interface("ipsec0")["index"]
        driver.call("NEWADDR", name="lo0", family="inet", address="192.168.0.3", prefixlen=32)
        driver.call("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
        driver.call("NEWADDR", name="ipsec0", family="inet", address="172.16.0.3", prefixlen=16, peer="172.16.0.5")
        driver.call("NEWADDR", name="ipsec0", family="inet6", address="fd00::3", prefixlen=128, peer="fd00::5")
        driver.call(
            "NEWADDR", name="ipsec0", family="inet6", address="2001:db8::3", prefixlen=64, vltime=900, pltime=800
        )
        driver.call("SIOCSIFMTU", name="ipsec0", value=1300)
        driver.call("SIOCSIFDESCR", name="ipsec0", text="to B")
        interface = driver.interface("ipsec0")
        assert interface["flags"] == 0x1008051
        assert interface["inet"] == [
            {"address": "172.16.0.3", "peer": "172.16.0.5", "prefixlen": 16, "broadcast": None}
        ]
        assert [each["address"] for each in interface["inet6"]][::2] == ["fd00::3", "2001:db8::3"]
        assert interface["inet6"][1]["address"].startswith("fe80::")
        assert (interface["mtu"], interface["nd6"]) == (1300, 0x21)
        link = driver.host.link(index)
        assert link is not None
        assert (link.mtu, link.alias, link.flags & UP) == (1300, "to B", UP)
        there = {each.address: each for each in driver.host.addresses() if each.index == index}
        assert (there["172.16.0.3"].prefixlen, there["172.16.0.3"].peer) == (32, "172.16.0.5")

        before = seen(driver)
        driver.restart(clean=False)
        assert seen(driver) == before

        driver.kernel.close(clean=False)
        LinuxHost().destroy_link(index)
        driver.restart(clean=False)
        after = seen(driver)
        assert after == before  # with the index it had
        driver.call("SIOCSIFNAME", name="ipsec0", new="vpn0")
        driver.call("DELADDR", name="vpn0", family="inet")
        driver.call("SIOCSIFFLAGS", name="vpn0", set=0, clear=UP)
        assert driver.interface("vpn0")["flags"] == 0x8050
        driver.call("SIOCIFDESTROY", name="vpn0")
        assert driver.host.link(index) is None
        assert driver.names() == ["lo0"]

    on_linux(body)


def test_what_others_do(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    """As ip(8) would: seen by the very next request."""

    def body(driver: LinuxDriver) -> None:
        others = LinuxHost()
        driver.call("SIOCIFCREATE2", name="ipsec0")
        driver.call("SIOCSIFPHYADDR", name="ipsec0", src="10.0.0.1", dst="10.0.0.2")
        index = driver.interface("ipsec0")["index"]
        lo0 = driver.interface("lo0")["index"]
        source = Address(lo0, "inet", "10.0.0.1", 32)
        for change, running in ((others.add_address, True), (others.delete_address, False), (others.add_address, True)):
            change(source)
            assert bool(driver.interface("ipsec0")["flags"] & RUNNING) == running
        others.set_link(index, mtu=1380, alias="theirs", up=True)
        interface = driver.interface("ipsec0")
        assert (interface["mtu"], interface["description"], interface["flags"] & UP) == (1380, "theirs", UP)
        others.create_link("veth0", "veth", "veth1")
        assert sorted(driver.names()) == ["ipsec0", "lo0", "veth0", "veth1"]
        assert driver.errno("SIOCIFDESTROY", name="veth0") == 22
        others.destroy_link(index)
        assert "ipsec0" not in driver.names()
        others.create_tun("ipsec0", 1500)
        assert driver.errno("SIOCIFCREATE2", name="ipsec0") == EEXIST
        assert driver.call("SIOCIFCREATE2", name="ipsec") == "ipsec1"
        others.close()

    on_linux(body)


def test_other_cloners(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    def body(driver: LinuxDriver) -> None:
        for name in ("epair0", "bridge0", "tun0", "lo1"):
            driver.call("SIOCIFCREATE2", name=name)
        driver.call("BRDGADD", name="bridge0", member="epair0a")
        assert driver.interface("bridge0")["members"] == ["epair0a"]
        driver.call("NEWADDR", name="epair0b", family="inet", address="192.0.2.1", prefixlen=24)
        driver.call("SIOCSIFFLAGS", name="epair0a", set=UP, clear=0)
        assert driver.interface("epair0b")["status"] == "active"
        assert driver.interface("lo1")["mtu"] == 16384
        assert driver.interface("tun0")["iftype"] == "tunnel"
        before = seen(driver)
        driver.restart()
        assert seen(driver) == before
        for name in ("epair0a", "bridge0", "tun0", "lo1"):
            driver.call("SIOCIFDESTROY", name=name)
        assert driver.names() == ["lo0"]

    on_linux(body)


def test_neighbor_discovery(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    def body(driver: LinuxDriver) -> None:
        def on_host(name: str) -> list[int]:
            """Read by this thread, whose namespace it is."""
            values = []
            for each in ("accept_ra", "accept_dad"):
                with open(f"/proc/sys/net/ipv6/conf/{name}/{each}") as file:
                    values.append(int(file.read()))
            return values

        driver.call("SIOCIFCREATE2", name="ipsec0")
        assert on_host("ipsec0")[0] == 0  # FreeBSD does not believe advertisements by default
        driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=0x102, clear=0)
        assert on_host("ipsec0") == [1, 0]
        driver.call("SIOCSIFINFO_IN6", name="ipsec0", set=0, clear=0x102)
        assert on_host("ipsec0") == [0, 1]
        others = LinuxHost()
        others.create_link("veth0", "veth", "veth1")
        others.close()
        assert driver.interface("veth0")["nd6"] & 0x10A == 0xA
        driver.call("SIOCSIFINFO_IN6", name="veth0", set=0, clear=0x2)
        assert on_host("veth0")[0] == 0

    on_linux(body)


def test_vnet(on_linux: Callable[[Callable[[LinuxDriver], None]], None], tmp_path: Path) -> None:
    netns = pytest.importorskip("pyroute2.netns")
    name = f"ipsectools-test-{os.getpid()}"

    def body(driver: LinuxDriver) -> None:
        try:
            netns.create(name)
        except OSError as error:
            pytest.skip(f"cannot make a named network namespace: {error}")
        try:
            driver.call("SIOCIFCREATE2", name="ipsec0")
            driver.call("IPSECSREQID", name="ipsec0", reqid=100)
            driver.call("NEWADDR", name="ipsec0", family="inet", address="10.9.0.1", prefixlen=32, peer="10.9.0.2")
            driver.host.add_route(Route("inet", "10.8.0.0", 16, (driver.interface("ipsec0")["index"],)))
            driver.restart()
            guards = {("inet", "10.9.0.2", 32, 254), ("inet", "10.8.0.0", 16, 254)}
            assert driver.host.guards() == guards
            assert driver.errno("SIOCSIFVNET", name="ipsec0", vnet=f"{name}-not") == ENXIO
            assert driver.host.guards() == guards
            driver.call("SIOCSIFVNET", name="ipsec0", vnet=name)
            assert not driver.host.guards()
            assert driver.names() == ["lo0"]
            assert driver.errno("SIOCSIFRVNET", name="ipsec7", vnet=name) == ENXIO

            def inside() -> None:
                netns.setns(name)
                there = LinuxDriver(f"{tmp_path}/there.db")
                interface = there.interface("ipsec0")
                assert (interface["cloner"], interface["reqid"]) == ("ipsec", 100)
                assert interface["groups"] == ["all", "ipsec"]
                there.kernel.close()
                there.host.close()

            in_new_namespace(inside)
            driver.call("SIOCSIFRVNET", name="ipsec0", vnet=name)
            interface = driver.interface("ipsec0")
            assert (interface["cloner"], interface["reqid"]) == ("ipsec", 100)
        finally:
            netns.remove(name)

    on_linux(body)


def test_a_device_without_an_owner_is_claimed_at_start(
    on_linux: Callable[[Callable[[LinuxDriver], None]], None],
) -> None:
    """Releases there were that made such; nobody but us is in it from then on, whoever opens the kernel.

    They have other indices than they had, and with them the zones of link-local addresses.
    """

    def body(driver: LinuxDriver) -> None:
        def owners() -> list[str]:
            found = [driver.host.link(driver.interface(name)["index"]) for name in ("ipsec0", "tun0")]
            return [link.owner for link in found if link is not None]

        for name in ("ipsec0", "tun0"):
            driver.call("SIOCIFCREATE2", name=name)
        driver.call("NEWADDR", name="ipsec0", family="inet6", address="2001:db8::3", prefixlen=64)
        assert len(driver.interface("ipsec0")["inet6"]) == 2
        index = driver.interface("ipsec0")["index"]
        assert owners() == ["us", "us"]
        driver.kernel.close()
        for name in ("tun0", "ipsec0"):
            without_owner(name)
        assert [link.owner for link in LinuxHost().links() if link.kind == "tun"] == ["nobody", "nobody"]
        driver.restart()
        assert owners() == ["us", "us"]
        assert driver.interface("ipsec0")["index"] != index

    on_linux(body)


def without_owner(name: str) -> None:
    """Makes a TUN device anew as it was before it had an owner."""
    device = tun.attach(name)
    fcntl.ioctl(device, tun.TUNSETPERSIST, 0)
    os.close(device)
    device = os.open(tun.TUN_DEVICE, os.O_RDWR)
    fcntl.ioctl(device, tun.TUNSETIFF, struct.pack("16sH22x", name.encode(), tun.IFF_TUN | tun.IFF_NO_PI))
    fcntl.ioctl(device, tun.TUNSETPERSIST, 1)
    os.close(device)


def test_routes_come_back_as_they_were(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    """Paths, gateways, sources, metrics, tables, MTUs, in both families, after down, up and restart."""

    def body(driver: LinuxDriver) -> None:
        from pyroute2 import IPRoute

        for unit in (0, 1):
            name = f"ipsec{unit}"
            driver.call("SIOCIFCREATE2", name=name)
            here, there = f"10.9.{unit}.1", f"10.9.{unit}.2"
            driver.call("NEWADDR", name=name, family="inet", address=here, prefixlen=32, peer=there)
            here, there = f"fd09::{unit}:1", f"fd09::{unit}:2"
            driver.call("NEWADDR", name=name, family="inet6", address=here, prefixlen=128, peer=there)
        first, second = (driver.interface(f"ipsec{unit}")["index"] for unit in (0, 1))
        with IPRoute() as route:
            route.route("add", dst="10.0.0.0/8", multipath=[{"oif": first}, {"oif": second, "hops": 4}])
            route.route(
                *("add",), dst="10.1.0.0/16", gateway="10.9.0.2", oif=first, table=77, prefsrc="10.9.1.1", priority=7
            )
            route.route("add", dst="10.2.0.0/16", oif=first, scope=253, metrics={"mtu": 1300})
            route.route("add", dst="0.0.0.0/0", oif=second, scope=253, priority=9)
            paths = [{"gateway": f"fd09::{unit}:2", "oif": index} for unit, index in ((0, first), (1, second))]
            route.route("add", family=10, dst="fd10::/16", multipath=paths)
            for index in (second, first):
                route.route("append", dst="10.3.0.0/16", oif=index, scope=253)
            route.route("add", family=10, dst="fd11::/16", oif=first, table=77, priority=3, metrics={"mtu": 1300})

        def standing() -> list[Any]:
            return sorted(
                (each.place, each.links, each.protocol, routes._message(each))  # without Linux's notes of dead links
                for each in driver.host.routes((first, second))
                if each.protocol != ROUTE_BY_HOST
            )

        before = standing()
        driver.call("LISTIF")
        guards = set(driver.host.guards())
        assert {place[:4] for place, *_ in before} <= guards
        assert (len(before), len({place for place, *_ in before})) == (8, 7)
        for names in (["ipsec0"], ["ipsec1"], ["ipsec0", "ipsec1"]):
            for flags in ({"set": 0, "clear": UP}, {"set": UP, "clear": 0}):
                for name in names:
                    driver.call("SIOCSIFFLAGS", name=name, **flags)
                assert driver.host.guards() == guards
            assert standing() == before, names
            driver.call("SIOCSIFFLAGS", name=names[0], set=0, clear=UP)
            driver.restart(clean=False)
            driver.call("SIOCSIFFLAGS", name=names[0], set=UP, clear=0)
            assert standing() == before, names

    on_linux(body)


def test_a_device_of_others_runs_while_it_is_open(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    """So an ordinary user, who sees only what Linux tells of an ipsec interface, sees whether somebody reads it."""

    def body(driver: LinuxDriver) -> None:
        tun.create("tun9", None)
        index = next(link.index for link in driver.host.links() if link.name == "tun9")
        driver.host.set_link(index, up=True)

        def flags() -> int:
            driver.kernel.host_changed(driver.now)
            return int(driver.interface("tun9")["flags"]) & (UP | RUNNING)

        descriptor = tun.attach("tun9")
        try:
            assert flags() == UP | RUNNING
        finally:
            os.close(descriptor)
        assert flags() == UP

    on_linux(body)


def test_rules_of_fibs_are_put_back(on_linux: Callable[[Callable[[LinuxDriver], None]], None]) -> None:
    """Other programs flush rules that they do not know (systemd-networkd does as it starts), and give links names."""

    def body(driver: LinuxDriver) -> None:
        from pyroute2 import IPRoute

        driver.call("SYSCTLSET", name="net.fibs", value=8)
        driver.call("SIOCIFCREATE2", name="ipsec0")
        driver.call("SIOCSTUNFIB", name="ipsec0", fib=5)
        driver.call("SIOCSIFFIB", name="ipsec0", fib=6)
        names = ("FRA_PRIORITY", "FRA_FWMARK", "FRA_FWMASK", "FRA_IIFNAME", "FRA_TABLE")
        with IPRoute() as route:

            def rules() -> list[Any]:
                driver.host.process_events()
                found = [(family, rule) for family in (2, 10) for rule in route.get_rules(family=family)]
                return sorted(repr([family, *map(rule.get_attr, names)]) for family, rule in found)

            before = rules()
            assert len(before) == 17  # both families: of two marks and a link, which lead somewhere or nowhere; Linux's
            for family in (2, 10):
                route.flush_rules(family=family, priority=lambda priority: priority in (30000, 30001))
            assert rules() == before
            assert rules() == before
            route.link("set", index=driver.interface("ipsec0")["index"], ifname="vpn0")
            assert rules() == sorted(rule.replace("ipsec0", "vpn0") for rule in before)
            driver.call("SIOCIFDESTROY", name="vpn0")
            assert len(rules()) == 5
            for family in (2, 10):
                route.rule("add", family=family, priority=30001, fwmark=3, action="FR_ACT_UNREACHABLE", iifname="lo")
                route.rule("delete", family=family, priority=30001, fwmark=3, action="FR_ACT_UNREACHABLE", iifname="lo")
            assert len(rules()) == 5

    on_linux(body)
