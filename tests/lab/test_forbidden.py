"""Where the system allows neither root's rights nor user namespaces: the same commands, simulated, and one line why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipsectools.lab.host import CHECKOUT

# A user namespace in which no further one is allowed, and a process in it without any capability.
FORBID = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --no-new-privs"


def test_demo_says_what_is_missing() -> None:
    forbidden = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{FORBID} "$@"', "sh"]
    try:
        subprocess.run([*forbidden, "true"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces here in which to forbid user namespaces")
    result = subprocess.run(
        [*forbidden, sys.executable, "-m", "ipsectools.lab"],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result
    assert result.stderr == ""
    reasons = [line for line in result.stdout.splitlines() if line.startswith("No packets can flow here: ")]
    assert len(reasons) == 1
    assert "user namespaces" in reasons[0] or "/dev/net/tun" in reasons[0]
    assert "A# setkey -D" in result.stdout
