"""What a kind of interface that can be made is to the rest of the kernel, and which kinds there are.

A kind is one module in this room; nothing else asks of what kind an interface is, but calls the kind's hooks. `basic`
has those that the host moves packets for, `if_ipsec` and its like those whose packets the data path moves; `all_kinds`
registers them.
"""

from __future__ import annotations

from ipsectools.errno import EINVAL, KernelError
from ipsectools.kernel.operation import OPERATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ipsectools.host.api import Host
    from ipsectools.kernel.interfaces.interface import Interface, Tunnel
    from ipsectools.kernel.operation import Operation
    from ipsectools.kernel.state import KernelState
    from ipsectools.kernel.store import Table


MAX_UNIT = 0x7FFF
INT_MAX = 0x7FFFFFFF


class Kind:
    """A kind of interface: `device` and `devices` are the host's words for what it may be made of.

    `has_end_points`: it is a tunnel with outer addresses (see `tunnel`), and RUNNING while it can use them.
    `moves_packets`: its device is a TUN whose packets our data path moves. `members`: what `describe` adds to the
    interface's dict (null for other kinds). `operations`: control operations of its own, by name.
    `tables`: its rows.
    """

    flags = 0
    capabilities = 0
    mtu_range = range(72, 65535 + 1)
    suffixes: tuple[str, ...] = ("",)
    has_end_points = False
    moves_packets = False
    members: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    operations: Mapping[str, Operation] = {}

    def __init__(self, name: str, iftype: str, device: str, mtu: int, *, devices: tuple[str, ...] = ()) -> None:
        self.name = name
        self.iftype = iftype
        self.device = device
        self.devices = devices or (device,)
        self.mtu = mtu

    def unit_of(self, name: str) -> int | None:
        """The unit in a name that this kind matches, None for none. EINVAL: not a unit."""
        digits = name[len(self.name) :]
        if not digits:
            return None
        if (digits[0] == "0" and len(digits) > 1) or len(digits) > 10 or int(digits) > INT_MAX:
            raise KernelError(EINVAL)
        return int(digits)

    def make(self, host: Host, names: list[str], mtu: int, index: int | None = None) -> list[int]:
        """Makes the device (or devices) on the host; their indices, the first one as asked for if it is free."""
        if self.moves_packets:
            return [host.create_tun(names[0], mtu, index)]
        return [host.create_link(names[0], self.device, None, index)]

    # hooks

    def new_own(self) -> Any:
        """What an interface of this kind keeps in `own`."""
        return None

    def load(self, state: KernelState) -> None:
        """Gives the interfaces what the kind's rows say of them."""

    def forget(self, state: KernelState, interface: Interface) -> None:
        """The interface goes: its rows too. Its end points are gone already."""

    def index_changed(self, state: KernelState, interface: Interface) -> None:
        """The interface's device was made again."""

    def end_points_changing(self, state: KernelState, interface: Interface, tunnel: Tunnel | None) -> None:
        """The interface is about to get these end points, other than it has. Raises KernelError."""

    def describe(self, state: KernelState, interface: Interface) -> dict[str, Any]:
        """The values of `members`."""
        return {}

    def luggage(self, interface: Interface) -> Sequence[str]:
        """What an interface that moves to another vnet takes along, in words."""
        return ()

    def understands(self, luggage: Sequence[str]) -> bool:
        """Whether such words can be an interface's luggage."""
        return list(luggage) in ([], ["0"])  # release 0.1 wrote a reqid for every kind

    def unpack(self, state: KernelState, interface: Interface, luggage: Sequence[str]) -> None:
        """What came along with an interface from another vnet, in words that the kind understands."""


KINDS: dict[str, Kind] = {}
"""By name, in order of registration."""


def register(kind: Kind) -> None:
    """Makes a kind known, and its operations."""
    KINDS[kind.name] = kind
    OPERATIONS.update(kind.operations)


def tables() -> list[Table]:
    """The tables of all kinds."""
    return [table for kind in KINDS.values() for table in kind.tables]


def of(interface: Interface) -> Kind | None:
    """The kind of an interface, None if it is the host's own."""
    return KINDS[interface.cloner] if interface.cloner is not None else None


def names() -> list[str]:
    """SIOCIFGCLONERS: the kind that was registered last comes first."""
    return list(reversed(KINDS))


def find(name: str) -> Kind:
    """The kind of a name that is given at creation. EINVAL if none matches."""
    kind = KINDS.get(name.rstrip("0123456789"))
    if kind is None or not name.isascii():
        raise KernelError(EINVAL)
    return kind


def of_driver(drivername: str) -> tuple[Kind, int] | None:
    """The kind and the unit of an interface's first name (`ipsec0`, `epair0b`), None if it is no such name."""
    for kind in KINDS.values():
        for suffix in kind.suffixes:
            if drivername.startswith(kind.name) and drivername.endswith(suffix):
                digits = drivername[len(kind.name) : len(drivername) - len(suffix)]
                if digits.isascii() and digits.isdecimal() and (digits[0] != "0" or digits == "0"):
                    return (kind, int(digits)) if int(digits[:11]) <= MAX_UNIT else None
    return None


def equip(interface: Interface) -> None:
    """Sets what follows from the interface's kind and is not kept in its row."""
    kind = of(interface)
    if kind is not None:
        interface.iftype = kind.iftype
        interface.base_flags = kind.flags
        interface.capabilities = kind.capabilities
        interface.has_end_points = kind.has_end_points
        interface.moves_packets = kind.moves_packets
        if interface.own is None:
            interface.own = kind.new_own()
