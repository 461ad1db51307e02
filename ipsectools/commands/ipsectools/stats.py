"""`ipsectools stats [--json | --prometheus]`: what the data path counted, with every reason for a drop by its name."""

from __future__ import annotations

import json
import sys

from ipsectools.commands.ipsectools import sas
from ipsectools.daemon import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

USAGE = "usage: ipsectools stats [--json | --prometheus]\n"

JSON_VERSION = 1

DIRECTIONS = (("in", "ipackets", "ibytes", "ierrors"), ("out", "opackets", "obytes", "oerrors"))


def main(arguments: list[str]) -> int:
    """Prints the counters; 0 done, 2 a command line that makes no sense."""
    if len(arguments) > 1 or not {*arguments} <= {"--json", "--prometheus"}:
        sys.stderr.write(USAGE)
        return 2
    document = collect()
    if arguments == ["--json"]:
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        lines = prometheus(document) if arguments else plain(document)
        sys.stdout.writelines(line + "\n" for line in lines)
    return 0


def collect() -> dict[str, Any]:
    """The document of `--json` (its keys are described in ipsectools(8))."""
    door = client.open_control()
    try:
        counted = door.call("STATISTICS")
        interfaces = [interface for interface in door.call("LISTIF") if interface["reqid"] is not None]
    finally:
        door.close()
    return {
        "version": JSON_VERSION,
        "interfaces": {interface["name"]: interface["statistics"] for interface in interfaces},
        "sas": [
            {
                "spi": sa.spi,
                "src": sa.src,
                "dst": sa.dst,
                "reqid": sa.reqid,
                "state": sa.state,
                "packets": sa.packets,
                "bytes": sa.bytes,
            }
            for sa in sas.read()
        ],
        "balance": counted.get("balance", {}),
        "drops": counted["drops"],
    }


def plain(document: dict[str, Any]) -> Iterator[str]:
    """Text: interfaces, then where the packets went, then the drops that happened."""
    for name, counters in document["interfaces"].items():
        yield f"{name}: " + ", ".join(f"{value} {key}" for key, value in counters.items())
    for sa in document["sas"]:
        what = f"{sa['packets']} packets, {sa['bytes']} bytes"
        yield f"SA 0x{sa['spi']:08x} {sa['src']} > {sa['dst']} reqid {sa['reqid']} {sa['state']}: {what}"
    for key, value in document["balance"].items():
        yield f"{key}: {value}"
    for reason, value in sorted(document["drops"].items()):
        if value:
            yield f"dropped, {reason}: {value}"


def prometheus(document: dict[str, Any]) -> Iterator[str]:
    """Prometheus' text format."""
    for metric, text, place in (
        ("packets", "Inner packets of an ipsec interface.", 1),
        ("bytes", "Bytes of inner packets of an ipsec interface.", 2),
        ("errors", "Errors of an ipsec interface.", 3),
    ):
        yield f"# HELP ipsec_{metric}_total {text}"
        yield f"# TYPE ipsec_{metric}_total counter"
        for name, counters in document["interfaces"].items():
            for direction in DIRECTIONS:
                labels = f'interface="{_escaped(name)}",direction="{direction[0]}"'
                yield f"ipsec_{metric}_total{{{labels}}} {counters[direction[place]]}"
    for metric in ("packets", "bytes"):
        yield f"# HELP ipsec_sa_{metric}_total {metric.capitalize()} that an SA carried."
        yield f"# TYPE ipsec_sa_{metric}_total counter"
        for sa in document["sas"]:
            labels = f'spi="0x{sa["spi"]:08x}",src="{sa["src"]}",dst="{sa["dst"]}",reqid="{sa["reqid"]}"'
            yield f"ipsec_sa_{metric}_total{{{labels}}} {sa[metric]}"
    yield "# HELP ipsec_balance_total Packets that came into the data path and where they went."
    yield "# TYPE ipsec_balance_total counter"
    for key, value in document["balance"].items():
        yield f'ipsec_balance_total{{place="{key}"}} {value}'
    yield "# HELP ipsec_drops_total Packets dropped, by reason."
    yield "# TYPE ipsec_drops_total counter"
    for reason, value in sorted(document["drops"].items()):
        yield f'ipsec_drops_total{{reason="{reason}"}} {value}'


def _escaped(value: str) -> str:
    """A label's value as Prometheus wants it: interfaces may be renamed to anything."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
