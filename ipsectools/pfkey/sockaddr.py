"""FreeBSD's socket addresses: u8 length, u8 family, u16 port (network order), then what the family has.

`sockaddr_in` is 16 bytes (address at 4), `sockaddr_in6` 28 (flow info at 4, address at 8, scope id at 24, host order).
"""

from __future__ import annotations

from sys import byteorder

from ipsectools.pfkey.constants import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOCKADDR_IN_BYTES = 16
SOCKADDR_IN6_BYTES = 28

_ZERO8 = bytes(8)


def make(address: bytes, port: int = 0, scope_id: int = 0) -> bytes:
    """The socket address of 4 or 16 address bytes."""
    if len(address) == 4:
        return b"\x10\x02" + port.to_bytes(2, "big") + address + _ZERO8
    return b"\x1c\x1c" + port.to_bytes(2, "big") + bytes(4) + address + scope_id.to_bytes(4, byteorder)


def from_text(text: str, port: int = 0, index_of: Callable[[str], int] | None = None) -> bytes:
    """The socket address of a numeric text, `%zone` allowed with IPv6 (a number, or a name that `index_of` knows).

    Raises ValueError if the text is no address.
    """
    from _socket import AF_INET as HOST_INET
    from _socket import AF_INET6 as HOST_INET6
    from _socket import inet_pton

    try:
        if ":" not in text:
            return make(inet_pton(HOST_INET, text), port)
        text, _, zone = text.partition("%")
        scope_id = 0
        if zone:
            if zone.isdecimal():
                scope_id = int(zone)
            elif index_of is not None:
                scope_id = index_of(zone)
            else:
                raise ValueError(f"unknown zone {zone}")
        return make(inet_pton(HOST_INET6, text), port, scope_id)
    except OSError:
        raise ValueError(f"not an IP address: {text}") from None


def to_text(sockaddr: bytes, name_of: Callable[[int], str | None] | None = None) -> str:
    """The numeric text of the address, with `%zone` if it has a scope id (its number unless `name_of` knows better)."""
    from _socket import AF_INET as HOST_INET
    from _socket import AF_INET6 as HOST_INET6
    from _socket import inet_ntop

    if sockaddr[1] == AF_INET:
        return inet_ntop(HOST_INET, sockaddr[4:8])
    text = inet_ntop(HOST_INET6, sockaddr[8:24])
    scope_id = int.from_bytes(sockaddr[24:28], byteorder)
    if scope_id:
        text += "%" + ((name_of and name_of(scope_id)) or str(scope_id))
    return text


def family(sockaddr: bytes) -> int:
    return sockaddr[1]


def length_of_family(family: int) -> int:
    """The length a socket address of this family must have; 0 for a family that PF_KEY does not know."""
    if family == AF_INET:
        return SOCKADDR_IN_BYTES
    return SOCKADDR_IN6_BYTES if family == AF_INET6 else 0


def is_valid(sockaddr: bytes) -> bool:
    """True if the length byte is right for the family and all of it is there."""
    return (
        len(sockaddr) >= 2
        and sockaddr[0] == length_of_family(sockaddr[1])
        and sockaddr[0] <= len(sockaddr)
        and sockaddr[0] != 0
    )


def address(sockaddr: bytes) -> bytes:
    """The 4 or 16 address bytes."""
    return sockaddr[4:8] if sockaddr[1] == AF_INET else sockaddr[8:24]


def port(sockaddr: bytes) -> int:
    return (sockaddr[2] << 8) | sockaddr[3]


def scope_id(sockaddr: bytes) -> int:
    return int.from_bytes(sockaddr[24:28], byteorder) if sockaddr[1] == AF_INET6 else 0


def without_port(sockaddr: bytes) -> bytes:
    """What identifies an end point: length, family, address and scope id; port, flow info and padding cleared."""
    if sockaddr[1] == AF_INET:
        return b"\x10\x02\0\0" + sockaddr[4:8] + _ZERO8
    return b"\x1c\x1c\0\0\0\0\0\0" + sockaddr[8:28]


def full_prefixlen(sockaddr: bytes) -> int:
    return 32 if sockaddr[1] == AF_INET else 128
