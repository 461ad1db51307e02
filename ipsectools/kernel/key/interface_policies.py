"""The four policies of an ipsec interface: ESP in tunnel mode for every packet of either inner family, both directions.

They are not matched by ordinary traffic, not flushed, not deletable by PF_KEY, and announced when they come and go.
"""

from __future__ import annotations

from ipsectools.errno import EAGAIN, EINVAL, KernelError
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.records import interface_policy_gone, policy_record
from ipsectools.kernel.key.spd import Policy
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    DIR_INBOUND,
    DIR_OUTBOUND,
    IPPROTO_ESP,
    IPSEC_ULPROTO_ANY,
    LEVEL_UNIQUE,
    MODE_TUNNEL,
    POLICY_IPSEC,
    SADB_X_SPDADD,
    SCOPE_IFNET,
)
from ipsectools.pfkey.policy import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsectools.kernel.key.engine import KeyEngine

_ANY4 = sockaddrs.make(bytes(4))
_ANY6 = sockaddrs.make(bytes(16))


def install(engine: KeyEngine, ifindex: int, reqid: int, src: str, dst: str, now: int, old: Sequence[int]) -> list[int]:
    """See KeyEngine.install_interface_policies. EAGAIN: there are no policy ids to be had."""
    try:
        local, remote = engine.end_point(src), engine.end_point(dst)
    except ValueError:
        raise KernelError(EINVAL) from None
    if local[1] != remote[1]:
        raise KernelError(EINVAL)
    new: list[Policy] = []
    for anything in (_ANY4, _ANY6):
        for direction, ends in ((DIR_INBOUND, (remote, local)), (DIR_OUTBOUND, (local, remote))):
            request = Request(IPPROTO_ESP, MODE_TUNNEL, LEVEL_UNIQUE, reqid, *ends)
            try:
                id = engine.new_policy_id()
            except Refused:
                raise KernelError(EAGAIN) from None
            policy = Policy(
                id,
                SCOPE_IFNET,
                direction,
                POLICY_IPSEC,
                ifindex,
                IPSEC_ULPROTO_ANY,
                (anything, 0),
                (anything, 0),
                (request,),
            )
            policy.created = policy.lastused = now
            engine.add_policy(policy)
            new.append(policy)
    for policy in new:
        engine.delivery.to_all(policy_record(policy, SADB_X_SPDADD))
    remove(engine, old)
    return [policy.id for policy in new]


def remove(engine: KeyEngine, ids: Sequence[int]) -> None:
    """See KeyEngine.remove_interface_policies; ids that are gone, or not an interface's, are passed over."""
    for id in ids:
        policy = engine.spd.by_id.get(id)
        if policy is not None and policy.scope == SCOPE_IFNET:
            engine.remove_policy(policy)
            engine.delivery.to_all(interface_policy_gone(policy))
