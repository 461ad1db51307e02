"""Media of network cards. The host's cards choose theirs by themselves: it is shown, `autoselect` is accepted."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import MEDIA, Keyword, StatusLines, register_keywords, register_status
from ipsectools.errno import EINVAL, ENXIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context

_AUTOMATIC = ("autoselect", "auto")
SUBTYPES = (
    "autoselect",
    "manual",
    "none",
    "10baseT/UTP",
    "100baseTX",
    "1000baseT",
    "2500Base-T",
    "5000Base-T",
    "10Gbase-T",
)
"""The known ones, of which only the first is to be had here."""


def _needs_media(context: Context) -> None:
    interface = context.interface()
    if interface is None or not interface["media"]:
        raise fatal("SIOCGIFMEDIA", KernelError(EINVAL if interface is not None else ENXIO))


def _set_media(context: Context, keyword: Keyword, word: str) -> None:
    _needs_media(context)
    if word.lower() in _AUTOMATIC:
        return
    if all(word.lower() != subtype.lower() for subtype in SUBTYPES):
        raise fatal(f"unknown media subtype: {word}")
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
