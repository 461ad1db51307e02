"""Where packets cannot flow, for want of privilege or of a device: nothing is pretended, and one is told what to do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .state import PATIENCE, ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534

# Runs in namespaces of its own with a /run and a /dev/net of its own; then as little as the scene says.
DRIVER = """\
import ctypes, json, os, subprocess, sys
scene, commands, checkout = json.loads(sys.argv[1])
libc = ctypes.CDLL(None)
# The checkout may be in a home directory that nobody else may enter.
assert libc.mount(checkout.encode(), b"/mnt", None, ctypes.c_ulong(4096 | 16384), None) == 0  # MS_BIND, MS_REC
def mount(place):
    assert libc.mount(b"none", place, b"tmpfs", 0, b"") == 0, place
mount(b"/run")
os.chmod("/run", 0o755)
mount(b"/dev/net")
if scene["device"]:
    os.mknod("/dev/net/tun", 0o020600, os.makedev(10, 200))
    os.chmod("/dev/net/tun", scene["device"])
if scene["root_was_here"]:
    os.mkdir("/run/ipsectools", 0o700)
os.environ.clear()
os.environ.update(scene["environment"], PATH="/mnt/bin:/usr/bin:/bin:/usr/sbin:/sbin", PYTHONDONTWRITEBYTECODE="1")
if scene["user"]:
    os.setgroups([]); os.setgid(scene["user"]); os.setuid(scene["user"])
results = []
for command, text in commands:
    run = subprocess.run([*scene["before"], *command], input=text, capture_output=True, text=True, timeout=60)
    results.append([run.returncode, run.stdout, run.stderr])
print(json.dumps([results, sorted(os.listdir("/run"))]))
"""

WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
USER_NAMESPACE = ("unshare", "--user", "--map-root-user")


@dataclass
class Scene:
    user: int = 0
    device: int = 0o600
    before: tuple[str, ...] = ()
    root_was_here: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    def run(self, *commands: tuple[str, ...], text: str = "") -> list[tuple[int, str, str]]:
        """Status, output and errors of each command, in namespaces of their own."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to have less than that")
        arguments = [{**vars(self), "environment": dict(self.environment)}, [(c, text) for c in commands]]
        words = ["unshare", "--mount", "--net", "--propagation", "private"]
        run = subprocess.run(
            [*words, sys.executable, "-c", DRIVER, json.dumps([*arguments, str(ROOT)])],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 3,
            check=False,
        )
        if run.returncode != 0 and ("unshare" in run.stderr or "setpriv" in run.stderr):
            pytest.skip(run.stderr.strip())
        assert run.returncode == 0, run.stderr
        results, self.left = json.loads(run.stdout)
        for status, _, errors in results:
            if "unshare: " in errors:
                pytest.skip(errors)
            assert status < 125 and "Traceback" not in errors, errors
        return [(status, output, errors) for status, output, errors in results]


LAB = "`ipsectools shell --lab' (real packets without root); "
NO_LAB = "`ipsectools shell --lab' (real packets without root, once /dev/net/tun can be opened); "
SIMULATION = "or IPSECTOOLS_HOST=simulated (everything but packets)"

LO0 = """\
lo0: flags=8008<LOOPBACK,MULTICAST> metric 0 mtu 65536
	options=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>
	groups: lo
	nd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>
"""
NETSTAT = """\
Name    Mtu Network   Address     Ipkts Ierrs Idrop    Opkts Oerrs  Coll
lo0*  65536 <Link#1>  lo0             0     0     0        0     0     0
"""
KLDSTAT = "Id Refs Address                Size Name\n"

READING = {
    ("ifconfig", "-l"): "lo0\n",
    ("ifconfig", "-a"): LO0,
    ("ifconfig", "lo0"): LO0,
    ("ifconfig", "-C"): "ipsec tun epair bridge lo\n",
    ("ifconfig", "-g", "lo"): "lo0\n",
    ("netstat", "-i"): NETSTAT,
    ("sysctl", "-n", "net.inet.ipsec.dfbit"): "0\n",
    ("kldstat",): KLDSTAT,
}
"""What everybody may see, and what is shown."""

