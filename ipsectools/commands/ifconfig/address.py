"""The words about addresses that every family shares: `alias`, `-alias`, `netmask`, `broadcast`, `prefixlen`."""

from __future__ import annotations

from ipsectools.commands.ifconfig.registry import Keyword, register_keywords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.commands.ifconfig.context import Context


def _alias(context: Context, keyword: Keyword) -> None:
    context.alias = 1
    context.deleting = False


def _not_alias(context: Context, keyword: Keyword) -> None:
    if context.addressed and context.alias == 0:
        context.request.target = context.request.address
    context.alias = -1
    context.deleting = True
    context.adding = False


def _netmask(context: Context, keyword: Keyword, word: str) -> None:
    assert context.family is not None
    if context.family.changes_addresses:
        context.masked = True
        context.family.take(context, word, "netmask")


def _broadcast(context: Context, keyword: Keyword, word: str) -> None:
    assert context.family is not None
    context.family.take(context, word, "broadcast")


def _prefixlen(context: Context, keyword: Keyword, word: str) -> None:
    assert context.family is not None
    context.family.take_prefixlen(context, word)


register_keywords(
    Keyword("alias", _alias, "add one more address"),
    Keyword("add", _alias, "add one more address"),
    Keyword("-alias", _not_alias, "remove the address"),
    Keyword("delete", _not_alias, "remove the address"),
    Keyword("remove", _not_alias, "remove the address"),
    Keyword("netmask", _netmask, "network mask of the address", ("netmask",), families=("inet",)),
    Keyword("broadcast", _broadcast, "broadcast address", ("address",), families=("inet",)),
    Keyword("prefixlen", _prefixlen, "prefix length of the address", ("number",), families=("inet6",)),
)
