"""ifconfig(8): complete, well formed, and its examples do what it shows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ipsectools.commands.ifconfig import completion, main, registry
from ipsectools.lab.manual import steps
from tests.ifconfig.harness import ok, run

PAGE = Path(__file__).parents[2] / "man" / "ifconfig.8"


def test_every_word_is_there() -> None:
    items = [line for line in PAGE.read_text().splitlines() if line.startswith((".It Cm", ".Cm"))]
    words = {word for line in items for word in line.split()}
    undoing = {f"-{word}" for word in words}
    missing = {name for name in registry.keywords if name not in words and name not in undoing}
    assert not missing
    assert set(registry.creating_keywords) <= words


def test_every_flag_is_there() -> None:
    text = PAGE.read_text()
    for letter in main.LETTERS.replace(":", ""):
        assert f".It Fl {letter}" in text
        assert f"-{letter}" in completion.FLAGS
    for flag in main.LONG_OPTIONS:
        assert f".It Fl {flag[1:].rstrip(':')}" in text
        assert flag.rstrip(":") in completion.FLAGS


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc")
def test_lint() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(PAGE)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_examples() -> None:
    assert run("ifconfig em0 inet 192.168.0.3/24") == ok()
    assert run("ifconfig em0 up") == ok()
    session = steps(PAGE.read_text())
    assert len(session) > 8
    for step in session:
        assert (step.line, run(step.line)) == (step.line, ok("".join(f"{line}\n" for line in step.shown)))
