"""`ipsectools why SRC DST [PROTO [PORT]]`: follows a packet through the running kernel without sending it.

Each step is printed, then either the outer packet that would leave, or why none does and the command that mends it.
Nothing is changed: the steps are read through the control door and the host's routes.
"""

from __future__ import annotations

import ipaddress
import json
import sys

from ipsectools.commands.ipsectools import guards, reverse, routes
from ipsectools.daemon import client, manage
from ipsectools.errno import ENXIO, KernelError
from ipsectools.esp import algorithms, tunnel
from ipsectools.esp.drops import DROPS
from ipsectools.host.marks import Marks
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ipsectools.answers import Interface, Outbound, OutboundSA, Tunnel
    from ipsectools.commands.ipsectools.routes import Flow, Route

USAGE = "usage: ipsectools why [--json] SRC DST [PROTO [PORT]] [--size BYTES] [--df]\n"

JSON_VERSION = 1
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "icmp6": 58, "ipv6-icmp": 58, "sctp": 132}
WITH_PORTS = frozenset([6, 17, 132])
DEFAULT_SIZE = 84
"""Bytes of an echo request as ping(8) sends it."""
LARGEST = 65535
SMALLEST_MTU, LARGEST_MTU = 1280, 8192
IFF_UP, IFF_RUNNING, IFF_MONITOR = 0x1, 0x40, 0x40000
LAST_SEQUENCE, LAST_ESN = 2**32 - 1, 2**64 - 1


class Packet:
    """The packet in question. `size` counts its IP header; `df` is only meant for IPv4."""

    __slots__ = ("destination", "df", "port", "protocol", "size", "source")

    def __init__(self, source: str, destination: str) -> None:
        self.source = source
        self.destination = destination
        self.protocol: int | None = None
        self.port: int | None = None
        self.size = DEFAULT_SIZE
        self.df = False

    @property
    def version(self) -> int:
        return 6 if ":" in self.destination else 4

    @property
    def header(self) -> int:
        return 40 if self.version == 6 else 20


class Stopped(Exception):
    """The packet does not leave; `drop` is the data path's name of it, or empty if it never gets that far."""

    def __init__(self, reason: str, fix: str, drop: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.drop = drop


class WrongUsage(Exception):
    """The command line makes no sense; the text says why."""


def main(arguments: list[str]) -> int:
    """0: the packet would leave protected; 1: it would not; 2: a command line that makes no sense."""
    as_json = "--json" in arguments
    try:
        packet = parse([word for word in arguments if word != "--json"])
    except WrongUsage as error:
        if str(error):
            sys.stderr.write(f"ipsectools: {error}\n")
        sys.stderr.write(USAGE)
        return 2
    walk = Walk(packet)
    try:
        outer = walk.run()
        stopped = None
    except Stopped as error:
        outer = None
        stopped = error
    if as_json:
        document = {
            "version": JSON_VERSION,
            "steps": [{"step": step, "text": text} for step, text in walk.steps],
            "outer": outer,
            "stopped": stopped and {"reason": stopped.reason, "fix": stopped.fix, "drop": stopped.drop or None},
        }
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return int(outer is None)
    for step, text in walk.steps:
        sys.stdout.write(f"{step + ':':<11}{text}\n")
    if stopped is not None:
        named = f" ({stopped.drop})" if stopped.drop else ""
        sys.stdout.write(f"{'stops:':<11}{stopped.reason}{named}\n{'to mend:':<11}{stopped.fix}\n")
        return 1
    return 0


def parse(arguments: list[str]) -> Packet:
    """The packet of a command line. Raises WrongUsage."""
    words: list[str] = []
    size = ""
    df = False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--df":
            df = True
        elif word == "--size" and rest:
            size = rest.pop(0)
        elif word.startswith("--size="):
            size = word[7:]
        elif word.startswith("-"):
            raise WrongUsage("")
        else:
            words.append(word)
    if not 2 <= len(words) <= 4:
        raise WrongUsage("")
    packet = Packet(_address(words[0]), _address(words[1]))
    if ":" in packet.source + packet.destination and not (":" in packet.source and ":" in packet.destination):
        raise WrongUsage("source and destination are of different families")
    packet.df = df
    if len(words) > 2:
        packet.protocol = PROTOCOLS.get(words[2].lower())
        if packet.protocol is None:
            packet.protocol = _number(words[2], 0, 255, "protocol")
    if len(words) > 3:
        if packet.protocol not in WITH_PORTS:
            raise WrongUsage(f"protocol {words[2]} has no ports")
        packet.port = _number(words[3], 1, 65535, "port")
    if size:
        packet.size = _number(size, packet.header, LARGEST, "size")
    return packet


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise WrongUsage(f"{text}: not an IP address") from None


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high):
        raise WrongUsage(f"{text}: no {what}" + (f" from {low} to {high}" if what != "protocol" else ""))
    return int(text)


