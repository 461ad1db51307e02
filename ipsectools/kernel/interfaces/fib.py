"""FIBs (setfib(1)) of interfaces: which routing tables of the host they need, and no longer need."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState


def apply(state: KernelState) -> None:
    """Tells the host which FIBs are in use. Its rules for others would only be in the way of other programs' marks."""
    if not state.host.may_change:
        return
    fibs = {fib for interface in state.interfaces for fib in (interface.fib, interface.tunnelfib) if fib}
    if fibs != state.send_fibs:
        state.host.set_send_fibs(fibs)
        state.send_fibs = fibs


def release(state: KernelState, interface: Interface) -> None:
    """Takes back what an interface needed that is no more in the books; its device may be gone, too."""
    host, index, fib = state.host, interface.index, interface.fib
    if fib and host.may_change:
        host.forget_receive_fib(index, interface.name)
        state.undo(lambda: host.set_receive_fib(index, fib))
    if fib or interface.tunnelfib:
        apply(state)
