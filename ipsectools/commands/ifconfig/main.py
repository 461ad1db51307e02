"""ifconfig(8): the command line up to the interface's name, and the listing modes."""

from __future__ import annotations

import os
import sys

from ipsectools.commands import bsdgetopt
from ipsectools.commands.ifconfig import features, status  # noqa: F401  (features fills the registry)
from ipsectools.commands.ifconfig.context import Context, is_too_long
from ipsectools.commands.ifconfig.errors import Fatal, UsageError, complain, fatal
from ipsectools.commands.ifconfig.registry import families
from ipsectools.commands.ifconfig.words import configure
from ipsectools.errno import ENOENT, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsectools.answers import Interface

LETTERS = "G:adDf:j:klmnuvLCg:"
LONG_OPTIONS = ("--json", "--libxo:")

USAGE = """\
usage: ifconfig [-j jail] [-f type:format] [-g groupname] [-C] [-L] interface address_family
                [address [dest_address]] [parameters]
       ifconfig [-j jail] interface create
       ifconfig [-j jail] -a [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v] [address_family]
       ifconfig [-j jail] -l [-d] [-u] [address_family]
       ifconfig [-j jail] [-g groupname] [-C] [-L] [-d] [-m] [-u] [-v]
"""


class _Finished(Exception):
    """A flag that does its work while the flags are read, and ends the command."""


def main(arguments: list[str]) -> int:
    """Runs ifconfig with the words after the program's name; returns the exit status, 0 or 1."""
    _print_bytes_as_typed()
    context = Context()
    try:
        _run(context, arguments)
    except _Finished:
        pass
    except UsageError as error:
        if str(error):
            complain(str(error))
        sys.stderr.write(USAGE)
        context.status = 1
    except (Fatal, KernelError) as error:
        complain(str(error))
        context.status = 1
    finally:
        context.close()
    if context.announce:
        sys.stdout.write(f"{context.name}\n")
    return context.status


