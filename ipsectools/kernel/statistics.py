"""The op STATISTICS: FreeBSD's IPsec counters, of a running data path; zeros while there is none."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import Statistics
    from ipsectools.kernel.state import KernelState

ESP_COUNTERS = 20 + 256
AH_COUNTERS = 19 + 256
IPSEC_COUNTERS = 13 + 3


def read(state: KernelState) -> Statistics:
    """What the data path counted."""
    if state.ipsec_statistics is not None:
        counted: Statistics = state.ipsec_statistics()
        return counted
    return {
        "esp": [0] * ESP_COUNTERS,
        "ah": [0] * AH_COUNTERS,
        "ipsec": [0] * IPSEC_COUNTERS,
        "ipsec6": [0] * IPSEC_COUNTERS,
        "drops": {},
        "interfaces": {},
    }
