"""What doctor and why tell of routes into tunnels and their guards (see `kernel.addresses.routes`). Changes nothing."""

from __future__ import annotations

import ipaddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ipsectools.answers import Interface
    from ipsectools.host.api import Prefix, Route

MAIN_TABLE = 254
IFF_UP = 0x1


def findings(running: bool) -> Iterator[tuple[str, str]]:
    """Routes into tunnels without a guard, and guards without a route: what is so, and what mends it."""
    from ipsectools.errno import KernelError
    from ipsectools.host.linux.routes import Routes

    links = _tunnels()
    if not links:
        return
    try:
        table = Routes()
    except KernelError:
        return
    try:
        routes, guards = table.routes(links), table.guards()
        own = {address.address for address in table.addresses()}
    except (KernelError, OSError):
        return
    finally:
        table.close()
    # Linux has the routes of its own addresses elsewhere.
    yield from judge(
        links,
        [route for route in routes if route.destination not in own],
        {prefix for prefix in guards if prefix[1] not in own},
        running,
    )


def judge(
    links: dict[int, tuple[str, bool]], routes: list[Route], guards: Collection[Prefix], running: bool
) -> Iterator[tuple[str, str]]:
    """`links`: name, and whether it is up, of each tunnel's device by its index."""
    led = set()
    for route in routes:
        led.add(route.prefix)
        if route.prefix not in guards:
            names = " and ".join(links[link][0] for link in route.links if link in links)
            text = (
                f"{_text(route.prefix)} is routed into {names} without a guard: when Linux withdraws that route,"
                " packets leave in clear"
            )
            yield text, "end ipsecd (ipsecd --stop) and run it again" if running else "run ipsecd"
    down = [name for name, up in links.values() if not up]
    for prefix in sorted(set(guards) - led, key=_text):
        text = f"{_text(prefix)} is guarded, but no route leads into a tunnel: packets to it are refused"
        if down:
            yield text, f"ifconfig {down[0]} up"
        else:
            family = "-6 " if prefix[0] == "inet6" else ""
            yield text, f"add the route, or: ip {family}route del {_words(prefix)}"


def refusing(destination: str) -> Prefix | None:
    """The guard in the main table that refuses packets to an address (for which the host says that there is no
    route)."""
    from ipsectools.errno import KernelError
    from ipsectools.host.linux.routes import Routes

    address = ipaddress.ip_address(destination)
    try:
        table = Routes()
    except KernelError:
        return None
    try:
        guards = table.guards()
    except KernelError:
        return None
    finally:
        table.close()
    found = [
        prefix
        for prefix in guards
        if prefix[3] == MAIN_TABLE and address in ipaddress.ip_network(f"{prefix[1]}/{prefix[2]}")
    ]
    return max(found, key=lambda prefix: prefix[2], default=None)


def explain(destination: str, interfaces: list[Interface]) -> tuple[str, str] | None:
    """Why a packet to `destination` is refused and what mends it, if it is a guard that refuses it."""
    prefix = refusing(destination)
    if prefix is None:
        return None
    reason = f"the route to {_text(prefix)} into a tunnel is withdrawn, and its guard refuses what would leave in clear"
    down = [each["name"] for each in interfaces if each["reqid"] is not None and not each["flags"] & IFF_UP]
    family = "-6 " if prefix[0] == "inet6" else ""
    return reason, f"ifconfig {down[0]} up" if down else f"ip {family}route add {_text(prefix)} dev ipsec0"


def _tunnels() -> dict[int, tuple[str, bool]]:
    """Devices of ipsec interfaces: those that ipsecd has, or that look like them if it is not running."""
    from ipsectools.daemon import client, manage
    from ipsectools.errno import KernelError
    from ipsectools.host.linux.rtnetlink import Reader

    try:
        interfaces = manage.ask("LISTIF")
    except (client.ClientError, KernelError):
        interfaces = None
    if interfaces is not None:
        ours = [each for each in interfaces if each["reqid"] is not None]
        return {each["index"]: (each["name"], bool(each["flags"] & IFF_UP)) for each in ours}
    try:
        reader = Reader()
        try:
            links = reader.links()
        finally:
            reader.close()
    except OSError:
        return {}
    return {
        link.index: (link.name, bool(link.flags & IFF_UP))
        for link in links
        if link.kind == "tun" and link.name.startswith("ipsec")
    }


def _text(prefix: Prefix) -> str:
    table = "" if prefix[3] == MAIN_TABLE else f" (table {prefix[3]})"
    return f"{prefix[1]}/{prefix[2]}{table}"


def _words(prefix: Prefix) -> str:
    """What ip-route(8) calls the guard."""
    table = "" if prefix[3] == MAIN_TABLE else f" table {prefix[3]}"
    return f"unreachable {prefix[1]}/{prefix[2]} metric 4294967295{table}"
