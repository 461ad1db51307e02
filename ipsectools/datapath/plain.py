"""The core in plain Python: the reference of both, and what runs where the compiled one was not built.

It takes packets from `host.api.Tun` and `Wire` objects, so it runs as well on the simulated host as on Linux. Every
call is made by one thread at a time (the pump's lock).
"""

from __future__ import annotations

from ipsectools.datapath.plain_in import Inbound
from ipsectools.datapath.plain_out import Outbound


class PlainCore(Outbound, Inbound):
    """Moves packets between TUN devices and the wire. See `pump.Pump` for the meaning of its methods."""
