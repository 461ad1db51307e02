"""The small programs in bin/, from a checkout, through links, and where nothing is set up."""

import os
import shutil
import subprocess

from .state import PATIENCE, ROOT

PROGRAMS = sorted(path.name for path in (ROOT / "bin").iterdir())


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def test_all_are_the_same_script():
    texts = {(ROOT / "bin" / program).read_bytes() for program in PROGRAMS}
    assert len(texts) == 1
    assert [program for program in PROGRAMS if not (ROOT / "bin" / program).is_symlink()] == ["ipsectools"]
    assert {"ifconfig", "setkey", "ipsecd"} <= set(PROGRAMS)
    for program in PROGRAMS:
        assert os.access(ROOT / "bin" / program, os.X_OK)


def test_every_program_has_its_module():
    from ipsectools.programs import MODULES

    assert set(PROGRAMS) <= set(MODULES)
    for module in MODULES.values():
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


def test_ways_to_call_it(state, tmp_path):
    expected = state.ok("ifconfig", "-l")
    (tmp_path / "link").symlink_to(ROOT / "bin/ifconfig")
    (tmp_path / "bin link").symlink_to(ROOT / "bin")
    (tmp_path / "link to a link").symlink_to("link")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/another name").symlink_to("../link to a link")
    path = {**state.environment, "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}"}
    for command, options in [
        ([tmp_path / "link", "-l"], {}),
        ([tmp_path / "link to a link", "-l"], {}),
        (["below/another name", "-l"], {"cwd": tmp_path}),
        ([tmp_path / "bin link" / "ifconfig", "-l"], {}),
        (["sh", "ifconfig", "-l"], {"cwd": ROOT / "bin", "env": path}),
        (["./ifconfig", "-l"], {"cwd": ROOT / "bin"}),
        (["ifconfig", "-l"], {"env": path, "cwd": "/"}),
        (["sh", "-c", "exec ifconfig -l"], {"env": path}),
    ]:
        result = run(*command, **{"env": state.environment, **options})
        assert (result.returncode, result.stdout, result.stderr) == (0, expected, ""), command


def test_the_callers_python_settings_do_not_matter(state, tmp_path):
    (tmp_path / "socket.py").write_text("raise SystemExit('wrong module')")
    (tmp_path / "usercustomize.py").write_text("raise SystemExit('wrong module')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "socket.py"), "PYTHONHOME": "/nowhere"}
    result = run(ROOT / "bin/ifconfig", "-l", env={**state.environment, **environment}, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_a_virtual_environment(tmp_path):
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    result = run(tmp_path / "bin/setkey", "-D")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"setkey: not set up: run `make venv' in {tmp_path.resolve()}\n"


def test_installed(state, tmp_path):
    """As `make install` puts it: a virtual environment in lib/ipsectools with the package in it."""
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    library = tmp_path / "lib/ipsectools"
    (library / "bin").mkdir(parents=True)
    os.symlink(os.path.realpath(ROOT / ".venv/bin/python"), library / "bin/python")
    shutil.copy(ROOT / ".venv/pyvenv.cfg", library)
    (packages,) = (ROOT / ".venv/lib").glob("python3*")
    site = library / "lib" / packages.name / "site-packages"
    site.parent.mkdir(parents=True)
    site.mkdir()
    shutil.copytree(ROOT / "ipsectools", site / "ipsectools", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for library_package in (packages / "site-packages").iterdir():
        if not (site / library_package.name).exists():
            os.symlink(library_package, site / library_package.name)
    result = run(tmp_path / "bin/ifconfig", "ipsec", "create", env=state.environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ipsec0\n", "")
    result = run(tmp_path / "bin/ipsecd", env=state.environment)
    assert (result.returncode, result.stderr) == (0, "")
    with open(f"/proc/{state.ipsecd()}/cmdline") as file:
        assert str(site) in file.read()


def test_a_reader_that_has_seen_enough(state):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        process = subprocess.run(
            [ROOT / "bin/ifconfig", "-a"],
            env=state.environment,
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (process.returncode, process.stderr) == (-13, b"")


def test_a_full_disk_is_an_error(state):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [ROOT / "bin/ifconfig", "-a"],
            env=state.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (process.returncode, process.stderr) == (1, b"ifconfig: No space left on device\n")
