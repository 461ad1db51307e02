"""The sysctl tree of the emulated kernel: names, types, defaults, ranges, descriptions; values in the state file.

A leaf is told to clients as a dict: `name`, `type` (`int`, `unsigned int`, `unsigned long`, `string`, `struct`),
`value` (None for a structure, whose contents are the op STATISTICS), `description`, `writable`, `tunable` (to be set
at boot only).
"""

from __future__ import annotations

from ipsectools.errno import EINVAL, ENOENT, EPERM, KernelError
from ipsectools.host.marks import FIB_MASK, STATE_MASK
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools import answers
    from ipsectools.kernel.store import Store

TABLE = Table("sysctl", "name TEXT", "value INTEGER NOT NULL")
TABLES = (TABLE,)

_RANGES = {
    "int": (-(1 << 31), (1 << 31) - 1),
    "unsigned int": (0, (1 << 32) - 1),
    "unsigned long": (0, (1 << 63) - 1),  # what the state file can hold
}
MAX_FIBS = 65535


class Leaf:
    """One variable. `least` to `most` is what its handler accepts; `keeps` names the one it is stored as."""

    __slots__ = ("default", "description", "keeps", "least", "most", "name", "tunable", "type", "writable")

    def __init__(
        self,
        name: str,
        default: int | str | None,
        description: str,
        *,
        type: str = "int",
        least: int | None = None,
        most: int | None = None,
        writable: bool = True,
        tunable: bool = False,
        keeps: str = "",
    ) -> None:
        low, high = _RANGES.get(type, (0, 0))
        self.name = name
        self.default = default
        self.description = description
        self.type = type
        self.least = low if least is None else least
        self.most = high if most is None else most
        self.writable = writable and not tunable and isinstance(default, int)
        self.tunable = tunable
        self.keeps = keeps or name


def _levels(node: str) -> list[Leaf]:
    names = (
        ("esp", "trans", "transport"),
        ("esp", "net", "tunnel"),
        ("ah", "trans", "transport"),
        ("ah", "net", "tunnel"),
    )
    return [
        Leaf(
            f"{node}.{protocol}_{mode}_deflev",
            1,
            f"Default level of {protocol.upper()} in {words} mode (1: use, 2: require)",
        )
        for protocol, mode, words in names
    ]


def _structure(name: str, description: str) -> Leaf:
    return Leaf(name, None, description, type="struct")


_POLICY = "net.inet.ipsec.def_policy"
MARK_FIB, MARK_STATE = "net.inet.ipsec.mark_fib", "net.inet.ipsec.mark_state"
ACCEPT_UNCLAIMED = "net.inet.ipsec.accept_unclaimed"

