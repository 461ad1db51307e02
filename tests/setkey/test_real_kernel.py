"""The command and a kernel that fails it: ipsecd killed in mid-script, a state directory on a full disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.state import PATIENCE, ROOT, State

FIRST = 0x1000
KEY = "0x" + "07" * 20


def adds(count: int, first: int = FIRST) -> str:
    return "".join(f"add 192.0.2.1 192.0.2.2 esp {first + i} -E aes-gcm-16 {KEY};\n" for i in range(count))


def spis(dump: str) -> list[int]:
    return sorted(int(spi) for spi in re.findall(r" spi=(\d+)\(", dump))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    state = State(directory)
    yield state
    state.close()


def kill(state: State) -> None:
    pid = state.ipsecd()
    assert pid
    os.kill(pid, signal.SIGKILL)
    state.wait_until_free()


def test_ipsecd_killed_in_mid_script(state: State, tmp_path: Path) -> None:
    """setkey says so and ends with 1; what was done before is a beginning of the script, and is still there."""
    state.ok("ipsecd")
    count, done = 30_000, 500
    last = f"get 192.0.2.1 192.0.2.2 esp {FIRST + done - 1};\n"
    (tmp_path / "conf").write_text(adds(done) + last + adds(count - done, FIRST + done))
    process = state.start("setkey", "-f", str(tmp_path / "conf"))
    assert process.stdout
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    first = process.stdout.readline()  # comes while most of the script is still to be read
    kill(state)
    _, err = process.communicate(timeout=PATIENCE)
    guard.cancel()
    assert first == "192.0.2.1 192.0.2.2\n"
    assert process.returncode == 1
    assert err == "setkey: ipsecd ended during a request\n"
    found = spis(state.ok("setkey", "-D"))
    assert found == list(range(FIRST, FIRST + len(found)))
    assert done <= len(found) < count


def test_ipsecd_killed_while_setkey_waits_for_input(state: State) -> None:
    """The next statement finds it out."""
    process = state.start("setkey", "-c", stdin="")
    assert process.stdin and process.stdout
    process.stdin.write(adds(1) + "dump;\n")
    process.stdin.flush()
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    assert process.stdout.readline() == "192.0.2.1 192.0.2.2\n"
    kill(state)
    _, err = process.communicate(adds(1, 0x2000), timeout=PATIENCE)
    guard.cancel()
    assert (process.returncode, err) == (1, "setkey: ipsecd ended during a request\n")
    assert spis(state.ok("setkey", "-D")) == [FIRST]


FULL_DISK = """\
mount -t tmpfs -o size=2m,mode=700 tmpfs "$IPSECTOOLS_STATE" || exit 77
{start}
"$1/setkey" -f "$2/before" || exit 1
cat /dev/zero >"$IPSECTOOLS_STATE/filler" 2>"$2/filled"
"$1/setkey" -f "$2/conf" >"$2/out" 2>"$2/err"; echo $? >"$2/status"
"$1/setkey" -D >"$2/full" 2>&1
rm "$IPSECTOOLS_STATE/filler"
"$1/setkey" -D >"$2/after"
"$1/setkey" -F >"$2/flush" 2>&1
"$1/setkey" -D >>"$2/flush"
{stop}
umount "$IPSECTOOLS_STATE"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
@pytest.mark.parametrize("served", [False, True], ids=["embedded", "served"])
def test_a_full_disk(state: State, tmp_path: Path, served: bool) -> None:
    """Each statement that finds no room says so and has not happened, alone or among others; the script goes on."""
    before, count = 20, 60
    (tmp_path / "before").write_text(adds(before))
    (tmp_path / "conf").write_text(adds(count, FIRST + before))
    start, stop = ('"$1/ipsecd"', '"$1/ipsecd" --stop') if served else ("", "")
    script = FULL_DISK.format(start=start, stop=stop)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(ROOT / "bin"), str(tmp_path)],
        env=state.environment,
        timeout=2 * PATIENCE,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("no tmpfs to be mounted here")
    text = {name: (tmp_path / name).read_text() for name in ("out", "err", "status", "full", "after", "flush")}
    assert (text["status"], text["out"]) == ("0\n", "")
    refused = text["err"].splitlines()
    full = f"{state.directory}/state.db: no space left on device"
    kept = spis(text["after"])
    assert refused and set(refused) == {"send: No space left on device"}
    assert len(kept) == before + count - len(refused)
    assert kept[:before] == list(range(FIRST, FIRST + before))
    assert spis(text["full"]) == kept or text["full"] == f"pfkey_open: {full}\n"
    assert text["flush"] == "No SAD entries.\n"
