"""RFC 4303: what turns an inner packet into ESP and back.

Guarantees: FreeBSD's order of checks, its padding, its IV rules, its replay window; no exception for any packet, a
named reason (`esp.drops`) for each one that does not pass. Knows nothing of sockets, interfaces, clocks or the SAD:
time is passed in, counters and limits are in the `Traffic` object that the SA brings.

`algorithms`, `drops`, `replay`, `traffic` and `tunnel` import nothing heavy; the rest needs `cryptography`.
"""