def _print_bytes_as_typed() -> None:
    """Words that are no valid text in the locale's encoding come out as they were typed."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="surrogateescape")


def _run(context: Context, arguments: Sequence[str]) -> None:
    words = _read_flags(context, arguments)
    options = context.options
    if options.list_names and (options.all or options.capabilities):
        raise UsageError
    if options.up_only and options.down_only:
        raise UsageError
    words = _take_trailing_style(context, words)
    if not options.list_names and not words:
        options.all = True
    if options.all or options.list_names:
        if len(words) > 1:
            raise UsageError
        word = words[0] if words else ""
        if word and word not in families:
            raise UsageError(f"Address family '{word}' unknown.")
        _list_all(context, word)
    else:
        _one_interface(context, words)


def _read_flags(context: Context, arguments: Sequence[str]) -> Sequence[str]:
    """Takes the flags into `context.options`; returns the words after them."""
    options = context.options
    environment = os.environ.get("IFCONFIG_FORMAT")
    if environment is not None:
        context.formats.set(environment)
    parser = bsdgetopt.getopt(["ifconfig", *arguments], LETTERS, LONG_OPTIONS)
    for letter, argument in parser:
        value = argument or ""
        if letter == "a":
            options.all = True
        elif letter == "l":
            options.list_names = True
        elif letter == "u":
            options.up_only = True
        elif letter == "d":
            options.down_only = True
        elif letter == "m":
            options.capabilities = True
        elif letter in ("v", "D"):
            options.driver_name = True
        elif letter == "L":
            options.lifetimes = True
        elif letter == "f":
            context.formats.set(value)
        elif letter == "j":
            from ipsectools.commands.ifconfig import jail

            jail.attach(value)
        elif letter == "C":
            _take_trailing_style(context, arguments[parser.index - 1 :])
            _list_cloners(context)
        elif letter == "g":
            if not options.all:
                _take_trailing_style(context, arguments[parser.index - 1 :])
                _list_members(context, value)
            options.want_group = value
        elif letter == "G":
            if not options.all:
                raise UsageError
            options.exclude_group = value
        elif letter == "--json":
            options.json = True
        elif letter == "--libxo":
            _choose_style(context, value)
        elif letter == bsdgetopt.BAD:
            raise UsageError
        # -k (print secrets) and -n (load no modules) have nothing to do here
    return arguments[parser.index - 1 :]


def _choose_style(context: Context, style: str) -> None:
    kind, *modifiers = style.split(",")
    if kind not in ("json", "text") or any(modifier != "pretty" for modifier in modifiers):
        raise fatal(f"--libxo: unsupported style: {style}")
    context.options.json = kind == "json"
    context.options.pretty = bool(modifiers)


def _take_trailing_style(context: Context, words: Sequence[str]) -> Sequence[str]:
    """Takes `--json` or `--libxo STYLE` behind the words of a listing, where users of netstat(1) write it, too."""
    rest: Sequence[str] = words
    style = ""
    if words and words[-1] == "--json":
        rest, style = words[:-1], "json"
    elif words and words[-1].startswith("--libxo="):
        rest, style = words[:-1], words[-1].partition("=")[2]
    elif len(words) > 1 and words[-2] == "--libxo":
        rest, style = words[:-2], words[-1]
    listing = context.options.all or context.options.list_names
    if style and (len(rest) < 2 or (len(rest) == 2 and not listing and rest[1] in families)):
        _choose_style(context, style)
        return rest
    return words


def _write_names(context: Context, kind: str, names: Sequence[str], separator: str) -> None:
    if context.options.json:
        from ipsectools.commands.ifconfig import jsonout

        jsonout.write(kind, list(names), context.options.pretty)
    elif names or separator == " ":
        sys.stdout.write(separator.join(names) + "\n")


def _list_cloners(context: Context) -> None:
    try:
        _write_names(context, "cloner", context.call("SIOCIFGCLONERS"), " ")
    except KernelError as error:
        raise fatal("unable to list cloners", error) from None
    raise _Finished


def _list_members(context: Context, group: str) -> None:
    members: list[str] = []
    try:
        members = context.call("SIOCGIFGMEMB", group=group)
    except KernelError as error:
        if error.errno != ENOENT:
            raise fatal("SIOCGIFGMEMB", error) from None
    _write_names(context, "member", members, "\n")
    raise _Finished


def _list_all(context: Context, family_word: str) -> None:
    interfaces = status.select(context, context.interfaces(), family_word)
    if context.options.list_names:
        _write_names(context, "name", [interface["name"] for interface in interfaces], " ")
    else:
        _show(context, interfaces, family_word)


def _show(context: Context, interfaces: Sequence[Interface], family_word: str) -> None:
    family = families[family_word] if family_word else None
    if context.options.json:
        from ipsectools.commands.ifconfig import jsonout

        jsonout.write("interface", jsonout.status(interfaces, family), context.options.pretty)
    else:
        status.show(context, interfaces, family)


def _one_interface(context: Context, words: Sequence[str]) -> None:
    name, *rest = words
    context.name = name
    context.family = families["inet"]
    interface = context.interface()
    if interface is None:
        _absent_interface(context, rest)
        return
    if rest and rest[0] in ("create", "plumb"):
        if len(rest) == 1:
            raise fatal(f"interface {name} already exists")
        rest = rest[1:]
    family_word = rest.pop(0) if rest and rest[0] in families else ""
    if not rest:
        _show(context, status.select(context, [interface], family_word), family_word)
    elif status.chosen(context, interface):
        if family_word:
            context.family = families[family_word]
        configure(context, rest)


def _absent_interface(context: Context, rest: Sequence[str]) -> None:
    """Only creation, and taking it back from a jail, make sense for an interface that is not there."""
    name = context.name
    first = rest[0] if rest else ""
    if first in ("create", "plumb"):
        if is_too_long(name):
            raise fatal(f"{name}: cloning name too long")
        configure(context, rest, creating=True)
    elif first == "-vnet":
        if is_too_long(name):
            raise fatal(f"{name}: interface name too long")
        configure(context, rest)
    else:
        raise fatal(f"interface {name} does not exist")
