"""Devices belong to the user who made them, also within a user namespace and against one that is root in his own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import ctypes, errno, fcntl, os, struct, sys
from ipsectools.host.linux import changes, host, tun

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

def unshare(what):
    if libc.unshare(what):
        print("refused:", os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()

def attach():
    try:
        fcntl.ioctl(device, tun.TUNSETIFF, struct.pack("16sH22x", b"ipsec0", tun.IFF_TUN | tun.IFF_NO_PI))
        print("attached", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)

unshare(CLONE_NEWUSER)
print("ready", flush=True)
sys.stdin.readline()
os.setgid(0)
os.setuid(0)
unshare(CLONE_NEWNET)
linux = host.LinuxHost()
try:
    index = linux.create_tun("ipsec0", 1400)
except Exception as error:
    print("refused:", error, flush=True)
    sys.exit()
linux.claim_tun(index)
print(linux.link(index).owner, flush=True)
device = os.open(tun.TUN_DEVICE, os.O_RDWR)
if os.fork() == 0:
    os.setgroups([])
    os.setgid(1)
    os.setuid(1)
    print(host.rtnetlink.Reader().link(index).owner, flush=True)
    attach()
    libc.prctl(4, 1, 0, 0, 0)  # dumpable again, else /proc/self is not his
    unshare(CLONE_NEWUSER)
    with open("/proc/self/uid_map", "w") as file:
        file.write("0 1 1")
    attach()
    os._exit(0)
os.wait()
attach()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: no second user")
def test_another_user_of_a_user_namespace() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        said = process.stdout.readline()
        if said == "ready\n":
            for kind in ("uid", "gid"):
                Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 1\n1 100000 1\n")
            said, _ = process.communicate("go\n", timeout=60)
    if "refused" in said:
        pytest.skip(said)
    # The maker's word, then the other user's: whose it is, attached, attached as root of a namespace of his own.
    assert said.split() == ["us", "others", "EPERM", "EPERM", "attached"]
