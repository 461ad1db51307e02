"""Whether Linux lets in the outer packets of a tunnel: reverse path filtering, `rp_filter` in Linux's ip-sysctl.

Linux looks up the way back to a packet's source without a mark, so without the interface's tunnelfib. Where that does
not lead through the interface of arrival, `rp_filter`=1 drops the packet; where there is none at all, 2 does so, too.
Neither is mended by another value of the variable alone: a rule by address, not by mark, is what both look-ups obey.
"""

from __future__ import annotations

from ipsectools.commands.ipsectools import routes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import Interface
    from ipsectools.host.marks import Marks

STRICT, LOOSE = 1, 2


def setting(name: str) -> int:
    """A number below /proc/sys/net/ipv4; 0 if it cannot be read."""
    try:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def filtered(interface: Interface, marks: Marks) -> tuple[str, str] | None:
    """Why packets from the far end do not come in, and what helps; `marks` is the layout of the kernel."""
    ends, fib = interface["tunnel"], interface["tunnelfib"]
    if ends is None or ends["family"] != "inet" or not fib:
        return None
    peer = ends["dst"]
    there = routes.find(routes.Flow(peer, mark=marks.outer(fib)))
    if isinstance(there, str) or there.local:
        return None
    device = there.interface
    level, name = max((setting(f"conf/{each}/rp_filter"), each) for each in ("all", device))
    back = routes.find(routes.Flow(peer))
    if isinstance(back, str):
        way = "there is none"
    elif back.interface == device or level == LOOSE:
        return None
    else:
        way = f"it leads through {back.interface}"
    if level not in (STRICT, LOOSE):
        return None
    text = (
        f"packets from {peer} that arrive on {device} are dropped: net.ipv4.conf.{name}.rp_filter is {level},"
        f" and the way back is looked up without FIB {fib}: {way}"
    )
    return text, f"ip rule add to {peer} lookup {fib}"
