"""FreeBSD's IPsec tunnel tools on Linux.

The rooms, from the bottom up: `wire`, `pfkey` and `esp` know protocols and do no I/O; `host` is the real (or simulated)
machine below; `kernel` is the emulated FreeBSD kernel; `datapath` moves packets; `daemon` owns a kernel and serves it;
`ifconfig` and `setkey` are the front ends. .github/CONTRIBUTING.md says who may import whom and what passes between
them.
"""

__version__ = "0.1.0"
