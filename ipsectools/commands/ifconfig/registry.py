"""What the feature modules register: keywords, address families and lines of an interface's status.

The registry is data; `words`, `status` and `completion` act on it, and knowing a keyword here is all they know of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context, Family

    Lines = Iterable[str]


class Keyword:
    """A word that does something: `run(context, keyword, *arguments)`.

    `arguments` names what follows the word (`number`, `text`, `interface`, `group`, `vnet`, `address`, `endpoint`,
    `media`, ...), for completion and for the count. `value` is the feature's own. `families` are the address families
    on whose command lines the word makes sense (empty: all); `run` itself refuses the others, in FreeBSD's words.
    `creating` marks the words that are recognised before an interface is created, and only then.
    """

    __slots__ = ("arguments", "creating", "families", "help", "name", "run", "value")

    def __init__(
        self,
        name: str,
        run: Callable[..., None],
        help: str,
        arguments: Sequence[str] = (),
        *,
        value: Any = None,
        families: Sequence[str] = (),
        creating: bool = False,
    ) -> None:
        self.name = name
        self.run = run
        self.help = help
        self.arguments = arguments
        self.value = value
        self.families = families
        self.creating = creating


class StatusLines:
    """Lines of status: `make(context, interface)` gives them without the leading tab, sorted by `order`.

    `families`: the families whose naming on the command line keeps these lines; without a family all are shown.
    `members`: what a kind of interface adds to `--json`, for every interface (null for those of other kinds).
    """

    __slots__ = ("families", "make", "members", "order")

    def __init__(
        self,
        order: int,
        make: Callable[[Context, Interface], Lines],
        families: Sequence[str] = (),
        *,
        members: Callable[[Interface], dict[str, Any]] | None = None,
    ) -> None:
        self.order = order
        self.make = make
        self.families = families
        self.members = members


# The order of status lines; the first line, with the flags, precedes them all.
DESCRIPTION, OPTIONS, CAPABILITIES, TUNNEL = 10, 20, 30, 40
LINK, INET, INET6 = 50, 60, 61
BRIDGE, GROUPS, REQID, FIB, TUNNELFIB, MEDIA, ND6, DRIVERNAME = 100, 110, 120, 130, 140, 150, 160, 170

EVERY = ("inet", "inet6", "link")
"""For `StatusLines.families`: shown whatever family was named."""

keywords: dict[str, Keyword] = {}
creating_keywords: dict[str, Keyword] = {}
families: dict[str, Family] = {}
status_lines: list[StatusLines] = []


def register_keywords(*words: Keyword) -> None:
    """Makes words known to the command line; a later registration of the same word wins."""
    for keyword in words:
        (creating_keywords if keyword.creating else keywords)[keyword.name] = keyword


def register_family(family: Family) -> None:
    """Makes a family's name and aliases known."""
    for name in (family.name, *family.aliases):
        families[name] = family


def register_status(*lines: StatusLines) -> None:
    """Makes lines of status known."""
    status_lines.extend(lines)
    status_lines.sort(key=_order)


def _order(lines: StatusLines) -> int:
    return lines.order
