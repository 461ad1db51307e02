"""Routes into tunnels as the state file has them."""

from __future__ import annotations

from ipsectools.host.api import Route
from ipsectools.kernel.store import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.store import Value

TABLE = Table(
    "route",
    "id TEXT",
    "interface INTEGER NOT NULL",
    "family TEXT NOT NULL",
    "destination TEXT NOT NULL",
    "prefixlen INTEGER NOT NULL",
    "links TEXT NOT NULL",  # of each path; 0 is the interface itself, whose index may change
    "rt_table INTEGER NOT NULL",
    "tos INTEGER NOT NULL",
    "metric INTEGER NOT NULL",
    "protocol INTEGER NOT NULL",
    "details BLOB NOT NULL",
)


def row_of(position: int, id: str, route: Route) -> tuple[Value, ...]:
    return (
        *(id, position, route.family, route.destination, route.prefixlen, " ".join(map(str, route.links))),
        *(route.table, route.tos, route.metric, route.protocol, route.details),
    )


def of_row(row: tuple[Value, ...]) -> tuple[int, str, Route]:
    id, position, family, destination, prefixlen, links, table, tos, metric, protocol, details = row
    assert isinstance(id, str) and isinstance(position, int) and isinstance(family, str) and isinstance(links, str)
    assert isinstance(destination, str) and isinstance(prefixlen, int) and isinstance(table, int)
    assert isinstance(tos, int) and isinstance(metric, int) and isinstance(protocol, int)
    assert isinstance(details, bytes)
    route = Route(
        *(family, destination, prefixlen, tuple(int(link) for link in links.split())),
        table=table,
        tos=tos,
        metric=metric,
        protocol=protocol,
        details=details,
    )
    return position, id, route
