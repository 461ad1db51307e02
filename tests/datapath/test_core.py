"""The compiled core from outside: what its header says, what it is built of, and what it makes of hostile packets."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from ipsectools.datapath import core_status
from ipsectools.datapath.tables import SA
from ipsectools.lab.host import CHECKOUT
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS

if TYPE_CHECKING:
    from pathlib import Path

FAST = os.path.join(CHECKOUT, "ipsectools", "datapath", "fast")
SOURCES = sorted(os.path.join(FAST, name) for name in os.listdir(FAST) if name.endswith(".c"))
compiled = pytest.mark.skipif(core_status()[0] != "compiled", reason="the compiled core was not built")


def known(**fields: object) -> dict[str, int] | None:
    from ipsectools.datapath import _fast

    fields.setdefault("enc_key", b"")
    address = bytes((192, 0, 2, 1))
    return _fast.algorithms(SA(1, address, address, traffic=_fast.Traffic(), **fields))  # type: ignore[arg-type]


@compiled
@pytest.mark.parametrize("compatible", [True, False])
@pytest.mark.parametrize("number", sorted({*ENCRYPTIONS, 0, 2, 3, 6, 7, 249, 250}))
def test_encryptions_are_those_of_the_table(number: int, compatible: bool) -> None:
    """Row by row: what the core has for an encryption id is what pfkey/algorithms.py says, for keys of any length."""
    row = ENCRYPTIONS.get(number)
    for length in range(70):
        found = known(enc=number, enc_key=bytes(length), ctr_compatibility=compatible)
        if row is None or not row.usable or not (row.key_lengths is None or row.accepts_key(length)):
            assert found is None, length
        else:
            assert found == {
                "iv": row.iv,
                "block": row.block,
                "pad_to": row.pad_to(compatible),
                "icv": row.icv,
                "aead": row.aead,
                "counter_iv": row.counter_iv,
            }, length


@compiled
@pytest.mark.parametrize("number", sorted({*AUTHENTICATIONS, 2, 8, 249, 250, 252}))
def test_authentications_are_those_of_the_table(number: int) -> None:
    row = AUTHENTICATIONS.get(number)
    for length in range(140):
        found = known(enc=11, auth=number, auth_key=bytes(length))
        if row is None or not row.usable or not row.accepts_key(length):
            assert found is None, length
        else:
            assert found is not None and found["icv"] == row.icv, length


@compiled
def test_an_sa_without_authentication() -> None:
    found = known(enc=11)
    assert found is not None and found["icv"] == 0


def test_every_source_is_built() -> None:
    with open(os.path.join(CHECKOUT, "pyproject.toml"), "rb") as file:
        (module,) = tomllib.load(file)["tool"]["setuptools"]["ext-modules"]
    built = [os.path.join(CHECKOUT, each) for each in module["sources"]]
    assert built == [os.path.join(os.path.dirname(FAST), "_fast.pyx"), *SOURCES]
    assert not [flag for flag in module["extra-compile-args"] if flag.startswith("-Wno")]


def test_python_knows_one_header() -> None:
    """Opaque handles are worth something only as long as nobody looks behind them."""
    for name in ("_fast.pyx", "_fast.pxd"):
        with open(os.path.join(os.path.dirname(FAST), name)) as file:
            text = file.read()
        assert set(re.findall(r'extern from "([^<"]+)"', text)) <= {"core.h"}
        assert "extern from *" not in text


def build(program: Path, *flags: str) -> None:
    """The fuzzer with the core, without Python."""
    fuzzer = os.path.join(os.path.dirname(__file__), "core_fuzz.c")
    strict = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", FAST, *flags]
    command = ["cc", *strict, "-o", str(program), fuzzer, *SOURCES, "-lcrypto", "-lpthread"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    if "cannot find" in done.stderr or "openssl/evp.h" in done.stderr:
        pytest.skip(f"no sanitizers or headers: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_hostile_packets_with_sanitizers(tmp_path: Path) -> None:
    """Every byte that comes from a wire or a device may be anything; see core_fuzz.c for what has to hold."""
    program = tmp_path / "core_fuzz"
    build(program, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DFAST_NO_CLONES")
    for seed in ("1", str(random.SystemRandom().getrandbits(32))):
        done = subprocess.run([str(program), seed, "150"], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
