"""The key engine answers FreeBSD's recorded dialogues byte for byte (tests/data/recordings).

FreeBSD 13.0 was recorded. What this engine does differently because it follows a later release is `as_released` (the
algorithms it offers) and `DIFFERENT` (whole steps), each with its reason; nothing else may differ.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipsectools.errno import KernelError
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.constants import (
    EXT_PROPOSAL,
    EXT_SUPPORTED_AUTH,
    EXT_SUPPORTED_ENCRYPT,
    SADB_X_PROMISC,
)
from ipsectools.pfkey.message import HEADER_BYTES, extensions
from tests.key.driver import Client, Driver

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings"
KERNEL = json.loads((RECORDINGS / "kernel.json").read_text())
SETKEY = json.loads((RECORDINGS / "setkey.json").read_text())

_CHACHA_COMBINATION = ext.combination(encrypt=15, encrypt_bits=(256, 256), soft=(1, 0, 0, 28800), hard=(1, 0, 86400, 0))

DIFFERENT = {
    # 13.0 answers EEXIST to a range of one SPI exactly when that SPI is free (release.GETSPI_RANGE_OF_ONE); the larval
    # SA that we make instead is also in the dump that follows.
    ("who_hears", 5),
    ("who_hears", 6),
}


def as_released(message: bytes) -> bytes:
    """A recorded message as a release with ChaCha20-Poly1305 sends it (release.CHACHA20_POLY1305)."""
    if message[1] == SADB_X_PROMISC and len(message) > HEADER_BYTES:
        return with_length(message[:HEADER_BYTES] + as_released(message[HEADER_BYTES:]))
    parts = [message[:HEADER_BYTES]]
    for kind, extension in extensions(message):
        if kind == EXT_SUPPORTED_AUTH:
            algorithms = sorted([*ext.read_supported(extension), (14, 0, 128, 128)])
            extension = ext.supported(kind, algorithms)
        elif kind == EXT_SUPPORTED_ENCRYPT:
            algorithms = sorted([*ext.read_supported(extension), (15, 12, 256, 256)])
            extension = ext.supported(kind, algorithms)
        elif kind == EXT_PROPOSAL:
            combinations = [extension[at : at + 72] for at in range(8, len(extension), 72)]
            combinations = sorted([*combinations, _CHACHA_COMBINATION], key=lambda each: each[1])
            extension = ext.proposal(kind, extension[4], b"".join(combinations))
        parts.append(extension)
    return with_length(b"".join(parts))


def with_length(message: bytes) -> bytes:
    return message[:4] + (len(message) // 8).to_bytes(2, "little") + message[6:]


def expected(messages: list[str]) -> list[str]:
    return [as_released(bytes.fromhex(message)).hex() for message in messages]


class Interfaces:
    """As much of if_ipsec(4) as the dialogues need: what it asks of the key engine."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.indices: dict[str, int] = {"lo0": 1, "em0": 2}
        self.reqids: dict[str, int] = {}
        self.tunnels: dict[str, tuple[str, str]] = {}
        self.policies: dict[str, list[int]] = {}

    def create(self, name: str, *rest: str) -> None:
        if name == "ipsec":
            name = next(f"ipsec{unit}" for unit in range(100) if f"ipsec{unit}" not in self.indices)
        self.indices[name] = next(index for index in range(1, 100) if index not in self.indices.values())
        self.reqids[name] = 0
        if rest:
            self.reqid(name, rest[1])

    def reqid(self, name: str, text: str) -> None:
        changed = int(text) != self.reqids[name]
        self.reqids[name] = int(text)
        if name in self.tunnels and changed:
            self._install(name)

    def tunnel(self, name: str, src: str, dst: str) -> None:
        engine = self.driver.engine
        if not self.reqids[name]:
            self.reqids[name] = engine.allocate_reqid(set(self.reqids.values()))
        if self.tunnels.get(name) != (src, dst):
            self.tunnels[name] = (src, dst)
            self._install(name)

    def _install(self, name: str) -> None:
        self.policies[name] = self.driver.engine.install_interface_policies(
            self.indices[name],
            self.reqids[name],
            *self.tunnels[name],
            self.driver.now,
            self.policies.get(name, []),
        )

    def deletetunnel(self, name: str) -> None:
        self.driver.engine.remove_interface_policies(self.policies.pop(name, []), self.driver.now)
        self.tunnels.pop(name, None)

    def destroy(self, name: str) -> None:
        self.deletetunnel(name)
        del self.indices[name], self.reqids[name]

    def ping(self, *_: str, count: int = 1) -> None:
        """A packet into ipsec0: an ACQUIRE unless there is an SA."""
        engine = self.driver.engine
        for _ in range(count):
            if engine.outbound_sa(*self.tunnels["ipsec0"], self.reqids["ipsec0"]) is None:
                engine.acquire_for_policy(self.policies["ipsec0"][1], self.driver.now)


