"""What `--json` and `--libxo json` print. The form is documented in ifconfig(8) and has a version number.

One object: `__version`, and one of `interface` (status), `name` (`-l`), `cloner` (`-C`), `member` (`-g`). Within a
version, members may be added; none is removed or changes its meaning.
"""

from __future__ import annotations

import json
import sys

from ipsectools.commands.ifconfig import flags, inet, nd6, settings
from ipsectools.commands.ifconfig.registry import status_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ipsectools.answers import CounterName, Inet6Address, InetAddress, Interface
    from ipsectools.commands.ifconfig.context import Family

VERSION = "1"

_STATISTICS: dict[CounterName, str] = {
    "ipackets": "received-packets",
    "ibytes": "received-bytes",
    "ierrors": "received-errors",
    "opackets": "sent-packets",
    "obytes": "sent-bytes",
    "oerrors": "send-errors",
}


def write(kind: str, value: list[Any], pretty: bool) -> None:
    """Prints the object with its version."""
    document = {"__version": VERSION, kind: value}
    sys.stdout.write(json.dumps(document, indent=2 if pretty else None, separators=None if pretty else (",", ":")))
    sys.stdout.write("\n")


def status(interfaces: Sequence[Interface], family: Family | None) -> list[dict[str, Any]]:
    """The interfaces with all they have; if a family was named, with the addresses of that one only."""
    return [_interface(interface, family) for interface in interfaces]


def _bits(number: int, names: Sequence[str]) -> dict[str, Any]:
    return {"value": number, "names": flags.bit_names(number, names)}


def _interface(interface: Interface, family: Family | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": interface["name"],
        "index": interface["index"],
        "flags": _bits(interface["flags"], flags.NAMES),
        "metric": interface["metric"],
        "mtu": interface["mtu"],
        "description": interface["description"] or None,
        "options": _bits(interface["options"], settings.CAPABILITY_NAMES),
        "capabilities": _bits(interface["capabilities"], settings.CAPABILITY_NAMES),
        "tunnel": None,
    }
    tunnel = interface["tunnel"]
    if tunnel:
        result["tunnel"] = {"family": tunnel["family"], "source": tunnel["src"], "destination": tunnel["dst"]}
    wanted = family.name if family is not None else None
    if wanted in (None, "link"):
        result["link-address"] = interface["lladdr"]
    if wanted in (None, "inet"):
        result["inet"] = [_inet(entry, interface["flags"]) for entry in interface["inet"]]
    if wanted in (None, "inet6"):
        result["inet6"] = [_inet6(entry) for entry in interface["inet6"]]
        result["nd6"] = None if interface["nd6"] is None else _bits(interface["nd6"], nd6.NAMES)
    if wanted is None:
        result["groups"] = [group for group in interface["groups"] if group != "all"]
        for lines in status_lines:
            if lines.members is not None:
                result.update(lines.members(interface))
        for key in ("fib", "tunnelfib", "media", "status"):
            result[key] = interface[key]
        result["members"] = list(interface.get("members") or ())
    result["driver-name"] = interface["drivername"]
    result["type"] = interface["iftype"]
    result["cloner"] = interface["cloner"]
    statistics = interface["statistics"]
    result["statistics"] = {name: statistics[key] for key, name in _STATISTICS.items()}
    return result


def _inet(entry: InetAddress, interface_flags: int) -> dict[str, Any]:
    return {
        "address": entry["address"],
        "peer": entry["peer"],
        "prefix-length": entry["prefixlen"],
        "netmask": inet.dotted(inet.netmask(entry["prefixlen"])),
        "broadcast": inet.broadcast(entry, interface_flags),
    }


def _inet6(entry: Inet6Address) -> dict[str, Any]:
    return {
        "address": entry["address"],
        "peer": entry["peer"],
        "prefix-length": entry["prefixlen"],
        "flags": list(entry["flags"]),
        "scope-id": entry["scopeid"] or None,
        "preferred-lifetime": entry["pltime"],
        "valid-lifetime": entry["vltime"],
        "preferred-lifetime-left": entry["pltime_left"],
        "valid-lifetime-left": entry["vltime_left"],
    }
