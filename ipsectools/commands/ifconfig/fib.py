"""Routing tables (FIBs): of the packets an interface receives, and of the tunnel's outer packets.

A refused FIB is a warning, as in every release up to 15.
"""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import NO_ERROR, warn
from ipsectools.commands.ifconfig.numbers import UINT_MAX, strtoul
from ipsectools.commands.ifconfig.registry import (
    FIB,
    TUNNELFIB,
    Keyword,
    StatusLines,
    register_keywords,
    register_status,
)
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context


def _set(context: Context, keyword: Keyword, word: str) -> None:
    fib, rest = strtoul(word)
    if rest or fib > UINT_MAX:
        warn(f"fib {word} not valid", NO_ERROR)
        return
    try:
        context.call(keyword.value, name=context.name, fib=fib)
    except KernelError as error:
        warn(f"ioctl ({keyword.value})", error)


def _fib(context: Context, interface: Interface) -> Iterator[str]:
    if interface["fib"]:
        yield f"fib: {interface['fib']}"


def _tunnel_fib(context: Context, interface: Interface) -> Iterator[str]:
    if interface["tunnelfib"]:
        yield f"tunnelfib: {interface['tunnelfib']}"


register_keywords(
    Keyword("fib", _set, "routing table of received packets", ("number",), value="SIOCSIFFIB"),
    Keyword("tunnelfib", _set, "routing table of the tunnel's outer packets", ("number",), value="SIOCSTUNFIB"),
)
register_status(StatusLines(FIB, _fib), StatusLines(TUNNELFIB, _tunnel_fib))
