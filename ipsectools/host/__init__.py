"""What the emulated kernel needs from the machine below it: links, addresses, routes, TUN devices, packet sockets.

`api` is the protocol, `linux` and `simulated` fulfil it. This module finds out which of them this process has: the real
machine, as far as this process may use it, unless it asks for the simulated one. Nothing in this room knows what IPsec
is.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Host

VARIABLE = "IPSECTOOLS_HOST"


class HostError(Exception):
    """The wanted kind of host cannot be had; the text is one line for the user."""


def is_simulated() -> bool:
    """Whether `$IPSECTOOLS_HOST` asks for the simulated host. Raises HostError for a value that makes no sense."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "linux", "simulated"):
        raise HostError(f"{VARIABLE}={wanted}: not linux or simulated")
    return wanted == "simulated"


def missing() -> str | None:
    """What this process lacks to have packets flow on its host, in a few words. None: nothing, or it is simulated."""
    if is_simulated():
        return None
    from ipsectools.host.linux.detect import missing as missing_on_linux

    return missing_on_linux()


def may_protect() -> bool:
    """Whether SAs can have an effect: ESP can be sent and received, or the host is simulated."""
    if is_simulated():
        return True
    from ipsectools.host.linux.detect import has_esp

    return has_esp()


def packets_can_flow() -> bool:
    """True if this process may make TUN devices and open raw sockets in its network namespace."""
    return not is_simulated() and missing() is None


def find_host() -> Host:
    """The host of this process: Linux, of which it may be allowed to read only, or a simulated one."""
    if is_simulated():
        from ipsectools.host.simulated.host import SimulatedHost

        return SimulatedHost()
    from ipsectools.host.linux.host import LinuxHost

    if missing() is None:
        return LinuxHost()
    from ipsectools.host.linux.reading import ReadingHost

    return ReadingHost(may_protect())


def look() -> Host:
    """The machine this process is on, to be looked at only."""
    from ipsectools.host.linux.reading import ReadingHost

    return ReadingHost(False)
