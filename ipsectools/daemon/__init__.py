"""ipsecd, the process that owns an emulated kernel, and the way of the commands to it.

A state directory has one owner at a time (`ownership`). `client` is what commands use: it connects to the owner's
sockets, opens the kernel in the command's process (`embedded`) or starts an ipsecd (`autostart`). `service` is ipsecd:
kernel and data path (`forwarding`) on one event loop (`loop`), the sockets (`control_server`, `pfkey_server`), the
timer. Guaranteed here: a request that was answered is kept, no client holds up another, and nobody but root and the
owner gets an answer. Nothing here knows the command lines of the front ends.
"""
