"""The op OUTBOUND: with what an ipsec interface would send a packet now, and be sent one. Looks only; tells no keys."""

from __future__ import annotations

from ipsectools.esp.traffic import NO_LIMIT
from ipsectools.kernel.numeric import unparse
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.algorithms import ENCRYPTIONS
from ipsectools.pfkey.constants import IPPROTO_ESP, MODE_TUNNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.state import KernelState

STATES = ("larval", "mature", "dying", "dead")
MODES = ("any", "transport", "tunnel")
MOST_OTHERS = 16
NOTHING: dict[str, Any] = {"policies": None, "sa": None, "inbound": None, "others": []}


def read(state: KernelState, interface: Interface, reqid: int, policies: Sequence[int]) -> dict[str, Any]:
    """What there is for an interface; all null without a tunnel.

    `policies`: ids of the out policies for IPv4 and IPv6. `sa`: the SA for the next packet, or null. `inbound`: the
    newest SA of the other direction, or null. `others`: up to 16 further ESP SAs with the tunnel's end points, whatever
    their reqid, mode and state.
    """
    if interface.tunnel is None:
        return NOTHING
    engine = state.engine
    src, dst = interface.tunnel.src, interface.tunnel.dst
    chosen = engine.outbound_sa(src, dst, reqid)
    opposite = engine.sad.find_head(IPPROTO_ESP, MODE_TUNNEL, reqid, engine.end_point(dst), engine.end_point(src))
    newest = opposite.alive.newest if opposite is not None else None
    others: list[dict[str, Any]] = []
    for head in engine.sad.heads_between(IPPROTO_ESP, engine.end_point(src), engine.end_point(dst)):
        for sa in (*head.alive, *head.larval):
            if sa is not chosen and len(others) < MOST_OTHERS:
                others.append(_brief(sa))
    return {
        "policies": list(policies[1::2]) if len(policies) == 4 else None,
        "sa": _full(engine, chosen) if chosen is not None else None,
        "inbound": _full(engine, newest) if newest is not None else None,
        "others": others,
    }


def shared_keys(state: KernelState) -> list[dict[str, Any]]:
    """The op SHAREDKEYS: see `kernel.key.shared_keys`."""
    return state.engine.counters.shared_keys.report()


def _brief(sa: SecurityAssociation) -> dict[str, Any]:
    return {"spi": sa.spi, "reqid": sa.reqid, "mode": MODES[sa.mode], "state": STATES[sa.state], "usable": sa.usable}


def _full(engine: KeyEngine, sa: SecurityAssociation) -> dict[str, Any]:
    """What decides whether and how the SA sends; the numbers are the last ones used and the reserved limits.

    `sequence_limit`: null where numbers need not be reserved.
    `shared_key`: what the op SHAREDKEYS says of its key, null if no other SA has it.
    """
    traffic = sa.traffic
    shared = engine.counters.shared_keys
    name = shared.name(sa)
    counts_iv = ENCRYPTIONS[sa.encrypt].counter_iv if sa.encrypt in ENCRYPTIONS else False
    return _brief(sa) | {
        "src": unparse(sockaddr.address(sa.src)),
        "dst": unparse(sockaddr.address(sa.dst)),
        "encrypt": sa.encrypt,
        "auth": sa.auth,
        "esn": sa.esn,
        "natt": list(sa.natt) if sa.natt else None,
        "sequence": traffic.sequence,
        "sequence_limit": traffic.sequence_limit % NO_LIMIT or None,
        "iv": traffic.iv if counts_iv else None,
        "iv_limit": traffic.iv_limit if counts_iv else None,
        "no_send_reason": sa.no_send_reason,
        "shared_key": None if name is None else shared.told(name),
    }
