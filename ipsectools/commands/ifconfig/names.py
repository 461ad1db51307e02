"""From words to addresses: numeric forms first, then hosts(5) and the DNS, then networks(5).

Uses `_socket` directly: `socket` costs a command a third of its start-up time.
"""

from __future__ import annotations

import _socket
import os
from _socket import AF_INET, AF_INET6

from ipsectools.commands.ifconfig.errors import fatal
from ipsectools.commands.ifconfig.numbers import UINT_MAX, strtoul

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_GAI_TEXT = {
    "EAI_ADDRFAMILY": "Address family for hostname not supported",
    "EAI_AGAIN": "Name could not be resolved at this time",
    "EAI_BADFLAGS": "Flags parameter had an invalid value",
    "EAI_FAIL": "Non-recoverable failure in name resolution",
    "EAI_FAMILY": "Address family was not recognized",
    "EAI_MEMORY": "Memory allocation failure",
    "EAI_NODATA": "No address associated with hostname",
    "EAI_NONAME": "Name does not resolve",
    "EAI_SYSTEM": "System error returned in errno",
}
_GAI_BY_NUMBER = {getattr(_socket, name): text for name, text in _GAI_TEXT.items() if hasattr(_socket, name)}
_NO_NAME = _GAI_TEXT["EAI_NONAME"]


class Unresolved(Exception):
    """A name that gives no address; the text is FreeBSD's gai_strerror(3)."""


def lookup(word: str, family: int) -> tuple[int, str]:
    """The first address that hosts(5) or the DNS have for a name: its family and numeric text. Raises Unresolved."""
    if not word:
        raise Unresolved(_NO_NAME)
    try:
        found = _socket.getaddrinfo(os.fsencode(word), None, family)
    except _socket.gaierror as error:
        number = error.errno or 0
        if number == getattr(_socket, "EAI_AGAIN", None) and not _has_nameserver():
            raise Unresolved(_NO_NAME) from None
        raise Unresolved(_GAI_BY_NUMBER.get(number, _NO_NAME)) from None
    except (OSError, UnicodeError):
        raise Unresolved(_NO_NAME) from None
    for kind, _, _, _, address in found:
        if kind in (AF_INET, AF_INET6):
            return kind, str(address[0])
    raise Unresolved(_NO_NAME)


def _has_nameserver() -> bool:
    """False if the DNS was never asked to be used: then "try again" is not the truth about an unknown name."""
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return any(line.split()[:1] == [b"nameserver"] for line in file)
    except OSError:
        return False


def inet_address(word: str) -> str:
    """An IPv4 address as `inet_aton`, hosts(5), DNS and networks(5) read it, in dotted form."""
    packed = inet_aton(word)
    if packed is not None:
        return _socket.inet_ntoa(packed)
    try:
        return lookup(word, AF_INET)[1]
    except Unresolved:
        network = _network(word)
        if network is None:
            raise fatal(f"{word}: bad value") from None
        return _socket.inet_ntoa(network)


def inet_aton(word: str) -> bytes | None:
    """The 4 bytes of an address of one to four decimal, octal or hexadecimal parts; None if it is none."""
    if not word or not word.isascii() or any(character.isspace() for character in word):
        return None  # C stops at a space; nobody means that
    try:
        return _socket.inet_aton(word)
    except (OSError, ValueError):
        return None


def _network(word: str) -> bytes | None:
    """The network of that name in networks(5), as an address with host part 0."""
    try:
        with open("/etc/networks", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.partition("#")[0].split()
                if len(fields) >= 2 and word in (fields[0], *fields[2:]):
                    return _network_address(fields[1])
    except OSError:
        pass
    return None


def _network_address(text: str) -> bytes | None:
    number = 0
    for part in text.split(".")[:4]:
        value, rest = strtoul(part)
        if rest or value > 255:
            return None
        number = number << 8 | value
    while number and number < 1 << 24:  # "10" and "192.168" name the network by its leading bytes
        number <<= 8
    return number.to_bytes(4, "big")


def inet6_address(word: str, interfaces: Collection[str]) -> str:
    """An IPv6 address (a zone that there is, see `endpoint`, is accepted and dropped), as text."""
    try:
        numeric = _scoped(word, interfaces)
        return (lookup(word, AF_INET6)[1] if numeric is None else numeric).partition("%")[0]
    except Unresolved:
        raise fatal(f"{word}: bad value") from None


def _scoped(word: str, interfaces: Collection[str]) -> str | None:
    """A numeric IPv6 address, with the zone if it is one of those that need one; None if it is no such address.

    Raises Unresolved for a zone that is none: neither one of `interfaces` nor a number; the kernel judges the number.
    """
    address, percent, zone = word.partition("%")
    numeric = inet6_numeric(address)
    if numeric is None or not percent:
        return numeric
    if zone.isascii() and zone.isdecimal():
        index, _ = strtoul(zone, 10)
        if index > UINT_MAX:
            raise Unresolved(_NO_NAME)
        zone = str(index or "")
    elif zone not in interfaces or not is_link_local(numeric):
        raise Unresolved(_NO_NAME)
    return f"{numeric}%{zone}" if zone and is_link_local(numeric) else numeric


def inet6_numeric(word: str) -> str | None:
    """The canonical text of a numeric IPv6 address without zone, or None."""
    try:
        return _socket.inet_ntop(AF_INET6, _socket.inet_pton(AF_INET6, word))
    except (OSError, ValueError):
        return None


def inet6_packed(address: str) -> bytes:
    """The 16 bytes of a numeric IPv6 address."""
    return _socket.inet_pton(AF_INET6, address)


def inet6_text(packed: bytes) -> str:
    """The text of 16 address bytes."""
    return _socket.inet_ntop(AF_INET6, packed)


def is_link_local(address: str) -> bool:
    """True for IPv6 texts in fe80::/10."""
    return address[:3].lower() in ("fe8", "fe9", "fea", "feb") and address[4:5] == ":"


def endpoint(word: str, interfaces: Collection[str]) -> tuple[int, str]:
    """A tunnel endpoint: family and numeric text, a zone kept behind `%`. Raises Unresolved.

    A zone is an interface's name (one of `interfaces`) or an index; the kernel judges the index.
    """
    numeric = _scoped(word, interfaces)
    if numeric is not None:
        return AF_INET6, numeric
    packed = inet_aton(word)
    return (AF_INET, _socket.inet_ntoa(packed)) if packed is not None else lookup(word, AF_INET_ANY)


AF_INET_ANY = 0


def reverse(address: str, full: bool) -> str | None:
    """The host name of an address, without the local domain unless `full`; None if it has none."""
    flags = _socket.NI_NAMEREQD | (0 if full else _socket.NI_NOFQDN)
    try:
        return _socket.getnameinfo((address, 0), flags)[0]
    except (OSError, UnicodeError):
        return None
