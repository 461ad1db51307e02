"""IPv6 Neighbor Discovery of a Linux device: what FreeBSD has among its ND6 flags and Linux among its sysctls."""

from __future__ import annotations

from ipsectools.errno import KernelError, from_host

_DIRECTORY = "/proc/sys/net/ipv6/conf"


def read(name: str) -> tuple[bool, bool] | None:
    """Whether it accepts router advertisements, and detects duplicate addresses. None without IPv6."""
    try:
        values = []
        for each in ("accept_ra", "accept_dad"):
            with open(f"{_DIRECTORY}/{name}/{each}", encoding="ascii") as file:
                values.append(int(file.read()) > 0)
    except (OSError, ValueError):
        return None
    return values[0], values[1]


def keeps_addresses(name: str) -> bool:
    """Whether a device that is set down keeps its IPv6 addresses (those that last, and are not link-local)."""
    values = {}
    for each in (f"{name}/keep_addr_on_down", "all/keep_addr_on_down", f"{name}/disable_ipv6"):
        try:
            with open(f"{_DIRECTORY}/{each}", encoding="ascii") as file:
                values[each] = int(file.read())
        except (OSError, ValueError):
            return False
    own, everybody, disabled = values.values()
    return not disabled and (own > 0 or (own == 0 and everybody > 0))


def write(name: str, accept_rtadv: bool | None, detect_duplicates: bool | None) -> None:
    """Sets what is not None. Raises KernelError."""
    for each, wanted in (("accept_ra", accept_rtadv), ("accept_dad", detect_duplicates)):
        if wanted is None:
            continue
        try:
            with open(f"{_DIRECTORY}/{name}/{each}", "w", encoding="ascii") as file:
                file.write(str(int(wanted)))
        except OSError as error:
            raise KernelError(from_host(error.errno or 0)) from None