class Walk:
    """One packet's way. `steps` are (name, text) as they were taken."""

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.steps: list[tuple[str, str]] = []
        self.is_live = _is_live()
        self.unasked = Unasked() if self.is_live else None
        """Set if the kernel cannot be asked, or is not: it would start for that, and the packet have another fate."""
        if self.unasked is not None and not self.unasked.reason:
            self.unasked = None
        self.door = client.open_control() if self.unasked is None else client.ControlDoor("")
        self.interfaces = self.door.call("LISTIF")

    def run(self) -> dict[str, Any]:
        """The outer packet, as `--json` has it. Raises Stopped."""
        try:
            self.describe()
            interface = self.follow_inner_route()
            ends = self.check_interface(interface)
            core = self.door.call("STATISTICS").get("core")
            if core:
                self.say("data path", f"{'plain Python' if core == 'python' else core} core of the running ipsecd")
            try:
                outbound = self.door.call("OUTBOUND", name=interface["name"])
            except KernelError as error:
                if error.errno != ENXIO:
                    raise
                _stop("the interface has just been destroyed", "run the command again", "out-no-interface")
            self.check_policy(interface, ends, outbound)
            length = self.fit(interface)
            sa = self.choose_sa(interface, ends, outbound)
            return self.wrap(interface, sa, length)
        finally:
            self.door.close()

    def say(self, step: str, text: str) -> None:
        self.steps.append((step, text))

    def sysctl(self, name: str) -> int:
        value = self.door.call("SYSCTLGET", name=name)["value"]
        assert isinstance(value, int)
        return value

    def route(self, flow: Flow) -> Route | str:
        return routes.find(flow) if self.is_live else routes.find_simulated(flow, self.interfaces)

    def is_ours(self, address: str) -> bool:
        wanted = ipaddress.ip_address(address)
        return any(
            ipaddress.ip_address(each["address"]) == wanted
            for interface in self.interfaces
            for each in (*interface["inet"], *interface["inet6"])
        )

    def named(self, name: str) -> Interface | None:
        return next((interface for interface in self.interfaces if interface["name"] == name), None)

    # the inner packet

    def describe(self) -> None:
        packet = self.packet
        names = {number: name for name, number in reversed(PROTOCOLS.items())}
        what = "" if packet.protocol is None else f" {names.get(packet.protocol, f'protocol {packet.protocol}')}"
        port = f" port {packet.port}" if packet.port is not None else ""
        df = f", DF {'set' if packet.df else 'clear'}" if packet.version == 4 else ""
        family = "inet6" if packet.version == 6 else "inet"
        self.say("packet", f"{family}{what} {packet.source} > {packet.destination}{port}, {packet.size} bytes{df}")

    def follow_inner_route(self) -> Interface:
        packet = self.packet
        source: str | None = packet.source
        if not self.is_ours(packet.source):
            source = None
            self.say("source", f"{packet.source} is not an address of this host: a packet that it forwards")
            if self.is_live and not self._forwards():
                name = "net.ipv6.conf.all.forwarding" if packet.version == 6 else "net.ipv4.ip_forward"
                _stop("this host does not forward packets", f"sysctl {name}=1")
        found = self.route(routes.Flow(packet.destination, source, packet.protocol, packet.port))
        if isinstance(found, str):
            guarded = guards.explain(packet.destination, self.interfaces) if self.is_live else None
            if guarded is not None:
                _stop(*guarded)
            _stop(f"no route to {packet.destination}: {found}", self._way_into_a_tunnel())
        if found.local:
            _stop(f"{packet.destination} is an address of this host: the packet never leaves", "nothing to mend")
        via = f" by gateway {found.gateway}" if found.gateway else ""
        self.say("route", f"{packet.destination} through {found.interface}{via}")
        interface = self.named(found.interface)
        if self.unasked is not None and interface is not None:
            self.unasked.check(interface)
        if interface is None or interface["reqid"] is None:
            _stop(
                f"it leaves in clear text through {found.interface}, which is no ipsec interface",
                self._way_into_a_tunnel(),
            )
        return interface

    def _way_into_a_tunnel(self) -> str:
        """How the packet could be led into an ipsec interface."""
        packet = self.packet
        family = "inet6" if packet.version == 6 else "inet"
        tunnels = [interface for interface in self.interfaces if interface["reqid"] is not None]
        if self.unasked is not None:
            return self.unasked.way
        if not tunnels:
            return "ifconfig ipsec0 create reqid 100, then give it a tunnel and addresses: see if_ipsec(4)"
        for interface in tunnels:
            if interface["tunnel"] and packet.destination == interface["tunnel"]["dst"]:
                return f"use an address behind {interface['name']}: {packet.destination} is the tunnel's outer end"
            addresses = interface["inet6"] if packet.version == 6 else interface["inet"]
            is_peer = any(each["peer"] == packet.destination for each in addresses)
            if is_peer and not interface["flags"] & IFF_UP:
                return f"ifconfig {interface['name']} up"
        if not self.is_live:
            return f"ifconfig {tunnels[0]['name']} {family} {packet.source} {packet.destination}"
        return f"ip route add {packet.destination} dev {tunnels[0]['name']}"

    def _forwards(self) -> bool:
        path = "ipv6/conf/all/forwarding" if self.packet.version == 6 else "ipv4/ip_forward"
        try:
            with open(f"/proc/sys/net/{path}", encoding="ascii") as file:
                return file.read().strip() != "0"
        except OSError:
            return True  # nobody can tell

    def check_interface(self, interface: Interface) -> Tunnel:
        """The tunnel of an interface that would take the packet."""
        name, flags = interface["name"], interface["flags"]
        ends = interface["tunnel"]
        if ends is None:
            self.say("interface", f"{name}: no tunnel addresses")
            _stop(f"{name} has no tunnel addresses", f"ifconfig {name} inet tunnel LOCAL REMOTE", "out-no-tunnel")
        words = [
            word for word, bit in (("UP", IFF_UP), ("RUNNING", IFF_RUNNING), ("MONITOR", IFF_MONITOR)) if flags & bit
        ]
        self.say(
            "interface",
            f"{name} <{','.join(words)}> mtu {interface['mtu']}, tunnel {ends['src']} --> {ends['dst']},"
            f" reqid {interface['reqid']}",
        )
        if interface.get("trouble"):  # an ipsecd of an older release does not tell
            _stop(
                f"{name} is not RUNNING: {interface['trouble']}",
                f"end the process that has it (who it is: ipsectools doctor), or ifconfig {name} destroy"
                " and create it again",
                "out-not-running",
            )
        if not flags & IFF_RUNNING:
            physical = self.way_out() or "lo0"
            _stop(
                f"{name} is not RUNNING: its tunnel's source {ends['src']} is not an address of this host",
                f"ifconfig {physical} {ends['family']} {ends['src']}/{32 if ends['family'] == 'inet' else 128} alias",
                "out-not-running",
            )
        if not flags & IFF_UP:
            _stop(f"{name} is not UP", f"ifconfig {name} up", "out-interface-down")
        if flags & IFF_MONITOR:
            _stop(f"{name} is in monitor mode", f"ifconfig {name} -monitor", "out-monitor")
        return ends

    def way_out(self) -> str:
        """An interface by which packets could leave this host; empty if it has none."""
        kinds = ("ether", "bridge", "other")
        return next((each["name"] for kind in kinds for each in self.interfaces if each["iftype"] == kind), "")

    def check_policy(self, interface: Interface, ends: Tunnel, outbound: Outbound) -> None:
        request = f"esp/tunnel/{ends['src']}-{ends['dst']}/unique:{interface['reqid']}"
        policies = outbound["policies"]
        number = f"spid {policies[self.packet.version == 6]}: " if policies else ""
        self.say("policy", f"{number}out ipsec {request}")
        if not self.sysctl("net.inet.esp.esp_enable"):
            _stop("ESP is switched off", "sysctl net.inet.esp.esp_enable=1", "out-esp-disabled")

    def fit(self, interface: Interface) -> int:
        """The length of the (largest) inner packet that enters the tunnel."""
        packet, mtu = self.packet, interface["mtu"]
        if packet.size <= mtu:
            return packet.size
        forwarded = not self.is_ours(packet.source)
        if packet.df or (packet.version == 6 and forwarded):
            fix = f"send at most {mtu} bytes"
            if packet.size <= LARGEST_MTU:
                fix += f", or: ifconfig {interface['name']} mtu {max(packet.size, SMALLEST_MTU)}"
            _stop(
                f"{packet.size} bytes do not fit into {interface['name']}'s MTU of {mtu} and may not be fragmented", fix
            )
        header = packet.header + (8 if packet.version == 6 else 0)
        room: int = (mtu - header) // 8 * 8
        count = -(-(packet.size - packet.header) // room)
        self.say("fragments", f"{packet.size} bytes exceed the interface's MTU of {mtu}: {count} inner packets")
        return header + room

    # the SA

    def choose_sa(self, interface: Interface, ends: Tunnel, outbound: Outbound) -> OutboundSA:
        reqid = interface["reqid"]
        sa = outbound["sa"]
        for other in outbound["others"]:
            self.say(
                "other SA",
                f"spi {other['spi']} (0x{other['spi']:08x}) reqid {other['reqid']} mode {other['mode']}"
                f" {other['state']}" + ("" if other["reqid"] == reqid else f": not the interface's reqid {reqid}"),
            )
        if sa is None:
            _stop(
                f"no SA from {ends['src']} to {ends['dst']} with reqid {reqid}: key management is asked for one",
                f"setkey -c: add {ends['src']} {ends['dst']} esp SPI -m tunnel -u {reqid} -E aes-gcm-16 KEY;"
                " (and the other direction)",
                "out-no-sa",
            )
        encryption = ENCRYPTIONS.get(sa["encrypt"])
        name = encryption.name if encryption else f"encryption {sa['encrypt']}"
        if sa["auth"] in AUTHENTICATIONS and not (encryption and encryption.aead):
            name += " " + AUTHENTICATIONS[sa["auth"]].name
        natt = f", UDP {sa['natt'][0]} > {sa['natt'][1]}" if sa["natt"] else ""
        self.say("SA", f"spi {sa['spi']} (0x{sa['spi']:08x}) {sa['state']} mode {sa['mode']} {name}{natt}")
        if sa["shared_key"]:
            self.say("key", f"{sa['shared_key']['text']}; {sa['shared_key']['fix']}")
        renew = f"setkey -c: delete {ends['src']} {ends['dst']} esp {sa['spi']}; and add one with a new key"
        if not sa["usable"] or encryption is None or not encryption.usable:
            _stop("the SA's algorithms cannot be set up", renew, "out-no-transform")
        if sa["no_send_reason"]:
            _stop(
                f"the SA does not send: {sa['no_send_reason']}",
                "give the SA a new key, or mend the state directory",
                "out-ledger-unavailable",
            )
        if sa["sequence"] >= (LAST_ESN if sa["esn"] else LAST_SEQUENCE):
            _stop("the SA has no sequence number left", renew, "out-sequence-exhausted")
        if sa["iv"] is not None and sa["iv"] > LAST_ESN:
            _stop("the SA has no IV left", renew, "out-sequence-exhausted")
        iv = ""
        if sa["iv"] is not None and sa["iv_limit"] is not None:
            iv = f", IV {sa['iv']} ({max(0, sa['iv_limit'] - sa['iv'])} reserved)"
        reserved = ""
        if sa["sequence_limit"] is not None:
            reserved = f" ({max(0, sa['sequence_limit'] - sa['sequence'])} reserved)"
        self.say("sequence", f"next {sa['sequence'] + 1}{reserved}{iv}")
        return sa

    # the outer packet

    def wrap(self, interface: Interface, sa: OutboundSA, length: int) -> dict[str, Any]:
        encryption = ENCRYPTIONS[sa["encrypt"]]
        compatible = bool(self.sysctl("net.inet.esp.ctr_compatibility"))
        version = 6 if ":" in sa["dst"] else 4
        header = 40 if version == 6 else 20
        sealed = algorithms.sealed_length(encryption, sa["auth"], length, compatible)
        udp = tunnel.UDP_HEADER if sa["natt"] else 0
        size = header + udp + sealed
        icv = algorithms.icv_length(encryption, sa["auth"])
        padding = sealed - 8 - encryption.iv - length - 2 - icv
        self.say(
            "size",
            f"{length} inner + {padding} padding + 2 trailer + {encryption.iv} IV + {icv} ICV + 8 ESP"
            + (f" + {udp} UDP" if udp else "")
            + f" + {header} IPv{version} = {size} bytes",
        )
        if size > LARGEST:
            _stop(f"the outer packet would have {size} bytes", f"send at most {length - size + LARGEST} bytes",
                  DROPS["out-too-big"].name)  # fmt: skip
        first = bytes([0x45 if self.packet.version == 4 else 0x60, 0, 0, 0, 0, 0, 0x40 if self.packet.df else 0, 0])
        dfbit = self.sysctl("net.inet.ipsec.dfbit")
        df = version == 4 and tunnel.outer_df(first, dfbit)
        ttl = self.sysctl("net.inet6.ip6.hlim" if version == 6 else "net.inet.ip.ttl")
        layout = Marks(*(self.sysctl(f"net.inet.ipsec.mark_{field}") for field in ("fib", "state")))
        route = self.route(routes.Flow(sa["dst"], mark=layout.outer(interface["tunnelfib"])))
        if isinstance(route, str):
            fib = f" table {interface['tunnelfib']}" if interface["tunnelfib"] else ""
            _stop(
                f"no route to the tunnel's far end {sa['dst']}: {route}",
                f"ip route add {sa['dst']} via GATEWAY{fib}",
                "out-no-route",
            )
        via = f" by gateway {route.gateway}" if route.gateway else ""
        self.say("wire", f"{sa['dst']} through {route.interface}{via}, MTU {route.mtu}")
        way = self.named(route.interface)
        if way is not None and way["reqid"] is not None:
            # As on FreeBSD, what went through IPsec does not do so again, whatever interface it is.
            which = "it" if way is interface else f"{way['name']}, which is an ipsec interface, too"
            out = self.way_out()
            _stop(
                f"the outer packets of {interface['name']} are routed into {which}",
                f"ip route add {sa['dst']} via GATEWAY dev {out}"
                if out
                else f"give this host an interface that leads to {sa['dst']}",
                "out-loop",
            )
        fragments, df = self._fragments(interface, sa, size, length, route, df, compatible)
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
        self.say(
            "leaves",
            f"{sa['src']} > {sa['dst']}{ports} ESP spi {sa['spi']} (0x{sa['spi']:08x}) sequence {outer['sequence']},"
            f" {size} bytes, TTL {ttl}{flags}, DSCP of the inner packet{pieces}, through {route.interface}",
        )
        if self.is_live and (found := reverse.filtered(interface, layout)):
            self.say("answers", f"{found[0]}; to mend: {found[1]}")
        return outer

    def _fragments(
        self,
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
        way = self.named(route.interface)
        if header == 20 and way is not None:
            least = min(self.sysctl("net.inet.ipsec.min_pmtu"), way["mtu"])
        if size <= max(mtu, least):
            return 1, df
        if df and length > tunnel.SMALLEST_INNER[self.packet.version]:
            mtu = max(mtu, least)
            encryption = ENCRYPTIONS[sa["encrypt"]]
            most = tunnel.inner_mtu(
                encryption, sa["auth"], mtu, outer_header=header, natt=bool(sa["natt"]), ctr_compatibility=compatible
            )
            fix = "sysctl net.inet.ipsec.dfbit=0"
            if most >= SMALLEST_MTU:
                fix = f"ifconfig {interface['name']} mtu {most}, or: {fix}"
            _stop(
                f"the outer packet has {size} bytes, the path takes {mtu}, and DF forbids fragments;"
                f" an inner packet may have {most} bytes",
                fix,
                "out-mtu",
            )
        if mtu < least:
            return 1, False  # what is said of the path is not believed
        head = header + (8 if header == 40 else 0)
        return max(2, -(-(size - header) // max(8, (mtu - head) // 8 * 8))), False


class Unasked:
    """Why the kernel of the machine is not asked (`reason`; empty: it is), and what can be said all the same."""

    __slots__ = ("_names", "reason", "way")

    def __init__(self) -> None:
        from ipsectools.kernel import statedir

        self.reason = self.way = ""
        self._names: frozenset[str] = frozenset()  # none: they cannot be told from other tunnels
        directory = client.usable_directory()
        if not directory:
            self.reason = "only root can tell what it sends, and whether it is an ipsec interface at all"
            self.way = "ask as root"
        elif manage.status(directory) is None and statedir.moves_packets(directory):
            self._names = frozenset(statedir.moving_interfaces(directory))
            self.reason = "ipsecd is not running: what is routed into it goes nowhere"
            self.way = "ipsecd, and ask again"

    def check(self, interface: Interface) -> None:
        """Raises Stopped if the packet's fate is the kernel's business."""
        name = interface["name"]
        if name in self._names if self._names else interface["iftype"] == "tunnel":
            _stop(f"{name}: {self.reason}", self.way)


def _stop(reason: str, fix: str, drop: str = "") -> NoReturn:
    raise Stopped(reason, fix, drop)


def _is_live() -> bool:
    from ipsectools.host import HostError, is_simulated

    try:
        return not is_simulated()
    except HostError as error:
        raise client.ClientError(str(error)) from None