def control(driver: Driver, interfaces: Interfaces, line: str, answer: str) -> None:
    words = line.split()
    if answer.startswith("errno"):
        if words[0] == "create" and words[1] not in interfaces.indices:  # made, but without its reqid, which was taken
            interfaces.create(words[1])
    elif words[0] == "advance":
        driver.advance(int(words[1]))
    elif words[0] == "ping":
        interfaces.ping(count=int(words[words.index("count") + 1]) if "count" in words else 1)
    elif words[0] in ("create", "reqid", "tunnel", "deletetunnel", "destroy"):
        getattr(interfaces, words[0])(*words[1:])
    driver.end()


def dialogue(client: Client, messages: list[str]) -> None:
    """Messages of a setkey run: each S, then the R that came until setkey had its answer."""
    position = 0
    while position < len(messages):
        assert messages[position][0] == "S"
        assert client.send(bytes.fromhex(messages[position][2:])) == 0
        position += 1
        wanted = []
        while position < len(messages) and messages[position][0] == "R":
            wanted.append(messages[position][2:])
            position += 1
        assert [message.hex() for message in client.take()] == expected(wanted)


@pytest.mark.parametrize(
    "name", ["empty", "manpage", "interface_life", "who_hears", "lifetimes", "acquire", "spd_messages"]
)
@pytest.mark.parametrize("restarts", [False, True])
def test_kernel(name: str, restarts: bool) -> None:
    """Also with the process restarted before every step that no open socket could notice."""
    driver = Driver(KERNEL["epoch"])
    interfaces = Interfaces(driver)
    names = {client for step in KERNEL["scenarios"][name] for client in step.get("got", {})}
    clients = {client: driver.client() for client in sorted(names)}
    for number, step in enumerate(KERNEL["scenarios"][name]):
        if restarts and not clients:
            driver.restart()
        if "ctl" in step:
            control(driver, interfaces, step["ctl"], step["answer"])
        elif "setkey" in step:
            client = driver.client()
            dialogue(client, step["messages"])
            client.socket.close()
        elif "send" in step:
            assert clients[step["on"]].send(bytes.fromhex(step["send"])) == step["send_errno"]
        if "got" in step:
            got = {client: [message.hex() for message in clients[client].take()] for client in step["got"]}
            wanted = {client: expected(messages) for client, messages in step["got"].items()}
            if (name, number) in DIFFERENT:
                assert got != wanted
            else:
                assert got == wanted, f"step {number}: {step}"


@pytest.mark.parametrize("name", sorted(SETKEY["scripts"]))
@pytest.mark.parametrize("restarts", [False, True])
def test_setkey(name: str, restarts: bool) -> None:
    driver = Driver(KERNEL["epoch"])
    for part in ("script", "D", "DP"):
        messages = SETKEY["scripts"][name][part]["messages"]
        starts = [at for at, message in enumerate(messages) if message[0] == "S"]
        for start, end in zip(starts, [*starts[1:], len(messages)], strict=True):
            if restarts:
                driver.restart()
            client = driver.client()
            dialogue(client, messages[start:end])
            client.socket.close()


def test_the_driver_notices() -> None:
    """The comparison is not vacuous: a changed byte in a recorded answer is found."""
    driver = Driver(KERNEL["epoch"])
    with pytest.raises(AssertionError):
        dialogue(driver.client(), ["S 02090000020000000000000000000000", "R 02090000020001000000000000000000"])
    with pytest.raises(KernelError):
        driver.engine.install_interface_policies(3, 1, "192.168.0.3", "fd00::1", driver.now)
