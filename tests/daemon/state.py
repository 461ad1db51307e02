"""A simulated host of its own for a test: a state directory, and the commands with it as their environment."""

import os
import subprocess
import sys
import time
from pathlib import Path

from ipsectools.daemon import ownership

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60

SCRIPT = """\
add 192.0.2.1 192.0.2.2 esp 0x1000 -m tunnel -u 100 -E aes-gcm-16 0x0102030405060708091011121314151617181920;
add 192.0.2.2 192.0.2.1 esp 0x1001 -m tunnel -u 100
	-E rijndael-cbc "0123456789abcdef" -A hmac-sha2-256 "0123456789abcdef0123456789abcdef";
spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:7;
"""


class State:
    """One simulated host."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.environment = {
            **os.environ,
            "IPSECTOOLS_STATE": str(directory),
            "IPSECTOOLS_HOST": "simulated",
            "IPSECTOOLS_IDLE": "0",
        }

    def start(self, *command, stdin=None, **environment):
        """Starts a command of bin/."""
        program, *arguments = command
        return subprocess.Popen(
            [ROOT / "bin" / program, *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command, stdin=None, **environment):
        """Runs a command to its end: (status, standard output, standard error)."""
        process = self.start(*command, stdin=stdin, **environment)
        out, err = process.communicate(stdin, timeout=PATIENCE)
        return process.returncode, out, err

    def ok(self, *command, stdin=None, **environment):
        """Runs a command that must succeed and say nothing on standard error; its output."""
        status, out, err = self.run(*command, stdin=stdin, **environment)
        assert (status, err) == (0, ""), f"{command}: {status} {out}{err}"
        return out

    def python(self, code, *arguments):
        """Starts a Python program in this state's environment."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ipsecd(self) -> int:
        """The process that serves, 0 if none does."""
        free = ownership.acquire(str(self.directory))
        if free is not None:
            free.release()
            return 0
        found = ownership.owner(str(self.directory))
        return found[0] if found and found[1] == "ipsecd" else 0

    def wait_until_free(self):
        """Waits until nobody owns the state."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lock = ownership.acquire(str(self.directory))
            if lock is not None:
                lock.release()
                return
            time.sleep(0.01)
        raise AssertionError(f"still owned{ownership.describe_owner(str(self.directory))}")

    def close(self):
        if self.directory.is_dir() and self.ipsecd():
            self.run("ipsecd", "--stop")
