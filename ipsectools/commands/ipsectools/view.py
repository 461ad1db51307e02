"""What `ipsectools why` sees of kernel and host while it follows a packet. Nothing is changed."""

from __future__ import annotations

import ipaddress

from ipsectools.commands.ipsectools import routes
from ipsectools.commands.ipsectools.question import stop
from ipsectools.daemon import client, manage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import Interface
    from ipsectools.commands.ipsectools.question import Packet
    from ipsectools.commands.ipsectools.routes import Flow, Route


class View:
    """Kernel and host. `steps` are (name, text) as they were taken."""

    def __init__(self, packet: Packet, is_live: bool) -> None:
        self.packet = packet
        self.steps: list[tuple[str, str]] = []
        self.is_live = is_live
        self.unasked = Unasked() if self.is_live else None
        """Set if the kernel cannot be asked, or is not: it would start for that, and the packet have another fate."""
        if self.unasked is not None and not self.unasked.reason:
            self.unasked = None
        self.door = client.open_control() if self.unasked is None else client.ControlDoor("")
        self.interfaces = self.door.call("LISTIF")

    def say(self, step: str, text: str) -> None:
        self.steps.append((step, text))

    def sysctl(self, name: str) -> int:
        value = self.door.call("SYSCTLGET", name=name)["value"]
        assert isinstance(value, int)
        return value

    def route(self, flow: Flow) -> Route | str:
        return routes.find(flow) if self.is_live else routes.find_simulated(flow, self.interfaces)

    def is_ours(self, address: str) -> bool:
        wanted = ipaddress.ip_address(address)
        return any(
            ipaddress.ip_address(each["address"]) == wanted
            for interface in self.interfaces
            for each in (*interface["inet"], *interface["inet6"])
        )

    def named(self, name: str) -> Interface | None:
        return next((interface for interface in self.interfaces if interface["name"] == name), None)

    def way_out(self) -> str:
        """An interface by which packets could leave this host; empty if it has none."""
        kinds = ("ether", "bridge", "other")
        return next((each["name"] for kind in kinds for each in self.interfaces if each["iftype"] == kind), "")


class Unasked:
    """Why the kernel of the machine is not asked (`reason`; empty: it is), and what can be said all the same."""

    __slots__ = ("_names", "reason", "way")

    def __init__(self) -> None:
        from ipsectools.kernel import statedir

        self.reason = self.way = ""
        self._names: frozenset[str] = frozenset()  # none: they cannot be told from other tunnels
        directory = client.usable_directory()
        if not directory:
            self.reason = "only root can tell what it sends, and whether it is an ipsec interface at all"
            self.way = "ask as root"
        elif manage.status(directory) is None and statedir.moves_packets(directory):
            self._names = frozenset(statedir.moving_interfaces(directory))
            self.reason = "ipsecd is not running: what is routed into it goes nowhere"
            self.way = "ipsecd, and ask again"

    def check(self, interface: Interface) -> None:
        """Raises Stopped if the packet's fate is the kernel's business."""
        name = interface["name"]
        if name in self._names if self._names else interface["iftype"] == "tunnel":
            stop(f"{name}: {self.reason}", self.way)
