"""Tunnel mode around ESP: what the outer header takes from the inner one, what fits, and what may come out.

Facts: FreeBSD 14 (ipsec(4), RFC 4301 section 5.1.2, RFC 3168, RFC 3948). Where releases differ, this module is the one
place to change: `ECN_INGRESS` (development versions after 14 copy CE when ecn is 1, as RFC 6040 has it) and `outer_df`
for IPv6 in IPv4 (some versions leave it undefined; here it follows the older, defined rule).
"""

from __future__ import annotations

from ipsectools.esp import algorithms
from ipsectools.esp.drops import IN_INNER_SHORT, IN_INNER_VERSION, IN_NEXT_HEADER, Drop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.pfkey.algorithms import Encryption

MODE_ANY = 0
MODE_TRANSPORT = 1
MODE_TUNNEL = 2

NEXT_HEADER_IPV4 = 4
NEXT_HEADER_IPV6 = 41

SMALLEST_INNER = {4: 576, 6: 1280}
"""By inner version: a packet of this size nobody has to make smaller (RFC 791, RFC 8200): it may be fragmented outside.
Linux's own senders believe no less than 552 of IPv4, and leave out DF then."""

FLOW_LABEL = 0
UDP_HEADER = 8

ECN_INGRESS = {
    -1: (0, 1, 2, 3),  # copied
    0: (0, 0, 0, 0),  # forbidden
    1: (0, 1, 2, 2),  # allowed: CE is not shown outside, ECT(0) stands for it
    2: (0, 1, 2, 3),  # complete
}
"""By net.inet.ipsec.ecn or net.inet6.ipsec6.ecn: the outer ECN bits for inner Not-ECT, ECT(1), ECT(0), CE."""

TRANSPORT = "transport"
TUNNEL = "tunnel"


def tos_table(ecn: int) -> bytes:
    """256 bytes: the outer TOS or traffic class for each inner one. DSCP is always copied; unknown `ecn` copies all."""
    bits = ECN_INGRESS.get(ecn, ECN_INGRESS[-1])
    return bytes(inner & 0xFC | bits[inner & 3] for inner in range(256))


def inner_tos(inner: bytes) -> int:
    """The TOS (IPv4) or traffic class (IPv6) of an inner packet of at least 2 bytes."""
    return inner[1] if inner[0] >> 4 == 4 else (inner[0] << 4 | inner[1] >> 4) & 0xFF


def outer_df(inner: bytes, dfbit: int) -> bool:
    """DF of an outer IPv4 header by net.inet.ipsec.dfbit (0 clear, 1 set, other values copy).

    An inner IPv6 packet has no such bit, but may not be fragmented by routers: anything but 0 sets DF.
    """
    if dfbit in (0, 1):
        return dfbit == 1
    return inner[0] >> 4 == 6 or bool(inner[6] & 0x40)


def outer_length(
    encryption: Encryption,
    auth: int,
    inner_length: int,
    *,
    outer_header: int,
    natt: bool,
    ctr_compatibility: bool = True,
) -> int:
    """Bytes of the whole outer packet for an inner one. `outer_header` is 20 or 40."""
    sealed = algorithms.sealed_length(encryption, auth, inner_length, ctr_compatibility)
    return outer_header + (UDP_HEADER if natt else 0) + sealed


def inner_mtu(
    encryption: Encryption, auth: int, outer_mtu: int, *, outer_header: int, natt: bool, ctr_compatibility: bool = True
) -> int:
    """The longest inner packet whose outer packet is not longer than `outer_mtu` bytes; negative if none is."""
    room = outer_mtu - outer_header - (UDP_HEADER if natt else 0)
    return algorithms.largest_inner(encryption, auth, room, ctr_compatibility)


def decapsulation(outer_version: int, mode: int, next_header: int, inner_length: int) -> str | Drop:
    """What a decrypted payload is: TUNNEL (an inner packet), TRANSPORT (it belongs to the outer header), or a Drop.

    `outer_version` is 4 or 6, `mode` the SA's. Over IPv6 a tunnel SA takes transport payloads, over IPv4 it does not.
    """
    if mode == MODE_TRANSPORT:
        return TRANSPORT
    if next_header == NEXT_HEADER_IPV4:
        return IN_INNER_SHORT if inner_length < 20 else TUNNEL
    if next_header == NEXT_HEADER_IPV6:
        return IN_INNER_SHORT if inner_length < 40 else TUNNEL
    return IN_NEXT_HEADER if mode == MODE_TUNNEL and outer_version == 4 else TRANSPORT


def inner_refusal(inner: bytes, next_header: int) -> Drop | None:
    """Why the host's IP input would not take an inner packet for what its next header says; None if it may.

    FreeBSD has it in ip_input and ip6_input, after the interface has counted the packet. Linux goes by the version
    nibble alone, so it must not see a packet whose nibble contradicts the next header.
    """
    version = inner[0] >> 4 if inner else 0
    return None if version == (4 if next_header == NEXT_HEADER_IPV4 else 6) else IN_INNER_VERSION
