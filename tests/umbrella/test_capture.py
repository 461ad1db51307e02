"""`ipsectools dump` and `export wireshark` with real packets; tshark, where it is installed, as the witness."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.traffic.scene import CBC_SHA256, GCM, INNER, MANUAL, Algorithm, tunnel

if TYPE_CHECKING:
    from pathlib import Path

    from ipsectools.lab.host import Host, Process

pytestmark = pytest.mark.traffic
PATIENCE = 30


@pytest.fixture
def ready(hosts: tuple[Host, Host]) -> tuple[Host, Host]:
    """A tunnel on which only the test sends."""
    for host in hosts:
        host.set_kernel("net/ipv6/conf/default/router_solicitations", 0)
    tunnel(*hosts, CBC_SHA256)
    return hosts


class Dumping:
    """A running `ipsectools dump`; `data` is what it wrote to its standard output."""

    def __init__(self, host: Host, *words: str) -> None:
        self._errors, self._output = os.memfd_create("errors"), os.memfd_create("output")
        with open(os.devnull, "rb") as nothing:
            command = ["ipsectools", "dump", *words]
            self.process: Process = host.spawn(command, nothing.fileno(), self._output, self._errors)
        deadline = time.monotonic() + PATIENCE
        while "listening" not in self.errors:
            assert time.monotonic() < deadline and self.process.poll() is None, self.errors
            time.sleep(0.01)

    @property
    def errors(self) -> str:
        return os.pread(self._errors, 10000, 0).decode()

    @property
    def data(self) -> bytes:
        return os.pread(self._output, 1 << 20, 0)

    def finish(self, packets: int) -> bytes:
        """Waits for so many packets, interrupts; all that was written."""
        deadline = time.monotonic() + PATIENCE
        while len(records(self.data)[1]) < packets:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.01)
        self.process.kill(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0
        return self.data


def records(data: bytes) -> tuple[int, list[bytes]]:
    """Link type and packets of a pcap file (a last one that is not whole is left out)."""
    if len(data) < 24:
        return -1, []
    magic, major, minor, _, _, _, kind = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor) == (0xA1B23C4D, 2, 4)
    found, offset = [], 24
    while offset + 16 <= len(data):
        seconds, nanoseconds, length, original = struct.unpack_from("=IIII", data, offset)
        assert abs(seconds - time.time()) < 600 and nanoseconds < 10**9 and length == original
        if offset + 16 + length > len(data):
            break
        found.append(data[offset + 16 : offset + 16 + length])
        offset += 16 + length
    return kind, found


def test_the_packets_of_an_interface(ready: tuple[Host, Host]) -> None:
    a, _ = ready
    dumping = Dumping(a, "ipsec0")
    assert ping(a, INNER["inet"][1], count=2)
    assert ping(a, INNER["inet6"][1], count=1)
    kind, packets = records(dumping.finish(6))
    assert kind == 0
    assert sorted(struct.unpack_from("=I", packet)[0] for packet in packets) == [2, 2, 2, 2, 28, 28]
    assert sorted(packet[4] >> 4 for packet in packets) == [4, 4, 4, 4, 6, 6]
    assert "ipsectools: 6 packets\n" in dumping.errors


def test_enc0_tells_the_sa(ready: tuple[Host, Host]) -> None:
    a, _ = ready
    dumping = Dumping(a, "-c", "4", "enc0")
    assert ping(a, INNER["inet"][1], count=2)
    assert dumping.process.wait(PATIENCE) == 0
    kind, packets = records(dumping.data)
    assert kind == 109
    headers = {(packet[12 + 12 : 12 + 16], *struct.unpack_from("=I4sI", packet)) for packet in packets}
    here, there = bytes([172, 16, 0, 3]), bytes([172, 16, 0, 5])
    assert headers == {
        (here, 2, (10000).to_bytes(4, "big"), 0x0C00),
        (there, 2, (10001).to_bytes(4, "big"), 0x0C00),
    }


def test_the_end_of_the_interface_is_the_end(ready: tuple[Host, Host]) -> None:
    a, _ = ready
    dumping = Dumping(a, "ipsec0", "-w", "/run/file.pcap")
    a.run("ifconfig", "ipsec0", "destroy")
    assert dumping.process.wait(PATIENCE) == 0
    assert os.stat(a.path("/run/file.pcap")).st_mode & 0o777 == 0o600


def test_errors(ready: tuple[Host, Host]) -> None:
    a, _ = ready
    a.run("ln", "-s", "/run/elsewhere", "/run/link")
    link = a.run("ipsectools", "dump", "-w", "/run/link", "ipsec0", check=False)
    assert (link.status, link.errors) == (1, "ipsectools: /run/link: is a symbolic link\n")
    assert not os.path.exists(a.path("/run/elsewhere"))
    missing = a.run("ipsectools", "dump", "ipsec9", check=False)
    assert (missing.status, missing.errors) == (
        1,
        "ipsectools: interface ipsec9 does not exist, or is no ipsec interface\n",
    )
    assert a.run("ipsectools", "dump", "em0", check=False).status == 1
    unwritable = a.run("ipsectools", "dump", "-w", "/no/where", "ipsec0", check=False)
    assert (unwritable.status, unwritable.errors) == (1, "ipsectools: /no/where: No such file or directory\n")


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("algorithm", [MANUAL, CBC_SHA256, GCM], ids=str)
def test_wireshark_reads_the_wire(hosts: tuple[Host, Host], tmp_path: Path, algorithm: Algorithm) -> None:
    a, b = hosts
    tunnel(a, b, algorithm)
    with Capture(a) as wire:
        assert ping(a, INNER["inet"][1], count=2)
        packets = wire.esp()
    a.run("ipsectools", "export", "wireshark", "-o", "/run/esp_sa")
    with open(a.path("/run/esp_sa")) as file:
        options = [word for line in file.read().splitlines() for word in ("-o", f"uat:esp_sa:{line}")]
    capture = tmp_path / "wire.pcap"
    with open(capture, "wb") as pcap:
        pcap.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for seen in packets:
            pcap.write(struct.pack("=IIII", 0, 0, seen.size, seen.size) + seen.packet)
    result = subprocess.run(
        ["tshark", "-nr", capture, "-o", "esp.enable_encryption_decode:TRUE", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=60,
        check=True,
    )
    assert result.stdout.count("Echo (ping) request") == 2, result
    assert result.stdout.count("Echo (ping) reply") == 2
