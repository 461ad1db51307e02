"""The SPD: policies in order, for each direction the global ones and those of ipsec interfaces.

Global policies are sorted by priority, equal ones in order of insertion; interface policies keep order of insertion.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.constants import (
    DIR_INBOUND,
    DIR_OUTBOUND,
    SCOPE_ANY,
    SCOPE_GLOBAL,
    SCOPE_IFNET,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.pfkey.policy import Request

Selector = tuple[int, int, bytes, int, bytes, int]


class Policy:
    """One policy. `src`/`dst` are the selector's socket addresses (with ports), each with a prefix length.

    `lifetime` and `validtime` are seconds since `created` and `lastused`, 0 for ever; `priority` of an interface's
    policy is the index of the interface. `record` caches its PF_KEY form.
    """

    __slots__ = (
        "created",
        "direction",
        "dst",
        "dst_prefixlen",
        "id",
        "lastused",
        "lifetime",
        "order",
        "priority",
        "protocol",
        "record",
        "requests",
        "scope",
        "src",
        "src_prefixlen",
        "type",
        "validtime",
    )

    def __init__(
        self,
        id: int,
        scope: int,
        direction: int,
        type: int,
        priority: int,
        protocol: int,
        src: tuple[bytes, int],
        dst: tuple[bytes, int],
        requests: tuple[Request, ...],
    ) -> None:
        self.id = id
        self.scope = scope
        self.direction = direction
        self.type = type
        self.priority = priority
        self.protocol = protocol
        self.src, self.src_prefixlen = src
        self.dst, self.dst_prefixlen = dst
        self.requests = requests
        self.order = 0
        self.created = 0
        self.lastused = 0
        self.lifetime = 0
        self.validtime = 0
        self.record = b""

    @property
    def selector(self) -> Selector:
        return selector(self.direction, self.protocol, (self.src, self.src_prefixlen), (self.dst, self.dst_prefixlen))

    def expired(self, now: int) -> bool:
        """True if a timer has to remove it (strict comparison, as all of FreeBSD's lifetimes)."""
        return bool(
            (self.lifetime and now - self.created > self.lifetime)
            or (self.validtime and now - self.lastused > self.validtime)
        )


def selector(direction: int, protocol: int, src: tuple[bytes, int], dst: tuple[bytes, int]) -> Selector:
    """What makes two policies the same: direction, protocol, both addresses with ports and prefix lengths."""
    return direction, protocol, _identity(src[0]), src[1], _identity(dst[0]), dst[1]


def _identity(sockaddr: bytes) -> bytes:
    return sockaddrs.without_port(sockaddr) + sockaddr[2:4]


class Spd:
    """All policies."""

    __slots__ = ("_lists", "_selectors", "by_id", "mortal", "serial")

    def __init__(self) -> None:
        self.by_id: dict[int, Policy] = {}
        self.mortal: dict[int, Policy] = {}  # those with a lifetime
        self.serial = 0
        self._selectors: dict[Selector, Policy] = {}
        self._lists: dict[tuple[int, int], list[tuple[int, int, int]]] = {
            (direction, scope): [] for direction in (DIR_INBOUND, DIR_OUTBOUND) for scope in (SCOPE_GLOBAL, SCOPE_IFNET)
        }

    @staticmethod
    def _place(policy: Policy) -> tuple[int, int, int]:
        return (policy.priority if policy.scope == SCOPE_GLOBAL else 0), policy.order, policy.id

    def add(self, policy: Policy) -> None:
        """Enters a policy behind those of its priority (or at the place its `order` says, when it has one)."""
        if policy.order:
            self.serial = max(self.serial, policy.order)
        else:
            self.serial += 1
            policy.order = self.serial
        self.by_id[policy.id] = policy
        insort(self._lists[policy.direction, policy.scope], self._place(policy))
        if policy.scope == SCOPE_GLOBAL:
            self._selectors[policy.selector] = policy
        if policy.lifetime or policy.validtime:
            self.mortal[policy.id] = policy

    def remove(self, policy: Policy) -> None:
        del self.by_id[policy.id]
        places = self._lists[policy.direction, policy.scope]
        del places[bisect_left(places, self._place(policy))]
        if policy.scope == SCOPE_GLOBAL:
            del self._selectors[policy.selector]
        self.mortal.pop(policy.id, None)

    def find(self, wanted: Selector) -> Policy | None:
        """The global policy with exactly this selector."""
        return self._selectors.get(wanted)

    def walk(self, scope: int = SCOPE_ANY) -> Iterator[Policy]:
        """Policies in the order of a dump: inbound global, inbound of interfaces, then outbound."""
        for (_, of_scope), places in self._lists.items():
            if scope in (SCOPE_ANY, of_scope):
                for place in places:
                    yield self.by_id[place[2]]
