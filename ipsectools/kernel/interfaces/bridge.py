"""Members of bridges (ifconfig addm, deletem)."""

from __future__ import annotations

from ipsectools.errno import EBUSY, EEXIST, EINVAL, ENOENT, KernelError
from ipsectools.kernel.interfaces import generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState


def add(state: KernelState, bridge: Interface, name: str) -> None:
    """BRDGADD. ENOENT: no such interface; EEXIST: a member already; EBUSY: of another; EINVAL: cannot be one."""
    member = _member(state, bridge, name)
    if member.link.master is not None:
        raise KernelError(EEXIST if member.link.master == bridge.index else EBUSY)
    if member is bridge or member.iftype != "ether":
        raise KernelError(EINVAL)
    host, index = state.host, member.index
    host.set_master(index, bridge.index)
    state.undo(lambda: host.set_master(index, None))
    generic.refresh(state, member)
    state.interface_changed(member)


def delete(state: KernelState, bridge: Interface, name: str) -> None:
    """BRDGDEL. ENOENT: not a member."""
    member = _member(state, bridge, name)
    if member.link.master != bridge.index:
        raise KernelError(ENOENT)
    host, index, before = state.host, member.index, bridge.index
    host.set_master(index, None)
    state.undo(lambda: host.set_master(index, before))
    generic.refresh(state, member)
    state.interface_changed(member)


def _member(state: KernelState, bridge: Interface, name: str) -> Interface:
    if bridge.iftype != "bridge":
        raise KernelError(EINVAL)
    member = state.interfaces.by_name(name)
    if member is None:
        raise KernelError(ENOENT)
    return member
