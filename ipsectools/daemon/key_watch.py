"""Says in the log when SAs of counter modes come to share a key: once for each key, until it is not shared any more."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.kernel import Kernel
    from ipsectools.kernel.key.sad import SecurityAssociation

MOST = 16
"""Keys that are shared at a time and named: a script may have a thousand."""


class KeyWatch:
    """An observer of a kernel."""

    def __init__(self, kernel: Kernel, warn: Callable[[str], None]) -> None:
        self._shared = kernel.engine.counters.shared_keys
        self._warn = warn
        self._said: set[bytes] = set()
        """Keys that are known to be shared, by their names there."""
        for told in self._shared.report():
            self.sa_changed(kernel.engine.sad.by_spi[told["spis"][0]])
        kernel.observers.append(self)

    def sa_changed(self, sa: SecurityAssociation) -> None:
        name = self._shared.name(sa)
        told = None if name is None or name in self._said else self._shared.told(name)
        if told is None or name is None:
            return
        self._said.add(name)
        if len(self._said) <= MOST:
            self._warn(f"{told['text']}: {told['fix']}")
        elif len(self._said) == MOST + 1:
            self._warn("further SAs that share keys are not named here (ipsectools doctor)")

    def sa_removed(self, sa: SecurityAssociation) -> None:
        name = self._shared.name(sa)
        if name is not None and self._shared.told(name) is None:
            self._said.discard(name)

    def interface_changed(self, interface: Interface) -> None:
        pass

    def interface_removed(self, index: int) -> None:
        pass

    def sysctl_changed(self, name: str) -> None:
        pass

    def reloaded(self) -> None:
        pass
