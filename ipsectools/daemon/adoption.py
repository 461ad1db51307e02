"""SAs of a PF_KEY client that knows no reqids: they become those of the ipsec interface with their end points.

An if_ipsec(4) interface uses the SAs with its reqid. A program written for other kernels (OpenBSD's iked) sends none;
on a host of its own that would be a tunnel that never carries a packet. A client that says so in its hello has every
ESP SA that it makes without a reqid, in tunnel mode or without a mode, between the end points of an ipsec interface,
made with that interface's reqid in tunnel mode. All else passes as it is.
"""

from __future__ import annotations

from ipsectools.kernel.interfaces import if_ipsec
from ipsectools.kernel.numeric import unparse
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import message as messages
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    EXT_SA,
    EXT_X_SA2,
    MODE_ANY,
    MODE_TUNNEL,
    SADB_ADD,
    SADB_GETSPI,
    SADB_UPDATE,
    SATYPE_ESP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.kernel import Kernel


def adopt(message: bytes, kernel: Kernel) -> bytes:
    """The request (FreeBSD's ABI) with the X_SA2 that it should have had. What is not understood is not changed."""
    if len(message) < messages.HEADER_BYTES:
        return message
    _, kind, _, satype, units, reserved, seq, pid = messages.HEADER.unpack_from(message)
    if kind not in (SADB_GETSPI, SADB_UPDATE, SADB_ADD) or satype != SATYPE_ESP or units * 8 != len(message):
        return message
    parts = list(messages.extensions(message))
    found = dict(parts)
    mode, sequence, reqid = ext.read_sa2(found[EXT_X_SA2]) if len(found.get(EXT_X_SA2, b"")) == 16 else (MODE_ANY, 0, 0)
    if reqid or mode not in (MODE_ANY, MODE_TUNNEL):
        return message
    reqid = _reqid_of_sa(kernel, found) if kind == SADB_UPDATE else _reqid_of_interface(kernel, found)
    if not reqid:
        return message
    body = b"".join(extension for type, extension in parts if type != EXT_X_SA2)
    return messages.build(
        kind, satype, body + ext.sa2(MODE_TUNNEL, reqid, sequence), seq=seq, pid=pid, reserved=reserved
    )


def _reqid_of_sa(kernel: Kernel, found: dict[int, bytes]) -> int:
    """An UPDATE must name what the SA was made with."""
    if len(found.get(EXT_SA, b"")) != 16:
        return 0
    sa = kernel.engine.sad.by_spi.get(ext.read_sa(found[EXT_SA])[0])
    return sa.reqid if sa is not None and sa.mode == MODE_TUNNEL else 0


def _reqid_of_interface(kernel: Kernel, found: dict[int, bytes]) -> int:
    ends = []
    for kind in (EXT_ADDRESS_SRC, EXT_ADDRESS_DST):
        extension = found.get(kind, b"")
        if len(extension) < 16 or not sockaddr.is_valid(extension[8:]):
            return 0
        address = extension[8:]
        ends.append((unparse(sockaddr.address(address)), sockaddr.scope_id(address)))
    for source, destination in (ends, reversed(ends)):
        for interface in kernel.interfaces.by_tunnel_source(*source):
            tunnel = interface.tunnel
            if (
                isinstance(interface.own, if_ipsec.Own)
                and tunnel is not None
                and (tunnel.dst, tunnel.dst_zone) == destination
            ):
                return if_ipsec.of(interface).reqid
    return 0
