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
    for target in phony_targets(makefile):
        assert re.search(rf"^{target}:.*## ", makefile, re.M), target


def phony_targets(makefile: str) -> set[str]:
    lines = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    return {target for line in lines for target in line.split()}


def test_every_target_that_is_no_file_is_phony() -> None:
    """A file of that name, `test` say, must not make make think that there is nothing to do."""
    makefile = read("Makefile")
    targets = {name for line in re.findall(r"^([^\s#:=.][^#:=]*):(?!=)", makefile, re.M) for name in line.split()}
    assert {"help", "test", "uninstall"} <= targets
    assert {name for name in targets if not name.startswith("$(VENV)/")} == phony_targets(makefile)


def test_readme_commands_are_targets() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", read("README.md")))
    assert {"demo", "test"} <= named
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    assert named <= targets


def test_ci_runs_the_readme_s_test_command() -> None:
    script = read(".ci/run")
    assert "make test\n" in script
    assert "make check\n" in script
    assert os.access(os.path.join(CHECKOUT, ".ci", "run"), os.X_OK)


def test_ci_ends_within_45_minutes() -> None:
    """Whatever hangs: the bounds of its parts add up."""
    bounds = re.findall(r"\btimeout (?:--kill-after=(\d+) )?(\d+) ", read(".ci/run"))
    commands = re.findall(r"^.*\b(?:make|sh \.make/\w+)\b.*$", re.sub("(?m)^#.*$", "", read(".ci/run")), re.M)
    assert len(bounds) == len(commands) == 3
    assert sum(int(more or 0) + int(seconds) for more, seconds in bounds) <= 45 * 60


def test_a_manual_page_that_mandoc_does_not_like_fails_the_check(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    pages = sorted(f"man/{name}" for name in os.listdir(os.path.join(CHECKOUT, "man")))
    linted = run("sh", ".make/lint-manuals", *pages)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")
    bad = tmp_path / "bad.8"
    bad.write_text(read(pages[0]) + ".No Such Macro\n.Xyz\n", encoding="utf-8")
    assert run("sh", ".make/lint-manuals", str(bad), *pages).returncode == 1


def test_make_check_looks_at_every_manual_page() -> None:
    dry = run("make", "-n", "check")
    assert dry.returncode == 0
    linting = next(line.split() for line in dry.stdout.splitlines() if ".make/lint-manuals" in line)
    pages = os.listdir(os.path.join(CHECKOUT, "man"))
    assert {f"man/{page}" for page in pages} <= set(linting)


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
