"""sysctl(8) on a simulated host, against FreeBSD's formats, errors and exit statuses."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools.commands import hosttool
from ipsectools.commands.sysctl.main import parse_number, split
from tests.daemon.state import ROOT, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USAGE = """usage: sysctl [-bdehiNnoqtTWx] [ -B <bufsize> ] [-f filename] name[=value] ...
       sysctl [-bdehNnoqtTWx] [ -B <bufsize> ] -a
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state")
    yield state
    state.close()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """A host that the tests only look at."""
    state = State(tmp_path_factory.mktemp("sysctl") / "state")
    state.ok("ipsecd")
    yield state
    state.close()


ROWS = [
    ("net.inet.ipsec.dfbit", "net.inet.ipsec.dfbit: 0\n"),
    ("-n net.key.larval_lifetime net.key.spi_trycnt", "30\n1000\n"),
    ("-e net.key.larval_lifetime", "net.key.larval_lifetime=30\n"),
    ("-N net.inet.esp.esp_enable", "net.inet.esp.esp_enable\n"),
    ("-t net.inet.ipsec.ecn net.key.debug net.key.recvspace", "net.inet.ipsec.ecn: integer\n"
     "net.key.debug: integer\nnet.key.recvspace: unsigned long\n"),
    ("-nt net.inet.esp.stats", "opaque\n"),
    ("-x net.key.spi_maxval", "net.key.spi_maxval: 0x0fffffff\n"),
    ("-x net.key.sendspace", "net.key.sendspace: 0x0000000000002000\n"),
    ("-x net.inet.ipsec.ecn", "net.inet.ipsec.ecn: 0000000000\n"),
    ("-o net.inet6.ipsec6.ipsecstats",
     f"net.inet6.ipsec6.ipsecstats: Format:S,ipsecstat Length:128 Dump:0x{'0' * 32}...\n"),
    ("-nx net.inet.ipsec.ipsecstats", f"Format:S,ipsecstat Length:128 Dump:0x{'0' * 256}\n"),
    ("net.inet.esp.stats", ""),
    ("net.inet.esp", "net.inet.esp.esp_enable: 1\nnet.inet.esp.ctr_compatibility: 1\n"),
    ("-T net.key", "net.key.spdcache.maxentries: 0\nnet.key.spdcache.threshold: 32\n"),
    ("kern.features.ipsec", "kern.features.ipsec: 1\n"),
    ("net.fibs", "net.fibs: 1\n"),
    ("-i net.key.nothing net.key.debug", "net.key.debug: 0\n"),
    ("net.inet.ipsec.def_policy.", "net.inet.ipsec.def_policy: 1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "output"), ROWS)
def test_what_is_shown(untouched: State, arguments: str, output: str) -> None:
    assert untouched.run("sysctl", *arguments.split()) == (0, output, "")


ERRORS = [
    ("net.key.nothing", 1, "", "unknown oid 'net.key.nothing'"),
    ("net.key.nothing=1", 1, "", "unknown oid 'net.key.nothing'"),
    ("net.inet.esp.x net.key.debug net.fibs.y", 2, "net.key.debug: 0\n",
     "unknown oid 'net.inet.esp.x'\nsysctl: unknown oid 'net.fibs.y'"),
    ("net.inet.esp=1", 1, "", "oid 'net.inet.esp' isn't a leaf node"),
    ("kern.features.ipsec=0", 1, "", "oid 'kern.features.ipsec' is read only"),
    ("net.key.spdcache.maxentries=1", 1, "", "oid 'net.key.spdcache.maxentries' is a read only tunable\n"
     "sysctl: Tunable values are set in /boot/loader.conf"),
    ("net.inet.esp.stats=0", 1, "", "oid 'net.inet.esp.stats' is type 5, cannot set that"),
    ("net.key.debug=", 1, "", "empty numeric value"),
    ("net.key.debug=1x", 1, "", "invalid integer '1x'"),
    ("net.fibs=1x", 1, "", "invalid unsigned integer '1x'"),
    ("net.inet.ipsec.ecn=99999999999", 1, "", "invalid integer '99999999999'"),
    ("net.inet.ipsec.def_policy=2", 1, "net.inet.ipsec.def_policy: 1\n",
     "net.inet.ipsec.def_policy=2: Invalid argument"),
    ("net.fibs=0", 1, "net.fibs: 1\n", "net.fibs=0: Invalid argument"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "output", "errors"), ERRORS)
def test_errors(untouched: State, arguments: str, status: int, output: str, errors: str) -> None:
    assert untouched.run("sysctl", *arguments.split()) == (status, output, f"sysctl: {errors}\n")


def test_quiet_says_nothing_and_fails(untouched: State) -> None:
    assert untouched.run("sysctl", "-q", "net.key.nothing") == (1, "", "")


@pytest.mark.parametrize("arguments", [[], ["-n"], ["-nN", "net.fibs"], ["-f"], ["-Z"]])
def test_usage(untouched: State, arguments: list[str]) -> None:
    status, output, errors = untouched.run("sysctl", *arguments)
    assert (status, output) == (1, "")
    assert errors.endswith(USAGE)


def test_setting(host: State) -> None:
    assert host.ok("sysctl", "net.inet.ipsec.dfbit=2") == "net.inet.ipsec.dfbit: 0 -> 2\n"
    assert host.ok("sysctl", "-n", "net.inet.ipsec.dfbit=0x1") == "2 -> 1\n"
    assert host.ok("sysctl", "-e", "net.inet.ipsec.ecn=-1") == "net.inet.ipsec.ecn=0 -> -1\n"
    assert host.ok("sysctl", "-N", "net.inet.ipsec.ecn=1") == "net.inet.ipsec.ecn -> net.inet.ipsec.ecn\n"
    assert host.ok("sysctl", "net.inet.ipsec.def_policy: 0") == "net.inet.ipsec.def_policy: 1 -> 0\n"
    # one variable with two names
    assert host.ok("sysctl", "-n", "net.inet6.ipsec6.def_policy", "net.inet.ipsec.dfbit") == "0\n1\n"
    assert host.ok("sysctl", "-x", "net.inet.ipsec.ecn=-1") == "net.inet.ipsec.ecn: 0x00000001 -> 0xffffffff\n"


def test_a_file(host: State, tmp_path: Path) -> None:
    path = tmp_path / "sysctl.conf"
    path.write_text(
        "# comment\n\nnet.key.debug=3  # why\nnet.key.nothing=1\nnet.inet.ipsec.ecn = 1\nnet.key.spdcache.threshold=1\n"
    )
    status, output, errors = host.run("sysctl", "-f", str(path), "net.fibs")
    assert status == 2
    assert output == "net.key.debug: 0 -> 3\nnet.inet.ipsec.ecn: 0 -> 1\nnet.fibs: 1\n"
    assert errors.splitlines() == [
        "sysctl: unknown oid 'net.key.nothing' at line 4",
        "sysctl: oid 'net.key.spdcache.threshold' is a read only tunable at line 6",
        "sysctl: Tunable values are set in /boot/loader.conf",
    ]
    assert host.run("sysctl", "-f", "/nowhere") == (66, "", "sysctl: /nowhere: No such file or directory\n")


def test_all_of_them(untouched: State) -> None:
    names = untouched.ok("sysctl", "-aN").splitlines()
    assert names.index("net.inet.ipsec.dfbit") < names.index("net.key.debug")
    described = untouched.ok("sysctl", "-ad").splitlines()
    assert "net.inet.ipsec.dfbit: DF of the outer header (0: clear, 1: set, 2: copy)" in described


def test_bytes(untouched: State) -> None:
    result = subprocess.run(
        [ROOT / "bin" / "sysctl", "-b", "net.inet.esp.stats", "net.key.debug", "net.key.sendspace"],
        env=untouched.environment,
        capture_output=True,
        check=True,
    )
    assert result.stdout == bytes(276 * 8) + struct.pack("=IQ", 0, 8192)


@pytest.mark.skipif(hosttool.find("sysctl") is None, reason="this host has no sysctl of its own")
def test_other_names_are_the_hosts(untouched: State) -> None:
    assert untouched.ok("sysctl", "-n", "kernel.ostype") == "Linux\n"
    status, output, errors = untouched.run("sysctl", "kernel.no_such_thing", "net.fibs")
    assert (status, output) == (1, "net.fibs: 1\n")
    assert "no_such_thing" in errors
    assert "kernel.ostype" in untouched.ok("sysctl", "-aN").splitlines()


def test_other_names_on_a_host_without_sysctl(untouched: State, tmp_path: Path) -> None:
    (tmp_path / "sysctl").write_text("#!/bin/sh\n# ipsectools: not the host's\n")
    assert untouched.run("sysctl", "-d", "vm.swap_total") == (1, "", "sysctl: unknown oid 'vm.swap_total'\n")


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("10", "int", 10),
        (" 10", "int", 10),
        ("+7", "int", 7),
        ("-7", "int", -7),
        ("010", "int", 8),
        ("0x1F", "int", 31),
        ("0X1f", "unsigned int", 31),
        ("08", "int", None),
        ("0x", "int", None),
        ("1_0", "int", None),
        ("--1", "int", None),
        ("10 ", "int", None),
        ("٣", "int", None),
        ("2147483647", "int", 2**31 - 1),
        ("2147483648", "int", None),
        ("-1", "unsigned int", None),
        ("4294967296", "unsigned long", 2**32),
        ("9" * 5000, "unsigned long", None),
    ],
)
def test_numbers(text: str, kind: str, number: int | None) -> None:
    assert parse_number(text, kind) == number


@pytest.mark.parametrize(
    ("word", "parts"),
    [("a.b", ("a.b", None)), ("a = 1", ("a", "1")), ("a: 1", ("a", "1")), ("a='x y'", ("a", "x y")), ("a=", ("a", ""))],
)
def test_words(word: str, parts: tuple[str, str | None]) -> None:
    assert split(word) == parts
