"""if_ipsec(4): the reqid of an interface and its four policies."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL, KernelError
from ipsectools.host.api import IFF_MULTICAST, IFF_POINTOPOINT
from ipsectools.kernel.interfaces import outbound
from ipsectools.kernel.interfaces.kinds import Kind
from ipsectools.kernel.operation import Operation, on_interface
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ipsectools.answers import Outbound
    from ipsectools.kernel.interfaces.interface import Interface, Tunnel
    from ipsectools.kernel.state import KernelState

TABLE = Table("if_ipsec", "position INTEGER", "reqid INTEGER NOT NULL", "policies TEXT NOT NULL")
REQIDS = "reqid"
"""The index of interfaces by reqid (see `Interfaces.find`)."""


class Own:
    """What only an ipsec interface has: its reqid (0: none yet) and the ids of its policies (none without a tunnel)."""

    __slots__ = ("policies", "reqid")

    def __init__(self) -> None:
        self.reqid = 0
        self.policies: tuple[int, ...] = ()


class Ipsec(Kind):
    flags = IFF_POINTOPOINT | IFF_MULTICAST
    mtu_range = range(1280, 8192 + 1)
    has_end_points = True
    moves_packets = True
    members = ("reqid",)
    tables = (TABLE,)

    def new_own(self) -> Own:
        return Own()

    def load(self, state: KernelState) -> None:
        for position, reqid, policies in state.store.rows(TABLE):
            assert isinstance(position, int) and isinstance(reqid, int) and isinstance(policies, str)
            interface = state.interfaces.by_position(position)
            if interface is None:
                raise ValueError(f"rows of an interface that there is not ({position})")
            own = of(interface)
            own.reqid, own.policies = reqid, tuple(map(int, policies.split()))
            if reqid:
                state.interfaces.enter_key(interface, REQIDS, reqid)

    def forget(self, state: KernelState, interface: Interface) -> None:
        _set_reqid(state, interface, 0)
        state.store.delete(TABLE, interface.position)

    def index_changed(self, state: KernelState, interface: Interface) -> None:
        if interface.tunnel is not None:
            _install_policies(state, interface, interface.tunnel)

    def end_points_changing(self, state: KernelState, interface: Interface, tunnel: Tunnel | None) -> None:
        own = of(interface)
        if tunnel is None:
            state.engine.remove_interface_policies(own.policies, state.now)
            own.policies = ()
            _save(state, interface)
            return
        if not own.reqid:
            _assign_reqid(state, interface)
        _install_policies(state, interface, tunnel)

    def describe(self, state: KernelState, interface: Interface) -> dict[str, Any]:
        return {"reqid": of(interface).reqid}

    def luggage(self, interface: Interface) -> Sequence[str]:
        return [str(of(interface).reqid)]

    def understands(self, luggage: Sequence[str]) -> bool:
        return len(luggage) == 1 and luggage[0].isascii() and luggage[0].isdecimal()

    def unpack(self, state: KernelState, interface: Interface, luggage: Sequence[str]) -> None:
        """The reqid, if nobody here has it."""
        reqid = int(luggage[0])
        if 0 < reqid < 1 << 32 and state.interfaces.find(REQIDS, reqid) is None:
            _set_reqid(state, interface, reqid)
            _save(state, interface)


def of(interface: Interface) -> Own:
    """What only an ipsec interface has. The interface must be one."""
    own = interface.own
    assert isinstance(own, Own)
    return own


def set_reqid(state: KernelState, interface: Interface, reqid: int) -> None:
    """IPSECSREQID. EEXIST: another ipsec interface has it; EINVAL: not an ipsec interface.

    0 asks for an automatic one if there is none yet, and else only makes the policies anew.
    """
    own = interface.own
    if not isinstance(own, Own):
        raise KernelError(EINVAL)
    if reqid and reqid == own.reqid:
        return
    if reqid:
        if state.interfaces.find(REQIDS, reqid) is not None:
            raise KernelError(EEXIST)
        _set_reqid(state, interface, reqid)
    elif not own.reqid:
        _assign_reqid(state, interface)
    if interface.tunnel is not None:
        _install_policies(state, interface, interface.tunnel)
    _save(state, interface)
    state.interface_changed(interface)


def _read_outbound(state: KernelState, interface: Interface) -> Outbound:
    """OUTBOUND: nothing for an interface of another kind."""
    own = interface.own
    return outbound.read(state, interface, own.reqid, own.policies) if isinstance(own, Own) else outbound.NOTHING


def _assign_reqid(state: KernelState, interface: Interface) -> None:
    _set_reqid(state, interface, state.engine.allocate_reqid(state.interfaces.keys(REQIDS)))


def _set_reqid(state: KernelState, interface: Interface, reqid: int) -> None:
    own = of(interface)
    state.interfaces.drop_key(interface, REQIDS, own.reqid)
    own.reqid = reqid
    if reqid:
        state.interfaces.enter_key(interface, REQIDS, reqid)


def _save(state: KernelState, interface: Interface) -> None:
    own = of(interface)
    state.store.put(TABLE, (interface.position, own.reqid, " ".join(map(str, own.policies))))


def _install_policies(state: KernelState, interface: Interface, tunnel: Tunnel) -> None:
    own = of(interface)
    own.policies = tuple(
        state.engine.install_interface_policies(
            interface.index, own.reqid, tunnel.src, tunnel.dst, state.now, old=own.policies
        )
    )
    _save(state, interface)


Ipsec.operations = {
    "IPSECSREQID": Operation(on_interface(set_reqid, "reqid"), "name:text reqid:u32"),
    "OUTBOUND": Operation(on_interface(_read_outbound), "name:text", needs_privilege=False),
}
KIND = Ipsec("ipsec", "tunnel", "tun", 1400)
