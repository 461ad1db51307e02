"""The ops KLDSTAT, KLDLOAD and KLDUNLOAD: files of modules that are loaded into this kernel or not.

There is one, `tcpmd5.ko`. It stays loaded, over restarts too, until it is unloaded, as the state file stays. ipsec.ko
is no such file: it is the kernel's process itself.
"""

from __future__ import annotations

from ipsectools.errno import EBUSY, EEXIST, ENOENT, KernelError
from ipsectools.pfkey.constants import IPPROTO_TCP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.state import KernelState

TCPMD5 = "tcpmd5.ko"


def loaded(state: KernelState) -> list[str]:
    return [TCPMD5] if state.engine.tcpmd5 else []


def load(state: KernelState, file: str) -> None:
    """Raises KernelError: ENOENT (no such file), EEXIST (loaded already)."""
    if file != TCPMD5:
        raise KernelError(ENOENT)
    if state.engine.tcpmd5:
        raise KernelError(EEXIST)
    state.engine.set_tcpmd5(True)


def unload(state: KernelState, file: str) -> None:
    """Raises KernelError: ENOENT (not loaded), EBUSY (there are SAs that need it)."""
    if file not in loaded(state):
        raise KernelError(ENOENT)
    if any(sa.protocol == IPPROTO_TCP and sa.alive for sa in state.engine.sad):
        raise KernelError(EBUSY)
    state.engine.set_tcpmd5(False)
