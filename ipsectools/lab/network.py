"""Lab hosts joined by a cable: the scene of if_ipsec(4)'s example."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ipsectools.lab.host import Host, LabError
from ipsectools.lab.netlink import Netlink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CABLE = "em0"
"""The name of the cable's interface on every host."""


def connect(
    a: Host, b: Host, a_addresses: Sequence[str], b_addresses: Sequence[str], *, name: str = CABLE, mtu: int = 1500
) -> None:
    """Lays a cable between two hosts and gives its ends these addresses (`address/length`), all up and usable."""
    descriptor = b.namespace()
    try:
        with Netlink(a) as netlink:
            netlink.cable(name, descriptor, name, mtu)
    finally:
        os.close(descriptor)
    for host, addresses in ((a, a_addresses), (b, b_addresses)):
        with Netlink(host) as netlink:
            netlink.set_up("lo")
            netlink.set_up(name)
            for address in addresses:
                netlink.address(name, address)
    for host in (a, b):
        with Netlink(host) as netlink:
            netlink.wait_until_running(name)


@contextlib.contextmanager
def two_hosts(
    a_addresses: Sequence[str] = ("192.168.0.3/24", "2001:db8::3/64"),
    b_addresses: Sequence[str] = ("192.168.0.5/24", "2001:db8::5/64"),
    *,
    mtu: int = 1500,
) -> Iterator[tuple[Host, Host]]:
    """Hosts A and B of the manual page, joined by a cable whose ends are called em0.

    Raises LabError where the system does not allow it."""
    with Host("A") as a, Host("B", a) as b:
        connect(a, b, a_addresses, b_addresses, mtu=mtu)
        yield a, b


def reason_without_packets() -> str | None:
    """Why no packets can flow between lab hosts on this system, in one line; None if they can."""
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun is missing (modprobe tun; in a container: --device /dev/net/tun)"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun may not be opened by this user"
    try:
        with two_hosts():
            return None
    except LabError as error:
        return f"{error} (be root, or allow unprivileged user namespaces)"
    except OSError as error:
        return f"no veth pair: {error.strerror}"
