"""One key for two SAs: said in ipsecd's log, by setkey at a terminal, by doctor and why, and nowhere else."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.daemon.state import PATIENCE, ROOT
from tests.umbrella.test_why import INSIDE, ready

if TYPE_CHECKING:
    from tests.daemon.state import State

__all__ = ["ready"]

KEY = "0x" + "5a" * 20
SCRIPT = (
    f"add 192.168.0.3 192.168.0.5 esp 10000 -m tunnel -u 100 -E aes-gcm-16 {KEY};\n"
    f"add 192.168.0.5 192.168.0.3 esp 10001 -m tunnel -u 100 -E aes-gcm-16 {KEY};\n"
)
TEXT = "SPIs 10000, 10001 have the same key, in both directions"
FIX = "give each a key of its own (setkey(8), Counter mode keys by hand)"


def setkey_at_a_terminal(host: State, script: str, which: int = 2) -> tuple[str, str]:
    """What a setkey prints to a terminal that is one of its descriptors (1, 2), and what it prints elsewhere."""
    ours, theirs = os.openpty()
    streams = {1: subprocess.PIPE, 2: subprocess.PIPE} | {which: theirs}
    with subprocess.Popen(
        [ROOT / "bin" / "setkey", "-c"],
        env=host.environment,
        stdin=subprocess.PIPE,
        stdout=streams[1],
        stderr=streams[2],
        text=True,
    ) as process:
        os.close(theirs)
        rest = "".join(part or "" for part in process.communicate(script, timeout=PATIENCE))
    assert process.returncode == 0
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:  # EIO: nobody has the other side any more
        pass
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), rest


def test_setkey_says_it_at_a_terminal_only(host: State) -> None:
    warning = f"setkey: warning: {TEXT}: {FIX}\n"
    for served in (False, True):
        if served:
            host.ok("ipsecd")
        host.ok("setkey", "-c", stdin="flush;\n" + SCRIPT)  # nothing on standard error, which is a pipe
        assert setkey_at_a_terminal(host, "flush;\n" + SCRIPT) == (warning, "")
        assert setkey_at_a_terminal(host, "flush;\n" + SCRIPT, which=1) == ("", "")
        assert setkey_at_a_terminal(host, "dump esp;\n")[0] == ""
        other = "add 192.168.0.3 192.168.0.5 esp 4711 -m tunnel -u 100 -E aes-gcm-16 0x" + "77" * 20 + ";\n"
        assert setkey_at_a_terminal(host, other) == ("", "")


def test_doctor_and_why(ready: State) -> None:
    assert "same key" not in ready.run("ipsectools", "doctor")[1]
    ready.ok("setkey", "-c", stdin=SCRIPT)
    assert f"note    {TEXT}; {FIX}\n" in ready.run("ipsectools", "doctor")[1]
    assert f"key:       {TEXT}; {FIX}\n" in ready.ok("ipsectools", "why", *INSIDE)
    ready.ok("setkey", "-c", stdin="delete 192.168.0.5 192.168.0.3 esp 10001;\n")
    assert "same key" not in ready.run("ipsectools", "doctor")[1]
    assert "same key" not in ready.ok("ipsectools", "why", *INSIDE)


def test_the_log_says_it_once_for_each_key(host: State) -> None:
    process = host.start("ipsecd", "-f")
    assert process.stderr
    while "serving" not in process.stderr.readline():
        assert process.poll() is None
    host.ok("setkey", "-c", stdin=SCRIPT)
    host.ok("setkey", "-c", stdin=SCRIPT.replace("esp 1000", "esp 2000"))  # more with the same key
    host.ok("setkey", "-c", stdin="flush;\n" + SCRIPT)
    many = "".join(SCRIPT.replace("esp 1000", f"esp {n}0").replace(KEY, f"0x{n:040x}") for n in range(100, 130))
    host.ok("setkey", "-c", stdin=many)
    host.ok("ipsecd", "--stop")
    _, log = process.communicate(timeout=PATIENCE)
    said = [line for line in log.splitlines() if "key" in line]
    assert said[:2] == [f"ipsecd: {TEXT}: {FIX}"] * 2
    assert len(said) == 2 + 15 + 1 and "further" in said[-1]
    assert KEY[2:] not in log and f"{111:040x}" not in log
    process = host.start("ipsecd", "-f")  # and at a start with what is there
    assert process.stderr
    lines = []
    while not lines or "serving" not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1]
    host.ok("ipsecd", "--stop")
    process.communicate(timeout=PATIENCE)
    assert lines[0] == f"ipsecd: {TEXT}: {FIX}\n"
