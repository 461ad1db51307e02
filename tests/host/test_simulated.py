"""The simulated host: how it starts, what it keeps, its devices for packets."""

from __future__ import annotations

import select
from typing import Any

import pytest

from ipsectools.errno import EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, EMSGSIZE, ENOENT, ENXIO, KernelError
from ipsectools.host.api import Address, OuterPacket
from ipsectools.host.simulated.host import SimulatedHost


class Rows:
    """A state file in memory."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {name: {} for name in SimulatedHost.tables}

    def read(self, table: str) -> list[Any]:
        return list(self.tables[table].values())

    def put(self, table: str, row: Any) -> None:
        assert len(row) == len(SimulatedHost.tables[table])
        self.tables[table][row[0]] = tuple(row)

    def delete(self, table: str, key: Any) -> None:
        del self.tables[table][key]


@pytest.fixture
def host() -> SimulatedHost:
    return SimulatedHost()


def state(host: SimulatedHost) -> Any:
    def fields(value: Any) -> Any:
        return tuple(getattr(value, name) for name in type(value).__slots__)

    return [fields(link) for link in host.links()], [fields(address) for address in host.addresses()]


def refused(call: Any, *args: Any, **options: Any) -> int:
    with pytest.raises(KernelError) as caught:
        call(*args, **options)
    return caught.value.errno


def test_boot(host: SimulatedHost) -> None:
    assert [(link.index, link.name, hex(link.flags), link.mtu, link.lladdr) for link in host.links()] == [
        (1, "lo0", "0x8049", 16384, None),
        (2, "em0", "0x8802", 1500, "58:9c:fc:00:00:02"),
    ]
    assert [(each.index, each.address, each.prefixlen) for each in host.addresses()] == [
        (1, "127.0.0.1", 8),
        (1, "::1", 128),
        (1, "fe80::1", 64),
    ]
    assert not host.live
    assert list(host.watch(lambda: None)) == []


def test_what_it_keeps(host: SimulatedHost) -> None:
    rows = Rows()
    host.load(rows)
    tun = host.create_tun("ipsec0", 1400)
    epair = host.create_link("epair0a", "veth", "epair0b")
    bridge = host.create_link("bridge0", "bridge")
    host.set_master(epair, bridge)
    host.set_link(tun, up=True, mtu=1300, name="vpn0", alias="to B", promisc=True)
    host.set_link(2, arp=False, allmulti=True, lladdr="02:00:00:00:00:01")
    host.add_address(Address(tun, "inet", "10.0.0.1", 32, peer="10.0.0.2"))
    host.add_address(Address(2, "inet", "192.0.2.1", 24, broadcast="192.0.2.255"))
    host.add_address(Address(2, "inet6", "2001:db8::1", 64, preferred=5, valid=6))
    host.delete_address(Address(1, "inet", "127.0.0.1", 8))
    again = SimulatedHost()
    again.load(rows)
    assert state(again) == state(host)
    again.destroy_link(epair)
    assert [link.name for link in again.links()] == ["lo0", "em0", "vpn0", "bridge0"]
    third = SimulatedHost()
    third.load(rows)
    assert state(third) == state(again)


def test_indices(host: SimulatedHost) -> None:
    assert [host.create_tun(f"ipsec{unit}", 1400) for unit in range(3)] == [3, 4, 5]
    host.destroy_link(4)
    assert host.create_tun("ipsec7", 1400) == 4  # the lowest that is free
    assert host.create_tun("ipsec8", 1400, 9) == 9
    assert host.create_tun("ipsec9", 1400, 9) == 6


def test_refusals(host: SimulatedHost) -> None:
    assert refused(host.create_tun, "em0", 1400) == EEXIST
    assert refused(host.create_link, "x", "vlan") == EINVAL
    assert refused(host.create_link, "x", "veth") == EINVAL
    assert refused(host.create_link, "x", "veth", "x") == EEXIST
    assert refused(host.create_link, "x", "veth", "em0") == EEXIST
    for call in (host.destroy_link, host.set_link):
        assert refused(call, 99) == ENXIO
    assert refused(host.set_link, 2, name="lo0") == EEXIST
    assert refused(host.set_link, 2, mtu=9217) == EINVAL
    assert refused(host.set_link, 1, lladdr="02:00:00:00:00:01") == EINVAL
    assert refused(host.add_address, Address(99, "inet", "10.0.0.1", 32)) == ENXIO
    assert refused(host.delete_address, Address(2, "inet", "10.0.0.1", 32)) == EADDRNOTAVAIL
    assert refused(host.set_master, 2, 1) == EINVAL
    assert refused(host.set_master, 2, None) == ENOENT
    first, second = host.create_link("bridge0", "bridge"), host.create_link("bridge1", "bridge")
    host.set_master(2, first)
    assert refused(host.set_master, 2, first) == EEXIST
    assert refused(host.set_master, 2, second) == EBUSY
    for call, args in ((host.move_link, (2, "blue")), (host.fetch_link, ("em0", "blue"))):
        assert refused(call, *args) == ENXIO
    assert [link.name for link in host.links()] == ["lo0", "em0", "bridge0", "bridge1"]


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_tun(host: SimulatedHost) -> None:
    index = host.create_tun("ipsec0", 1400)
    tun = host.open_tun("ipsec0")
    assert host.open_tun("ipsec0") is tun
    assert refused(host.open_tun, "em0") == ENXIO
    assert refused(host.open_tun, "nobody") == ENXIO
    tun.inject(b"first")
    assert is_readable(tun.fileno())
    for packet in (b"second", b"third"):
        tun.inject(packet)
    assert tun.read(2) == [b"first", b"second"]
    assert is_readable(tun.fileno())
    assert tun.read(9) == [b"third"]
    assert not is_readable(tun.fileno())
    assert tun.read(9) == []
    assert tun.write(b"four") == 0
    assert tun.written == [b"four"]
    link = host.link(index)
    assert link is not None
    assert link.statistics == (1, 4, 0, 3, 16, 0)
    host.set_link(index, name="vpn0")
    assert tun.name == "vpn0"
    host.destroy_link(index)
    assert tun.write(b"five") == ENXIO
    host.close()


def test_wires(host: SimulatedHost) -> None:
    one, other = host.open_wire(), SimulatedHost().open_wire()
    small, large = (OuterPacket(b"\x0a\0\0\1", b"\x0a\0\0\2", bytes(size), df=True) for size in (1480, 1481))
    assert one.send([small, large]) == [0, EMSGSIZE]
    assert one.sent == [small]
    one.connect(other)
    assert one.send([small]) == [0]
    assert is_readable(*other.filenos())
    assert other.receive(9) == [small]
    assert not is_readable(*other.filenos())
    other.send([small])
    assert one.receive(9) == [small]
    one.encap([(b"\x0a\0\0\1", 4500)])
    assert one.encapsulated == {(b"\x0a\0\0\1", 4500)}
    assert (one.inject(b"packet", 3), one.injected, one.injected_on) == (0, [b"packet"], [3])
    one.mtu = 1280
    assert one.path_mtu(b"\x0a\0\0\2") == 1280
    host.close()
    other.release()
