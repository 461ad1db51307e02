"""The project's own files: what `make` says, what the README names, what must not stand in the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.host import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


def read(name: str) -> str:
    with open(os.path.join(CHECKOUT, name), encoding="utf-8") as file:
        return file.read()


def run(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | more
    # A make inside `make test` must not take over its parent's flags.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    return subprocess.run(argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_make_alone_lists_the_targets() -> None:
    result = run("make")
    assert result.returncode == 0
    for target in ("venv", "demo", "test", "long", "fresh", "check", "install", "clean"):
        assert re.search(rf"^  make {target} ", result.stdout, re.M), target


def test_every_target_of_the_makefile_is_explained() -> None:
    makefile = read("Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## ", makefile, re.M), target


def test_readme_commands_are_targets() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", read("README.md")))
    assert {"demo", "test"} <= named
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    assert named <= targets


def test_ci_runs_the_readme_s_test_command() -> None:
    script = read(".ci/run")
    assert "make test\n" in script
    assert os.access(os.path.join(CHECKOUT, ".ci", "run"), os.X_OK)


def test_ci_ends_within_45_minutes() -> None:
    """Whatever hangs: the bounds of its parts add up."""
    bounds = re.findall(r"\btimeout (?:--kill-after=(\d+) )?(\d+) ", read(".ci/run"))
    commands = re.findall(r"^.*\b(?:make|sh \.make/\w+)\b.*$", re.sub("(?m)^#.*$", "", read(".ci/run")), re.M)
    assert len(bounds) == len(commands) == 3
    assert sum(int(more or 0) + int(seconds) for more, seconds in bounds) <= 45 * 60


def test_fresh_machines_are_said_not_to_be_had(tmp_path: Path) -> None:
    assert run("sh", ".make/fresh", "11-root").returncode == 2
    for name in ("sh", "dirname", "id"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    skipped = run("sh", ".make/fresh", "12-root", PATH=str(tmp_path))
    assert (skipped.returncode, skipped.stdout.startswith("fresh: skipped: ")) == (77, True), skipped


def test_files_that_the_readme_names_exist() -> None:
    missing = [n for n in re.findall(r"`(man/\S+?|\S+\.md|bin/)`", read("README.md")) if not exists(n)]
    assert not missing


def test_the_readme_names_every_command() -> None:
    readme = read("README.md")
    for command in os.listdir(os.path.join(CHECKOUT, "bin")):
        assert f"`{command}`" in readme, command


def exists(name: str) -> bool:
    return os.path.exists(os.path.join(CHECKOUT, name))


@pytest.mark.parametrize("script", sorted(os.listdir(os.path.join(CHECKOUT, ".make"))))
def test_shell_scripts_parse(script: str) -> None:
    if not script.endswith(".py"):
        assert run("sh", "-n", f".make/{script}").returncode == 0


def test_python_is_found_or_said_to_be_missing() -> None:
    found = run("sh", ".make/find-python", PYTHON="")
    assert found.returncode == 0
    assert os.path.basename(found.stdout.strip()).startswith("python3")
    assert run("sh", ".make/find-python", PYTHON="/bin/false").returncode == 1
    refused = run("sh", ".make/make-venv", "no-such-directory/venv", PYTHON="/bin/false")
    assert refused.returncode == 1
    assert "Python 3.11" in refused.stderr


def test_installing_needs_an_absolute_prefix() -> None:
    result = run("make", "-s", "install", "PREFIX=relative")
    assert result.returncode != 0
    assert "absolute" in result.stderr
