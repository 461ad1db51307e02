"""The kinds of interfaces that a simulated machine has, and what each is like when it is new."""

from __future__ import annotations

from ipsectools.host.api import (
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_SIMPLEX,
    Link,
)

# kind -> (type, flags, MTU). Ethernet-like ones get a link-level address.
KINDS = {
    "ether": ("ether", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST, 1500),
    "veth": ("ether", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST | IFF_RUNNING, 1500),
    "bridge": ("bridge", IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST, 1500),
    "lo": ("loop", IFF_LOOPBACK | IFF_MULTICAST, 16384),
    "tun": ("tunnel", IFF_POINTOPOINT | IFF_MULTICAST, 1500),
}
ETHERNET_MTU = 9216
"""The largest that Ethernet-like interfaces take."""
_OUI = "58:9c:fc"  # FreeBSD's own, as its virtual interfaces have it


def new_link(index: int, name: str, kind: str) -> Link:
    """A link as it is when new; `kind` "ether" is the machine's own hardware, which has none."""
    type, flags, mtu = KINDS[kind]
    link = Link(index, name, type=type, kind="" if kind == "ether" else kind, flags=flags, mtu=mtu)
    if flags & IFF_BROADCAST:
        link.lladdr = f"{_OUI}:{index >> 16 & 255:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"
    if type == "ether":
        link.carrier, link.speed, link.duplex = (True, 10000 if kind == "veth" else 1000, "full")
    return link


def kind_of(link: Link) -> str:
    """The kind with which `new_link` made it."""
    return link.kind or ("lo" if link.type == "loop" else "ether")
