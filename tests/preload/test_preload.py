"""Programs that call socket(PF_KEY), run by `ipsectools pfkey-run` on a simulated host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ipsectools import preload

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(preload.library() is None, reason="the preload library was not built: no C compiler")

PRELUDE = """
import os, select, socket, struct, sys
from ipsectools.pfkey import constants as C, extensions as ext, linux, message as m, sockaddr

def pfkey(flags=0):
    return socket.socket(15, socket.SOCK_RAW | flags, 2)

def ends(a="192.0.2.1", b="192.0.2.2"):
    return ext.address(C.EXT_ADDRESS_SRC, sockaddr.from_text(a)) + ext.address(C.EXT_ADDRESS_DST, sockaddr.from_text(b))

def request(kind, body=b"", satype=C.SATYPE_ESP):
    return linux.from_freebsd(m.build(kind, satype, body, pid=1, seq=1))

def sa(spi):
    return ext.sa(spi, encrypt=C.EALG_AESCBC)

KEY = ext.key(C.EXT_KEY_ENCRYPT, bytes(range(16)))

def add(spi, *more, a="192.0.2.1", b="192.0.2.2"):
    return request(C.SADB_ADD, sa(spi) + b"".join(more) + ends(a, b) + KEY)

def refusal(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno

def is_readable(s, seconds=0):
    return bool(select.select([s], [], [], seconds)[0])
"""


class Host:
    """A simulated host with its commands."""

    def __init__(self, state: Path) -> None:
        self.environment = {
            **os.environ,
            "IPSECTOOLS_STATE": str(state),
            "IPSECTOOLS_HOST": "simulated",
            "IPSECTOOLS_IDLE": "0",
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *command: str, stdin: str = "") -> str:
        """Runs a command of bin/ that must succeed; its output."""
        result = self.start(*command, stdin=stdin)
        assert result.returncode == 0, result
        return result.stdout

    def start(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        path = str(ROOT / "bin" / command[0])
        return subprocess.run(
            [path, *command[1:]],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def program(self, code: str) -> list[str]:
        """The lines that a Python program prints, which speaks PF_KEY in Linux's dialect."""
        source = PRELUDE + textwrap.dedent(code)
        return self.run("ipsectools", "pfkey-run", sys.executable, "-c", source).splitlines()


@pytest.fixture
def host(tmp_path: Path):
    # so long that the socket's path does not fit into a socket address
    directory = tmp_path / ("state-" + "x" * 80)
    running = Host(directory)
    yield running
    running.start("ipsecd", "--stop")


def test_a_request_and_its_reply_by_every_call(host: Host) -> None:
    assert host.program("""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=pfkey().detach())  # recvfrom knows no PF_KEY
        s.send(request(C.SADB_REGISTER))
        print("register", s.recv(65536)[:4].hex())
        os.write(s.fileno(), add(1000))
        print("add", os.read(s.fileno(), 65536)[:4].hex())
        s.sendmsg([add(1001)[:16], add(1001)[16:]])
        print("add", s.recvmsg(65536)[0][:4].hex())
        os.writev(s.fileno(), [add(1002)])
        print("add", s.recvfrom(65536)[0][:4].hex())
        s.send(add(1003))
        buffer = bytearray(16)
        print("peek", s.recv(16, socket.MSG_PEEK)[:4].hex(), os.readv(s.fileno(), [buffer]), buffer[:4].hex())
        print(is_readable(s))
    """) == [
        "register 02070003",
        "add 02030003",
        "add 02030003",
        "add 02030003",
        "peek 02030003 16 02030003",
        "False",
    ]


def test_the_dialect_is_linuxs(host: Host) -> None:
    assert host.program("""
        s = pfkey(socket.SOCK_CLOEXEC)
        s.send(add(1000, a="2001:db8::1", b="2001:db8::2"))
        reply = dict(m.extensions(s.recv(65536)))
        print(struct.unpack_from("=H", reply[C.EXT_ADDRESS_SRC], 8)[0])
    """) == ["10"]


def test_what_the_kernel_tells_before_the_hello_is_not_for_the_program(host: Host, tmp_path: Path) -> None:
    """Nothing in FreeBSD's dialect, and no acknowledgement in the place of another."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(tmp_path / "pfkey"))
    listening.listen()
    code = textwrap.dedent("""
        s = pfkey()
        print(is_readable(s), refusal(s.send, bytes(16)))
        s.close()
        print(refusal(pfkey))
    """)
    library = preload.library()
    assert library is not None
    program = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        env={**host.environment, "LD_PRELOAD": library, "IPSECTOOLS_PFKEY": str(tmp_path / "pfkey")},
        stdout=subprocess.PIPE,
        text=True,
    )
    connection, _ = listening.accept()
    connection.settimeout(60)
    for _ in range(3):
        connection.send(b"from before".ljust(24, b"."))
    hello = connection.recv(100)
    assert (hello[:8], len(hello)) == (b"IPSECPF\x0f", 12)
    connection.send(bytes(4))
    assert connection.recv(100) == bytes(16)
    connection.send((22).to_bytes(4, sys.byteorder))
    refused, _ = listening.accept()
    refused.recv(100)
    refused.close()
    out, _ = program.communicate(timeout=60)
    assert out.splitlines() == ["False 22", "111"]


def test_a_refused_write_fails_with_its_errno_and_leaves_nothing_to_read(host: Host) -> None:
    assert host.program("""
        s = pfkey(socket.SOCK_NONBLOCK)
        print(refusal(s.send, b"nonsense"), refusal(os.write, s.fileno(), request(C.SADB_ADD, ends())[:-8]))
        print(refusal(s.send, m.build(C.SADB_X_SPDADD, 0, bytes(8) * 600)))  # longer than FreeBSD takes
        print(is_readable(s), refusal(s.recv, 100))
        s.send(request(C.SADB_GET, sa(1000) + ends()))
        print("errno of the reply:", s.recv(65536)[2])
    """) == ["22 22", "105", "False 11", "errno of the reply: 3"]


def test_what_came_before_stays_in_order(host: Host) -> None:
    assert host.program("""
        one, other = pfkey(), pfkey()
        for spi in (1000, 1001):
            other.send(add(spi))
        print(refusal(one.send, b"nonsense"))
        one.send(add(1002))
        for _ in range(3):
            print(ext.read_sa(dict(m.extensions(one.recv(65536)))[C.EXT_SA])[0])
        print(is_readable(one))
    """) == ["22", "1000", "1001", "1002", "False"]


def test_only_pf_key_sockets_are_other_than_they_were(host: Host) -> None:
    assert host.program("""
        print(refusal(socket.socket, 15, socket.SOCK_DGRAM, 2), refusal(socket.socket, 15, socket.SOCK_RAW, 3))
        a, b = socket.socketpair()
        a.send(b"four")
        print(b.recv(100), os.write(a.fileno(), b"1234"), os.read(b.fileno(), 100))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for direction in (1, 2):
            udp.setsockopt(socket.IPPROTO_IP, 16, struct.pack("=HHHBBII", 2, 18, 4, direction, 0, 0, 0))
        print(refusal(udp.setsockopt, socket.IPPROTO_IP, 9999, 1))
    """) == ["93 93", "b'four' 4 b'1234'", "92"]


def test_a_dump_that_does_not_fit_into_the_connection(host: Host) -> None:
    script = "".join(f"add 192.0.2.1 192.0.2.2 esp {spi} -E rijndael-cbc 0x{spi:032x};\n" for spi in range(1000, 2000))
    host.run("ipsecd")
    host.run("setkey", "-c", stdin=script)
    assert host.program("""
        s = pfkey()
        s.send(request(C.SADB_DUMP))
        count = 0
        while True:
            record = s.recv(65536)
            count += 1
            if struct.unpack_from("=I", record, 8)[0] == 0:
                break
        print(count, is_readable(s))
        s.send(request(C.SADB_FLUSH))
        print(s.recv(65536)[:4].hex())
    """) == ["1000 False", "02090003"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_descriptor_handed_to_a_process_without_rights(host: Host, tmp_path: Path) -> None:
    jail = tmp_path / "empty"
    jail.mkdir(mode=0o755)
    assert host.program(f"""
        s = pfkey()
        child = os.fork()
        if child == 0:
            os.chroot({str(jail)!r})
            os.chdir("/")
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.environ.pop("IPSECTOOLS_PFKEY")
            s.send(add(1000))
            print("add", s.recv(65536)[:4].hex(), "again", refusal(s.send, b"nonsense"), flush=True)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """) == ["add 02030003 again 22", "0"]


def test_a_broken_connection_is_an_error(host: Host) -> None:
    assert host.program("""
        import subprocess
        s = pfkey()
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        subprocess.run(["bin/ipsecd", "--stop"], env=environment, check=True)
        print(s.recv(100), refusal(s.send, add(1000)) in (32, 104))
    """) == ["b'' True"]


def test_who_knows_no_reqid_gets_the_interfaces(host: Host) -> None:
    host.run("ifconfig", "ipsec0", "create", "reqid", "100")
    host.run("ifconfig", "ipsec0", "inet", "tunnel", "192.0.2.1", "192.0.2.2")
    host.run("ifconfig", "ipsec1", "create", "reqid", "200")
    host.run("ifconfig", "ipsec1", "inet6", "tunnel", "2001:db8::1", "2001:db8::2")
    host.program("""
        s = pfkey()
        s.send(request(C.SADB_GETSPI, ends("192.0.2.2", "192.0.2.1") + ext.spirange(1000, 1000)))
        s.send(request(C.SADB_UPDATE, sa(1000) + ext.sa2(C.MODE_TUNNEL, 0) + ends("192.0.2.2", "192.0.2.1") + KEY))
        s.send(add(1001, ext.sa2(C.MODE_TUNNEL, 0)))
        s.send(add(1002, a="2001:db8::1", b="2001:db8::2"))
        s.send(add(1003, ext.sa2(C.MODE_TUNNEL, 7)))        # has a reqid
        s.send(add(1004, ext.sa2(C.MODE_TRANSPORT, 0)))     # not for an interface
        s.send(add(1005, a="192.0.2.1", b="192.0.2.3"))     # no interface has these end points
        # an interface that comes later changes nothing for the SA that is there
        s.send(request(C.SADB_UPDATE, sa(1005) + ends("192.0.2.1", "192.0.2.3")))
    """)
    lines = host.run("setkey", "-D").splitlines()
    found = {line.split("spi=")[1].split("(")[0]: line for line in lines if "spi=" in line}
    modes = {
        spi: (line.split("mode=")[1].split()[0], line.split("reqid=")[1].split("(")[0]) for spi, line in found.items()
    }
    assert modes == {
        "1000": ("tunnel", "100"),
        "1001": ("tunnel", "100"),
        "1002": ("tunnel", "200"),
        "1003": ("tunnel", "7"),
        "1004": ("transport", "0"),
        "1005": ("any", "0"),
    }


def test_pfkey_run_says_what_is_wrong(host: Host) -> None:
    missing = host.start("ipsectools", "pfkey-run", "no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "ipsectools: no-such-program: No such file or directory\n")
    assert host.start("ipsectools", "pfkey-run", "/").returncode == 126
    nothing = host.start("ipsectools", "pfkey-run")
    assert (nothing.returncode, nothing.stderr) == (2, "usage: ipsectools pfkey-run PROGRAM [ARGUMENTS]\n")
