"""Socket addresses (of FreeBSD, as bytes) from words as getaddrinfo(3) reads them, and back as getnameinfo(3) does."""

from __future__ import annotations

import _socket

from ipsectools.commands.setkey.databases import udp_service
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# gai_strerror(3)
ADDRESS_FAMILY_UNSUPPORTED = "Address family for hostname not supported"
NO_NAME = "Name does not resolve"
NO_SERVICE = "Service was not recognized for socket type"
_GAI_TEXTS = {
    _socket.EAI_ADDRFAMILY: ADDRESS_FAMILY_UNSUPPORTED,
    _socket.EAI_AGAIN: "Name could not be resolved at this time",
    _socket.EAI_BADFLAGS: "Flags parameter had an invalid value",
    _socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    _socket.EAI_FAMILY: "Address family not recognized",
    _socket.EAI_MEMORY: "Memory allocation failure",
    _socket.EAI_NODATA: "No address associated with hostname",
    _socket.EAI_NONAME: NO_NAME,
    _socket.EAI_SERVICE: NO_SERVICE,
    _socket.EAI_SOCKTYPE: "Intended socket type was not recognized",
    _socket.EAI_SYSTEM: "System error returned in errno",
    _socket.EAI_OVERFLOW: "Argument buffer overflow",
}


class ResolverError(Exception):
    """A name or service that getaddrinfo(3) refuses; the text is gai_strerror(3)'s."""


class Resolver:
    """getaddrinfo(3) for datagrams, as setkey calls it. `interface_index` gives the index of a zone's name, or 0."""

    __slots__ = ("_numeric", "interface_index")

    _KEPT = 4096

    def __init__(self, interface_index: Callable[[str], int]) -> None:
        self.interface_index = interface_index
        self._numeric: dict[str, list[bytes]] = {}

    def resolve(
        self, host: str, family: int = 0, numeric_only: bool = False, service: str | None = None
    ) -> list[bytes]:
        """The socket addresses of `host`, at least one. `family` (FreeBSD's) 0 takes both. Raises ResolverError.

        `service` is a port number or the name of a UDP service.
        """
        port = 0 if service is None else port_of(service)
        found = self._numeric.get(host)
        if found is None:
            found = self._read_numeric(host)
        if not found or family not in (0, found[0][1]):
            # What has a colon is no name; and a zone that this kernel does not know, the host must not know for it.
            if numeric_only or (":" in host and not found):
                raise ResolverError(NO_NAME)
            found = _look_up(host, family)
        if not port:
            return found
        digits = port.to_bytes(2, "big")
        return [address[:2] + digits + address[4:] for address in found]

    def _read_numeric(self, host: str) -> list[bytes]:
        address = numeric(host, self.interface_index)
        if len(self._numeric) >= self._KEPT:
            self._numeric.clear()
        self._numeric[host] = found = [] if address is None else [address]
        return found


def numeric(host: str, interface_index: Callable[[str], int]) -> bytes | None:
    """The socket address of what is written in numbers, else None. IPv4 is read as by inet_aton(3): short, octal."""
    if ":" not in host:
        try:
            return sockaddrs.make(_socket.inet_aton(host)) if host[:1].isdigit() else None
        except OSError:
            return None
    text, percent, zone = host.partition("%")
    try:
        packed = _socket.inet_pton(_socket.AF_INET6, text)
    except OSError:
        return None
    if not percent:
        return sockaddrs.make(packed)
    scope = interface_index(zone) if zone and _zone_is_a_link(packed) else 0
    if not scope:
        if not zone.isdigit() or len(zone) > 10 or int(zone) > 0xFFFFFFFF:
            return None
        scope = int(zone)
    return sockaddrs.make(packed, 0, scope)


def port_of(service: str) -> int:
    """The port that is written as a number or as the name of a UDP service. Raises ResolverError."""
    if service.isdigit():
        digits = service.lstrip("0")
        if len(digits) > 5 or (digits and int(digits) > 0xFFFF):
            raise ResolverError(NO_SERVICE)
        return int(digits or "0")
    port = udp_service(service)
    if port is None:
        raise ResolverError(NO_SERVICE)
    return port


def text_of(sockaddr: bytes, interface_name: Callable[[int], str | None]) -> str:
    """The address in numbers, with its zone if it has one."""
    if sockaddr[1] == AF_INET:
        return _socket.inet_ntop(_socket.AF_INET, sockaddr[4:8])
    if sockaddr[24:28] in (b"\0\0\0\0", b""):
        return _socket.inet_ntop(_socket.AF_INET6, sockaddr[8:24])
    return sockaddrs.to_text(sockaddr, interface_name if _zone_is_a_link(sockaddr[8:24]) else None)


def _look_up(host: str, family: int) -> list[bytes]:
    wanted = {0: _socket.AF_UNSPEC, AF_INET: _socket.AF_INET, AF_INET6: _socket.AF_INET6}[family]
    try:
        rows = _socket.getaddrinfo(host.encode("latin-1"), None, wanted, _socket.SOCK_DGRAM, _socket.IPPROTO_UDP)
    except _socket.gaierror as error:
        raise ResolverError(_GAI_TEXTS.get(error.errno or 0, NO_NAME)) from None
    except (OSError, ValueError):
        raise ResolverError(NO_NAME) from None
    found = []
    for kind, _, _, _, name in rows:
        if kind in (_socket.AF_INET, _socket.AF_INET6):
            text = str(name[0]).partition("%")[0]
            scope = int(name[3]) if len(name) > 3 else 0
            found.append(sockaddrs.make(_socket.inet_pton(kind, text), 0, scope))
    if not found:
        raise ResolverError(NO_NAME)
    return found


def _zone_is_a_link(packed: bytes) -> bool:
    """Link-local unicast, or multicast of interface or link scope: their zones are interfaces."""
    if packed[0] == 0xFE:
        return packed[1] & 0xC0 == 0x80
    return packed[0] == 0xFF and packed[1] & 0x0F in (1, 2)
