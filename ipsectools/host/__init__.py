"""What the emulated kernel needs from the machine below it: links, addresses, routes, TUN devices, packet sockets.

`api` is the protocol, `linux` and `simulated` fulfil it. This module finds out which of them this process has. Nothing
in this room knows what IPsec is.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Host

VARIABLE = "IPSECTOOLS_HOST"


class HostError(Exception):
    """The wanted kind of host cannot be had; the text is one line for the user."""


def packets_can_flow() -> bool:
    """True if this process may make TUN devices and open raw sockets in its network namespace.

    `$IPSECTOOLS_HOST` (`linux` or `simulated`) decides without looking. Raises HostError for another value.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted in ("linux", "simulated"):
        return wanted == "linux"
    if wanted:
        raise HostError(f"{VARIABLE}={wanted}: not linux or simulated")
    from ipsectools.host.linux.detect import missing

    return missing() is None


def find_host() -> Host:
    """The host of this process: Linux if packets can flow, else a simulated one."""
    if packets_can_flow():
        from ipsectools.host.linux.host import LinuxHost

        return LinuxHost()
    from ipsectools.host.simulated.host import SimulatedHost

    return SimulatedHost()
