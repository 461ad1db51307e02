"""Interface groups: joining, leaving, and the `groups:` line."""

from __future__ import annotations

from ipsectools.commands.ifconfig.context import is_too_long
from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import GROUPS, Keyword, StatusLines, register_keywords, register_status
from ipsectools.errno import EEXIST, ENOENT, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context


def _check(routine: str, group: str) -> None:
    if group[-1:] in tuple("0123456789"):
        raise fatal(f"{routine}: group names may not end in a digit")
    if is_too_long(group):
        raise fatal(f"{routine}: group name too long")


def _join(context: Context, keyword: Keyword, group: str) -> None:
    _check("setifgroup", group)
    try:
        context.call("SIOCAIFGROUP", name=context.name, group=group)
    except KernelError as error:
        if error.errno != EEXIST:
            raise fatal(" SIOCAIFGROUP", error) from None  # with the space, as FreeBSD has it


def _leave(context: Context, keyword: Keyword, group: str) -> None:
    _check("unsetifgroup", group)
    try:
        context.call("SIOCDIFGROUP", name=context.name, group=group)
    except KernelError as error:
        if error.errno != ENOENT:
            raise fatal("SIOCDIFGROUP", error) from None


def _groups(context: Context, interface: Interface) -> Iterator[str]:
    shown = [group for group in interface["groups"] if group != "all"]
    if shown:
        yield f"groups: {' '.join(shown)}"


register_keywords(
    Keyword("group", _join, "join a group", ("group",)),
    Keyword("-group", _leave, "leave a group", ("group",)),
)
register_status(StatusLines(GROUPS, _groups))
