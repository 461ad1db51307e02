"""The op STATISTICS: FreeBSD's IPsec counters, of a running data path; zeros while there is none.

`esp` and `ah` are the structure's counters followed by one counter per algorithm (256), `ipsec` and `ipsec6` are
ipsecstat structures; `drops` are packets by named reason, `interfaces` what is counted per ipsec interface.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.kernel.state import KernelState

ESP_COUNTERS = 20 + 256
AH_COUNTERS = 19 + 256
IPSEC_COUNTERS = 13 + 3


def read(state: KernelState) -> dict[str, Any]:
    """What the data path counted."""
    if state.ipsec_statistics is not None:
        return state.ipsec_statistics()
    return {
        "esp": [0] * ESP_COUNTERS,
        "ah": [0] * AH_COUNTERS,
        "ipsec": [0] * IPSEC_COUNTERS,
        "ipsec6": [0] * IPSEC_COUNTERS,
        "drops": {},
        "interfaces": {},
    }
