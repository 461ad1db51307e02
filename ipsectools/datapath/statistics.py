"""Counters of the data path and FreeBSD's statistics structures made of them (netstat -s, ipsec(4))."""

from __future__ import annotations

from ipsectools.esp.drops import DROPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ESP_FIELDS = (
    "esps_hdrops",
    "esps_nopf",
    "esps_notdb",
    "esps_badkcr",
    "esps_qfull",
    "esps_noxform",
    "esps_badilen",
    "esps_wrap",
    "esps_badenc",
    "esps_badauth",
    "esps_replay",
    "esps_input",
    "esps_output",
    "esps_invalid",
    "esps_ibytes",
    "esps_obytes",
    "esps_toobig",
    "esps_pdrops",
    "esps_crypto",
    "esps_tunnel",
)
"""Members of espstat in order; 256 numbers follow in the structure: packets by encryption algorithm."""

IPSEC_FIELDS = (
    "ips_in_polvio",
    "ips_in_nomem",
    "ips_in_inval",
    "ips_out_polvio",
    "ips_out_nosa",
    "ips_out_nomem",
    "ips_out_noroute",
    "ips_out_inval",
    "ips_out_bundlesa",
    "ips_spdcache_hits",
    "ips_spdcache_misses",
    "ips_clcopied",
    "ips_mbinserted",
    "ips_input_front",
    "ips_input_middle",
    "ips_input_end",
)
"""Members of ipsecstat in order."""

BALANCE_FIELDS = ("taken", "sent", "arrived", "delivered", "injected")
"""taken = sent + outbound drops; arrived = delivered + injected + inbound drops."""

_ESP_PLACE = {name: place for place, name in enumerate(ESP_FIELDS)}
_IPSEC_PLACE = {name: place for place, name in enumerate(IPSEC_FIELDS)}


class Counters:
    """What a core counts by itself; everything else follows from the drops.

    `taken`/`sent`: inner packets from the TUN devices and outer packets that left; `arrived`/`delivered`/`injected`:
    outer packets, inner packets given to an ipsec interface or to the host. `front`, `middle`: headers stripped (see
    `esp.drops`). `drops`: by reason, (IPv4, IPv6): the inner family outbound, the outer one inbound.
    """

    __slots__ = (
        "arrived",
        "authentication",
        "delivered",
        "drops",
        "encryption",
        "front",
        "ibytes",
        "injected",
        "input",
        "middle",
        "obytes",
        "output",
        "sent",
        "taken",
    )

    def __init__(self) -> None:
        self.input = self.ibytes = self.output = self.obytes = self.front = self.middle = 0
        self.taken = self.sent = self.arrived = self.delivered = self.injected = 0
        self.encryption = [0] * 256
        self.authentication = [0] * 256
        self.drops: dict[str, list[int]] = {}

    def drop(self, name: str, ipv6: bool, count: int = 1) -> None:
        pair = self.drops.get(name)
        if pair is None:
            pair = self.drops[name] = [0, 0]
        pair[ipv6] += count


def report(counters: Counters) -> dict[str, Any]:
    """Everything for netstat and `ipsectools stats`.

    `esp`: 20 + 256 numbers in espstat's order; `ah_histogram`: 256 numbers (ESP's authentication algorithms); `ipsec`,
    `ipsec6`: 16 numbers each in ipsecstat's order; `drops`: every reason (0 where it never happened); `balance`:
    packets that came in, and where they went.
    """
    esp = [0] * len(ESP_FIELDS)
    ipsec = ([0] * len(IPSEC_FIELDS), [0] * len(IPSEC_FIELDS))
    drops = dict.fromkeys(DROPS, 0)
    for field in ("input", "ibytes", "output", "obytes"):
        esp[_ESP_PLACE["esps_" + field]] = getattr(counters, field)
    # Stripping headers is counted in IPv4's structure whatever the packet is.
    ipsec[0][_IPSEC_PLACE["ips_input_front"]] = counters.front
    ipsec[0][_IPSEC_PLACE["ips_input_middle"]] = counters.middle
    for name, pair in counters.drops.items():
        drops[name] = sum(pair)
        for counter in DROPS[name].counters:
            if counter in _ESP_PLACE:
                esp[_ESP_PLACE[counter]] += sum(pair)
            else:
                for family in (0, 1):
                    ipsec[family][_IPSEC_PLACE[counter]] += pair[family]
    return {
        "esp": esp + counters.encryption,
        "ah_histogram": [0, *counters.authentication[1:]],  # SAs without an authenticator are not in it
        "ipsec": ipsec[0],
        "ipsec6": ipsec[1],
        "drops": drops,
        "balance": {field: getattr(counters, field) for field in BALANCE_FIELDS},
    }
