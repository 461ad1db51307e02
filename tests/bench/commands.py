"""`make bench-cli`: how fast the commands start and do bulk work, and ipsecd with 100,000 SAs (root).

Everything runs on lab hosts with real packets possible, against a running ipsecd. Start-up times are medians of
interleaved rounds, beside `python -c pass` of the same interpreter. Results go to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from ipsectools.lab.host import CHECKOUT, CommandError, Host, LabError
from ipsectools.lab.network import reason_without_packets
from tests.bench import machine
from tests.bench.loads import Failed, Loads
from tests.bench.peers import CIPHERS, DEFAULT_MTU, ours
from tests.bench.processes import TICKS, all_times, family, memory
from tests.bench.report import Report
from tests.bench.scene import Scene, scene

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTPUT = Path("bench-results/commands.json")
BARE = [sys.executable, "-c", "pass"]
PARTS = ("startup", "bulk", "scale")
FEW = 100
FIRST_SPI = 0x10000
PATIENCE = 1200.0


class Figure(NamedTuple):
    """One figure: its name, value and unit; what is wanted (`>=` or `<=`), None without a bar."""

    name: str
    value: float
    unit: str
    wanted: tuple[str, float] | None = None

    @property
    def met(self) -> bool:
        if self.wanted is None:
            return True
        sign, bar = self.wanted
        return self.value >= bar if sign == ">=" else self.value <= bar


def at_least(bar: float) -> tuple[str, float]:
    return ">=", bar


def at_most(bar: float) -> tuple[str, float]:
    return "<=", bar


def ask(host: Host, op: str, **arguments: object) -> Any:
    """Has `tests.bench.worker` do something on a host."""
    command = (sys.executable, "-m", "tests.bench.worker")
    request = json.dumps({"op": op, **arguments})
    return json.loads(host.run(*command, input=request, timeout=PATIENCE, environment={"PYTHONPATH": CHECKOUT}).output)


def milliseconds(runs: list[dict[str, float]]) -> float:
    failed = [run for run in runs if run["status"] != 0]
    if failed:
        raise LabError(f"a command failed with status {failed[0]['status']:.0f}")
    return median(run["wall"] for run in runs) * 1000


def ipsecd_pid(host: Host) -> int:
    """The pid, here, of the ipsecd that runs on a host. Raises LabError."""
    times = all_times()
    for pid in family([host.pid], times):
        if times[pid].name == "ipsecd":
            return pid
    raise LabError("no ipsecd")


def startup(built: Path, rounds: int, interfaces: int) -> Iterator[Figure]:
    """Commands from start to end."""
    with scene(built) as stage:
        host = stage.hosts[0]
        host.run("ifconfig", "ipsec0", "create")
        commands = [BARE, ["ifconfig", "ipsec0"], ["setkey", "-D"], ["sysctl", "-n", "net.inet.esp.esp_enable"]]
        bare, ifconfig, setkey, sysctl = map(milliseconds, ask(host, "interleaved", commands=commands, rounds=rounds))
        yield Figure("python -c pass", bare, "ms")
        yield Figure("ifconfig ipsec0", ifconfig, "ms", at_most(2.5 * bare + 15))
        yield Figure("setkey -D, empty SAD", setkey, "ms", at_most(2.5 * bare + 25))
        yield Figure("sysctl -n NAME", sysctl, "ms")
        count, at_once = 64, 8
        create = f"seq {count} | xargs -P {at_once} -n 1 sh -c 'ifconfig ipsec create >/dev/null'"
        began = time.monotonic()
        host.run("sh", "-c", create, timeout=PATIENCE)
        yield Figure(f"ifconfig ipsec create, {at_once} at once", (time.monotonic() - began) / count * 1000, "ms each")
        seconds = ask(host, "create", count=interfaces - count - 1)
        yield Figure("interfaces made on one connection", (interfaces - count - 1) / seconds, "a second")
        names = host.run("ifconfig", "-l").output.split()
        if sum(name.startswith("ipsec") for name in names) != interfaces:
            raise LabError(f"{interfaces} interfaces wanted, there are {len(names)}")
        (listing,) = ask(host, "interleaved", commands=[["ifconfig", "-a"]], rounds=5)
        yield Figure(f"ifconfig -a, {interfaces} interfaces", milliseconds(listing), "ms", at_most(1000))


def statements(count: int, reqids: int, lifetimes: str = "") -> str:
    """`count` add statements over `reqids` reqids."""
    options = CIPHERS["gcm"][1]
    return "".join(
        f"add 192.0.2.1 192.0.2.2 esp {FIRST_SPI + i} -m tunnel -u {1000 + i % reqids} {lifetimes} "
        f"{options.format(FIRST_SPI + i)};\n"
        for i in range(count)
    )


def write(stage: Scene, text: str) -> str:
    path = stage.directory / "script"
    path.write_text(text)
    return str(path)


def bulk(built: Path, count: int) -> Iterator[Figure]:
    """`setkey -f` and `setkey -D`."""
    with scene(built) as stage:
        host = stage.hosts[0]
        host.run("ifconfig", "ipsec0", "create")
        script = write(stage, statements(count, 1000))
        added = ask(host, "run", argv=["setkey", "-f", script])
        dump = stage.directory / "dump"
        dumped = ask(host, "run", argv=["setkey", "-D"], output=str(dump))
        found = dump.read_text().count(" mode=tunnel ")
        if found != count:
            raise LabError(f"{count} SAs were added, setkey -D shows {found}")
        yield Figure(f"setkey -f, {count:,} add", count / added["wall"], "statements/s", at_least(10_000))
        yield Figure("  its memory", added["peak_mib"], "MiB", at_most(200))
        yield Figure("  its own processor time", added["cpu"] / count * 1e6, "us each")
        yield Figure(f"setkey -D, {count:,} SAs", count / dumped["wall"], "SAs/s", at_least(50_000))
        yield Figure("  its memory", dumped["peak_mib"], "MiB", at_most(200))
        yield Figure("  its own processor time", dumped["cpu"] / count * 1e6, "us each")
        flushed = ask(host, "run", argv=["setkey", "-F"])
        yield Figure("setkey -F", flushed["wall"], "s")


def scale(built: Path, count: int, interfaces: int) -> Iterator[Figure]:
    """ipsecd with few and with many SAs, side by side; the many have lifetimes."""
    tunnel = ours("compiled", "gcm", False, DEFAULT_MTU, ())
    with scene(built) as few, scene(built) as many:
        for stage, sas in ((few, FEW), (many, count)):
            tunnel.up(stage)
            stage.hosts[0].run(
                "setkey", "-f", write(stage, statements(sas, 1000, "-lh 864000 -ls 600000")), timeout=PATIENCE
            )
        host = many.hosts[0]
        ask(host, "create", count=interfaces - 1)
        yield from _costs(few, many, count)
        yield from _timer(few, many, count)
        yield from _start(host, count, interfaces)
        many.wait_answer()


def _costs(few: Scene, many: Scene, count: int) -> Iterator[Figure]:
    """What depends, or should not, on the number of SAs, in turns."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    trips: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(5):
        for large, stage in ((False, few), (True, many)):
            seconds[large] += ask(stage.hosts[0], "adds", count=200, first_spi=FIRST_SPI + count)
            trips[large].append(Loads(stage, 0).ping_idle()["rtt_us"])
    few_add, many_add = (median(seconds[large]) * 1e6 for large in (False, True))
    yield Figure(f"ADD at {FEW} SAs", few_add, "us")
    yield Figure(f"ADD at {count:,} SAs", many_add, "us", at_most(3 * few_add))
    few_trip, many_trip = (median(trips[large]) for large in (False, True))
    yield Figure(f"round trip through a tunnel beside {FEW} SAs", few_trip, "us")
    yield Figure(f"round trip through a tunnel beside {count:,} SAs", many_trip, "us", at_most(1.25 * few_trip))


