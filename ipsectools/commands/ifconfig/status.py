"""The status of interfaces as text."""

from __future__ import annotations

import sys

from ipsectools.commands.ifconfig.flags import CANTCONFIG, NAMES, UP, braced
from ipsectools.commands.ifconfig.registry import families, status_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context, Family


def chosen(context: Context, interface: Interface) -> bool:
    """Whether `-u` and `-d` leave the interface to be shown or configured; some cannot be at all."""
    flags = interface["flags"]
    up = bool(flags & UP)
    return (
        not flags & CANTCONFIG and not (context.options.up_only and not up) and not (context.options.down_only and up)
    )


def select(context: Context, interfaces: Sequence[Interface], family_word: str) -> list[Interface]:
    """The interfaces that the flags of the command line, and a family if one was named, leave."""
    family = families[family_word] if family_word else None
    options = context.options
    listed = [
        interface
        for interface in interfaces
        if chosen(context, interface) and (family is None or family.shown(interface, family_word))
    ]
    if options.all and (options.want_group is not None or options.exclude_group is not None):
        from ipsectools.commands.ifconfig.patterns import matches

        wanted, unwanted = options.want_group, options.exclude_group
        listed = [
            interface
            for interface in listed
            if (wanted is None or any(matches(wanted, group) for group in interface["groups"]))
            and not (unwanted is not None and any(matches(unwanted, group) for group in interface["groups"]))
        ]
    return listed


def show(context: Context, interfaces: Sequence[Interface], family: Family | None) -> None:
    """Prints the interfaces, all lines of them or those of one family."""
    write = sys.stdout.write
    for interface in interfaces:
        write("\n\t".join(_lines(context, interface, family)) + "\n")


def _lines(context: Context, interface: Interface, family: Family | None) -> Iterator[str]:
    flags = braced(interface["flags"], NAMES)
    yield f"{interface['name']}: flags={flags} metric {interface['metric']} mtu {interface['mtu']}"
    for entry in status_lines:
        if family is None or family.name in entry.families:
            yield from entry.make(context, interface)
