"""The Linux adapter against real network namespaces, each made for one test."""

import ctypes
import os
import subprocess
import sys
import threading

import pytest

from ipsectools.errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENXIO, KernelError
from ipsectools.host.api import (
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_PPROMISC,
    IFF_PROMISC,
    IFF_RUNNING,
    IFF_SIMPLEX,
    IFF_UP,
    Address,
)
from ipsectools.host.linux import detect, tun
from ipsectools.host.linux.host import LinuxHost
from ipsectools.host.marks import Marks

CLONE_NEWNET = 0x40000000


def in_new_namespace(function):
    """Runs a function in a thread that has a network namespace of its own; hands on what it returns or raises."""
    outcome = []

    def run():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET) != 0:
                pytest.skip(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
            missing = detect.missing()
            if missing:
                pytest.skip(f"packets cannot flow here: {missing}")
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def isolated(function):
    """A test that gets a LinuxHost in a namespace of its own."""

    def test():
        def run():
            host = LinuxHost()
            try:
                function(host)
            finally:
                host.close()

        in_new_namespace(run)

    test.__name__ = function.__name__
    test.__doc__ = function.__doc__
    return test


def watched(host):
    """Makes the host answer from memory; the list grows with each call of `changed`."""
    calls = []
    assert len(list(host.watch(lambda: calls.append(None)))) == 1
    return calls


def named(host, name):
    return next((link for link in host.links() if link.name == name), None)


def texts(host, index):
    return [(each.address, each.peer, each.prefixlen) for each in host.addresses() if each.index == index]


def refused(function, *arguments, **keywords):
    with pytest.raises(KernelError) as caught:
        function(*arguments, **keywords)
    return caught.value.errno


@isolated
def test_the_loopback_is_lo0(host):
    link = named(host, "lo0")
    assert (link.index, link.type, link.lladdr) == (1, "loop", None)
    assert link.flags == IFF_LOOPBACK | IFF_MULTICAST
    host.set_link(1, up=True)
    assert named(host, "lo0").flags == IFF_LOOPBACK | IFF_MULTICAST | IFF_UP | IFF_RUNNING
    assert texts(host, 1) == [("127.0.0.1", None, 8), ("::1", None, 128)]


@isolated
def test_a_tun_device_stays_and_starts_without_anything(host):
    index = host.create_tun("ipsec0", 1400)
    link = host.link(index)
    assert (link.name, link.kind, link.type, link.mtu, link.lladdr) == ("ipsec0", "tun", "tunnel", 1400, None)
    assert link.flags == IFF_POINTOPOINT | IFF_MULTICAST
    host.set_link(index, up=True)
    assert host.link(index).flags == IFF_POINTOPOINT | IFF_MULTICAST | IFF_UP | IFF_RUNNING
    assert texts(host, index) == []  # no link-local address of Linux's own
    assert refused(host.create_tun, "ipsec0", 1400) == EEXIST


@isolated
def test_an_index_is_a_wish(host):
    assert host.create_tun("ipsec0", 1400, 77) == 77
    assert host.create_tun("ipsec1", 1400, 77) not in (77, 1)
    assert host.create_link("epair0a", "veth", "epair0b", 88) == 88
    assert host.create_link("bridge0", "bridge", None, 88) not in (77, 88, 1)


@isolated
def test_names_that_linux_cannot_have(host):
    assert refused(host.create_tun, "x" * 16, 1400) == EINVAL
    assert refused(host.create_tun, "", 1400) == EINVAL


@isolated
def test_a_device_that_goes_as_it_is_opened_leaves_nothing_behind(host):
    assert refused(host.open_tun, "ipsec0") == ENXIO
    with pytest.MonkeyPatch.context() as patch:
        indices = iter([77, 77, 78])
        patch.setattr(tun.socket, "if_nametoindex", lambda name: next(indices))
        assert refused(host.open_tun, "ipsec0") == ENXIO  # Linux makes a device of a name that is free
    assert [link.name for link in host.links()] == ["lo0"]


@isolated
def test_addresses(host):
    index = host.create_tun("ipsec0", 1400)
    host.add_address(Address(index, "inet", "10.0.0.1", 32, peer="10.0.0.2"))
    host.add_address(Address(index, "inet", "10.1.0.1", 24, broadcast="10.1.0.255"))
    host.add_address(Address(index, "inet6", "2001:db8::1", 64))
    host.add_address(Address(index, "inet6", "2001:db8:1::1", 128, peer="2001:db8:1::2"))
    expected = [
        ("10.0.0.1", "10.0.0.2", 32),
        ("10.1.0.1", None, 24),
        ("2001:db8::1", None, 64),
        ("2001:db8:1::1", "2001:db8:1::2", 128),
    ]
    assert texts(host, index) == expected
    calls = watched(host)
    assert texts(host, index) == expected
    host.delete_address(Address(index, "inet", "10.0.0.1", 32, peer="10.0.0.2"))
    host.delete_address(Address(index, "inet6", "2001:db8:1::1", 128, peer="2001:db8:1::2"))
    assert texts(host, index) == [expected[1], expected[2]]
    assert calls == []
    host.process_events()
    assert calls == [None]
    assert refused(host.delete_address, Address(index, "inet", "10.0.0.1", 32, peer="10.0.0.2")) == EADDRNOTAVAIL
    assert refused(host.add_address, Address(9999, "inet", "10.0.0.1", 32)) == ENXIO


@isolated
def test_order_of_addition(host):
    index = host.create_tun("ipsec0", 1400)
    for n in (5, 1, 9, 3):
        host.add_address(Address(index, "inet", f"10.0.{n}.1", 24))
        host.add_address(Address(index, "inet6", f"2001:db8:{n}::1", 64))
    for _ in range(2):
        addresses = [address for address, _, _ in texts(host, index)]
        assert [each for each in addresses if ":" not in each] == [f"10.0.{n}.1" for n in (5, 1, 9, 3)]
        assert [each for each in addresses if ":" in each] == [f"2001:db8:{n}::1" for n in (5, 1, 9, 3)]
        watched(host)


@isolated
def test_lifetimes_change_with_a_second_addition(host):
    index = host.create_tun("ipsec0", 1400)
    host.add_address(Address(index, "inet6", "2001:db8::1", 64, preferred=100, valid=200))
    (address,) = [each for each in host.addresses() if each.index == index]
    assert address.preferred in (99, 100) and address.valid in (199, 200)
    host.add_address(Address(index, "inet6", "2001:db8::1", 64))
    (address,) = [each for each in host.addresses() if each.index == index]
    assert (address.preferred, address.valid) == (None, None)


@isolated
def test_deleting_one_address_of_a_prefix_leaves_the_others(host):
    index = host.create_tun("ipsec0", 1400)
    for n in (1, 2, 3):
        host.add_address(Address(index, "inet", f"10.0.0.{n}", 24))
    host.delete_address(Address(index, "inet", "10.0.0.1", 24))
    assert sorted(texts(host, index)) == [("10.0.0.2", None, 24), ("10.0.0.3", None, 24)]


@isolated
def test_down_leaves_the_addresses(host):
    index = host.create_tun("ipsec0", 1400)
    host.add_address(Address(index, "inet6", "2001:db8::1", 64))
    host.add_address(Address(index, "inet", "10.0.0.1", 24))
    host.set_link(index, up=True)
    host.set_link(index, up=False)
    assert sorted(texts(host, index)) == [("10.0.0.1", None, 24), ("2001:db8::1", None, 64)]


@isolated
def test_settings_of_links(host):
    calls = watched(host)
    index = host.create_link("epair0a", "veth", "epair0b")
    host.set_link(index, mtu=1400, alias="a text", promisc=True, arp=False, lladdr="02:00:00:00:00:01", up=True)
    link = host.link(index)
    assert (link.mtu, link.alias, link.lladdr) == (1400, "a text", "02:00:00:00:00:01")
    ethernet = IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST | IFF_UP | IFF_RUNNING
    assert link.flags == ethernet | IFF_NOARP | IFF_PROMISC | IFF_PPROMISC
    assert (link.type, link.speed, link.duplex) == ("ether", 10000, "full")
    host.set_link(index, alias="", promisc=False, arp=True, name="other")
    link = named(host, "other")
    assert (link.index, link.alias, link.flags) == (index, "", ethernet)
    bridge = host.create_link("bridge0", "bridge")
    assert named(host, "bridge0").type == "bridge"
    host.set_master(index, bridge)
    assert named(host, "other").master == bridge
    host.set_master(index, None)
    assert named(host, "other").master is None
    host.destroy_link(index)
    assert [link.name for link in host.links()] == ["lo0", "bridge0"]
    assert refused(host.destroy_link, index) == ENXIO
    assert refused(host.set_link, index, mtu=1300) == ENXIO
    host.process_events()
    assert calls == [None]


@isolated
def test_further_loopbacks_and_wrong_kinds(host):
    index = host.create_link("lo1", "lo")
    link = host.link(index)
    assert (link.type, link.flags, link.lladdr) == ("loop", IFF_LOOPBACK | IFF_MULTICAST, None)
    host.set_link(index, name="other", up=True)
    assert (host.link(index).type, named(host, "other").index) == ("loop", index)
    host.add_address(Address(index, "inet", "10.0.0.1", 8))
    assert texts(host, index) == [("10.0.0.1", None, 8)]
    assert refused(host.create_link, "x0", "vlan") == EINVAL
    assert refused(host.create_link, "epair0a", "veth") == EINVAL


@isolated
def test_what_others_change_is_noticed(host):
    calls = watched(host)
    other = LinuxHost()
    index = other.create_tun("tun0", 1500)
    other.add_address(Address(index, "inet", "10.0.0.1", 24))
    other.close()
    host.process_events()
    assert calls
    assert named(host, "tun0").index == index
    assert texts(host, index) == [("10.0.0.1", None, 24)]
    del calls[:]
    host.process_events()
    assert calls == []


@isolated
def test_more_changes_than_the_listener_can_hold(host):
    calls = watched(host)
    index = host.create_tun("ipsec0", 1400)
    other = LinuxHost()
    for n in range(1500):
        other.set_link(index, mtu=1200 + n % 2)
    for n in range(300):
        other.add_address(Address(index, "inet", f"10.{n // 250}.{n % 250}.1", 24))
    other.close()
    host.process_events()
    assert calls == [None]
    assert len(texts(host, index)) == 300
    assert named(host, "ipsec0").mtu == 1201


@isolated
def test_fibs_are_routing_tables(host):
    def rules():
        lines = []
        for family in ("-4", "-6"):
            run = subprocess.run(["ip", family, "rule"], capture_output=True, text=True, check=True)
            lines.append([line.split("\t")[1] for line in run.stdout.splitlines() if line.startswith("3000")])
        assert lines[0] == lines[1]
        return [line.strip() for line in lines[0]]

    if not any(os.access(f"{folder}/ip", os.X_OK) for folder in os.environ["PATH"].split(":")):
        pytest.skip("no ip(8) to look with")
    index = host.create_tun("ipsec0", 1400)
    host.set_send_fibs({3, 5}, Marks())
    host.set_receive_fib(index, 3)
    assert sorted(rules()) == sorted(
        [
            "from all fwmark 0x30000/0xff0000 lookup 3",
            "from all fwmark 0x50000/0xff0000 lookup 5",
            "from all iif ipsec0 lookup 3",
            "from all fwmark 0x30000/0xff0000 unreachable",
            "from all fwmark 0x50000/0xff0000 unreachable",
            "from all iif ipsec0 unreachable",
        ]
    )
    host.set_link(index, name="ipsec9")
    host.set_send_fibs({5}, Marks(0xF0))
    assert sorted(rules()) == sorted(
        [
            "from all fwmark 0x50/0xf0 lookup 5",
            "from all iif ipsec9 lookup 3",
            "from all fwmark 0x50/0xf0 unreachable",
            "from all iif ipsec9 unreachable",
        ]
    )
    host.destroy_link(index)
    host.forget_receive_fib(index, "ipsec9")
    host.set_send_fibs(set(), Marks())
    assert rules() == []

    # What an earlier release left, and other people's at the same priority.
    for family in ("-4", "-6"):
        for words in ("30000 fwmark 7 lookup 7", "30001 fwmark 7 unreachable", "30000 fwmark 7 lookup 9"):
            subprocess.run(["ip", family, "rule", "add", "pref", *words.split()], check=True)
    host.set_send_fibs(set(), Marks())
    assert rules() == ["from all fwmark 0x7 lookup 9"]


@isolated
def test_another_vnet(host):
    index = host.create_tun("ipsec0", 1400)
    for name in ("no-such-namespace", "../../proc/self/ns/net", ""):
        assert refused(host.move_link, index, name) == ENXIO
    assert named(host, "ipsec0").index == index


def test_packets_cannot_flow_without_the_right():
    """In a user namespace that has no network namespace of its own, all capabilities are worth nothing."""
    code = "from ipsectools.host.linux.detect import missing; print(missing())"
    run = subprocess.run(["unshare", "-Ur", sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if run.returncode != 0 and "unshare" in run.stderr:
        pytest.skip(run.stderr.strip())
    assert run.stdout.strip() in ("CAP_NET_RAW", "CAP_NET_ADMIN") or run.stdout.startswith("/dev/net/tun")


@pytest.mark.parametrize("wanted", ["linux", "simulated"])
def test_the_environment_decides(wanted, monkeypatch):
    from ipsectools import host

    monkeypatch.setenv("IPSECTOOLS_HOST", wanted)
    assert host.is_simulated() == (wanted == "simulated")
    assert host.packets_can_flow() == (wanted == "linux" and host.missing() is None)
    monkeypatch.setenv("IPSECTOOLS_HOST", "freebsd")
    with pytest.raises(host.HostError):
        host.packets_can_flow()
