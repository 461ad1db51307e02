"""Where FreeBSD's releases differ: what this engine does is FreeBSD 15's way, decided here and nowhere else."""

CHACHA20_POLY1305 = True
"""ChaCha20-Poly1305 (encryption 15, authentication 14) is offered and accepted; FreeBSD 13 lacks it."""

EMPTY_KEY_OF_NULL_CIPHER = True
"""A key of 0 bits makes an SA of the null cipher, as FreeBSD's own tunnel tests write it; 14.3 refuses it, as it does
for every other algorithm."""

GETSPI_RANGE_OF_ONE = True
"""GETSPI with the same lowest and highest SPI gives that SPI if it is free; FreeBSD 13 answers EEXIST if it is free."""

IPSEC_OFFLOAD = False
"""Extensions 29 to 31 (options IPSEC_OFFLOAD): this kernel has no hardware to offload to, so they are unknown."""

NATT_ORIGINAL_ADDRESS_IPV6 = True
"""NAT-OAi/OAr may be IPv6 addresses; 14.3 takes only IPv4."""