def _timer(few: Scene, many: Scene, count: int, seconds: float = 20) -> Iterator[Figure]:
    """The share of a core that an idle ipsecd needs."""
    pids = [ipsecd_pid(stage.hosts[0]) for stage in (few, many)]
    time.sleep(3)  # what the last requests left to be done
    before = all_times()
    time.sleep(seconds)
    after = all_times()
    shares = [
        (after[pid].user + after[pid].system - before[pid].user - before[pid].system) / TICKS / seconds * 100
        for pid in pids
    ]
    yield Figure(f"idle ipsecd, {FEW} SAs", shares[0], "% of a core")
    yield Figure(f"idle ipsecd, {count:,} SAs with lifetimes", shares[1], "% of a core", at_most(2))


def _start(host: Host, count: int, interfaces: int) -> Iterator[Figure]:
    """Memory of ipsecd, stopping and starting it."""
    _, peak = memory([ipsecd_pid(host)])
    yield Figure("ipsecd that took them in, peak memory", peak / 1024, "MiB", at_most(400))
    stopped = ask(host, "run", argv=["ipsecd", "--stop"])
    yield Figure("ipsecd --stop", stopped["wall"], "s")
    started = ask(host, "run", argv=["ipsecd"])
    what = f"start with {count:,} SAs, {interfaces:,} interfaces"
    yield Figure(f"ipsecd {what}", started["wall"], "s", at_most(3))
    _, peak = memory([ipsecd_pid(host)])
    yield Figure("  its peak memory", peak / 1024, "MiB", at_most(400))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-cli", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--sas", type=int, default=100_000, help="how many are many (default 100000)")
    parser.add_argument("--interfaces", type=int, default=1000)
    parser.add_argument("-r", "--rounds", type=int, default=31, help="of the start-up times (default 31)")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    return parser.parse_args(arguments)


def show(report: Report, figure: Figure) -> None:
    text = f"{figure.name}: {figure.value:,.{1 if figure.value < 100 else 0}f} {figure.unit}"
    if figure.wanted is None:
        report.note(f"     {text}")
    else:
        sign, bar = figure.wanted
        report.verdict(f"{text} (wanted {sign} {bar:,.{1 if bar < 100 else 0}f})", figure.met)


def main(words: list[str]) -> int:
    arguments = parse(words)
    if os.geteuid() != 0:
        reason: str | None = "needs root"
    elif "scale" in (arguments.parts or PARTS) and shutil.which("ping") is None:
        reason = "ping not installed"
    else:
        reason = reason_without_packets()
    if reason is not None:
        print(f"bench-cli: {reason}", file=sys.stderr)
        return 1
    built = (arguments.output.parent / "built").absolute()
    parts = {
        "startup": lambda: startup(built, arguments.rounds, arguments.interfaces),
        "bulk": lambda: bulk(built, arguments.sas),
        "scale": lambda: scale(built, arguments.sas, arguments.interfaces),
    }
    described, report = machine.describe(), Report()
    rows: list[dict[str, object]] = []
    for part in arguments.parts or PARTS:
        report.heading(f"{part} (load {machine.load():.1f})")
        try:
            for figure in parts[part]():
                show(report, figure)
                rows.append({"part": part, "load": machine.load(), **figure._asdict(), "met": figure.met})
        except (Failed, LabError, CommandError, OSError) as error:
            report.verdict(f"{part}: {error}", False)
            rows.append({"part": part, "error": str(error)})
    report.note(machine.in_words(described, f"{machine.load():.1f}"))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"machine": described, "figures": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
