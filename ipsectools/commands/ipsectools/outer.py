"""`ipsectools why`: the outer packet that an SA makes of an inner one, its route, and the pieces it leaves in."""

from __future__ import annotations

from ipsectools.commands.ipsectools import reverse, routes
from ipsectools.commands.ipsectools.question import LARGEST, SMALLEST_MTU, stop
from ipsectools.esp import algorithms, tunnel
from ipsectools.host.marks import Marks
from ipsectools.pfkey.algorithms import ENCRYPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.answers import Interface, OutboundSA
    from ipsectools.commands.ipsectools.routes import Route
    from ipsectools.commands.ipsectools.view import View


def wrap(view: View, interface: Interface, sa: OutboundSA, length: int) -> dict[str, Any]:
    encryption = ENCRYPTIONS[sa["encrypt"]]
    compatible = bool(view.sysctl("net.inet.esp.ctr_compatibility"))
    version = 6 if ":" in sa["dst"] else 4
    header = 40 if version == 6 else 20
    sealed = algorithms.sealed_length(encryption, sa["auth"], length, compatible)
    udp = tunnel.UDP_HEADER if sa["natt"] else 0
    size = header + udp + sealed
    icv = algorithms.icv_length(encryption, sa["auth"])
    padding = sealed - 8 - encryption.iv - length - 2 - icv
    view.say(
        "size",
        f"{length} inner + {padding} padding + 2 trailer + {encryption.iv} IV + {icv} ICV + 8 ESP"
        + (f" + {udp} UDP" if udp else "")
        + f" + {header} IPv{version} = {size} bytes",
    )
    if size > LARGEST:
        stop(
            f"the outer packet would have {size} bytes", f"send at most {length - size + LARGEST} bytes", "out-too-big"
        )
    first = bytes([0x45 if view.packet.version == 4 else 0x60, 0, 0, 0, 0, 0, 0x40 if view.packet.df else 0, 0])
    dfbit = view.sysctl("net.inet.ipsec.dfbit")
    df = version == 4 and tunnel.outer_df(first, dfbit)
    ttl = view.sysctl("net.inet6.ip6.hlim" if version == 6 else "net.inet.ip.ttl")
    layout = Marks(*(view.sysctl(f"net.inet.ipsec.mark_{field}") for field in ("fib", "state")))
    route = view.route(routes.Flow(sa["dst"], mark=layout.outer(interface["tunnelfib"])))
    if isinstance(route, str):
        fib = f" table {interface['tunnelfib']}" if interface["tunnelfib"] else ""
        stop(
            f"no route to the tunnel's far end {sa['dst']}: {route}",
            f"ip route add {sa['dst']} via GATEWAY{fib}",
            "out-no-route",
        )
    via = f" by gateway {route.gateway}" if route.gateway else ""
    view.say("wire", f"{sa['dst']} through {route.interface}{via}, MTU {route.mtu}")
    way = view.named(route.interface)
    if way is not None and way["reqid"] is not None:
        # As on FreeBSD, what went through IPsec does not do so again, whatever interface it is.
        which = "it" if way is interface else f"{way['name']}, which is an ipsec interface, too"
        out = view.way_out()
        stop(
            f"the outer packets of {interface['name']} are routed into {which}",
            f"ip route add {sa['dst']} via GATEWAY dev {out}"
            if out
            else f"give this host an interface that leads to {sa['dst']}",
            "out-loop",
        )
    fragments, df = _fragments(view, interface, sa, size, length, route, df, compatible)
    outer = {
        "interface": route.interface,
        "gateway": route.gateway,
        "protocol": "udp" if udp else "esp",
        "src": sa["src"],
        "dst": sa["dst"],
        "ports": sa["natt"],
        "spi": sa["spi"],
        "sequence": sa["sequence"] + 1,
        "length": size,
        "df": df if version == 4 else None,
        "ttl": ttl,
        "fragments": fragments,
    }
    flags = f", DF {'set' if df else 'clear'}" if version == 4 else ""
    ports = f" UDP {sa['natt'][0]} > {sa['natt'][1]}" if sa["natt"] else ""
    pieces = f", in {fragments} fragments" if fragments > 1 else ""
    view.say(
        "leaves",
        f"{sa['src']} > {sa['dst']}{ports} ESP spi {sa['spi']} (0x{sa['spi']:08x}) sequence {outer['sequence']},"
        f" {size} bytes, TTL {ttl}{flags}, DSCP of the inner packet{pieces}, through {route.interface}",
    )
    if view.is_live and (found := reverse.filtered(interface, layout)):
        view.say("answers", f"{found[0]}; to mend: {found[1]}")
    return outer


def _fragments(
    view: View,
    interface: Interface,
    sa: OutboundSA,
    size: int,
    length: int,
    route: Route,
    df: bool,
    compatible: bool,
) -> tuple[int, bool]:
    """How many pieces the outer packet leaves in, and its DF. Raises Stopped if it may have none."""
    mtu, header, least = route.mtu, 40 if ":" in sa["dst"] else 20, 0
    way = view.named(route.interface)
    if header == 20 and way is not None:
        least = min(view.sysctl("net.inet.ipsec.min_pmtu"), way["mtu"])
    if size <= max(mtu, least):
        return 1, df
    if df and length > tunnel.SMALLEST_INNER[view.packet.version]:
        mtu = max(mtu, least)
        encryption = ENCRYPTIONS[sa["encrypt"]]
        most = tunnel.inner_mtu(
            encryption, sa["auth"], mtu, outer_header=header, natt=bool(sa["natt"]), ctr_compatibility=compatible
        )
        fix = "sysctl net.inet.ipsec.dfbit=0"
        if most >= SMALLEST_MTU:
            fix = f"ifconfig {interface['name']} mtu {most}, or: {fix}"
        stop(
            f"the outer packet has {size} bytes, the path takes {mtu}, and DF forbids fragments;"
            f" an inner packet may have {most} bytes",
            fix,
            "out-mtu",
        )
    if mtu < least:
        return 1, False  # what is said of the path is not believed
    head = header + (8 if header == 40 else 0)
    return max(2, -(-(size - header) // max(8, (mtu - head) // 8 * 8))), False
