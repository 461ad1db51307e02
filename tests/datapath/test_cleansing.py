"""What the compiled core makes of a key does not stay in memory: looked for from outside, in a process that had one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ipsectools.datapath import core_status
from ipsectools.lab.host import CHECKOUT

pytestmark = pytest.mark.skipif(core_status()[0] != "compiled", reason="the compiled core was not built")

HERE = os.path.dirname(__file__)
CHILD = """
import gc, sys
from tests.datapath.world import World, ipv4, traffic
world = World("compiled", algorithm=sys.argv[1], enc_key=bytes.fromhex(sys.argv[2]))
world.outbound = world.sa(7, world.local, world.remote, traffic=traffic(iv=1 << 60 | 0x123456789))
world.set_interface()
for packet in world.send(ipv4(b"x" * 40)):
    print(packet.hex(), flush=True)
world.pump.remove_interface(world.index)
del world, packet
gc.collect()
print(flush=True)
sys.stdin.readline()
"""


def memory(process: int) -> bytes:
    """All that a process may write to."""
    found = []
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as file:
        for line in maps:
            where, access, *_, name = [*line.split(maxsplit=5), ""]
            if not access.startswith("rw") or name.startswith("[v"):
                continue
            start, end = (int(each, 16) for each in where.split("-"))
            found.append(os.pread(file.fileno(), end - start, start))
    return b"\n".join(found)


@pytest.fixture(scope="module")
def leftovers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that uses the compiled core's HMAC and looks at its own stack."""
    program = str(tmp_path_factory.mktemp("leftovers") / "leftovers")
    fast = os.path.join(CHECKOUT, "ipsectools", "datapath", "fast")
    sources = [os.path.join(HERE, "leftovers.c"), os.path.join(fast, "hmac.c")]
    try:
        subprocess.run(
            ["cc", "-O3", "-I", fast, "-o", program, *sources, "-lcrypto", "-lpthread"],
            check=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("no C compiler")
    return program


def run(algorithm: str) -> tuple[bytes, bytes, bytes]:
    """A key, a packet that was sealed with it, and the memory of the process that did it."""
    key = os.urandom(20)
    argv = [sys.executable, "-c", CHILD, algorithm, key.hex()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        packet = bytes.fromhex(child.stdout.readline())
        child.stdout.readline()  # it is done
        try:
            return key, packet, memory(child.pid)
        except PermissionError as error:
            pytest.skip(f"another process's memory cannot be read here: {error}")
        finally:
            child.stdin.write("\n")


@pytest.mark.parametrize("auth", [3, 5, 7], ids=["sha1", "sha256", "sha512"])
def test_what_an_hmac_leaves(leftovers: str, auth: int) -> None:
    done = subprocess.run([leftovers, str(auth)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "looked\n"


@pytest.mark.parametrize("algorithm", ["gcm128", "ctr-sha1"])
def test_what_a_nonce_leaves(algorithm: str) -> None:
    """The salt is at the end of the key; with the IV behind it it stands only where the cipher made its nonce."""
    key, packet, seen = run(algorithm)
    places = {"IV": packet[8:16], "nonce": key[-4:] + packet[8:16]}
    assert [name for name, each in places.items() if each in seen] == ["IV"]
