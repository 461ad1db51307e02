"""IPv4: addresses, masks, and how they are shown."""

from __future__ import annotations

from ipsectools.commands.ifconfig import names
from ipsectools.commands.ifconfig.context import Family
from ipsectools.commands.ifconfig.errors import complain, fatal, warn
from ipsectools.commands.ifconfig.flags import BROADCAST, LOOPBACK, POINTOPOINT
from ipsectools.commands.ifconfig.numbers import strtonum
from ipsectools.commands.ifconfig.registry import INET, StatusLines, register_family, register_status
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import InetAddress, Interface
    from ipsectools.commands.ifconfig.context import Context


def netmask(prefixlen: int) -> int:
    """The 32-bit mask of a prefix length."""
    return 0xFFFFFFFF << 32 - prefixlen & 0xFFFFFFFF


def dotted(number: int) -> str:
    """A 32-bit number as an address."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def broadcast(entry: InetAddress, flags: int) -> str | None:
    """The broadcast address that belongs to an address of an interface with these flags.

    Linux keeps none for networks of one or two hosts; FreeBSD's rule gives those one, too (RFC 3021 for /31).
    """
    if not flags & BROADCAST:
        return None
    if entry["broadcast"] is None and entry["prefixlen"] >= 31:
        return "255.255.255.255" if entry["prefixlen"] == 31 else str(entry["address"])
    known: str | None = entry["broadcast"]
    return known


def _bits(address: str) -> int:
    return sum(int(part).bit_count() for part in address.split("."))


def _classful(address: str) -> int:
    """The prefix length of the class (RFC 791) of an address."""
    first = int(address.partition(".")[0])
    return 8 if first < 128 else 16 if first < 192 else 24


class Inet(Family):
    """AF_INET."""

    __slots__ = ()
    changes_addresses = True
    tunnel_operation = "SIOCSIFPHYADDR"

    def shown(self, interface: Interface, word: str) -> bool:
        return bool(interface["inet"])

    def lines(self, context: Context, interface: Interface) -> Iterator[str]:
        flags = interface["flags"]
        formats = context.formats
        for entry in interface["inet"]:
            address = entry["address"]
            name = names.reverse(address, formats.addr == "fqdn") if formats.addr else None
            # Linux has point-to-point links whose addresses have no peer: it calls them their own.
            peer = f" --> {entry['peer'] or address}" if flags & POINTOPOINT else ""
            prefixlen = entry["prefixlen"]
            if formats.inet == "cidr":
                mask = f"/{prefixlen}"
            elif formats.inet == "dotted":
                mask = f" netmask {dotted(netmask(prefixlen))}"
            else:
                mask = f" netmask {netmask(prefixlen):#x}"
            everybody = broadcast(entry, flags)
            broadcast_text = f" broadcast {everybody}" if everybody else ""
            yield f"inet {name or address}{peer}{mask}{broadcast_text}"

    def take(self, context: Context, word: str, slot: str) -> None:
        request = context.request
        if slot == "address" and "/" in word:
            name, _, width = word.rpartition("/")
            prefixlen, wrong = strtonum(width, 32) if width[:1] in tuple("0123456789") else (0, "invalid")
            if wrong:
                raise fatal(f"{word}: bad value (width {wrong})")
            request.prefixlen = prefixlen
            word = name
        address = names.inet_address(word)
        if slot == "netmask":
            request.prefixlen = _bits(address)  # whatever the order of the bits
        else:
            setattr(request, slot, address)

    def complete(self, context: Context) -> None:
        request = context.request
        if request.prefixlen is not None:
            return
        interface = context.interface()
        if interface is not None and not interface["flags"] & (POINTOPOINT | LOOPBACK):
            warn("WARNING: setting interface address without mask is deprecated,\ndefault mask may not be correct.")

    def delete(self, context: Context) -> None:
        target = context.request.target
        arguments: dict[str, object] = {} if target is None else {"address": target}
        _execute(context, "DELADDR", arguments)

    def add(self, context: Context) -> None:
        request = context.request
        address = request.address or "0.0.0.0"
        arguments: dict[str, object] = {"address": address}
        arguments["prefixlen"] = _classful(address) if request.prefixlen is None else request.prefixlen
        if request.peer is not None:
            arguments["peer"] = request.peer
        if request.broadcast is not None:
            arguments["broadcast"] = request.broadcast
        _execute(context, "NEWADDR", arguments)


def _execute(context: Context, op: str, arguments: dict[str, object]) -> None:
    try:
        context.call(op, name=context.name, family="inet", **arguments)
    except KernelError as error:
        if error.detail:
            complain(f"in_exec_nl(): {error.detail}")
        raise


_family = Inet("inet")
register_family(_family)
register_status(StatusLines(INET, _family.lines, ("inet",)))
