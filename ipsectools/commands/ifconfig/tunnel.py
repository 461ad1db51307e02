"""The outer endpoints of a tunnel, whatever its kind."""

from __future__ import annotations

from ipsectools.commands.ifconfig import names
from ipsectools.commands.ifconfig.errors import NO_ERROR, fatal, warn
from ipsectools.commands.ifconfig.registry import (
    EVERY,
    TUNNEL,
    Keyword,
    StatusLines,
    register_keywords,
    register_status,
)
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context


def _set_tunnel(context: Context, keyword: Keyword, source: str, destination: str) -> None:
    """The request's kind follows the family of the command line; the kernel refuses endpoints of the other one."""
    family = context.family
    assert family is not None
    if not family.tunnel_operation:
        warn(f"address family {family.name} does not support tunnel setup", NO_ERROR)
        return
    zones = context.zones(source, destination)
    try:
        source_family, src = names.endpoint(source, zones)
        destination_family, dst = names.endpoint(destination, zones)
    except names.Unresolved as error:
        raise fatal(f"error in parsing address string: {error}") from None
    if source_family != destination_family:
        raise fatal("source and destination address families do not match")
    try:
        context.call(family.tunnel_operation, name=context.name, src=src, dst=dst)
    except KernelError as error:
        warn(family.tunnel_operation, error)


def _delete_tunnel(context: Context, keyword: Keyword) -> None:
    try:
        context.call("SIOCDIFPHYADDR", name=context.name)
    except KernelError as error:
        raise fatal("SIOCDIFPHYADDR", error) from None


register_keywords(
    Keyword(
        "tunnel",
        _set_tunnel,
        "outer addresses of the tunnel: this host's, the other end's",
        ("endpoint", "endpoint"),
        families=("inet", "inet6"),
    ),
    Keyword("-tunnel", _delete_tunnel, "remove the outer addresses"),
    Keyword("deletetunnel", _delete_tunnel, "remove the outer addresses"),
)


def _tunnel(context: Context, interface: Interface) -> Iterator[str]:
    tunnel = interface["tunnel"]
    if tunnel:
        yield f"tunnel {tunnel['family']} {tunnel['src']} --> {tunnel['dst']}"


register_status(StatusLines(TUNNEL, _tunnel, EVERY))
