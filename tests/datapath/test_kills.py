"""The replay window of the compiled core, in a process that ends between any two instructions (as test_page.py's)."""

from __future__ import annotations

import os
import subprocess

import pytest

from ipsectools.lab.host import CHECKOUT

HERE = os.path.dirname(__file__)


@pytest.mark.parametrize("window", [64, pytest.param(480, marks=pytest.mark.long)])
def test_killed_between_any_two_instructions(tmp_path_factory: pytest.TempPathFactory, window: int) -> None:
    program = str(tmp_path_factory.mktemp("kills") / "kills")
    fast = os.path.join(CHECKOUT, "ipsectools", "datapath", "fast")
    sources = [os.path.join(HERE, "kills.c"), os.path.join(fast, "replay.c")]
    try:
        subprocess.run(["cc", "-O3", "-I", fast, "-o", program, *sources], check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    done = subprocess.run([program, str(window), "100"], capture_output=True, text=True, timeout=120)
    if done.returncode == 2:
        pytest.skip("no ptrace(2) here")
    assert done.returncode == 0, done.stdout
    assert "interrupted 0," not in done.stdout
