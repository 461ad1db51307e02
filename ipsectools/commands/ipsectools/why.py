"""`ipsectools why SRC DST [PROTO [PORT]]`: follows a packet through the running kernel without sending it.

Each step is printed, then either the outer packet that would leave, or why none does and the command that mends it.
Nothing is changed: the steps are read through the control door and the host's routes.
"""

from __future__ import annotations

import json
import sys

from ipsectools.commands.ipsectools import guards, outer, routes
from ipsectools.commands.ipsectools.question import (
    LARGEST_MTU,
    PROTOCOLS,
    SMALLEST_MTU,
    Packet,
    Stopped,
    WrongUsage,
    parse,
    stop,
)
from ipsectools.commands.ipsectools.view import View
from ipsectools.daemon import client
from ipsectools.errno import ENXIO, KernelError
from ipsectools.esp.sealing import LAST_SEQUENCE, LAST_SEQUENCE_ESN
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.answers import Interface, Outbound, OutboundSA, Tunnel

USAGE = "usage: ipsectools why [--json] SRC DST [PROTO [PORT]] [--size BYTES] [--df]\n"

JSON_VERSION = 1
IFF_UP, IFF_RUNNING, IFF_MONITOR = 0x1, 0x40, 0x40000


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
        found = walk.run()
        stopped = None
    except Stopped as error:
        found = None
        stopped = error
    if as_json:
        document = {
            "version": JSON_VERSION,
            "steps": [{"step": step, "text": text} for step, text in walk.steps],
            "outer": found,
            "stopped": stopped and {"reason": stopped.reason, "fix": stopped.fix, "drop": stopped.drop or None},
        }
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return int(found is None)
    for step, text in walk.steps:
        sys.stdout.write(f"{step + ':':<11}{text}\n")
    if stopped is not None:
        named = f" ({stopped.drop})" if stopped.drop else ""
        sys.stdout.write(f"{'stops:':<11}{stopped.reason}{named}\n{'to mend:':<11}{stopped.fix}\n")
        return 1
    return 0


class Walk(View):
    """One packet's way."""

    def __init__(self, packet: Packet) -> None:
        super().__init__(packet, _is_live())

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
                stop("the interface has just been destroyed", "run the command again", "out-no-interface")
            self.check_policy(interface, ends, outbound)
            length = self.fit(interface)
            sa = self.choose_sa(interface, ends, outbound)
            return outer.wrap(self, interface, sa, length)
        finally:
            self.door.close()

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
                stop("this host does not forward packets", f"sysctl {name}=1")
        found = self.route(routes.Flow(packet.destination, source, packet.protocol, packet.port))
        if isinstance(found, str):
            guarded = guards.explain(packet.destination, self.interfaces) if self.is_live else None
            if guarded is not None:
                stop(*guarded)
            stop(f"no route to {packet.destination}: {found}", self._way_into_a_tunnel())
        if found.local:
            stop(f"{packet.destination} is an address of this host: the packet never leaves", "nothing to mend")
        via = f" by gateway {found.gateway}" if found.gateway else ""
        self.say("route", f"{packet.destination} through {found.interface}{via}")
        interface = self.named(found.interface)
        if self.unasked is not None and interface is not None:
            self.unasked.check(interface)
        if interface is None or interface["reqid"] is None:
            stop(
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
            stop(f"{name} has no tunnel addresses", f"ifconfig {name} inet tunnel LOCAL REMOTE", "out-no-tunnel")
        words = [
            word for word, bit in (("UP", IFF_UP), ("RUNNING", IFF_RUNNING), ("MONITOR", IFF_MONITOR)) if flags & bit
        ]
        self.say(
            "interface",
            f"{name} <{','.join(words)}> mtu {interface['mtu']}, tunnel {ends['src']} --> {ends['dst']},"
            f" reqid {interface['reqid']}",
        )
        if interface.get("trouble"):  # an ipsecd of an older release does not tell
            stop(
                f"{name} is not RUNNING: {interface['trouble']}",
                f"end the process that has it (who it is: ipsectools doctor), or ifconfig {name} destroy"
                " and create it again",
                "out-not-running",
            )
        if not flags & IFF_RUNNING:
            physical = self.way_out() or "lo0"
            stop(
                f"{name} is not RUNNING: its tunnel's source {ends['src']} is not an address of this host",
                f"ifconfig {physical} {ends['family']} {ends['src']}/{32 if ends['family'] == 'inet' else 128} alias",
                "out-not-running",
            )
        if not flags & IFF_UP:
            stop(f"{name} is not UP", f"ifconfig {name} up", "out-interface-down")
        if flags & IFF_MONITOR:
            stop(f"{name} is in monitor mode", f"ifconfig {name} -monitor", "out-monitor")
        return ends

    def check_policy(self, interface: Interface, ends: Tunnel, outbound: Outbound) -> None:
        request = f"esp/tunnel/{ends['src']}-{ends['dst']}/unique:{interface['reqid']}"
        policies = outbound["policies"]
        number = f"spid {policies[self.packet.version == 6]}: " if policies else ""
        self.say("policy", f"{number}out ipsec {request}")
        if not self.sysctl("net.inet.esp.esp_enable"):
            stop("ESP is switched off", "sysctl net.inet.esp.esp_enable=1", "out-esp-disabled")

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
            stop(
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
            stop(
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
            stop("the SA's algorithms cannot be set up", renew, "out-no-transform")
        if sa["no_send_reason"]:
            stop(
                f"the SA does not send: {sa['no_send_reason']}",
                "give the SA a new key, or mend the state directory",
                "out-ledger-unavailable",
            )
        if sa["sequence"] >= (LAST_SEQUENCE_ESN if sa["esn"] else LAST_SEQUENCE):
            stop("the SA has no sequence number left", renew, "out-sequence-exhausted")
        if sa["iv"] is not None and sa["iv"] > LAST_SEQUENCE_ESN:
            stop("the SA has no IV left", renew, "out-sequence-exhausted")
        iv = ""
        if sa["iv"] is not None and sa["iv_limit"] is not None:
            iv = f", IV {sa['iv']} ({max(0, sa['iv_limit'] - sa['iv'])} reserved)"
        reserved = ""
        if sa["sequence_limit"] is not None:
            reserved = f" ({max(0, sa['sequence_limit'] - sa['sequence'])} reserved)"
        self.say("sequence", f"next {sa['sequence'] + 1}{reserved}{iv}")
        return sa


def _is_live() -> bool:
    from ipsectools.host import HostError, is_simulated

    try:
        return not is_simulated()
    except HostError as error:
        raise client.ClientError(str(error)) from None
