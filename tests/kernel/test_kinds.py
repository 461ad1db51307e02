"""Kinds of interface: rows of their own, a state file from before they had them, and one that is made up here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ipsectools.errno import EINVAL, KernelError
from ipsectools.host.api import IFF_MULTICAST, IFF_POINTOPOINT, IFF_RUNNING
from ipsectools.kernel.interfaces import kinds
from ipsectools.kernel.interfaces.interface import Interface, Tunnel
from ipsectools.kernel.operation import OPERATIONS, Operation, on_interface
from ipsectools.kernel.state import KernelState
from ipsectools.kernel.statefile import kind
from ipsectools.kernel.store import APPLICATION_ID, Table

from .driver import Driver

DATA = Path(__file__).parent.parent / "data" / "state"


def test_a_state_file_of_schema_1(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.executescript((DATA / "schema1.sql").read_text())
    db.close()
    path.chmod(0o600)
    assert kind(str(path)) == "simulated"
    driver = Driver(str(path))
    ipsec0, ipsec7, epair0a = (driver.interface(name) for name in ("ipsec0", "ipsec7", "epair0a"))
    assert (ipsec0["reqid"], ipsec7["reqid"], epair0a["reqid"]) == (100, 0, None)
    assert ipsec0["tunnel"] == {"family": "inet", "src": "192.168.0.3", "dst": "192.168.0.5"}
    assert [each["address"] for each in ipsec0["inet"]] == ["172.16.0.3"]
    assert ipsec0["description"] == "to B"
    assert ipsec0["flags"] & IFF_RUNNING
    assert driver.call("OUTBOUND", name="ipsec0")["policies"] == [2, 4]
    with pytest.raises(KernelError):
        driver.call("IPSECSREQID", name="ipsec7", reqid=100)
    driver.call("SIOCIFDESTROY", name="ipsec0")
    assert sorted(policy.id for policy in driver.kernel.engine.spd.by_id.values()) == []
    driver.restart()
    assert driver.interface("ipsec7")["reqid"] == 0
    driver.kernel.close()
    assert kind(str(path)) == "simulated"


class Toy(kinds.Kind):
    """A tunnel with a colour."""

    flags = IFF_POINTOPOINT | IFF_MULTICAST
    mtu_range = range(500, 600)
    has_end_points = True
    moves_packets = True
    members = ("colour",)
    tables = (Table("toy", "position INTEGER", "colour TEXT NOT NULL"),)

    def new_own(self) -> list[str]:
        return ["white"]

    def load(self, state: KernelState) -> None:
        for position, colour in state.store.rows(self.tables[0]):
            interface = state.interfaces.by_position(int(str(position)))
            assert interface is not None
            interface.own = [str(colour)]

    def forget(self, state: KernelState, interface: Interface) -> None:
        state.store.delete(self.tables[0], interface.position)

    def end_points_changing(self, state: KernelState, interface: Interface, tunnel: Tunnel | None) -> None:
        if tunnel is not None and tunnel.family == "inet6":
            raise KernelError(EINVAL)

    def describe(self, state: KernelState, interface: Interface) -> dict[str, Any]:
        return {"colour": interface.own[0]}

    def luggage(self, interface: Interface) -> Sequence[str]:
        return interface.own  # type: ignore[no-any-return]

    def understands(self, luggage: Sequence[str]) -> bool:
        return len(luggage) == 1

    def unpack(self, state: KernelState, interface: Interface, luggage: Sequence[str]) -> None:
        paint(state, interface, luggage[0])


def paint(state: KernelState, interface: Interface, colour: str) -> None:
    if interface.cloner != "toy":
        raise KernelError(EINVAL)
    interface.own = [colour]
    state.store.put(Toy.tables[0], (interface.position, colour))
    state.interface_changed(interface)


Toy.operations = {"TOYSCOLOUR": Operation(on_interface(paint, "colour"), "name:text colour:text")}


@pytest.fixture
def toy() -> Iterator[Toy]:
    kind = Toy("toy", "tunnel", "tun", 550)
    kinds.register(kind)
    yield kind
    del kinds.KINDS["toy"]
    for name in kind.operations:
        del OPERATIONS[name]


def test_a_kind_that_is_made_up(toy: Toy, tmp_path: Path) -> None:
    """It is created, has end points and RUNNING, a row of its own over a restart, and is destroyed with all that."""
    driver = Driver(f"{tmp_path}/state.db")
    assert driver.call("SIOCIFGCLONERS")[0] == "toy"
    driver.call("NEWADDR", name="em0", family="inet", address="192.168.0.3", prefixlen=24)
    assert driver.call("SIOCIFCREATE2", name="toy") == "toy0"
    assert (driver.interface("toy0")["colour"], driver.interface("em0")["colour"]) == ("white", None)
    driver.call("TOYSCOLOUR", name="toy0", colour="red")
    with pytest.raises(KernelError):
        driver.call("TOYSCOLOUR", name="em0", colour="red")
    with pytest.raises(KernelError):
        driver.call("SIOCSIFMTU", name="toy0", value=1400)
    driver.call("SIOCSIFPHYADDR", name="toy0", src="192.168.0.3", dst="192.168.0.5")
    with pytest.raises(KernelError):
        driver.call("SIOCSIFPHYADDR_IN6", name="toy0", src="fd00::1", dst="fd00::2")
    driver.restart()
    interface = driver.interface("toy0")
    assert (interface["colour"], interface["mtu"]) == ("red", 550)
    assert interface["tunnel"] == {"family": "inet", "src": "192.168.0.3", "dst": "192.168.0.5"}
    assert interface["flags"] & IFF_RUNNING
    driver.call("SIOCDIFPHYADDR", name="toy0")
    assert not driver.interface("toy0")["flags"] & IFF_RUNNING
    driver.call("SIOCIFDESTROY", name="toy0")
    assert list(driver.kernel.store.rows(Toy.tables[0])) == []
