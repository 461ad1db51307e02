"""FreeBSD's own kernel, recorded: what its interfaces answered, ours answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .driver import Driver

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
SCENARIOS: dict[str, list[dict[str, Any]]] = json.loads((RECORDINGS / "kernel.json").read_text())["scenarios"]


def expected(answer: str) -> str:
    return answer.partition(" ipackets ")[0]


def host_address(name: str) -> str:
    """em0's address in the recording."""
    return "192.168.0.5" if name.startswith("inbound") else "192.168.0.3"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", sorted(name for name in SCENARIOS if any("ctl" in step for step in SCENARIOS[name])))
def test_recording(name: str, restarts: bool, tmp_path: Path) -> None:
    """Also with the process ended, cleanly and by force in turn, before every step."""
    driver = Driver(f"{tmp_path}/state.db")
    driver.call("NEWADDR", name="em0", family="inet", address=host_address(name), prefixlen=24)
    for number, step in enumerate(SCENARIOS[name]):
        if restarts:
            driver.restart(clean=bool(number % 2))
        if "ctl" in step and not step["ctl"].startswith("ping"):
            assert driver.ctl(step["ctl"]) == expected(step["answer"]), step["ctl"]
        elif "setkey" in step:
            dialogue(driver, step["messages"])


def dialogue(driver: Driver, messages: list[str]) -> None:
    """A run of setkey: what it sent, and what it received of policies (which name interfaces by index and id)."""
    client = driver.client()
    for message in messages:
        if message[0] == "S":
            assert client.send(bytes.fromhex(message[2:])) == 0
    wanted = [message[2:] for message in messages if message[0] == "R" and message[4:6] == "12"]
    got = [message.hex() for message in client.take() if message[1] == 0x12]
    assert got == wanted
    client.socket.close()
