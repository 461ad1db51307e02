"""What only if_ipsec(4) has: its reqid."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import NO_ERROR, warn
from ipsectools.commands.ifconfig.numbers import UINT_MAX, strtoul
from ipsectools.commands.ifconfig.registry import REQID, Keyword, StatusLines, register_keywords, register_status
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context


def _set_reqid(context: Context, keyword: Keyword, word: str) -> None:
    value, rest = strtoul(word)
    if rest:
        warn(f"Invalid reqid value {word}", NO_ERROR)
        return
    try:
        context.call("IPSECSREQID", name=context.name, reqid=value & UINT_MAX)
    except KernelError as error:
        warn("ioctl(IPSECSREQID)", error)


register_keywords(
    Keyword("reqid", _set_reqid, "number that ties the tunnel to its security associations", ("number",)),
)


def _reqid(context: Context, interface: Interface) -> Iterator[str]:
    if interface["reqid"] is not None:
        yield f"reqid: {interface['reqid']}"


def _members(interface: Interface) -> dict[str, Any]:
    return {"reqid": interface["reqid"]}


register_status(StatusLines(REQID, _reqid, members=_members))
