"""The kinds of interface whose packets the host moves: lo, bridge, epair and tun."""

from __future__ import annotations

from ipsectools.host.api import IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_POINTOPOINT, IFF_SIMPLEX
from ipsectools.kernel.interfaces.kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Host

IFCAP_VLAN_MTU = 0x8
IFCAP_LINKSTATE = 0x80000
IFCAP_LOOPBACK = 0x680003  # RXCSUM, TXCSUM, LINKSTATE, RXCSUM_IPV6, TXCSUM_IPV6

_ETHERNET = IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST


class Loopback(Kind):
    flags = IFF_LOOPBACK | IFF_MULTICAST
    capabilities = IFCAP_LOOPBACK


class Bridge(Kind):
    flags = _ETHERNET


class Epair(Kind):
    """Two Ethernet interfaces with a cable between them."""

    flags = _ETHERNET
    capabilities = IFCAP_VLAN_MTU
    suffixes = ("a", "b")

    def make(self, host: Host, names: list[str], mtu: int, index: int | None = None) -> list[int]:
        first = host.create_link(names[0], self.device, names[1], index)
        second = next(link.index for link in host.links() if link.name == names[1])
        return [first, second]


class Tun(Kind):
    flags = IFF_POINTOPOINT | IFF_MULTICAST
    capabilities = IFCAP_LINKSTATE


ALL = (
    Loopback("lo", "loop", "lo", 16384, devices=("lo", "dummy", "tun", "")),  # some Linuxes have no dummy
    Bridge("bridge", "bridge", "bridge", 1500),
    Epair("epair", "ether", "veth", 1500),
    Tun("tun", "tunnel", "tun", 1500),
)
