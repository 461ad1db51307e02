"""Which state directory it is, and that it is ours alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipsectools.kernel import statedir
from ipsectools.kernel.errors import StateError
from ipsectools.kernel.namespace import namespace_name

from .driver import Driver
from .linux_like import LinuxLike


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPSECTOOLS_STATE", "IPSECTOOLS_HOST", "XDG_RUNTIME_DIR"):
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


def test_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a directory of his own for such things an ordinary user has one in /tmp."""
    user = os.geteuid() or 12345
    monkeypatch.setattr(os, "geteuid", lambda: user)
    fallback = f"/run/user/{user}/ipsectools" if os.path.isdir(f"/run/user/{user}") else f"/tmp/ipsectools-{user}"
    for useless in ("", "relative", "/proc", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
        assert statedir.choose() == fallback
    os.chown(tmp_path, user, -1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert statedir.choose() == f"{tmp_path}/ipsectools"
    monkeypatch.setenv("IPSECTOOLS_HOST", "simulated")
    assert statedir.choose() == f"{tmp_path}/ipsectools/simulated"


def test_each_kind_of_host_opens_its_own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPSECTOOLS_STATE", str(tmp_path))
    tmp_path.chmod(0o700)
    for host, kind in ((None, "simulated"), (LinuxLike(), "linux")):
        Driver(f"{tmp_path}/state.db", host=host).kernel.close()
        assert statedir.is_of_simulation(str(tmp_path)) == (kind == "simulated")
        other = "linux" if kind == "simulated" else "simulated"
        monkeypatch.setenv("IPSECTOOLS_HOST", kind)
        assert statedir.prepare() == statedir.existing() == str(tmp_path)
        monkeypatch.setenv("IPSECTOOLS_HOST", other)
        assert statedir.existing() == ""
        with pytest.raises(StateError, match="the state of a"):
            statedir.prepare()
        os.unlink(tmp_path / "state.db")


def test_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    name = namespace_name()
    assert statedir.choose() == f"/run/ipsectools/{name}"
    assert name == namespace_name()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_namespaces_differ() -> None:
    code = "from ipsectools.kernel.namespace import namespace_name; print(namespace_name())"
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() != namespace_name()


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


def test_moves_packets(tmp_path: Path) -> None:
    path = f"{tmp_path}/state.db"
    assert not statedir.moves_packets(str(tmp_path))
    driver = Driver(path)
    assert not statedir.moves_packets(str(tmp_path))  # somebody owns it
    driver.restart()
    driver.call("SIOCIFCREATE2", name="epair")
    driver.kernel.close()
    assert not statedir.moves_packets(str(tmp_path))
    driver = Driver(path)
    driver.call("SIOCIFCREATE2", name="ipsec")
    driver.kernel.close()
    assert statedir.moves_packets(str(tmp_path))
    Path(path).write_bytes(b"")
    assert not statedir.moves_packets(str(tmp_path))


def test_light_imports() -> None:
    """It is on the way of every command."""
    code = "import sys; import ipsectools.kernel.statedir; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60
    )
    assert not {"sqlite3", "re", "json", "socket", "typing"} & set(run.stdout.split()), run.stdout
