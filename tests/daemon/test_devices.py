"""A device that the data path cannot open: its interface is not RUNNING, why is said once, and it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.daemon.forwarding import Forwarder
from ipsectools.errno import EBUSY, EINVAL, ENXIO, EPERM, KernelError
from ipsectools.kernel.kernel import Kernel
from tests.kernel.linux_like import LinuxLike

if TYPE_CHECKING:
    from ipsectools.host.simulated.packets import SimulatedTun

RUNNING = 0x40


class Host(LinuxLike):
    """`held` is the errno with which devices made so far cannot be opened; `owner` is whose they are."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, int] = {}

    def hold(self, name: str, errno: int, owner: str) -> None:
        self.held[name] = errno
        self._links[self._names[name]].owner = owner

    def destroy_link(self, index: int) -> None:
        self.held.pop(self._links[index].name, None)
        super().destroy_link(index)

    def open_tun(self, name: str) -> SimulatedTun:
        if name in self.held:
            raise KernelError(self.held[name])
        return super().open_tun(name)


class Scene:
    """A kernel and its data path, started while ipsec0 cannot be opened."""

    def __init__(self, errno: int, owner: str, path: str) -> None:
        self.now = 1_700_000_000.0
        self.host = Host()
        self.kernel = Kernel(path, self.host, self.now)
        self.control("NEWADDR", name="em0", family="inet", address="192.168.0.3", prefixlen=24)
        self.control("SIOCIFCREATE2", name="ipsec0")
        self.control("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
        self.control("SIOCSIFFLAGS", name="ipsec0", set=1, clear=0)
        self.host.hold("ipsec0", errno, owner)
        self.host.calls.clear()
        self.said: list[str] = []
        self.forwarder = Forwarder(self.kernel, self.host, lambda: None, "python", self.said.append)

    def control(self, op: str, **arguments: Any) -> Any:
        return self.kernel.control(op, arguments, self.now)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.forwarder.handle_events(self.now)

    @property
    def state(self) -> tuple[bool, str | None]:
        """RUNNING, and the trouble."""
        (interface,) = self.control("LISTIF", name="ipsec0")
        return bool(interface["flags"] & RUNNING), interface["trouble"]


@pytest.mark.parametrize(
    ("errno", "trouble"),
    [
        (EBUSY, "its device is held by another process"),
        (EPERM, "its device belongs to another user"),
        (EINVAL, "its device cannot be opened: Invalid argument"),
    ],
)
def test_it_is_said_once_and_comes_back(errno: int, trouble: str, tmp_path: Any) -> None:
    scene = Scene(errno, "us", f"{tmp_path}/state.db")
    assert scene.state == (False, trouble)
    assert scene.said == []  # an ipsecd that was killed may still be letting go
    scene.wait(3)
    assert scene.said == [f"ipsec0: {trouble}: no packets until it is let go or ipsec0 is destroyed"]
    scene.control("SIOCSIFMTU", name="ipsec0", value=1300)
    assert scene.state == (False, trouble)
    assert not {"create_tun", "destroy_link"} & set(scene.host.calls)
    scene.host.held.clear()
    scene.wait(0.3)
    assert scene.state == (True, None)
    assert scene.said[1:] == ["ipsec0: its device is ours again"]
    assert scene.forwarder.interface_counters(scene.control("LISTIF", name="ipsec0")[0]["index"]) is not None


def test_who_lets_go_at_once_is_not_mentioned(tmp_path: Any) -> None:
    scene = Scene(EBUSY, "us", f"{tmp_path}/state.db")
    scene.host.held.clear()
    scene.wait(0.2)
    assert (scene.state, scene.said) == ((True, None), [])


@pytest.mark.parametrize("owner", ["nobody", "others"])
def test_a_device_that_others_can_be_in_is_made_anew(owner: str, tmp_path: Any) -> None:
    scene = Scene(EBUSY, owner, f"{tmp_path}/state.db")
    scene.control("NEWADDR", name="ipsec0", family="inet", address="172.16.0.3", prefixlen=32, peer="172.16.0.5")
    (before,) = scene.control("LISTIF", name="ipsec0")
    scene.wait(2)
    assert scene.state == (True, None)
    assert scene.said == ["ipsec0: its device is held by another process: made anew"]
    (after,) = scene.control("LISTIF", name="ipsec0")
    assert [after[key] for key in ("index", "mtu", "inet", "tunnel", "reqid")] == [
        before[key] for key in ("index", "mtu", "inet", "tunnel", "reqid")
    ]


def test_a_device_that_cannot_be_made_at_first_is_made_later(tmp_path: Any) -> None:
    scene = Scene(EBUSY, "nobody", f"{tmp_path}/state.db")
    create = scene.host.create_tun

    def refuse(*_: Any) -> int:
        raise KernelError(ENXIO)

    scene.host.create_tun = refuse  # type: ignore[method-assign]
    scene.wait(2)
    assert scene.state[0] is False
    assert len(scene.said) == 1
    scene.host.create_tun = create  # type: ignore[method-assign]
    scene.wait(0.5)
    assert scene.state == (True, None)


def test_destroyed_while_it_waits(tmp_path: Any) -> None:
    scene = Scene(EBUSY, "us", f"{tmp_path}/state.db")
    scene.wait(1)
    scene.control("SIOCIFDESTROY", name="ipsec0")
    scene.wait(1)
    scene.control("SIOCIFCREATE2", name="ipsec0")
    scene.control("SIOCSIFPHYADDR", name="ipsec0", src="192.168.0.3", dst="192.168.0.5")
    scene.wait(1)
    assert scene.state == (True, None)
    assert len(scene.said) == 1
