"""As a newcomer would: a fresh clone, an empty home directory, the README's first command, and `make install`."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.host import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    if not os.path.isdir(os.path.join(CHECKOUT, ".git")) or not shutil.which("git"):
        pytest.skip("not a git checkout")
    target = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", CHECKOUT, target], check=True, timeout=120)
    return target


def newcomer(directory: Path, *argv: str, timeout: float = 900, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Runs a command as somebody who has set up nothing: an empty home, nothing of our environment but PATH."""
    home = directory.parent / "home"
    home.mkdir(exist_ok=True)
    # What reaches the package registry on this machine, if it is set up in the environment, is the machine's.
    keep = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k.lower().endswith("_proxy")}
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.startswith(CHECKOUT))
    return subprocess.run(
        argv,
        cwd=directory,
        env=keep | {"HOME": str(home), "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        umask=umask,
    )


INSTALLED = [
    ("ifconfig ipsec0 create reqid 100", ""),
    ("ifconfig ipsec0", "reqid: 100"),
    ("setkey -D", "No SAD entries."),
    ("sysctl net.inet.ipsec.def_policy", "net.inet.ipsec.def_policy: 1"),
    ("netstat -I ipsec0", "ipsec0*"),
    ("kldload if_ipsec", ""),
    ("kldstat", "ipsec"),
    ("ipsecd --status", "(simulated)"),
    ("ipsectools stats", ""),
    ("ifconfig ipsec0 destroy", ""),
    ("kldunload if_ipsec", ""),
]


@pytest.mark.timeout(600)
def test_the_first_command_of_the_readme(clone: Path) -> None:
    """The second one, `make test`, is run on machines as fresh as that by `make fresh`."""
    demo = newcomer(clone, "make", "demo")
    assert demo.returncode == 0, demo.stdout[-2000:] + demo.stderr[-2000:]
    assert "A# setkey -c" in demo.stdout
    said = [line for line in demo.stdout.splitlines() if line.startswith(("make-venv: ", "build-native: "))]
    assert len(said) >= 4, "it does not say what takes so long"
    again = newcomer(clone, "make", "venv", timeout=60)
    assert "Nothing to be done" in again.stdout, "a second `make` sets up again"
    changed = newcomer(clone, "git", "status", "--porcelain")
    assert changed.stdout == "", "the command leaves files that git does not ignore"


@pytest.mark.timeout(600)
def test_install_and_uninstall(clone: Path, tmp_path: Path) -> None:
    made = newcomer(clone, "make", "install", f"DESTDIR={tmp_path}/stage", "PREFIX=/opt/ipsectools", umask=0o077)
    assert made.returncode == 0, made.stderr
    # Installed means: it works where PREFIX says, without the checkout, for everybody.
    staged = tmp_path / "stage" / "opt" / "ipsectools"
    final = tmp_path / "final"
    shutil.move(staged, final)
    shutil.rmtree(clone / "ipsectools")
    assert not [path for path in final.rglob("*") if not path.stat().st_mode & 0o004]
    environment = {"PATH": "/usr/bin:/bin", "IPSECTOOLS_HOST": "simulated", "IPSECTOOLS_STATE": str(tmp_path / "state")}
    for line, wanted in INSTALLED:
        command, *arguments = line.split()
        argv = [str(final / "bin" / command), *arguments]
        result = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0 and "Traceback" not in result.stderr, result
        assert wanted in result.stdout
    assert {line.split()[0] for line, _ in INSTALLED} == set(os.listdir(final / "bin"))
    for name in ("man/man4/if_ipsec.4", "bash-completion/completions/ifconfig", "zsh/site-functions/_ifconfig"):
        assert (final / "share" / name).stat().st_size > 0
    service = (final / "lib" / "systemd" / "system" / "ipsecd.service").read_text()
    assert "ExecStart=/opt/ipsectools/bin/ipsecd " in service
    shutil.move(tmp_path / "final", staged)
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True, timeout=60)
    gone = newcomer(clone, "make", "uninstall", f"DESTDIR={tmp_path}/stage", "PREFIX=/opt/ipsectools")
    assert gone.returncode == 0, gone.stderr
    assert not [path for path in staged.rglob("*") if not path.is_dir()]
