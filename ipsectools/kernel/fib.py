"""FIBs (setfib(1)) of interfaces: which routing tables of the host they need, and no longer need."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.interface import Interface
    from ipsectools.kernel.kernel import Kernel


def apply(kernel: Kernel) -> None:
    """Tells the host which FIBs are in use. Its rules for others would only be in the way of other programs' marks."""
    fibs = {fib for interface in kernel.interfaces for fib in (interface.fib, interface.tunnelfib) if fib}
    if fibs != kernel.send_fibs:
        kernel.host.set_send_fibs(fibs)
        kernel.send_fibs = fibs


def release(kernel: Kernel, interface: Interface) -> None:
    """Takes back what an interface needed that is no more in the books; its device may be gone, too."""
    host, index, fib = kernel.host, interface.index, interface.fib
    if fib:
        host.forget_receive_fib(index, interface.name)
        kernel.undo(lambda: host.set_receive_fib(index, fib))
    if fib or interface.tunnelfib:
        apply(kernel)
