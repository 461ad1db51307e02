"""Algorithm x families x NAT-T x ESN, every packet on the wire opened by implementations that are not ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture, Seen
from ipsectools.lab.faults import without_offload
from ipsectools.lab.network import CABLE
from ipsectools.lab.ping import ping
from tests.e2e.doors import Books
from tests.e2e.matrix import NATT_PORTS, Tunnel, full, set_up, trimmed
from tests.e2e.witness import esp_sa, scapy_opens, tshark, write_pcap
from tests.traffic.scene import INNER, OUTER, assert_sequences

if TYPE_CHECKING:
    from pathlib import Path

    from ipsectools.lab.host import Host

pytestmark = pytest.mark.traffic
Pair = tuple["Host", "Host"]

SIZES = [0, 1, 13, 56, 1200]
PORTS = {port for pair in NATT_PORTS for port in pair}


def test_trimmed_matrix_has_all_pairs() -> None:
    """Each algorithm meets each other value, and those meet each other."""
    cells = trimmed()
    for natt in (False, True):
        for outer in OUTER:
            assert {cell.esn for cell in cells if bool(cell.ports) == natt and cell.outer == outer} == {False, True}
        assert len({cell.algorithm for cell in cells if bool(cell.ports) == natt}) == len(cells) // 2
    assert {cell.ports for cell in cells} == {None, *NATT_PORTS}


def run(hosts: Pair, tunnels: list[Tunnel], directory: Path) -> None:
    a, b = hosts
    for host in hosts:
        without_offload(host, CABLE)
    set_up(a, b, tunnels)
    books = Books(a), Books(b)
    with Capture(a, natt_ports=PORTS) as capture:
        for tunnel in tunnels:
            for family in INNER:
                result = ping(a, tunnel.inner(family, 1), sizes=SIZES)
                assert result, (str(tunnel), result, [book.closed() for book in books])
        assert not capture.clear()
        packets = capture.esp()
    assert [book.closed()[1] for book in books] == [{}, {}]
    assert_sequences(packets)
    by_spi: dict[int, list[Seen]] = {}
    for seen in packets:
        by_spi.setdefault(seen.spi, []).append(seen)
    for tunnel in tunnels:
        for side, spi in enumerate(tunnel.spis):
            assert_tunnel(tunnel, side, by_spi.pop(spi))
    assert not by_spi
    wireshark_agrees(tunnels, packets, directory)


def assert_tunnel(tunnel: Tunnel, side: int, packets: list[Seen]) -> None:
    """Addresses, ports and contents of one direction, as scapy sees them."""
    ports = tunnel.ports if tunnel.ports is None or side == 0 else tunnel.ports[::-1]
    ends = OUTER[tunnel.outer] if side == 0 else OUTER[tunnel.outer][::-1]
    assert {(seen.source, seen.destination, seen.ports) for seen in packets} == {(*ends, ports)}, str(tunnel)
    # What the interface says by itself (multicast listeners) may be there too.
    inner = [scapy_opens(tunnel, tunnel.spis[side], seen) for seen in packets]
    lengths = {4: [], 6: []}  # type: dict[int, list[int]]
    for packet in inner:
        version = packet[0] >> 4
        if packet[9 if version == 4 else 6] in (1, 58) and packet[20 if version == 4 else 40] in (0, 8, 128, 129):
            lengths[version].append(len(packet))
    assert lengths == {4: [28 + size for size in SIZES], 6: [48 + size for size in SIZES]}, str(tunnel)


def wireshark_agrees(tunnels: list[Tunnel], packets: list[Seen], directory: Path) -> None:
    """Wireshark decrypts all that it knows, and finds every ICV right. (It has no extended sequence numbers.)"""
    lines = []
    known = set()
    for tunnel in tunnels:
        for side, spi in enumerate(tunnel.spis):
            line = esp_sa(tunnel.algorithm, spi, tunnel.outer, forth=side == 0)
            if line is not None and not tunnel.esn:
                known.add(spi)
                lines.append(line)
    chosen = [seen for seen in packets if seen.spi in known]
    write_pcap(directory / "wire.pcap", [seen.packet[: seen.size] for seen in chosen])
    fields = ("esp.spi", "esp.sequence", "esp.icv_bad", "esp.protocol")
    rows = tshark(directory / "wire.pcap", lines, fields, PORTS)
    assert len(rows) == len(chosen) > 0
    for (spi, sequence, bad, protocol), seen in zip(rows, chosen, strict=True):
        assert (int(spi, 16), int(sequence)) == (seen.spi, seen.sequence)
        assert bad in ("", "0", "False"), seen
        assert protocol in ("0x04", "0x29"), seen


def test_trimmed_matrix(hosts: Pair, tmp_path: Path) -> None:
    run(hosts, trimmed(), tmp_path)


@pytest.mark.long
def test_full_matrix(hosts: Pair, tmp_path: Path) -> None:
    run(hosts, full(), tmp_path)
