"""What FreeBSD's own setkey printed and sent for scripts as found in the wild (see data/ORIGIN.md)."""

import json
from pathlib import Path

import pytest

from ipsectools.commands.setkey import exchange

from .fakes import Recording, Result, script, setkey

DATA = json.loads((Path(__file__).parent / "data" / "setkey.json").read_text())
KERNEL = json.loads((Path(__file__).parent / "data" / "kernel.json").read_text())
EPOCH = 1700000000

GLIBC_TEXTS: dict[str, str] = {}
"""Texts of strerror(3) and gai_strerror(3) that the recorded setkey took from glibc, and FreeBSD's instead."""


def expected(step: dict) -> Result:
    stdout = step["stdout"]
    for theirs, ours in GLIBC_TEXTS.items():
        stdout = stdout.replace(theirs, ours)
    return Result(step["rc"], stdout, step["stderr"])


@pytest.mark.parametrize("name", DATA["scripts"])
def test_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "time", lambda: EPOCH)
    recorded = DATA["scripts"][name]
    for step, run in (
        (recorded["script"], lambda door: script(recorded["text"], door)),
        (recorded["D"], lambda door: setkey("-D", door=door)),
        (recorded["DP"], lambda door: setkey("-DP", door=door)),
    ):
        door = Recording(step["messages"])
        assert run(door) == expected(step)
        assert not door.lines


@pytest.mark.parametrize("number", range(len(KERNEL["steps"])))
def test_kernel_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = KERNEL["steps"][number]
    monkeypatch.setattr(exchange, "time", lambda: step["clock"])
    door = Recording(step["messages"])
    door.interfaces = {int(index): name for index, name in step["interfaces"].items()}
    words = step["setkey"]
    result = script(words, door) if isinstance(words, str) else setkey(*words, door=door)
    assert result == expected(step)
    assert not door.lines
