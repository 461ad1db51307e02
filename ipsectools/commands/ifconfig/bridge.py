"""Members of a bridge (if_bridge(4))."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import BRIDGE, Keyword, StatusLines, register_keywords, register_status
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context


def _change_member(context: Context, keyword: Keyword, member: str) -> None:
    try:
        context.call(keyword.value, name=context.name, member=member)
    except KernelError as error:
        raise fatal(f"{keyword.value} {member}", error) from None


def _members(context: Context, interface: Interface) -> Iterator[str]:
    for member in interface.get("members") or ():
        yield f"member: {member} flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>"


register_keywords(
    Keyword("addm", _change_member, "add an interface to the bridge", ("interface",), value="BRDGADD"),
    Keyword("deletem", _change_member, "take an interface out of the bridge", ("interface",), value="BRDGDEL"),
)
register_status(StatusLines(BRIDGE, _members))
