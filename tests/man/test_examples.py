"""The EXAMPLES of the manual pages, typed word for word at terminals of lab hosts."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import TYPE_CHECKING

import pytest

from ipsectools import preload
from ipsectools.lab.capture import Capture
from ipsectools.lab.host import CHECKOUT
from ipsectools.lab.manual import steps
from ipsectools.lab.terminal import Terminal, Typed
from tests.traffic.scene import assert_pings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host
    from ipsectools.lab.manual import Step

Pair = tuple["Host", "Host"]


def sessions() -> Iterator[tuple[str, list[Step]]]:
    """The pages with something to type, by name."""
    for path in sorted(glob.glob(os.path.join(CHECKOUT, "man", "*.[1-9]"))):
        with open(path, encoding="utf-8") as file:
            found = steps(file.read())
        if found:
            yield os.path.basename(path), found


SESSIONS = dict(sessions())


def play(pair: Pair, session: list[Step]) -> list[Typed]:
    """Types a session; every command must end with status 0."""
    with contextlib.ExitStack() as stack:
        terminals: dict[str, Terminal] = {}
        typed = []
        for step in session:
            if step.host not in terminals:
                host = pair[ord(step.host) - ord("A")]
                terminals[step.host] = stack.enter_context(Terminal(host, environment={"HOME": "/run"}))
            result = terminals[step.host].type(step.line, step.input or (), end=step.input is not None)
            assert result.status == 0, result
            typed.append(result)
        return typed


def test_the_pages_have_sessions() -> None:
    assert "if_ipsec.4" in SESSIONS
    assert {step.host for step in SESSIONS["if_ipsec.4"]} == {"A", "B"}


@pytest.mark.traffic
@pytest.mark.parametrize("page", [page for page in SESSIONS if page != "if_ipsec.4"])
def test_examples_can_be_typed(hosts: Pair, page: str) -> None:
    session = SESSIONS[page]
    if preload.library() is None:  # without a C compiler; the command says so
        session = [step for step in session if "pfkey-run" not in step.line.split()]
    play(hosts, session)


@pytest.mark.traffic
def test_the_two_hosts_of_if_ipsec(hosts: Pair) -> None:
    a, b = hosts
    with Capture(a) as capture:
        for typed in play(hosts, SESSIONS["if_ipsec.4"]):
            echo = "".join(f"{line}\n" for line in typed.input)
            assert typed.screen in (echo, ""), "a command had something to say"
        assert_pings(a, b)
        assert not capture.clear()
        assert {seen.spi for seen in capture.esp()} == {10000, 10001}
