"""The README's first session, typed at the terminals of two lab hosts as the README tells."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.host import CHECKOUT
from ipsectools.lab.ping import ping
from ipsectools.lab.terminal import Terminal

if TYPE_CHECKING:
    from ipsectools.lab.host import Host


def session() -> list[tuple[str, list[str] | None]]:
    """The commands of the session; with each the lines typed into it, None if it reads nothing."""
    with open(os.path.join(CHECKOUT, "README.md"), encoding="utf-8") as file:
        block = re.search(r"^    # .*?(?=^\S)", file.read(), re.M | re.S)
    assert block
    commands: list[tuple[str, list[str] | None]] = []
    typed: list[str] = []
    for line in block[0].strip().splitlines():
        if line.strip().startswith("# "):
            commands.append((line.strip()[2:], None))
            typed = []
        elif line.strip() == "^D":
            commands[-1] = (commands[-1][0], typed)
        elif line.strip():
            typed.append(line.strip())
    return commands


def other_side(line: str) -> str:
    """The same command with the addresses exchanged."""
    exchanged = {".0.3": ".0.5", ".0.5": ".0.3"}
    return re.sub(r"\.0\.[35]\b", lambda match: exchanged[match[0]], line)


@pytest.mark.traffic
def test_as_the_readme_says(hosts: tuple[Host, Host]) -> None:
    for host, line_of in zip(hosts, (str, other_side), strict=True):
        with Terminal(host) as terminal:
            for command, typed in session():
                line = line_of(command) if command.startswith("ifconfig") else command
                result = terminal.type(line, typed or (), end=typed is not None)
                assert result.status == 0, result
                if line == "ifconfig ipsec0":
                    assert "reqid: 100" in result.screen
                if line == "setkey -D":
                    assert result.screen.count("state=mature") == 2
    with Capture(hosts[0]) as capture:
        for host, address in zip(hosts, ("172.16.0.5", "172.16.0.3"), strict=True):
            assert ping(host, address, count=2)
        assert capture.esp() and not capture.clear()
    with Terminal(hosts[0]) as terminal:
        for line in ("ifconfig ipsec0 destroy", "setkey -F"):
            assert terminal.type(line).status == 0
        assert "No SAD entries." in terminal.type("setkey -D").screen
