"""What the kernel's interfaces allow: C programs of ours that move the same packets without a product around them.

`tunfwd` forwards packet by packet without cryptography; `tunfwd-gso` the same with TUN and UDP offloads; `limit-esp`
seals raw ESP with AES-128-GCM in batches, for one fixed SA, and checks nothing.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.peers import Peer
from tests.bench.scene import OUTER, Scene

SOURCES = Path(__file__).parent / "native"
ESP_OVERHEAD = 34
"""Bytes that the forwarders put before each packet: what ESP with AES-GCM would add."""

FORWARDER_MTU = 1500 - 20 - 8 - ESP_OVERHEAD
LIMIT_ESP_MTU = 1400
WITHOUT_SEGMENTATION = "-nouso"


def forwarder(name: str, title: str, tests: tuple[str, ...], udp_segmentation: bool = True) -> Peer:
    """`name` is that of the C file."""

    def up(scene: Scene) -> None:
        program = scene.compiled(SOURCES / f"{name}.c")
        for side in (0, 1):
            ends = (OUTER[side], OUTER[1 - side], "udp:4500", str(FORWARDER_MTU))
            scene.start(side, program, "-x", str(ESP_OVERHEAD), "fwd0", *ends)
        scene.address("fwd0")

    if udp_segmentation:
        return Peer(name, title, up, tests, ("cc",))
    return Peer(name + WITHOUT_SEGMENTATION, f"{title}, cable without UDP GSO", up, tests, ("cc",), False)


def limit_esp(tests: tuple[str, ...]) -> Peer:
    def up(scene: Scene) -> None:
        program = scene.compiled(SOURCES / "limit-esp.c", "-lcrypto")
        for side in (0, 1):
            ends = (OUTER[side], OUTER[1 - side], str(10000 + side), str(LIMIT_ESP_MTU))
            scene.start(side, program, "esp0", *ends)
        scene.address("esp0")

    return Peer("limit-esp", "limit: ESP in C, AES-128-GCM", up, tests, ("cc",))