LEAVES = {
    leaf.name: leaf
    for leaf in (
        Leaf("kern.features.ipsec", 1, "Internet Protocol Security (IPsec)", writable=False),
        Leaf("net.fibs", 1, "Number of routing tables", type="unsigned int", least=1, most=MAX_FIBS),
        Leaf("net.ifdescr_maxlen", 1024, "Longest description of an interface, its end included", least=0),
        Leaf("net.inet.ip.ttl", 64, "Time to live of packets that this host sends", least=0, most=255),
        Leaf("net.inet.ip.rfc6864", 1, "Identification 0 in packets that cannot be fragmented (RFC 6864)"),
        Leaf("net.inet.ip.random_id", 0, "Random identification of packets"),
        Leaf(_POLICY, 1, "Default policy where none matches (0: discard, 1: none)", least=0, most=1),
        *_levels("net.inet.ipsec"),
        Leaf("net.inet.ipsec.ah_cleartos", 1, "AH: clear the type of service before authentication"),
        Leaf("net.inet.ipsec.dfbit", 0, "DF of the outer header (0: clear, 1: set, 2: copy)"),
        Leaf("net.inet.ipsec.min_pmtu", 576, "Smallest path MTU that is believed"),
        Leaf(ACCEPT_UNCLAIMED, 0, "What an SA of no interface brings is given to IP input (ours)", least=0, most=1),
        Leaf("net.inet.ipsec.ecn", 0, "ECN in tunnels (-1: copy, 0: forbidden, 1: allowed, 2: complete)"),
        Leaf(
            "net.inet.ipsec.crypto_support",
            50331648,
            "Kinds of cryptographic drivers (0x1000000: hardware, 0x2000000: software)",
        ),
        Leaf("net.inet.ipsec.async_crypto", 0, "Cryptography in threads of its own"),
        Leaf("net.inet.ipsec.check_policy_history", 0, "Strict check of what was done to inbound packets"),
        Leaf(
            MARK_FIB,
            FIB_MASK,
            "Bits of the firewall mark that hold the FIB of outer packets (ours)",
            type="unsigned int",
        ),
        Leaf(MARK_STATE, STATE_MASK, "Bits of the firewall mark that hold the state (ours)", type="unsigned int"),
        Leaf("net.inet.ipsec.natt_cksum_policy", 0, "Checksums of NAT-T transport mode (0: adjust, 1: compute)"),
        Leaf("net.inet.ipsec.filtertunnel", 0, "Packet filters see decapsulated packets"),
        Leaf("net.inet.ipsec.random_id", 0, "Random identification of outer packets"),
        Leaf("net.inet.ipsec.debug", 0, "Log messages"),
        _structure("net.inet.ipsec.ipsecstats", "IPsec over IPv4: statistics"),
        Leaf("net.inet.ah.ah_enable", 1, "AH is processed"),
        Leaf("net.inet.ah.ah_cleartos", 1, "AH: clear the type of service", keeps="net.inet.ipsec.ah_cleartos"),
        _structure("net.inet.ah.stats", "AH: statistics"),
        Leaf("net.inet.esp.esp_enable", 1, "ESP is processed"),
        Leaf("net.inet.esp.ctr_compatibility", 1, "AES-CTR pads to 16 bytes, as older releases did"),
        _structure("net.inet.esp.stats", "ESP: statistics"),
        Leaf("net.inet6.ip6.hlim", 64, "Hop limit of packets that this host sends", least=0, most=255),
        Leaf("net.inet6.ip6.accept_rtadv", 0, "New interfaces accept router advertisements"),
        Leaf("net.inet6.ip6.no_radr", 0, "New interfaces take no default router from advertisements"),
        Leaf("net.inet6.ip6.auto_linklocal", 1, "New interfaces get a link-local address by themselves"),
        Leaf("net.inet6.ip6.dad_count", 1, "Probes of duplicate address detection (0: none)"),
        Leaf(
            "net.inet6.ipsec6.def_policy",
            1,
            "Default policy where none matches (0: discard, 1: none)",
            least=0,
            most=1,
            keeps=_POLICY,
        ),
        *_levels("net.inet6.ipsec6"),
        Leaf("net.inet6.ipsec6.ecn", 0, "ECN in tunnels (-1: copy, 0: forbidden, 1: allowed, 2: complete)"),
        Leaf("net.inet6.ipsec6.filtertunnel", 0, "Packet filters see decapsulated packets"),
        Leaf("net.inet6.ipsec6.debug", 0, "Log messages", keeps="net.inet.ipsec.debug"),
        _structure("net.inet6.ipsec6.ipsecstats", "IPsec over IPv6: statistics"),
        Leaf("net.key.debug", 0, "Debug messages (bit mask)"),
        Leaf("net.key.spi_trycnt", 1000, "Attempts to find an SPI or a policy id"),
        Leaf("net.key.spi_minval", 256, "Smallest SPI that is chosen"),
        Leaf("net.key.spi_maxval", 268435455, "Largest SPI that is chosen"),
        Leaf("net.key.int_random", 60, "Unused"),
        Leaf("net.key.larval_lifetime", 30, "Seconds that an SA may stay larval"),
        Leaf("net.key.blockacq_count", 10, "Packets between two ACQUIREs"),
        Leaf("net.key.blockacq_lifetime", 20, "Seconds that an ACQUIRE is remembered"),
        Leaf("net.key.esp_keymin", 256, "Smallest ESP key in proposals, bits"),
        Leaf("net.key.ah_keymin", 128, "Smallest AH key in proposals, bits"),
        Leaf("net.key.esp_auth", 0, "Proposals for ESP hold authentication"),
        Leaf("net.key.preferred_oldsa", 1, "Outbound packets take the oldest SA (1) or the newest (0)"),
        Leaf("net.key.spdcache.maxentries", 0, "Entries of the SPD cache", type="unsigned int", tunable=True),
        Leaf("net.key.spdcache.threshold", 32, "Policies from which on it is used", type="unsigned int", tunable=True),
        Leaf("net.key.sendspace", 8192, "Send buffer of a PF_KEY socket", type="unsigned long"),
        Leaf("net.key.recvspace", 8192, "Receive buffer of a PF_KEY socket", type="unsigned long"),
    )
}


class Sysctl:
    """The values. `value` answers for a name that must exist; the rest is for the control door."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._values: dict[str, int] = {}

    def load(self) -> None:
        self._values = {leaf.keeps: leaf.default for leaf in LEAVES.values() if isinstance(leaf.default, int)}
        for name, value in self._store.rows(TABLE):
            if name in self._values and isinstance(value, int):
                self._values[str(name)] = value

    def value(self, name: str) -> int:
        """The value of a numeric variable. Raises KeyError for a name that does not exist."""
        return self._values[LEAVES[name].keeps]

    def get(self, name: str) -> answers.Leaf:
        """SYSCTLGET. ENOENT: no such leaf."""
        return self._describe(self._leaf(name))

    def all(self) -> list[answers.Leaf]:
        """SYSCTLLIST: all leaves in the order of the tree."""
        return [self._describe(leaf) for leaf in LEAVES.values()]

    def set(self, name: str, value: int | str) -> tuple[int, int]:
        """SYSCTLSET: the old and the new value. ENOENT; EPERM: not to be written; EINVAL: no value for it."""
        leaf = self._leaf(name)
        if not leaf.writable:
            raise KernelError(EPERM)
        if isinstance(value, str):
            try:
                value = int(value, 0) if len(value) <= 24 else leaf.most + 1
            except ValueError:
                raise KernelError(EINVAL) from None
        old = self._values[leaf.keeps]
        # Routing tables cannot be taken away again.
        least = old if leaf.name == "net.fibs" else leaf.least
        if not least <= value <= leaf.most:
            raise KernelError(EINVAL)
        self._store.put(TABLE, (leaf.keeps, value))
        self._values[leaf.keeps] = value
        return old, value

    @staticmethod
    def same(name: str) -> list[str]:
        """The names of the variable behind a name."""
        return [leaf.name for leaf in LEAVES.values() if leaf.keeps == LEAVES[name].keeps]

    @staticmethod
    def _leaf(name: str) -> Leaf:
        leaf = LEAVES.get(name)
        if leaf is None:
            raise KernelError(ENOENT)
        return leaf

    def _describe(self, leaf: Leaf) -> answers.Leaf:
        return {
            "name": leaf.name,
            "type": leaf.type,
            "value": self._values.get(leaf.keeps, leaf.default),
            "description": leaf.description,
            "writable": leaf.writable,
            "tunable": leaf.tunable,
        }
