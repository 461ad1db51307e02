"""Everything ifconfig knows: importing this module fills the registry."""

from ipsectools.ifconfig import (
    address,
    bridge,
    clone,
    fib,
    flags,
    group,
    inet,
    inet6,
    ipsec,
    link,
    media,
    nd6,
    pseudo,
    settings,
    vnet,
)

__all__ = [
    "address",
    "bridge",
    "clone",
    "fib",
    "flags",
    "group",
    "inet",
    "inet6",
    "ipsec",
    "link",
    "media",
    "nd6",
    "pseudo",
    "settings",
    "vnet",
]