CHANGES = {
    ("ifconfig", "ipsec0", "create"): (1, "SIOCIFCREATE2 (ipsec0): Operation not permitted"),
    ("ifconfig", "ipsec", "create"): (1, "SIOCIFCREATE2 (ipsec): Operation not permitted"),
    ("ifconfig", "epair", "create"): (1, "SIOCIFCREATE2 (epair): Operation not permitted"),
    ("ifconfig", "lo0", "destroy"): (1, "SIOCIFDESTROY: Operation not permitted"),
    ("ifconfig", "lo0", "up"): (1, "up: permission denied"),
    ("ifconfig", "lo0", "-arp"): (1, "-arp: permission denied"),
    ("ifconfig", "lo0", "mtu", "9000"): (1, "ioctl SIOCSIFMTU (set mtu): Operation not permitted"),
    ("ifconfig", "lo0", "metric", "2"): (1, "ioctl SIOCSIFMETRIC (set metric): Operation not permitted"),
    ("ifconfig", "lo0", "name", "x"): (1, "ioctl SIOCSIFNAME (set name): Operation not permitted"),
    ("ifconfig", "lo0", "descr", "x"): (1, "ioctl SIOCSIFDESCR (set descr): Operation not permitted"),
    ("ifconfig", "lo0", "group", "g"): (1, " SIOCAIFGROUP: Operation not permitted"),
    ("ifconfig", "lo0", "-group", "lo"): (1, "SIOCDIFGROUP: Operation not permitted"),
    ("ifconfig", "lo0", "fib", "0"): (0, "ioctl (SIOCSIFFIB): Operation not permitted"),
    ("ifconfig", "lo0", "tunnelfib", "0"): (0, "ioctl (SIOCSTUNFIB): Operation not permitted"),
    ("ifconfig", "lo0", "inet", "10.0.0.1/32"): (1, "ioctl (SIOCDIFADDR): permission denied"),
    ("ifconfig", "lo0", "inet", "10.0.0.1/32", "alias"): (1, "ioctl (SIOCAIFADDR): permission denied"),
    ("ifconfig", "lo0", "inet6", "2001:db8::1/128"): (1, "ioctl (SIOCAIFADDR): permission denied"),
    ("ifconfig", "lo0", "inet6", "ifdisabled"): (0, "ioctl(SIOCSIFINFO_IN6): Operation not permitted"),
    ("ifconfig", "lo0", "tunnel", "10.0.0.1", "10.0.0.2"): (0, "SIOCSIFPHYADDR: Operation not permitted"),
    ("ifconfig", "lo0", "inet6", "tunnel", "::1", "::2"): (0, "SIOCSIFPHYADDR_IN6: Operation not permitted"),
    ("ifconfig", "lo0", "-tunnel"): (1, "SIOCDIFPHYADDR: Operation not permitted"),
    ("ifconfig", "lo0", "reqid", "5"): (0, "ioctl(IPSECSREQID): Operation not permitted"),
    ("kldload", "ipsec"): (1, "can't load ipsec: Operation not permitted"),
    ("ipsecd",): (1, "Operation not permitted"),
    ("ipsectools", "dump", "lo0"): (1, "Operation not permitted"),
}
"""What is refused to an ordinary user: FreeBSD's status and text."""

PFKEY = [
    ("setkey", "-D"),
    ("setkey", "-DP"),
    ("setkey", "-F"),
    ("setkey", "-x"),
    ("setkey", "-v"),
    ("setkey", "-c"),
    ("setkey", "-e", "flush;"),
]
"""For FreeBSD's PF_KEY sockets root is needed, whatever is to be done with them."""


def test_nobody_looks_at_the_real_machine() -> None:
    scene = Scene(user=NOBODY)
    for command, result in zip(READING, scene.run(*READING), strict=True):
        assert result == (0, READING[command], ""), command
    assert scene.left == [], "no state is made"


@pytest.mark.parametrize("device", [0o600, 0o666])
def test_nobodys_changes_are_refused_as_freebsd_does(device: int) -> None:
    advice = "run as root; " + (LAB if device == 0o666 else NO_LAB) + SIMULATION
    commands = [*CHANGES, *PFKEY] if device == 0o600 else [("ifconfig", "ipsec0", "create"), ("setkey", "-D")]
    for command, result in zip(commands, Scene(user=NOBODY, device=device).run(*commands), strict=True):
        status, text = CHANGES.get(command, (1, "pfkey_open: Operation not permitted"))
        first = f"{text}\n" if command[0] == "setkey" else f"{command[0]}: {text}\n"
        assert result == (status, "", f"{first}{command[0]}: {advice}\n"), command


