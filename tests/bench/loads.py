"""The tests: what is sent through a tunnel that is up, and what is read off."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.processes import Meter
from tests.bench.scene import INNER, Job, Scene, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 5201
SMALL = 64
"""Bytes of UDP payload in the packet rate test."""

LOSS = 0.01
"""The share of packets that may be lost at a rate that counts."""

TCP_SECONDS = 5.0
RATE_SECONDS = 1.5
LISTENING = "0A"

Values = dict[str, float]
"""What a test read off, by name; `disturbed` is the processor time that others took, in cores."""


class Failed(Exception):
    """A test gave no result; the text says why."""


class Loads:
    """The tests on one scene. Each returns its values or raises Failed."""

    def __init__(self, scene: Scene, first_rate: float) -> None:
        """`first_rate`: where to begin to look for the packet rate, packets a second."""
        self._scene = scene
        self._first_rate = first_rate
        self._meter = Meter([host.pid for host in scene.hosts])
        self.tests: dict[str, Callable[[], Values]] = {
            "tcp1": lambda: self.tcp(1),
            "tcp4": lambda: self.tcp(4),
            "ping": self.ping_idle,
            "loaded": self.ping_loaded,
            "rate": self.rate,
        }

    def run(self, test: str) -> Values:
        self._meter.start()
        values = self.tests[test]()
        usage = self._meter.stop()
        values["disturbed"] = round(usage.foreign / usage.wall, 3)
        values["peak_mib"] = round(usage.peak / 1024, 1)
        values["resident_mib"] = round(usage.resident / 1024, 1)
        values["cpu_seconds"] = round(usage.tunnel, 2)
        if "gigabytes" in values:
            values["cpu_seconds_per_gb"] = round(usage.tunnel / max(values["gigabytes"], 1e-3), 3)
        return values

    # iperf3

    def _listening(self) -> bool:
        wanted = f":{PORT:04X}"
        for line in Path(f"/proc/{self._scene.hosts[1].pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == LISTENING:
                return True
        return False

    def _begin(self, seconds: float, *options: str) -> tuple[Job, Job]:
        a, b = self._scene.hosts
        server = Job(b, ("iperf3", "-s", "-1", "-B", INNER[1]))
        wait_for(self._listening, "iperf3 server", 5)
        return server, Job(a, ("iperf3", "-c", INNER[1], "-J", "-t", f"{seconds:g}", *options))

    def _end(self, jobs: tuple[Job, Job], patience: float) -> dict[str, Any]:
        server, client = jobs
        text = client.output(patience)
        server.output(1)
        try:
            said = json.loads(text)
        except ValueError:
            raise Failed("iperf3 gave no result in time") from None
        if "error" in said:
            raise Failed(said["error"])
        end: dict[str, Any] = said["end"]
        return end

    def tcp(self, streams: int) -> Values:
        """Mbit/s that arrive, over some streams from A to B."""
        end = self._end(self._begin(TCP_SECONDS, "-P", str(streams)), TCP_SECONDS + 15)
        received = end["sum_received"]
        return {
            "mbit_s": round(received["bits_per_second"] / 1e6, 1),
            "gigabytes": round(received["bytes"] / 1e9, 4),
            "retransmits": end["sum_sent"].get("retransmits", 0),
        }

    def _trial(self, rate: float) -> tuple[float, float]:
        """Offers a rate of small packets: the rate that was sent and the share that was lost."""
        options = ("-u", "-l", str(SMALL), "-b", str(int(rate * SMALL * 8)))
        try:
            total = self._end(self._begin(RATE_SECONDS, *options), RATE_SECONDS + 6)["sum"]
            return total["packets"] / total["seconds"], total["lost_packets"] / max(1, total["packets"])
        except (Failed, KeyError, ZeroDivisionError):
            return 0.0, 1.0

    def rate(self) -> Values:
        """The most 64-byte packets a second of which less than 1 % is lost: bracketed, then bisected to 4 %."""
        passed, failed, best = 0.0, float("inf"), 0.0
        aim = self._first_rate
        for _ in range(12):
            sent, lost = self._trial(aim)
            if lost < LOSS and sent > 0.9 * aim:
                passed, best = aim, max(best, sent * (1 - lost))
            else:
                failed = aim
            if not passed:
                aim = failed / 1.25
            elif failed == float("inf"):
                aim = passed * 1.25
            elif failed / passed < 1.04:
                break
            else:
                aim = (failed * passed) ** 0.5
        return {"packets_s": round(best)}

    # ping

    def _ping(self, count: int, interval: float) -> list[float]:
        command = ("ping", "-n", "-i", f"{interval:g}", "-c", str(count), "-W1", INNER[1])
        said = self._scene.hosts[0].run(*command, check=False, timeout=count * interval + 15).output
        times = sorted(float(text) * 1000 for text in re.findall(r"time=([\d.]+)", said))
        if not times:
            raise Failed("no answers")
        return times

    @staticmethod
    def _round_trips(times: list[float], count: int) -> Values:
        return {
            "rtt_us": round(median(times), 1),
            "rtt_p99_us": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
            "answered": round(len(times) / count, 4),
        }

    def ping_idle(self) -> Values:
        """Round trips of a tunnel that has nothing else to do, microseconds."""
        return self._round_trips(self._ping(500, 0.002), 500)

    def ping_loaded(self) -> Values:
        """Round trips beside one TCP stream that takes what it gets."""
        jobs = self._begin(4.0)
        time.sleep(1)
        try:
            values = self._round_trips(self._ping(200, 0.01), 200)
        finally:
            jobs[1].output(8)
            jobs[0].output(1)
        return values
