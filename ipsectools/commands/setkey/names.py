"""The words of setkey's language and of its output, and the numbers behind them."""

from __future__ import annotations

SATYPE = {"ah": 2, "ah-old": 2, "esp": 3, "esp-old": 3, "ipcomp": 9, "tcp": 11}
MODE = {"any": 0, "transport": 1, "tunnel": 2}
ENCRYPTION = {
    "null": 11,
    "simple": 11,
    "aes-cbc": 12,
    "rijndael-cbc": 12,
    "aes-ctr": 13,
    "chacha20-poly1305": 15,
    "aes-gcm-16": 20,
}
SALTED = frozenset([13, 15, 20])
"""Encryption algorithms whose keys end in 4 bytes that are not part of the cipher's key."""
AUTHENTICATION = {
    "hmac-sha1": 3,
    "hmac-sha2-256": 5,
    "hmac-sha2-384": 6,
    "hmac-sha2-512": 7,
    "aes-xcbc-mac": 9,
    "chacha20-poly1305": 14,
    "null": 251,
    "tcp-md5": 252,
}
COMPRESSION = {"oui": 1, "deflate": 2, "lzs": 3}

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
ENCRYPTION_NAMES = {
    0: "none",
    11: "null",
    12: "aes-cbc",
    13: "aes-ctr",
    15: "chacha20-poly1305",
    20: "aes-gcm-16",
}
AUTHENTICATION_NAMES = {
    0: "none",
    3: "hmac-sha1",
    5: "hmac-sha2-256",
    6: "hmac-sha2-384",
    7: "hmac-sha2-512",
    9: "aes-xcbc-mac",
    14: "chacha20-poly1305",
    251: "null",
    252: "tcp-md5",
}
COMPRESSION_NAMES = {0: "none", 1: "oui", 2: "deflate", 3: "lzs"}

DIRECTION = {"in": 1, "out": 2}
ACTION = {"discard": 0, "none": 1, "ipsec": 2, "entrust": 3, "bypass": 4}
PROTOCOL = {"esp": 50, "ah": 51, "ipcomp": 108, "tcp": 6}
LEVEL = {"default": 0, "use": 1, "require": 2, "unique": 3}
