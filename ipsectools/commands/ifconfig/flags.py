"""Interface flags (IFF_*, netintro(4)): their names on an interface's first line and the words that set them."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import refusal
from ipsectools.commands.ifconfig.registry import Keyword, register_keywords
from ipsectools.errno import ENXIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsectools.commands.ifconfig.context import Context

UP = 0x1
BROADCAST = 0x2
DEBUG = 0x4
LOOPBACK = 0x8
POINTOPOINT = 0x10
NOARP = 0x80
LINK0, LINK1, LINK2 = 0x1000, 0x2000, 0x4000
CANTCONFIG = 0x10000
PPROMISC = 0x20000
MONITOR = 0x40000
STATICARP = 0x80000
STICKYARP = 0x100000
PALLMULTI = 0x800000


def name_bits(text: str) -> tuple[str, ...]:
    """Names of bits from bit 0 upward, from a text with commas; an empty name is a bit that is not shown."""
    return tuple(text.split(","))


NAMES = name_bits(
    "UP,BROADCAST,DEBUG,LOOPBACK,POINTOPOINT,NEEDSEPOCH,RUNNING,NOARP,PROMISC,ALLMULTI,DRV_OACTIVE,SIMPLEX,"
    "LINK0,LINK1,LINK2,MULTICAST,CANTCONFIG,PPROMISC,MONITOR,STATICARP,STICKYARP,DYING,RENAMING,PALLMULTI,LOWER_UP,"
    "IFF_25,IFF_26,IFF_27,IFF_28,IFF_29,IFF_30,IFF_31"
)


def bit_names(number: int, names: Sequence[str]) -> list[str]:
    """The names of the set bits, lowest first; bits with an empty name or without one are left out."""
    return [name for bit, name in enumerate(names) if number >> bit & 1 and name]


def braced(number: int, names: Sequence[str]) -> str:
    """A bit mask as in `8010<POINTOPOINT,MULTICAST>`; without the brackets if no bit is set."""
    return f"{number:x}<{','.join(bit_names(number, names))}>" if number else "0"


def _change(context: Context, keyword: Keyword) -> None:
    to_set, to_clear = keyword.value
    try:
        context.call("SIOCSIFFLAGS", name=context.name, set=to_set, clear=to_clear)
    except KernelError as error:
        # The flags are read before they are written: a missing interface is found out there.
        raise refusal("ioctl (SIOCGIFFLAGS)" if error.errno == ENXIO else keyword.name, error) from None


def _pair(name: str, flag: int, help: str) -> tuple[Keyword, Keyword]:
    return (
        Keyword(name, _change, help, value=(flag, 0)),
        Keyword(f"-{name}", _change, f"undo {name}", value=(0, flag)),
    )


register_keywords(
    Keyword("up", _change, "mark the interface up", value=(UP, 0)),
    Keyword("down", _change, "mark the interface down", value=(0, UP)),
    Keyword("arp", _change, "use the address resolution protocol", value=(0, NOARP)),
    Keyword("-arp", _change, "do not use the address resolution protocol", value=(NOARP, 0)),
    *_pair("debug", DEBUG, "let the driver debug"),
    *_pair("promisc", PPROMISC, "receive all packets"),
    *_pair("allmulti", PALLMULTI, "receive all multicast packets"),
    *_pair("link0", LINK0, "set the driver's flag 0"),
    *_pair("link1", LINK1, "set the driver's flag 1"),
    *_pair("link2", LINK2, "set the driver's flag 2"),
    Keyword("normal", _change, "clear the driver's flag 0", value=(0, LINK0)),
    Keyword("compress", _change, "set the driver's flag 0", value=(LINK0, 0)),
    Keyword("noicmp", _change, "set the driver's flag 1", value=(LINK1, 0)),
    *_pair("monitor", MONITOR, "only watch: drop what was received"),
    *_pair("staticarp", STATICARP, "resolve only static entries"),
    *_pair("stickyarp", STICKYARP, "keep link-level addresses once learnt"),
)