def test_what_an_ordinary_user_cannot_know_is_not_made_up() -> None:
    """Root has a kernel here, perhaps: its counters and variables are in a directory that is root's alone."""
    advice = f"run as root; {NO_LAB}{SIMULATION}"
    hidden = [
        ("sysctl", "net.inet.ipsec.dfbit"),
        ("sysctl", "net.inet.ip.ttl"),
        ("netstat", "-s", "-p", "esp"),
        ("ipsectools", "stats"),
    ]
    shown = [("ifconfig", "-l"), ("netstat", "-i"), ("sysctl", "-n", "kernel.ostype")]
    results = Scene(user=NOBODY, root_was_here=True).run(*hidden, *shown)
    for command, result in zip(hidden, results[: len(hidden)], strict=True):
        name = f"{command[1]}: " if command[0] == "sysctl" else ""
        expected = f"{command[0]}: {name}Operation not permitted\n{command[0]}: {advice}\n"
        assert result == (1, "", expected), command
    assert results[len(hidden)] == (0, "lo0\n", "")
    assert results[len(hidden) + 1] == (0, NETSTAT, "")
    assert results[len(hidden) + 2][2] == "" or "unknown oid" in results[len(hidden) + 2][2]  # no sysctl on this host


def scenes_of_root() -> dict[str, tuple[Scene, str, str]]:
    """What is missing, and the advice."""
    give = "give it CAP_NET_RAW (in a container: --cap-add NET_RAW); "
    load = "modprobe tun (in a container: --device /dev/net/tun); "
    let = "let it open /dev/net/tun (in a container: --device /dev/net/tun); "
    return {
        "no device": (Scene(device=0), "/dev/net/tun (No such file or directory)", load + NO_LAB),
        "no capabilities": (Scene(before=WITHOUT_CAPABILITIES), "CAP_NET_RAW", give + LAB),
        "user namespace": (Scene(before=USER_NAMESPACE), "CAP_NET_RAW", give + LAB),
        "nobody's user namespace": (
            Scene(user=NOBODY, before=USER_NAMESPACE),
            "/dev/net/tun (Permission denied)",
            let + NO_LAB,
        ),
    }


@pytest.mark.parametrize("name", scenes_of_root())
def test_root_is_told_the_reason(name: str) -> None:
    scene, lacking, ways = scenes_of_root()[name]
    changes = [
        ("ifconfig", "ipsec0", "create"),
        ("ifconfig", "lo0", "up"),
        ("ifconfig", "lo0", "reqid", "5"),
        ("sysctl", "net.inet.ipsec.dfbit=1"),
        ("ipsecd",),
        ("ipsecd", "-f"),
        ("ipsectools", "dump", "lo0"),
        ("kldload", "ipsec"),
    ]
    results = scene.run(*READING, *changes)
    for command, result in zip(READING, results[: len(READING)], strict=True):
        assert result == (0, READING[command], ""), command
    for command, result in zip(changes, results[len(READING) :], strict=True):
        where = "can't load ipsec: " if command[0] == "kldload" else ""
        first = f"{command[0]}: {where}Operation not permitted for want of {lacking}\n"
        assert result == (1, "", f"{first}{command[0]}: {ways}{SIMULATION}\n"), command


ADD = 'add 192.0.2.1 192.0.2.2 esp 0x1000 -m tunnel -u 100 -E aes-gcm-16 "12345678901234567890";\n'


def test_setkey_where_there_is_no_esp_socket() -> None:
    """What makes an SA or a policy is refused; everything else works. A pipe needs ipsecd, a file does not."""
    scene, lacking, ways = scenes_of_root()["no capabilities"]
    good = [
        ("setkey", "-D"),
        ("setkey", "-DP"),
        ("setkey", "-F"),
        ("setkey", "-FP"),
        ("setkey", "-e", "flush;"),
        ("setkey", "-e", "delete 192.0.2.1 192.0.2.2 esp 0x1000;"),
    ]
    results = scene.run(*good, ("setkey", "-e", ADD), ("setkey", "-c"), ("setkey", "-D"), text=ADD)
    assert [status for status, _, _ in results] == [0, 0, 0, 0, 0, 0, 1, 1, 0], results
    assert [output for _, output, _ in results[:6]] == [
        "No SAD entries.\n",
        "No SPD entries.\n",
        "",
        "",
        "",
        "The result of line 1: No such process.\n",
    ]
    refused = f"setkey: Operation not permitted for want of {lacking}\nsetkey: {ways}{SIMULATION}\n"
    assert results[6] == (1, "", refused)
    assert results[7] == (1, "", refused)
    assert results[8] == (0, "No SAD entries.\n", "")


