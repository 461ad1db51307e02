"""Moving interfaces between network stacks: a jail's vnet is a network namespace here."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import Keyword, register_keywords
from ipsectools.errno import EPERM, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.commands.ifconfig.context import Context


def _move(context: Context, keyword: Keyword, vnet: str) -> None:
    from ipsectools.commands.ifconfig import jail

    jail.check(vnet)
    try:
        context.call("SIOCSIFVNET", name=context.name, vnet=vnet)
    except KernelError as error:
        raise fatal("SIOCSIFVNET", error) from None


def _reclaim(context: Context, keyword: Keyword, vnet: str) -> None:
    from ipsectools.commands.ifconfig import jail

    jail.check(vnet)
    try:
        try:
            context.call("SIOCSIFRVNET", name=context.name, vnet=vnet)
        except KernelError as error:
            if error.errno != EPERM or not jail.exists(vnet):
                raise
            from ipsectools.daemon import manage

            manage.fetch_link(context.name, vnet)
            context.interface()  # now the kernel has seen it
    except KernelError as error:
        raise fatal(f"SIOCSIFRVNET({vnet}, {context.name})", error) from None


register_keywords(
    Keyword("vnet", _move, "move the interface into a network namespace", ("vnet",)),
    Keyword("-vnet", _reclaim, "take the interface back from a network namespace", ("vnet",)),
)
