"""Link-level addresses: the families `link`, `ether` and `lladdr`, which are one."""

from __future__ import annotations

from ipsectools.commands.ifconfig.context import Family
from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.registry import LINK, StatusLines, register_family, register_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context

_HEXADECIMAL = "0123456789abcdefABCDEF"


class Link(Family):
    """AF_LINK."""

    __slots__ = ()
    changes_addresses = True
    deletes_addresses = False

    def shown(self, interface: Interface, word: str) -> bool:
        if not interface["lladdr"]:
            return False
        return word != "ether" or (_is_ethernet(interface) and interface["lladdr"].count(":") == 5)

    def lines(self, context: Context, interface: Interface) -> Iterator[str]:
        address = interface["lladdr"]
        if not address:
            return
        if not _is_ethernet(interface):
            yield f"lladdr {address}"
            return
        if context.formats.ether == "dash":
            address = address.replace(":", "-")
        elif context.formats.ether == "dotted":
            digits = address.replace(":", "")
            address = ".".join(digits[start : start + 4] for start in range(0, len(digits), 4))
        yield f"ether {address}"

    def take(self, context: Context, word: str, slot: str) -> None:
        if slot != "address":
            raise fatal("can't set link-level netmask or broadcast")
        context.request.address = _random() if word == "random" else _read(word)

    def add(self, context: Context) -> None:
        context.call("SIOCSIFLLADDR", name=context.name, address=context.request.address)


def _is_ethernet(interface: Interface) -> bool:
    return interface["iftype"] in ("ether", "bridge")


def _read(word: str) -> str:
    """An address of hexadecimal bytes between `:`, `-` or `.`, in the usual form."""
    parts = word.replace("-", ":").replace(".", ":").split(":")
    if not all(0 < len(part) <= 2 and all(digit in _HEXADECIMAL for digit in part) for part in parts):
        raise fatal("malformed link-level address")
    return ":".join(f"{int(part, 16):02x}" for part in parts)


def _random() -> str:
    """A random unicast address of local administration."""
    from os import urandom

    octets = bytearray(urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in octets)


_family = Link("link", ("ether", "lladdr"))
register_family(_family)
register_status(StatusLines(LINK, _family.lines, ("link",)))
