"""The words of setkey's language and of its output, and the numbers behind them."""

from __future__ import annotations

from ipsectools.pfkey.algorithms import AUTHENTICATIONS, COMPRESSIONS, ENCRYPTIONS

SATYPE = {"ah": 2, "ah-old": 2, "esp": 3, "esp-old": 3, "ipcomp": 9, "tcp": 11}
MODE = {"any": 0, "transport": 1, "tunnel": 2}
ENCRYPTION = {word: row.id for row in ENCRYPTIONS.values() for word in row.words}
SALTED = frozenset(row.id for row in ENCRYPTIONS.values() if row.salt)
"""Encryption algorithms whose keys end in 4 bytes that are not part of the cipher's key."""
AUTHENTICATION = {word: row.id for row in AUTHENTICATIONS.values() for word in row.words}
COMPRESSION = {word: id for id, word in COMPRESSIONS.items()}

PADDING = {"seq-pad": 0x0000, "random-pad": 0x0100, "zero-pad": 0x0200}
"""Bits of `sadb_sa_flags` by the words of -f (`nocyclic-seq` clears one instead)."""

# What -D calls them; other numbers are shown as numbers.
SATYPE_NAMES = {
    0: "unspec",
    1: "unknown",
    2: "ah",
    3: "esp",
    4: "unknown",
    5: "rsvp",
    6: "ospfv2",
    7: "ripv2",
    8: "mip",
    9: "ipcomp",
    10: "policy",
    11: "tcp",
}
MODE_NAMES = {0: "any", 1: "transport", 2: "tunnel"}
STATE_NAMES = {0: "larval", 1: "mature", 2: "dying", 3: "dead"}
ENCRYPTION_NAMES = {0: "none"} | {row.id: row.name for row in ENCRYPTIONS.values() if row.words}
AUTHENTICATION_NAMES = {0: "none"} | {row.id: row.name for row in AUTHENTICATIONS.values() if row.words}
COMPRESSION_NAMES = {0: "none"} | COMPRESSIONS

DIRECTION = {"in": 1, "out": 2}
ACTION = {"discard": 0, "none": 1, "ipsec": 2, "entrust": 3, "bypass": 4}
PROTOCOL = {"esp": 50, "ah": 51, "ipcomp": 108, "tcp": 6}
LEVEL = {"default": 0, "use": 1, "require": 2, "unique": 3}
