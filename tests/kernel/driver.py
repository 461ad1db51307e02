"""The emulated kernel on a simulated host with a virtual clock, and the recordings' `ctl` lines as its requests."""

from __future__ import annotations

from typing import Any

from ipsectools.errno import KernelError
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.kernel.kernel import Kernel

EPOCH = 1_700_000_000


class Recorder:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def sa_changed(self, sa: Any) -> None:
        self.told.append(("sa_changed", sa.spi))

    def sa_removed(self, sa: Any) -> None:
        self.told.append(("sa_removed", sa.spi))

    def interface_changed(self, interface: Any) -> None:
        self.told.append(("interface_changed", interface.name))

    def interface_removed(self, index: int) -> None:
        self.told.append(("interface_removed", index))

    def sysctl_changed(self, name: str) -> None:
        self.told.append(("sysctl_changed", name))

    def reloaded(self) -> None:
        self.told.append(("reloaded", None))

    def take(self) -> list[tuple[str, Any]]:
        told, self.told = self.told, []
        return told


class Client:
    """A PF_KEY socket and what came to it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.got: list[bytes] = []
        self.has_room = True
        self.socket = driver.kernel.open_pfkey(self._take)

    def _take(self, message: bytes) -> bool:
        if self.has_room:
            self.got.append(message)
        return self.has_room

    def send(self, message: bytes) -> int:
        return self.socket.send(message, self.driver.now)

    def take(self) -> list[bytes]:
        got, self.got = self.got, []
        return got


class Driver:
    """One kernel. `path` None keeps its state in memory, so that it cannot be restarted."""

    def __init__(self, path: str | None = None, host: Any = None) -> None:
        self.path = path
        self.now: float = EPOCH
        self.kernel = Kernel(path, host or SimulatedHost(), self.now)
        self.kernel.observers.append(recorder := Recorder())
        self.recorder = recorder

    def restart(self, clean: bool = True, host: Any = None) -> None:
        """Another process takes over; a simulated host is as new, all it knows is in the state file."""
        self.kernel.close(clean)
        self.kernel = Kernel(self.path, host or SimulatedHost(), self.now)
        self.kernel.observers.append(self.recorder)

    def client(self) -> Client:
        return Client(self)

    def call(self, op: str, **args: Any) -> Any:
        return self.kernel.control(op, args, self.now)

    def errno(self, op: str, **args: Any) -> int:
        """The errno of a request, 0 if it succeeds."""
        try:
            self.call(op, **args)
        except KernelError as error:
            return error.errno
        return 0

    def interface(self, name: str) -> dict[str, Any]:
        [found] = self.call("LISTIF", name=name)
        assert isinstance(found, dict)
        return found

    def names(self) -> list[str]:
        return [interface["name"] for interface in self.call("LISTIF")]

    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.kernel.tick(self.now)
            self.now += 1

    def ctl(self, line: str) -> str:
        """A line of the recordings; its answer in their words."""
        verb, *words = line.split()
        try:
            return str(getattr(self, f"_ctl_{verb}")(*words))
        except KernelError as error:
            return f"errno {error.errno}"

    def _ctl_create(self, name: str, *words: str) -> str:
        given = self.call("SIOCIFCREATE2", name=name)
        if words:
            assert words[0] == "reqid"
            self.call("IPSECSREQID", name=given, reqid=int(words[1]))
        return f"ok {given}"

    def _ctl_tunnel(self, name: str, src: str, dst: str) -> str:
        self.call("SIOCSIFPHYADDR", name=name, src=src, dst=dst)
        return "ok"

    def _ctl_deletetunnel(self, name: str) -> str:
        self.call("SIOCDIFPHYADDR", name=name)
        return "ok"

    def _ctl_reqid(self, name: str, reqid: str) -> str:
        self.call("IPSECSREQID", name=name, reqid=int(reqid))
        return "ok"

    def _ctl_mtu(self, name: str, mtu: str) -> str:
        self.call("SIOCSIFMTU", name=name, value=int(mtu))
        return "ok"

    def _ctl_inet(self, name: str, address: str, peer: str) -> str:
        text, _, prefixlen = address.partition("/")
        self.call("NEWADDR", name=name, family="inet", address=text, prefixlen=int(prefixlen), peer=peer)
        return "ok"

    def _ctl_up(self, name: str) -> str:
        self.call("SIOCSIFFLAGS", name=name, set=1, clear=0)
        return "ok"

    def _ctl_down(self, name: str) -> str:
        self.call("SIOCSIFFLAGS", name=name, set=0, clear=1)
        return "ok"

    def _ctl_destroy(self, name: str) -> str:
        self.call("SIOCIFDESTROY", name=name)
        return "ok"

    def _ctl_list(self) -> str:
        return " ".join(self.names())

    def _ctl_advance(self, seconds: str) -> str:
        self.advance(int(seconds))
        return "ok"

    def _ctl_sysctl(self, word: str) -> str:
        name, _, value = word.partition("=")
        if value:
            self.call("SYSCTLSET", name=name, value=value)
            return "ok"
        number = self.call("SYSCTLGET", name=name)["value"]
        return f"{name}: {number} hex {number & 0xFFFFFFFF:08x}"

    def _ctl_show(self, name: str) -> str:
        """Without the counters, which are the data path's."""
        found = self.call("LISTIF", name=name)
        if not found:
            return "errno 6"
        [interface] = found
        flags = interface["flags"] & 0xFFFF
        text = f"{name}: flags=0x{flags & ~0x40:x} drv=0x{flags & 0x40:x} mtu {interface['mtu']}"
        text += f" reqid {interface['reqid']}"
        if tunnel := interface["tunnel"]:
            text += f" tunnel {tunnel['family']} {tunnel['src']} -> {tunnel['dst']}"
        for address in interface["inet"]:
            mask = (0xFFFFFFFF << 32 - address["prefixlen"]) & 0xFFFFFFFF
            text += f" inet {address['address']} mask {mask:08x} -> {address['peer']}"
        return text
