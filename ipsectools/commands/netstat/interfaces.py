"""`netstat -i` and `netstat -I NAME`: a line for each interface, and one for each of its addresses."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipsectools.answers import CounterName, Counters, Interface

IFF_UP = 1


def table(interfaces: list[Interface], *, family: str | None = None, octets: bool, drops: bool) -> Iterator[str]:
    """The lines of `netstat -i`, header first: all, or those of one `family` (-f: `inet`, `inet6`, `link`).

    `octets` is -b, `drops` is -d. Columns are as wide as FreeBSD makes them for what they hold; nothing is cut.
    """
    rows = [
        (interface, *row) for interface in interfaces for row in _rows(interface) if family is None or row[0] == family
    ]
    counted = [interface["statistics"] for interface, kind, _, _ in rows if kind == "link"]
    name_width = max([5, *(len(_name(row[0])) for row in rows)])
    network_width = max([len("Network "), *(len(row[2]) for row in rows)])
    address_width = max([len("Address "), *(len(row[3]) for row in rows)])
    packets = _width(8, counted, "ipackets", "opackets")
    errors = _width(5, counted, "ierrors")  # FreeBSD does not look at the output's
    size = _width(10, counted, "ibytes", "obytes")
    columns = [("Ipkts", packets, "ipackets"), ("Ierrs", errors, "ierrors"), ("Idrop", errors, "")]
    columns += [("Ibytes", size, "ibytes")] if octets else []
    columns += [("Opkts", packets, "opackets"), ("Oerrs", errors, "oerrors")]
    columns += [("Obytes", size, "obytes")] if octets else []
    columns += [("Coll", errors, "")]
    columns += [("Drop", errors, "")] if drops else []

    def line(name: str, mtu: str, network: str, address: str, cells: Iterable[str]) -> str:
        start = f"{name:<{name_width}} {mtu:>5} {network:<{network_width}}  {address:<{address_width}} "
        return start + " ".join(f"{cell:>{column[1]}}" for cell, column in zip(cells, columns, strict=True))

    yield line("Name", "Mtu", "Network", "Address", (head for head, _, _ in columns))
    for interface, kind, network, address in rows:
        if kind == "link":
            mtu = str(interface["mtu"])
            cells = [str(interface["statistics"].get(key, 0)) for _, _, key in columns]
        else:
            mtu = "-"
            cells = ["-"] * len(columns)
        yield line(_name(interface), mtu, network, address, cells) + (" " if drops else "")


def _width(least: int, counted: list[Counters], *keys: CounterName) -> int:
    """FreeBSD's width of a column of numbers: a digit for each division by 10 that leaves more than 10, and two."""
    for counters in counted:
        for key in keys:
            width, number = 2, counters[key]
            while number > 10:
                number //= 10
                width += 1
            least = max(least, width)
    return least


def _name(interface: Interface) -> str:
    """The name, with a star if the interface is down."""
    return interface["name"] + ("" if interface["flags"] & IFF_UP else "*")


def _rows(interface: Interface) -> Iterator[tuple[str, str, str]]:
    """(kind, network, address) of the link level and of each address."""
    yield "link", f"<Link#{interface['index']}>", interface["lladdr"] or interface["name"]
    if interface["inet"] or interface["inet6"]:
        import ipaddress

        for address in interface["inet"]:
            net = ipaddress.ip_network(f"{address['address']}/{address['prefixlen']}", strict=False)
            yield "inet", str(net), address["address"]
        for address6 in interface["inet6"]:
            net6 = ipaddress.ip_network(f"{address6['address']}/{address6['prefixlen']}", strict=False)
            zone = f"%{interface['name']}" if address6["scopeid"] else ""
            yield "inet6", f"{net6.network_address}{zone}/{net6.prefixlen}", address6["address"] + zone
