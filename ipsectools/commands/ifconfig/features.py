"""Everything ifconfig knows: importing this module fills the registry."""

from ipsectools.commands.ifconfig import (  # noqa: F401
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
    tunnel,
    vnet,
)
