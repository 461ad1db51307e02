"""IPv6: addresses, prefix lengths, address flags, lifetimes, and how they are shown."""

from __future__ import annotations

from ipsectools.commands.ifconfig import names
from ipsectools.commands.ifconfig.context import Family
from ipsectools.commands.ifconfig.errors import NO_ERROR, complain, fatal
from ipsectools.commands.ifconfig.numbers import UINT_MAX, strtol, strtoul
from ipsectools.commands.ifconfig.registry import (
    INET6,
    Keyword,
    StatusLines,
    register_family,
    register_keywords,
    register_status,
)
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ipsectools.answers import Inet6Address, Interface
    from ipsectools.commands.ifconfig.context import Context

FLAGS = (
    "anycast",
    "tentative",
    "duplicated",
    "detached",
    "deprecated",
    "autoconf",
    "temporary",
    "prefer_source",
)
"""The flags of an address in the order in which they are shown."""

INFINITE = UINT_MAX


class Inet6(Family):
    """AF_INET6."""

    __slots__ = ()
    changes_addresses = True
    tunnel_operation = "SIOCSIFPHYADDR_IN6"

    def shown(self, interface: Interface, word: str) -> bool:
        return bool(interface["inet6"])

    def lines(self, context: Context, interface: Interface) -> Iterator[str]:
        formats = context.formats
        for entry in interface["inet6"]:
            address = entry["address"]
            name = names.reverse(address, formats.addr == "fqdn") if formats.addr else None
            zone = f"%{interface['name']}" if names.is_link_local(address) else ""
            parts = [f"inet6 {name or address + zone}"]
            if entry["peer"]:
                parts.append(f" --> {entry['peer']}")
            parts.append(f"{'/' if formats.inet6 == 'cidr' else ' prefixlen '}{entry['prefixlen']}")
            flags = entry["flags"]
            if flags:
                parts.extend(f" {flag}" for flag in FLAGS if flag in flags)
            if entry["scopeid"]:
                parts.append(f" scopeid {entry['scopeid']:#x}")
            parts.append(_lifetimes(entry, context.options.lifetimes))
            yield "".join(parts)

    def take(self, context: Context, word: str, slot: str) -> None:
        request = context.request
        if slot in ("netmask", "broadcast"):
            raise fatal(f"{slot}: invalid option for inet6")
        if slot == "address":
            # The address word sets the length to 128, also after a `prefixlen`, which keeps the default 64 away.
            request.prefixlen = 128
            name, slash, length = word.rpartition("/")
            if slash:
                self.take_prefixlen(context, length)
                word = name
        setattr(request, slot, names.inet6_address(word, context.zones(word)))

    def take_prefixlen(self, context: Context, word: str) -> None:
        length = strtol(word)
        if not 0 <= length <= 128:
            raise fatal(f"{word}: bad value")
        context.request.prefixlen = length
        context.request.prefixlen_given = True

    def complete(self, context: Context) -> None:
        if not context.request.prefixlen_given:
            context.request.prefixlen = 64

    def delete(self, context: Context) -> None:
        target = context.request.target
        if target is None:
            if context.alias >= 0:
                return  # an IPv6 address never replaces another
            target = context.request.target = "::"
        _execute(context, "DELADDR", {"address": target})

    def add(self, context: Context) -> None:
        request = context.request
        arguments: dict[str, Any] = {"address": request.address or "::", "prefixlen": request.prefixlen or 0}
        if request.peer is not None:
            arguments["peer"] = request.peer
        if request.flags:
            arguments["flags"] = request.flags
        for word, seconds in request.lifetimes.items():
            if seconds != INFINITE:
                arguments[word] = seconds
        _execute(context, "NEWADDR", arguments)


def _execute(context: Context, op: str, arguments: dict[str, Any]) -> None:
    try:
        context.call(op, name=context.name, family="inet6", **arguments)
    except KernelError as error:
        if error.detail:
            complain(f"in6_exec_nl(): {error.detail}")
        raise


def _lifetimes(entry: Inet6Address, remaining: bool) -> str:
    """Both lifetimes if one of them ends; the one that does not is shown as 0."""
    if entry["pltime"] is None and entry["vltime"] is None:
        return ""
    preferred = entry["pltime_left"] if remaining else entry["pltime"]
    valid = entry["vltime_left"] if remaining else entry["vltime"]
    return f" pltime {preferred or 0} vltime {valid or 0}"


def _is_inet6(context: Context) -> bool:
    return context.family is not None and context.family.name == "inet6"


def _set_flag(context: Context, keyword: Keyword) -> None:
    if not _is_inet6(context):
        raise fatal("address flags can be set only for inet6 addresses", NO_ERROR)
    if keyword.value not in context.request.flags:
        context.request.flags.append(keyword.value)


def _clear_flag(context: Context, keyword: Keyword) -> None:
    if not _is_inet6(context):
        raise fatal("address flags can be set only for inet6 addresses", NO_ERROR)
    if keyword.value in context.request.flags:
        context.request.flags.remove(keyword.value)


def _set_lifetime(context: Context, keyword: Keyword, word: str) -> None:
    if not _is_inet6(context):
        raise fatal(f"{keyword.name} not allowed for the AF")
    seconds, rest = strtoul(word)
    if rest == word:
        raise fatal(f"invalid {keyword.name}")
    context.request.lifetimes[keyword.name] = seconds & UINT_MAX


def _fill_eui64(context: Context, keyword: Keyword) -> None:
    if not _is_inet6(context):
        raise fatal(f"{keyword.name} not allowed for the AF")
    high, low = _halves(context.request.address or "::")
    if low != bytes(8):
        raise fatal("interface index is already filled")
    interface = context.interface()
    for entry in interface["inet6"] if interface is not None else ():
        if names.is_link_local(entry["address"]):
            context.request.address = names.inet6_text(high + _halves(entry["address"])[1])
            return
    raise fatal("could not determine link local address")


def _halves(address: str) -> tuple[bytes, bytes]:
    packed = names.inet6_packed(address)
    return packed[:8], packed[8:]


_INET6 = ("inet6",)
_family = Inet6("inet6")
register_family(_family)
register_status(StatusLines(INET6, _family.lines, _INET6))
register_keywords(
    Keyword("anycast", _set_flag, "the address is an anycast address", value="anycast", families=_INET6),
    *(
        Keyword(prefix + flag, run, help_start + flag, value=flag, families=_INET6)
        for flag in ("tentative", "deprecated", "autoconf", "prefer_source")
        for prefix, run, help_start in (
            ("", _set_flag, "mark the address as "),
            ("-", _clear_flag, "do not mark the address as "),
        )
    ),
    Keyword("pltime", _set_lifetime, "preferred lifetime in seconds", ("number",), families=_INET6),
    Keyword("vltime", _set_lifetime, "valid lifetime in seconds", ("number",), families=_INET6),
    Keyword("eui64", _fill_eui64, "take the low 64 bits from the link-local address", families=_INET6),
)
