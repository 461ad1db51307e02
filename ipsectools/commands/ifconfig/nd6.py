"""Neighbour discovery's flags of an interface (RFC 4861; ndp(8), ND6_IFF_*)."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import warn
from ipsectools.commands.ifconfig.flags import bit_names, name_bits
from ipsectools.commands.ifconfig.registry import ND6, Keyword, StatusLines, register_keywords, register_status
from ipsectools.errno import EINVAL, ENXIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context

NAMES = name_bits(
    "PERFORMNUD,ACCEPT_RTADV,PREFER_SOURCE,IFDISABLED,DONT_SET_IFROUTE,AUTO_LINKLOCAL,NO_RADR,NO_PREFER_IFACE,NO_DAD,"
    "IPV6_ONLY,IPV6_ONLY_MANUAL,,,,,DEFAULTIF"
)
DEFAULTIF = 0x8000

_WORDS = {
    "nud": (0x1, "detect unreachable neighbours"),
    "accept_rtadv": (0x2, "accept router advertisements"),
    "ifdisabled": (0x8, "disable IPv6 on the interface"),
    "auto_linklocal": (0x20, "make link-local addresses automatically"),
    "no_radr": (0x40, "add no default routes from router advertisements"),
    "no_prefer_iface": (0x80, "do not prefer the interface for source addresses"),
    "no_dad": (0x100, "do not detect duplicate addresses"),
}


def _of_inet6(context: Context, request: str) -> bool:
    """Another family's socket does not know these requests: FreeBSD's warning."""
    if context.family is not None and context.family.name == "inet6":
        return True
    warn(f"ioctl({request})", KernelError(EINVAL))
    return False


def _change(context: Context, keyword: Keyword) -> None:
    if not _of_inet6(context, "SIOCGIFINFO_IN6"):
        return
    to_set, to_clear = keyword.value
    try:
        context.call("SIOCSIFINFO_IN6", name=context.name, set=to_set, clear=to_clear)
    except KernelError as error:
        # The flags are read before they are written: a missing interface is found out there.
        warn(f"ioctl({'SIOCGIFINFO_IN6' if error.errno == ENXIO else 'SIOCSIFINFO_IN6'})", error)


def _default_interface(context: Context, keyword: Keyword) -> None:
    if not _of_inet6(context, "SIOCSDEFIFACE_IN6"):
        return
    arguments = {"name": context.name}
    if not keyword.value:
        interface = context.interface()
        if interface is not None and not (interface["nd6"] or 0) & DEFAULTIF:
            return  # another interface is the default and stays it
        arguments = {}
    try:
        context.call("SIOCSDEFIFACE_IN6", **arguments)
    except KernelError as error:
        warn("ioctl(SIOCSDEFIFACE_IN6)", error)


def _options(context: Context, interface: Interface) -> Iterator[str]:
    if interface["nd6"]:
        yield f"nd6 options={interface['nd6']:x}<{','.join(bit_names(interface['nd6'], NAMES))}>"


_INET6 = ("inet6",)
register_keywords(
    *(
        Keyword(sign + word, _change, help if not sign else f"undo {word}", value=value, families=_INET6)
        for word, (bit, help) in _WORDS.items()
        for sign, value in (("", (bit, 0)), ("-", (0, bit)))
    ),
    Keyword("defaultif", _default_interface, "make it the default IPv6 interface", value=True, families=_INET6),
    Keyword("-defaultif", _default_interface, "let it be no default interface", value=False, families=_INET6),
)
register_status(StatusLines(ND6, _options, _INET6))
