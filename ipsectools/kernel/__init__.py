"""The emulated FreeBSD kernel: interfaces, cloners, addresses, sysctls, the state file, and (in `key`) the key engine.

Guarantees: a request happens as a whole or not at all, in the state file, in memory and on the host; it is permanent
and in force before its answer leaves; whatever a client sends ends in an answer or a FreeBSD error number. The doors
are `Kernel.control` and `Kernel.open_pfkey`.

Knows nothing of packets, sockets, processes and front ends. The machine below is a `host.api.Host`.
"""
