"""`make bench`: our tunnels, other tunnels and the limits, side by side between two lab hosts (root).

Every round measures every peer once, on fresh hosts; a figure is the median of its rounds. Results go to a JSON file
and an SVG plot; the tables are printed. `--table FILE` prints those of an earlier run again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from ipsectools.datapath import core_status
from ipsectools.lab.host import LabError
from ipsectools.lab.network import reason_without_packets
from tests.bench import machine
from tests.bench.bars import judge
from tests.bench.limits import forwarder, limit_esp
from tests.bench.loads import Failed, Loads
from tests.bench.peers import DEFAULT_MTU, LARGE_MTU, Peer, ours
from tests.bench.report import Report, show_tunnels
from tests.bench.results import DISTURBED, Results, load, save
from tests.bench.rivals import openvpn, strongswan, wireguard_go
from tests.bench.scene import scene
from tests.bench.svg import Entry, Group, chart

TESTS = ("tcp1", "tcp4", "ping", "loaded", "rate")
STREAM = ("tcp1",)
TOOLS = ("iperf3", "ping")
FIRST_RATE = 60_000.0
OUTPUT = Path("bench-results/tunnels.json")


def default_peers() -> list[Peer]:
    """What the bars need."""
    return [
        ours("compiled", "gcm", False, DEFAULT_MTU, TESTS),
        ours("compiled", "gcm", True, DEFAULT_MTU, TESTS),
        ours("compiled", "cbc", False, DEFAULT_MTU, STREAM),
        ours("python", "gcm", False, DEFAULT_MTU, ("tcp1", "tcp4", "ping", "loaded")),
        strongswan("strongswan-gcm", "aes128gcm16", TESTS),
        strongswan("strongswan-cbc", "aes256-sha256", STREAM),
        openvpn(TESTS),
        wireguard_go(TESTS),
        limit_esp(("tcp1", "tcp4", "ping")),
        forwarder("tunfwd", "limit: per packet, no cryptography", ("tcp1", "ping", "rate")),
        forwarder("tunfwd-gso", "limit: UDP offloads, no cryptography", ("tcp1", "tcp4", "ping")),
        ours("compiled", "gcm", True, DEFAULT_MTU, STREAM, udp_segmentation=False),
        wireguard_go(STREAM, udp_segmentation=False),
        forwarder("tunfwd-gso", "limit: UDP offloads, no cryptography", STREAM, udp_segmentation=False),
    ]


def all_peers() -> list[Peer]:
    """Both cores x ESP and NAT-T x three ciphers x two MTUs, and the rest."""
    variants = [
        ours(core, cipher, natt, mtu, TESTS)
        for core in ("compiled", "python")
        for natt in (False, True)
        for cipher in ("gcm", "cbc", "chacha")
        for mtu in (DEFAULT_MTU, LARGE_MTU)
    ]
    names = {peer.name for peer in variants}
    return variants + [peer for peer in default_peers() if peer.name not in names]


def chosen(peers: list[Peer], words: list[str]) -> list[Peer]:
    """The peers named by words: a whole name, or else all names that begin so."""
    names = {peer.name for peer in peers}
    whole, beginnings = names.intersection(words), tuple(word for word in words if word not in names)
    return [peer for peer in peers if peer.name in whole or (beginnings and peer.name.startswith(beginnings))]


def missing_here(peers: list[Peer]) -> dict[str, str]:
    """The peers that cannot be measured on this machine, and why."""
    core, reason = core_status()
    skipped = {}
    for peer in peers:
        if missing := peer.missing():
            skipped[peer.name] = f"{', '.join(missing)} not installed"
        elif peer.name.startswith("ipsectools-compiled") and core != "compiled":
            skipped[peer.name] = f"the compiled core was not built ({reason})"
    return skipped


class Run:
    """One run: measures and keeps the results."""

    def __init__(self, results: Results, arguments: argparse.Namespace) -> None:
        self._results = results
        self._arguments = arguments
        self._rates: dict[str, float] = {}

    def peer(self, peer: Peer, round_: int) -> None:
        """All tests of a peer. A failure becomes a row."""
        tests = [test for test in peer.tests if test in self._arguments.tests]
        if not tests:
            return
        environment = dict(peer.environment)
        built = self._arguments.output.parent / "built"
        try:
            with scene(
                built.absolute(),
                environment=environment,
                cable_mtu=self._arguments.cable_mtu,
                udp_segmentation=peer.udp_segmentation,
            ) as stage:
                peer.up(stage)
                stage.wait_answer()
                loads = Loads(stage, self._rates.get(peer.name, FIRST_RATE))
                for test in tests:
                    self._test(loads, peer, test, round_)
        except (LabError, OSError) as error:
            self._results.add(round_, peer.name, "up", str(error), machine.load())
            print(f"{round_} {peer.name}: {error}", flush=True)

    def _test(self, loads: Loads, peer: Peer, test: str, round_: int) -> None:
        """Measures until a measurement is undisturbed, a few times at most; the least disturbed one counts."""
        outcomes: list[dict[str, float]] = []
        failure = ""
        for _ in range(self._arguments.attempts):
            machine.wait_quiet(self._arguments.quiet)
            try:
                outcomes.append(loads.run(test))
            except (Failed, LabError) as error:
                failure = str(error)
                continue
            if outcomes[-1]["disturbed"] <= DISTURBED:
                break
        outcome = min(outcomes, key=lambda values: values["disturbed"]) if outcomes else failure
        self._results.add(round_, peer.name, test, outcome, machine.load())
        if isinstance(outcome, dict) and "packets_s" in outcome:
            self._rates[peer.name] = max(1000.0, outcome["packets_s"])
        print(f"{round_} {peer.name} {test}: {outcome}", flush=True)


def plot(results: Results) -> str:
    """The SVG plot of a run."""

    def group(title: str, test: str, value: str) -> Group:
        entries = [
            Entry(results.titles[peer].removeprefix("limit: "), found, kind_of(peer))
            for peer in results.peers()
            if (found := results.median(peer, test, value)) is not None
        ]
        return Group(title, sorted(entries, key=lambda entry: -entry.value))

    def kind_of(peer: str) -> str:
        if peer.startswith("ipsectools"):
            return "ours"
        return "limit" if results.titles[peer].startswith("limit") else "rival"

    groups = (
        group("One TCP stream, Mbit/s", "tcp1", "mbit_s"),
        group("64-byte UDP packets a second at less than 1 % loss", "rate", "packets_s"),
        group("Round trip under one saturating TCP stream, microseconds (less is better)", "loaded", "rtt_us"),
    )
    note = "Green: ipsectools. Yellow: limits without a product around them. " + machine.in_words(
        results.machine, results.load()
    )
    return chart([each for each in groups if each.entries], note)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("peers", nargs="*", help="names (or beginnings of names) of what to measure; see --list")
    parser.add_argument(
        "--full", action="store_true", help="all variants of our own tunnel, not only what the bars need"
    )
    parser.add_argument("--list", action="store_true", help="list the peers and end")
    parser.add_argument("-r", "--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--tests", type=lambda text: text.split(","), default=list(TESTS), help=",".join(TESTS))
    parser.add_argument("--attempts", type=int, default=2, help="tries of a test while other processes disturb it")
    parser.add_argument("--quiet", type=float, default=4, help="longest wait for an idle machine before a test, s")
    parser.add_argument("--cable-mtu", type=int, default=1500, help="MTU between the two hosts")
    parser.add_argument(
        "-o", "--output", type=Path, default=OUTPUT, help=f"JSON file (default {OUTPUT}), SVG beside it"
    )
    parser.add_argument("--table", type=Path, help="print the tables of this JSON file and end")
    return parser.parse_args(arguments)


def finish(results: Results, output: Path) -> None:
    bars = [verdict._asdict() for verdict in judge(results)]
    save(results, output, bars=bars)
    output.with_suffix(".svg").write_text(plot(results))
    show_tunnels(results)
    print(f"\n{output}, {output.with_suffix('.svg')}")


def main(words: list[str]) -> int:
    arguments = parse(words)
    if arguments.table:
        show_tunnels(load(arguments.table))
        return 0
    peers = all_peers() if arguments.full or arguments.peers else default_peers()
    if arguments.peers:
        peers = chosen(peers, arguments.peers)
    skipped = missing_here(peers)
    if arguments.list:
        Report().table(("peer", ""), [(peer.name, skipped.get(peer.name, peer.title)) for peer in peers])
        return 0
    missing = [program for program in TOOLS if shutil.which(program) is None]
    reason = f"{', '.join(missing)} not installed" if missing else reason_without_packets()
    if os.geteuid() != 0:
        reason = "needs root"
    if reason is not None or not peers:
        print(f"bench: {reason or 'no such peer'}", file=sys.stderr)
        return 1
    for name, why in skipped.items():
        print(f"not measured: {name}: {why}")
    peers = [peer for peer in peers if peer.name not in skipped]
    results = Results(machine.describe(), {peer.name: peer.title for peer in peers})
    results.skipped = skipped
    run, began = Run(results, arguments), time.monotonic()
    try:
        for round_ in range(1, arguments.repeats + 1):
            for peer in peers:
                run.peer(peer, round_)
            save(results, arguments.output)
            print(f"round {round_} of {arguments.repeats}: {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finish(results, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
