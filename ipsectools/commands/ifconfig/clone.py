"""Cloned interfaces: making them, destroying them."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import Keyword, register_keywords
from ipsectools.errno import EEXIST, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.commands.ifconfig.context import Context


def create(context: Context) -> None:
    """Makes the interface `context.name` now; a name without a unit is completed by the kernel and announced."""
    try:
        made = context.call("SIOCIFCREATE2", name=context.name)
    except KernelError as error:
        if error.errno == EEXIST:
            raise fatal(f"interface {context.name} already exists") from None
        raise fatal(f"SIOCIFCREATE2 ({context.name})", error) from None
    if made != context.name:
        context.name = made
        context.announce = True


def _schedule(context: Context, keyword: Keyword) -> None:
    context.callbacks.append(create)


def _destroy(context: Context, keyword: Keyword) -> None:
    try:
        context.call("SIOCIFDESTROY", name=context.name)
    except KernelError as error:
        raise fatal("SIOCIFDESTROY", error) from None


register_keywords(
    Keyword("create", _schedule, "make the interface", creating=True),
    Keyword("plumb", _schedule, "make the interface", creating=True),
    Keyword("destroy", _destroy, "destroy the interface"),
    Keyword("unplumb", _destroy, "destroy the interface"),
)
