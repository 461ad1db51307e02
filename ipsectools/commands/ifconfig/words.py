"""The words after the interface's name: one pass from left to right, then what was put off until all were read."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal, refusal, warn
from ipsectools.commands.ifconfig.registry import Keyword, creating_keywords, families, keywords
from ipsectools.errno import EADDRNOTAVAIL, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsectools.commands.ifconfig.context import Context


def configure(context: Context, words: Sequence[str], creating: bool = False) -> None:
    """Does what the words say to `context.name`. Raises Fatal.

    `creating`: the first of them is `create` or `plumb`, and the interface is not there. Most words act when they are
    met, so that what precedes a failing word has happened.
    """
    position = 0
    while position < len(words):
        word = words[position]
        keyword = (creating_keywords if creating else keywords).get(word)
        if keyword is None and creating:
            # The first word that has nothing to say about the creation makes it happen; it may be a family.
            context.callbacks.pop()(context)
            creating = False
            if word in families:
                context.family = families[word]
                position += 1
            continue
        if keyword is None:
            keyword = _ADDRESS if context.addressed == 0 else _PEER
            arguments: Sequence[str] = (word,)
            position += 1
        else:
            count = len(keyword.arguments)
            arguments = words[position + 1 : position + 1 + count]
            if len(arguments) < count:
                raise fatal(f"'{word}' requires {'argument' if count == 1 else f'{count} arguments'}")
            position += 1 + count
        keyword.run(context, keyword, *arguments)
    _do_deferred(context)


def _do_deferred(context: Context) -> None:
    family = context.family
    assert family is not None
    if context.adding and context.addressed:
        family.complete(context)
    while context.callbacks:
        context.callbacks.pop()(context)
    if context.deleting:
        if family.changes_addresses:
            _delete(context)
        else:
            warn(f"interface {context.name} cannot change {family.name} addresses!")
    if context.adding:
        if not family.changes_addresses:
            warn(f"interface {context.name} cannot change {family.name} addresses!")
        elif context.addressed or context.masked:
            try:
                family.add(context)
            except KernelError as error:
                raise refusal("ioctl (SIOCAIFADDR)", error) from None


def _delete(context: Context) -> None:
    family = context.family
    assert family is not None
    try:
        family.delete(context)
    except KernelError as error:
        # Replacing an address where there was none is no error; neither is deleting "the first one".
        if error.errno != EADDRNOTAVAIL or (context.alias < 0 and context.request.target is not None):
            raise refusal("ioctl (SIOCDIFADDR)", error) from None


def _take_address(context: Context, keyword: Keyword, word: str) -> None:
    family = context.family
    assert family is not None
    if not family.changes_addresses:
        return
    context.addressed += 1
    if context.alias == 0 and family.deletes_addresses:
        context.deleting = True
    family.take(context, word, "target" if context.alias < 0 else "address")


def _take_peer(context: Context, keyword: Keyword, word: str) -> None:
    assert context.family is not None
    context.family.take(context, word, "peer")


_ADDRESS = Keyword("address", _take_address, "the interface's address", ("address",))
_PEER = Keyword("destination", _take_peer, "the address of the other end", ("address",))
