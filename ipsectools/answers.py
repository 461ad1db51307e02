"""What the control door answers, for mypy: whoever makes or reads an answer says so with these.

Types only: they are imported under TYPE_CHECKING and cost a command nothing. `tests/kernel/test_answers.py` holds real
answers against them.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

CounterName = Literal["ipackets", "ibytes", "ierrors", "opackets", "obytes", "oerrors"]
StructureName = Literal["esp", "ah", "ipsec", "ipsec6"]


class Counters(TypedDict):
    """Of an interface since it was made."""

    ipackets: int
    ibytes: int
    ierrors: int
    opackets: int
    obytes: int
    oerrors: int


class Tunnel(TypedDict):
    """Outer end points: numeric texts, with a `%zone` where they need one."""

    family: str
    src: str
    dst: str


class InetAddress(TypedDict):
    address: str
    peer: str | None
    prefixlen: int
    broadcast: str | None


class Inet6Address(TypedDict):
    """Lifetimes in seconds, null: infinite."""

    address: str
    peer: str | None
    prefixlen: int
    flags: list[str]
    scopeid: int
    pltime: int | None
    vltime: int | None
    pltime_left: int | None
    vltime_left: int | None


class OfKinds(TypedDict):
    """What kinds of interfaces tell of theirs (`Kind.members`); null for interfaces of other kinds."""

    reqid: int | None


class Interface(OfKinds):
    """One of LISTIF.

    `flags`: FreeBSD's IFF_*, RUNNING and LOWER_UP included. `iftype`: ether, loop, tunnel, bridge or other. `groups` in
    order of joining, `all` included. `nd6`: its bits, null where IPv6 is not spoken. `cloner`: null for the host's own.
    `members`: null unless a bridge. `trouble`: why no packet can pass the device of an interface of ours, which is not
    RUNNING then.
    """

    name: str
    index: int
    flags: int
    mtu: int
    metric: int
    description: str
    options: int
    capabilities: int
    iftype: str
    lladdr: str | None
    groups: list[str]
    tunnel: Tunnel | None
    fib: int
    tunnelfib: int
    nd6: int | None
    inet: list[InetAddress]
    inet6: list[Inet6Address]
    media: str | None
    status: str | None
    drivername: str
    statistics: Counters
    cloner: str | None
    members: list[str] | None
    trouble: str | None


class SharedKey(TypedDict):
    """One of SHAREDKEYS: up to 16 `spis`, newest first, whether the key is used in `both` directions, a `text` for
    people and how to `fix` it."""

    spis: list[int]
    both: bool
    text: str
    fix: str


class BriefSA(TypedDict):
    spi: int
    reqid: int
    mode: str
    state: str
    usable: bool


class OutboundSA(BriefSA):
    """What decides whether and how an SA sends; the numbers are the last ones used and the reserved limits.

    `natt`: the two UDP ports. `sequence_limit`: null where numbers need not be reserved. `iv`, `iv_limit`: null without
    a counter-mode IV. `shared_key`: null if no other SA has its key.
    """

    src: str
    dst: str
    encrypt: int
    auth: int
    esn: bool
    natt: list[int] | None
    sequence: int
    sequence_limit: int | None
    iv: int | None
    iv_limit: int | None
    no_send_reason: str
    shared_key: SharedKey | None


class Outbound(TypedDict):
    """OUTBOUND; all null without a tunnel.

    `policies`: ids of the out policies for IPv4 and IPv6. `sa`: the SA for the next packet, `inbound`: the newest SA of
    the other direction. `others`: up to 16 further ESP SAs with the tunnel's end points, whatever their reqid, mode and
    state.
    """

    policies: list[int] | None
    sa: OutboundSA | None
    inbound: OutboundSA | None
    others: list[BriefSA]


class Statistics(TypedDict):
    """STATISTICS: what a running data path counted; zeros while there is none.

    `esp` and `ah` are FreeBSD's structures (espstat, ahstat) followed by one counter per algorithm (256), `ipsec` and
    `ipsec6` are ipsecstat structures; `drops`: packets by named reason; `interfaces`: by name. Only while a data path
    runs: `balance`, the packets that came in and where they went, and `core`, which one it is.
    """

    esp: list[int]
    ah: list[int]
    ipsec: list[int]
    ipsec6: list[int]
    drops: dict[str, int]
    interfaces: dict[str, Counters]
    balance: NotRequired[dict[str, int]]
    core: NotRequired[str]


class Leaf(TypedDict):
    """SYSCTLGET, and one of SYSCTLLIST. `value`: null for a structure, which STATISTICS has."""

    name: str
    type: str
    value: int | str | None
    description: str
    writable: bool
    tunable: bool


class DaemonStatus(TypedDict):
    """IPSECDSTATUS, which ipsecd answers itself. `kind`: of the host, for people. `troubles`: by interface."""

    pid: int
    version: str
    directory: str
    live: bool
    kind: str
    may_change: bool
    may_protect: bool
    uptime: int
    core: str | None
    core_reason: str | None
    interfaces: int
    troubles: dict[str, str]
    clients: int
