"""The Linux host of a process that may not change it: rtnetlink(7) shows links and addresses to everybody."""

from __future__ import annotations

from ipsectools.errno import EPERM, KernelError
from ipsectools.host.linux.host import LinuxHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.linux.changes import Changes


class ReadingHost(LinuxHost):
    """Fulfils `host.api.Host`; every change fails with EPERM."""

    may_change = False

    def __init__(self, may_protect: bool) -> None:
        """`may_protect`: raw sockets can be had, only devices cannot be made."""
        super().__init__()
        self.may_protect = may_protect

    def _change(self) -> Changes:
        raise KernelError(EPERM)

    def set_neighbor_discovery(
        self, index: int, *, accept_rtadv: bool | None = None, detect_duplicates: bool | None = None
    ) -> None:
        raise KernelError(EPERM)

    def claim_tun(self, index: int) -> None:
        raise KernelError(EPERM)

    def fetch_link(self, name: str, vnet: str) -> int:
        raise KernelError(EPERM)
