"""What is believed of the way of outer IPv4 packets, and what follows for one that the host calls too big.

Anybody can forge an ICMP message about the path. So no path MTU below net.inet.ipsec.min_pmtu is believed, and whatever
the path is said to be, no sender inside is told less than it can make use of: smaller packets leave all the same, in
fragments. Outer IPv6 needs nothing of this: Linux believes no less than 1280 and fragments at the source.
"""

from __future__ import annotations

from ipsectools.datapath.tables import largest_inner
from ipsectools.esp.tunnel import SMALLEST_INNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.datapath.tables import SA

REMEMBERED = 1.0
"""Seconds for which a narrow path is remembered, so that not each packet is refused by the host first."""

LOOKS_AT_ONCE = 64
"""Interfaces whose path is asked for in one look."""


class Verdict:
    """`told`: what the sender inside is told that fits; 0: the outer packet leaves, with DF as `df` says, and without
    regard to what the host believes of the path if `doubt`."""

    __slots__ = ("df", "doubt", "told")

    def __init__(self, told: int, df: bool, doubt: bool) -> None:
        self.told = told
        self.df = df
        self.doubt = doubt


def verdict(sa: SA, path_mtu: int, least: int, length: int, version: int) -> Verdict:
    """About an inner packet whose outer one has DF and is too big for the path MTU that the host believes."""
    fits = largest_inner(sa, max(path_mtu, least))
    most = max(fits, SMALLEST_INNER[version])
    if length > most:
        return Verdict(most, True, False)
    return Verdict(0, length <= fits, path_mtu < least)
