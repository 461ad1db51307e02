"""FIBs (setfib(1)) of interfaces: which routing tables of the host they need, by which marks of packets."""

from __future__ import annotations

from ipsectools.errno import EINVAL, KernelError
from ipsectools.host.marks import Marks
from ipsectools.kernel.sysctl import MARK_FIB, MARK_STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState


def marks(state: KernelState) -> Marks:
    """The layout of firewall marks, as the administrator has it."""
    return Marks(state.sysctl.value(MARK_FIB), state.sysctl.value(MARK_STATE))


def check(state: KernelState, fib: int) -> None:
    """EINVAL: there is no such FIB, or no mark for it."""
    if fib >= state.sysctl.value("net.fibs"):
        raise KernelError(EINVAL)
    if not marks(state).holds(fib):
        raise KernelError(EINVAL, f"{MARK_FIB} has no room for FIB {fib}")


def change_marks(state: KernelState) -> None:
    """After a mask was changed. EINVAL with the reason if it cannot be so."""
    layout = marks(state)
    reason = layout.refusal()
    if not reason and not all(map(layout.holds, _in_use(state))):
        reason = f"no room for FIB {max(_in_use(state))}, which is in use"
    if reason:
        raise KernelError(EINVAL, reason)
    apply(state)


def apply(state: KernelState) -> None:
    """Tells the host which FIBs are in use. Its rules for others would only be in the way of other programs' marks."""
    if not state.host.may_change:
        return
    layout = marks(state)
    wanted = set(filter(layout.holds, _in_use(state))), layout.fib_mask
    if wanted != state.send_fibs:
        state.host.set_send_fibs(wanted[0], layout)
        state.send_fibs = wanted
        state.undo(lambda: _forget(state))


def put_back(state: KernelState) -> None:
    """After somebody took away rules of the host: those that are needed are made again, if they were among them."""
    if not state.host.may_change or not _in_use(state):
        return
    for interface in state.interfaces:
        if interface.fib and not interface.lost:
            state.host.set_receive_fib(interface.index, interface.fib)
    _forget(state)
    apply(state)


def renamed(state: KernelState, interface: Interface, before: str) -> None:
    """Another program gave the device of an interface, called `before` until then, a name; the rules go by that."""
    if interface.fib and state.host.may_change:
        state.host.forget_receive_fib(interface.index, before)
        state.host.set_receive_fib(interface.index, interface.fib)


def _forget(state: KernelState) -> None:
    """What the host was told is not what the file has: said again with the rest, when the request is taken back."""
    state.send_fibs = None


def _in_use(state: KernelState) -> set[int]:
    return {fib for interface in state.interfaces for fib in (interface.fib, interface.tunnelfib) if fib}


def release(state: KernelState, interface: Interface) -> None:
    """Takes back what an interface needed that is no more in the books; its device may be gone, too."""
    host, index, fib = state.host, interface.index, interface.fib
    if fib and host.may_change:
        host.forget_receive_fib(index, interface.name)
        state.undo(lambda: host.set_receive_fib(index, fib))
    if fib or interface.tunnelfib:
        apply(state)
