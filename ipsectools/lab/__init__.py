"""Hosts for tests, the demo and `ipsectools shell --lab`: network namespaces joined by a cable, without any tool.

A lab host is a child process that holds a network, mount and process namespace of its own (and, for an ordinary user,
a user namespace). It starts commands "on" the host and opens sockets there, which it hands over: ping, capture and
traffic run in the caller's process. Nothing has a name on the system, so any number of labs run side by side, and when
the caller ends, however it ends, the kernel takes everything away: processes, interfaces, the private /run with the
state.

`two_hosts()` is the scene of if_ipsec(4). The lab needs Linux and the standard library, nothing else.
"""