def test_sas_of_before_can_be_seen_and_deleted(tmp_path: Path) -> None:
    """A container that lost its capabilities: the SAs are in the state file still."""
    tmp_path.chmod(0o755)
    state = tmp_path / "state"
    script = f"export IPSECTOOLS_STATE={state}; setkey -e '{ADD}'; ipsecd --stop; exec setpriv {{}} "
    script = script.format(" ".join(WITHOUT_CAPABILITIES[1:]))
    script += "sh -c 'setkey -D | head -n 1; setkey -e \"delete 192.0.2.1 192.0.2.2 esp 0x1000;\"; setkey -D'"
    ((status, output, errors),) = Scene(device=0o666).run(("sh", "-c", script))
    assert (status, errors) == (0, "")
    assert output == "192.0.2.1 192.0.2.2\nNo SAD entries.\n"


def test_an_ipsecd_that_could_not_is_replaced_by_one_that_can(tmp_path: Path) -> None:
    """The device comes after an ipsecd has started without it: the next change is made, not refused."""
    script = f"""
        export IPSECTOOLS_STATE={tmp_path}/state
        echo 'flush;' | setkey -c
        echo "{ADD.strip().replace('"', chr(92) + '"')}" | setkey -c
        ipsecd --status | sed -n 2p
        ifconfig ipsec0 create
        mknod /dev/net/tun c 10 200
        ifconfig ipsec0 create && ifconfig -l
        setkey -D | head -n 1
        ipsecd --stop
    """
    ((_, output, errors),) = Scene(device=0).run(("sh", "-c", script))
    assert output == (f"state: {tmp_path}/state (nothing can be changed here)\nlo0 ipsec0\n192.0.2.1 192.0.2.2\n")
    lines = errors.splitlines()
    assert lines[0] == "ifconfig: Operation not permitted for want of /dev/net/tun (No such file or directory)"
    assert len(lines) == 2


def simulated(**more: str) -> tuple[tuple[str, str], ...]:
    return tuple({"IPSECTOOLS_HOST": "simulated", **more}.items())


@pytest.mark.parametrize("runtime", ["", "/run", "/nonexistent", "relative"])
def test_the_simulation_is_there_for_whoever_asks_also_under_cron(runtime: str) -> None:
    """XDG_RUNTIME_DIR may be missing (cron), another user's (su), or nonsense."""
    place = f"/tmp/ipsectools-{12345 + os.getpid() % 1000}"
    user = int(place.rpartition("-")[2])
    more = {"XDG_RUNTIME_DIR": runtime} if runtime else {}
    scene = Scene(user=user, environment=simulated(**more))
    try:
        results = scene.run(
            ("ifconfig", "ipsec", "create"), ("ifconfig", "-l"), ("setkey", "-e", ADD), ("setkey", "-D")
        )
        assert results[0] == (0, "ipsec0\n", "")
        assert results[1] == (0, "lo0 em0 ipsec0\n", "")
        assert results[2] == (0, "", "")
        assert results[3][1].startswith("192.0.2.1 192.0.2.2\n")
        assert os.stat(place).st_mode & 0o777 == 0o700
        real = Scene(user=user, environment=tuple(more.items()))
        assert real.run(("ifconfig", "-l"), ("setkey", "-D"))[0] == (0, "lo0\n", "")
        doctor = real.run(("ipsectools", "doctor"))[0][1]
        assert f"note    {place}/simulated holds a simulated host; IPSECTOOLS_HOST=simulated opens it" in doctor
    finally:
        subprocess.run(["rm", "-rf", place], check=True)


