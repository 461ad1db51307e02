"""`netstat -i` and `netstat -I NAME`: a line for each interface, and one for each of its addresses."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

IFF_UP = 1
NARROWEST_NAME = 5


def table(
    interfaces: list[dict[str, Any]], *, family: str | None = None, octets: bool, drops: bool, wide: bool
) -> Iterator[str]:
    """The lines of `netstat -i`, header first: all, or those of one `family` (-f: `inet`, `inet6`, `link`).

    `octets` is -b, `drops` is -d, `wide` (-W) cuts nothing.
    """
    name_width = max([NARROWEST_NAME, *(len(_name(interface)) for interface in interfaces)])
    address_width = 17
    network_width = 13
    if wide:
        for interface in interfaces:
            for row in _rows(interface):
                network_width = max(network_width, len(row[1]))
                address_width = max(address_width, len(row[2]))

    def line(name: str, mtu: str, network: str, address: str, values: tuple[str, ...]) -> str:
        packets_in, errors_in, drops_in, bytes_in, packets_out, errors_out, bytes_out, collisions, drops_out = values
        text = (
            f"{name:<{name_width}} {mtu:>5.5} {network:<{network_width}.{network_width}} "
            f"{address:<{address_width}.{address_width}} {packets_in:>8} {errors_in:>5} {drops_in:>5}"
        )
        if octets:
            text += f" {bytes_in:>10}"
        text += f" {packets_out:>8} {errors_out:>5}"
        if octets:
            text += f" {bytes_out:>10}"
        text += f" {collisions:>5}"
        if drops:
            text += f" {drops_out:>5}"
        return text

    header = ("Ipkts", "Ierrs", "Idrop", "Ibytes", "Opkts", "Oerrs", "Obytes", "Coll", "Drop")
    yield line("Name", "Mtu", "Network", "Address", header)
    for interface in interfaces:
        name = _name(interface)
        for kind, network, address in _rows(interface):
            if family not in (None, kind):
                continue
            counted = interface["statistics"]
            if kind == "link":
                values = tuple(
                    str(value)
                    for value in (
                        counted["ipackets"],
                        counted["ierrors"],
                        0,
                        counted["ibytes"],
                        counted["opackets"],
                        counted["oerrors"],
                        counted["obytes"],
                        0,
                        0,
                    )
                )
                yield line(name, str(interface["mtu"]), network, address, values)
            else:
                yield line(name, "-", network, address, ("-", "-", "-", "-", "-", "-", "-", "-", "-"))


def _name(interface: dict[str, Any]) -> str:
    """The name, with a star if the interface is down."""
    return str(interface["name"]) + ("" if interface["flags"] & IFF_UP else "*")


def _rows(interface: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(kind, network, address) of the link level and of each address."""
    yield "link", f"<Link#{interface['index']}>", interface["lladdr"] or interface["name"]
    if interface["inet"] or interface["inet6"]:
        import ipaddress

        for address in interface["inet"]:
            net = ipaddress.ip_network(f"{address['address']}/{address['prefixlen']}", strict=False)
            yield "inet", str(net), address["address"]
        for address in interface["inet6"]:
            net6 = ipaddress.ip_network(f"{address['address']}/{address['prefixlen']}", strict=False)
            zone = f"%{interface['name']}" if address["scopeid"] else ""
            yield "inet6", f"{net6.network_address}{zone}/{net6.prefixlen}", address["address"] + zone
