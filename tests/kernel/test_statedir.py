"""Which state directory it is, and that it is ours alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipsectools.kernel import statedir
from ipsectools.kernel.errors import StateError

from .driver import Driver


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPSECTOOLS_STATE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPSECTOOLS_STATE", f"{tmp_path}/state")
    assert statedir.choose() == f"{tmp_path}/state"
    previous = os.umask(0)
    try:
        assert statedir.prepare() == f"{tmp_path}/state"
    finally:
        os.umask(previous)
    assert os.stat(f"{tmp_path}/state").st_mode & 0o7777 == 0o700
    assert statedir.prepare() == f"{tmp_path}/state"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPSECTOOLS_STATE", "state")
    assert statedir.prepare() == f"{tmp_path}/state"


def test_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StateError, match="no place for the state"):
        statedir.choose()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert statedir.choose() == "/run/user/1000/ipsectools"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    with pytest.raises(StateError):
        statedir.choose()


def test_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    name = statedir.namespace_name()
    assert statedir.choose() == f"/run/ipsectools/{name}"
    assert name == statedir.namespace_name()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_namespaces_differ() -> None:
    code = "from ipsectools.kernel import statedir; print(statedir.namespace_name())"
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() != statedir.namespace_name()


@pytest.mark.parametrize("fault", ["mode", "owner", "file", "symlink", "parent"])
def test_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "state"
    monkeypatch.setenv("IPSECTOOLS_STATE", str(path / "deep" if fault == "parent" else path))
    if fault == "mode":
        path.mkdir(0o750)
        path.chmod(0o750)
    elif fault == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root can give directories away")
        path.mkdir(0o700)
        os.chown(path, 12345, 12345)
    elif fault == "file":
        path.touch()
    elif fault == "symlink":
        (tmp_path / "target").mkdir(0o700)
        path.symlink_to(tmp_path / "target")
    with pytest.raises(StateError) as caught:
        statedir.prepare()
    assert str(caught.value).startswith(f"{path}")
    assert "\n" not in str(caught.value)


def test_has_ipsec_interfaces(tmp_path: Path) -> None:
    path = f"{tmp_path}/state.db"
    assert not statedir.has_ipsec_interfaces(str(tmp_path))
    driver = Driver(path)
    assert not statedir.has_ipsec_interfaces(str(tmp_path))  # somebody owns it
    driver.restart()
    driver.call("SIOCIFCREATE2", name="epair")
    driver.kernel.close()
    assert not statedir.has_ipsec_interfaces(str(tmp_path))
    driver = Driver(path)
    driver.call("SIOCIFCREATE2", name="ipsec")
    driver.kernel.close()
    assert statedir.has_ipsec_interfaces(str(tmp_path))
    Path(path).write_bytes(b"")
    assert not statedir.has_ipsec_interfaces(str(tmp_path))


def test_light_imports() -> None:
    """It is on the way of every command."""
    code = "import sys; import ipsectools.kernel.statedir; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60
    )
    assert not {"sqlite3", "re", "json", "socket", "typing"} & set(run.stdout.split()), run.stdout
