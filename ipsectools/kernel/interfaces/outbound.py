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

    from ipsectools.answers import BriefSA, Outbound, OutboundSA, SharedKey
    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sad import SecurityAssociation
    from ipsectools.kernel.state import KernelState

STATES = ("larval", "mature", "dying", "dead")
MODES = ("any", "transport", "tunnel")
MOST_OTHERS = 16
NOTHING: Outbound = {"policies": None, "sa": None, "inbound": None, "others": []}


def read(state: KernelState, interface: Interface, reqid: int, policies: Sequence[int]) -> Outbound:
    """What there is for an interface that has installed these `policies`; all null without a tunnel."""
    if interface.tunnel is None:
        return NOTHING
    engine = state.engine
    src, dst = interface.tunnel.src, interface.tunnel.dst
    chosen = engine.outbound_sa(src, dst, reqid)
    opposite = engine.sad.find_head(IPPROTO_ESP, MODE_TUNNEL, reqid, engine.end_point(dst), engine.end_point(src))
    newest = opposite.alive.newest if opposite is not None else None
    others: list[BriefSA] = []
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


def shared_keys(state: KernelState) -> list[SharedKey]:
    """The op SHAREDKEYS: see `kernel.key.shared_keys`."""
    return state.engine.counters.shared_keys.report()


def _brief(sa: SecurityAssociation) -> BriefSA:
    return {"spi": sa.spi, "reqid": sa.reqid, "mode": MODES[sa.mode], "state": STATES[sa.state], "usable": sa.usable}


def _full(engine: KeyEngine, sa: SecurityAssociation) -> OutboundSA:
    traffic = sa.traffic
    shared = engine.counters.shared_keys
    name = shared.name(sa)
    counts_iv = ENCRYPTIONS[sa.encrypt].counter_iv if sa.encrypt in ENCRYPTIONS else False
    return {
        **_brief(sa),
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
