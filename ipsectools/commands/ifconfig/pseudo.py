"""Families that exist only because FreeBSD's modules register themselves under such names; they have no addresses."""

from __future__ import annotations

from ipsectools.commands.ifconfig.context import Family
from ipsectools.commands.ifconfig.registry import register_family

for _feature in (
    "bridge",
    "carp",
    "fib",
    "geneve",
    "gif",
    "gre",
    "group",
    "ieee80211",
    "ipsec",
    "lagg",
    "maclabel",
    "media",
    "pfsync",
    "stf",
    "vlan",
    "vxlan",
):
    register_family(Family(f"af_{_feature}"))
