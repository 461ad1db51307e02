"""What is measured: our own tunnels in all variants, and what all peers have in common."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.scene import INNER, OUTER, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQID = 100
SPIS = (10000, 10001)
"""Of what A sends, of what B sends."""

CIPHERS = {
    "gcm": ("AES-128-GCM", "-E aes-gcm-16 {:#042x}"),
    "cbc": ("AES-256-CBC + HMAC-SHA256", "-E aes-cbc {:#066x} -A hmac-sha2-256 {:#066x}"),
    "chacha": ("ChaCha20-Poly1305", "-E chacha20-poly1305 {:#074x}"),
}
"""Short name: name, setkey's words with room for the keys."""

CORES = {"compiled": "compiled", "python": "plain Python"}
DEFAULT_MTU = 1400
LARGE_MTU = 8192


@dataclass(frozen=True)
class Peer:
    """A tunnel to be measured. `up` sets it up on a scene and returns when it has done its part (packets may take a
    moment more). `needs` names the programs that must be installed."""

    name: str
    title: str
    up: Callable[[Scene], None]
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
    udp_segmentation: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """The programs it needs that are not installed."""
        return [program for program in self.needs if shutil.which(program) is None]


def ours(core: str, cipher: str, natt: bool, mtu: int, tests: tuple[str, ...], udp_segmentation: bool = True) -> Peer:
    """ipsectools with one of its cores; `natt`: UDP encapsulation; `mtu`: of the ipsec interface, bytes."""
    words = ["ipsectools", core, "natt" if natt else "esp", cipher]
    title = f"ipsectools {CORES[core]}, {'NAT-T' if natt else 'ESP'}, {CIPHERS[cipher][0]}"
    if mtu != DEFAULT_MTU:
        words.append(str(mtu))
        title += f", MTU {mtu}"
    if not udp_segmentation:
        words.append("nouso")
        title += ", cable without UDP GSO"

    def up(scene: Scene) -> None:
        for side, host in enumerate(scene.hosts):
            local, remote = OUTER[side], OUTER[1 - side]
            host.run("ifconfig", "ipsec0", "create", "reqid", str(REQID), "mtu", str(mtu))
            host.run("ifconfig", "ipsec0", "inet", "tunnel", local, remote)
            host.run("ifconfig", "ipsec0", "inet", INNER[side] + "/32", INNER[1 - side])
            host.setkey(_statements(cipher, natt))

    environment = {"IPSECTOOLS_CORE": core} if core == "python" else {}
    return Peer("-".join(words), title, up, tests, (), udp_segmentation, environment)


def _statements(cipher: str, natt: bool) -> str:
    """The add statements, the same on both hosts. The keys are for measuring only."""
    lines = []
    for spi, source, destination in zip(SPIS, OUTER, OUTER[::-1], strict=True):
        options = CIPHERS[cipher][1].format(spi << 96 | 0xFEED, spi << 96 | 0xBEEF)
        if natt:
            options = f"-natt {source} [4500] {destination} [4500] {options}"
        lines.append(f"add {source} {destination} esp {spi} -m tunnel -u {REQID} {options};\n")
    return "".join(lines)