def test_root_has_both_kinds_side_by_side() -> None:
    """The simulated host of root has a directory of its own: no command of the one gets at the other."""
    script = """
        ifconfig ipsec7 create
        export IPSECTOOLS_HOST=simulated
        ifconfig -l
        ifconfig ipsec3 create && ifconfig -l
        unset IPSECTOOLS_HOST
        ifconfig -l
        ipsecd --stop
        ifconfig ipsec7 destroy && ipsecd --stop
    """
    ((_, output, errors),) = Scene(device=0o600).run(("sh", "-c", script))
    assert (output, errors) == ("lo0 em0\nlo0 em0 ipsec3\nlo0 ipsec7\n", "")


def test_a_simulated_state_of_before_is_kept_and_not_taken_for_a_real_one() -> None:
    """Where releases before had it: it is opened by those who ask for it, and a real host does not touch it."""
    script = """
        place=/run/ipsectools/$(ipsecd --status | sed -n 's|.*/\\(.*\\))|\\1|p')
        mkdir -p -m 700 $place
        IPSECTOOLS_HOST=simulated IPSECTOOLS_STATE=$place ifconfig ipsec3 create
        ifconfig -l
        IPSECTOOLS_HOST=simulated ifconfig -l
        ipsectools doctor | grep 'holds a simulated host'
    """
    ((_, output, errors),) = Scene(device=0o600).run(("sh", "-c", script))
    shown, doctor = output.splitlines()
    assert shown == "lo0 em0 ipsec3"
    assert re.fullmatch(r"note    (/run/ipsectools/\S+) holds a simulated host; .*", doctor)
    reason = r"ifconfig: /run/ipsectools/\S+: the state of a simulated host, which IPSECTOOLS_HOST=simulated opens\n"
    assert re.fullmatch(reason, errors), errors


def test_an_ordinary_user_sees_of_roots_tunnels_what_linux_knows() -> None:
    """Device, addresses, that ipsecd runs; what is root's to see is refused and not made up."""
    script = """
        exec 2>&1
        ifconfig lo0 up
        ifconfig ipsec0 create reqid 100
        ifconfig ipsec0 inet tunnel 127.0.0.1 127.0.0.2
        ifconfig ipsec0 inet 172.16.0.3/16 172.16.0.5
        setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '
            ifconfig ipsec0 | grep -v options
            kldstat
            kldunload ipsec; echo $?
            ipsecd --status; echo $?
            ipsectools why 172.16.0.3 172.16.0.5; echo $?
            ipsectools doctor | grep "kernel of this machine"'
        ipsecd --stop
    """
    ((_, output, _),) = Scene(device=0o600).run(("sh", "-c", script))
    advice = f"run as root; {NO_LAB}{SIMULATION}"
    assert (
        output
        == f"""\
ipsec0: flags=1008051<UP,POINTOPOINT,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 1400
	inet 172.16.0.3 --> 172.16.0.5 netmask 0xffffffff
{KLDSTAT} 2    1 0x0000000000000000        0 ipsec.ko
kldunload: can't unload file: Operation not permitted
kldunload: {advice}
1
ipsecd: Operation not permitted
ipsecd: {advice}
1
packet:    inet 172.16.0.3 > 172.16.0.5, 84 bytes, DF clear
route:     172.16.0.5 through ipsec0
stops:     ipsec0: only root can tell what it sends, and whether it is an ipsec interface at all
to mend:   ask as root
1
ok      no state of this user's: the kernel of this machine is root's, and its ipsecd is running
"""
    )


def test_a_shell_of_the_simulated_host() -> None:
    """It asks as the variable does, and sees the same host."""
    results = Scene(user=NOBODY, environment=(("XDG_RUNTIME_DIR", "/nonexistent"), ("IPSECTOOLS_STATE", STATE))).run(
        ("ipsectools", "shell", "--simulated", "ifconfig", "ipsec", "create"),
        ("ipsectools", "shell", "--simulated", "--", "sh", "-c", "IPSECTOOLS_HOST=simulated ifconfig -l"),
        ("ipsectools", "shell", "--lab", "--simulated"),
        ("rm", "-r", STATE),
    )
    assert results[0] == (0, "ipsec0\n", "")
    assert results[1] == (0, "lo0 em0 ipsec0\n", "")
    assert results[2] == (2, "", "usage: ipsectools shell [--lab | --simulated] [COMMAND [ARGUMENTS]]\n")


STATE = f"/tmp/ipsectools-test-{os.getpid()}"
"""A directory that anybody can make; pytest's are root's."""
