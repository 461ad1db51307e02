"""Media of network cards. The host's cards choose theirs by themselves: it is shown, `autoselect` is accepted."""

from __future__ import annotations

from ipsectools.errno import EINVAL, ENXIO, KernelError
from ipsectools.ifconfig.errors import fatal
from ipsectools.ifconfig.registry import MEDIA, Keyword, StatusLines, register_keywords, register_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.ifconfig.context import Context
    from ipsectools.ifconfig.registry import Interface

_AUTOMATIC = ("autoselect", "auto")
_SUBTYPES = (
    "manual",
    "none",
    "10baset/utp",
    "100basetx",
    "1000baset",
    "2500base-t",
    "5000base-t",
    "10gbase-t",
)
"""Known, but not to be chosen here. Compared without regard to case, as FreeBSD does."""


def _needs_media(context: Context) -> None:
    interface = context.interface()
    if interface is None or not interface["media"]:
        raise fatal("SIOCGIFMEDIA", KernelError(EINVAL if interface is not None else ENXIO))


def _set_media(context: Context, keyword: Keyword, word: str) -> None:
    _needs_media(context)
    subtype = word.lower()
    if subtype not in _AUTOMATIC and subtype not in _SUBTYPES:
        raise fatal(f"unknown media subtype: {word}")
    if subtype in _SUBTYPES:
        context.callbacks.append(_refuse)


def _refuse(context: Context) -> None:
    raise fatal("SIOCSIFMEDIA (media)", KernelError(ENXIO))


def _set_option(context: Context, keyword: Keyword, word: str) -> None:
    _needs_media(context)
    context.callbacks.append(_refuse)


def _media(context: Context, interface: Interface) -> Iterator[str]:
    if interface["media"]:
        yield f"media: {interface['media']}"
    if interface["status"]:
        yield f"status: {interface['status']}"
    if interface["media"] and context.options.capabilities:
        yield "supported media:"
        yield "\tmedia autoselect"


register_keywords(
    Keyword("media", _set_media, "choose the medium of a network card", ("media",)),
    Keyword("mediaopt", _set_option, "set options of the medium", ("text",)),
    Keyword("-mediaopt", _set_option, "clear options of the medium", ("text",)),
    Keyword("mode", _set_option, "set the mode of the medium", ("text",)),
)
register_status(StatusLines(MEDIA, _media))
