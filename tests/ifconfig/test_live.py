"""ifconfig with a real ipsecd in network namespaces of its own: what a simulated host cannot show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsectools.host.linux import detect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
JAIL = f"ipsectools-live-{os.getpid()}"

PRELUDE = f"""
exec 2>&1
PATH={ROOT}/bin:$PATH
ip link set lo up
ip link add va type veth peer name vb
ip link set va up; ip link set vb up
cd "$(dirname "$IPSECTOOLS_STATE")"
"""


@pytest.fixture(autouse=True)
def state() -> None:
    """No state directory and no host of other tests here."""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Runs a shell script in a new network namespace that has va and vb; gives the lines of its output."""
    if detect.missing() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("packets cannot flow here")
    environment = {**os.environ, "IPSECTOOLS_STATE": str(tmp_path / "state")}
    environment.pop("IPSECTOOLS_HOST", None)

    def run(script: str) -> list[str]:
        end = "\nipsectools_status=$?; ipsecd --stop >/dev/null; exit $ipsectools_status"
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", PRELUDE + script + end],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
        return done.stdout.splitlines()

    yield run


@pytest.fixture
def jail() -> Iterator[str]:
    """A named network namespace."""
    netns = pytest.importorskip("pyroute2.netns")
    try:
        netns.create(JAIL)
    except OSError as error:
        pytest.skip(f"cannot make a named network namespace: {error}")
    yield JAIL
    # Whatever ipsecd came up for it ends with its interfaces; it is asked to end now.
    subprocess.run(
        [sys.executable, "-c", STOP_INSIDE, JAIL, str(ROOT)], env={**os.environ, "IPSECTOOLS_STATE": ""}, check=False
    )
    netns.remove(JAIL)


STOP_INSIDE = """
import shutil, sys
sys.path.insert(0, sys.argv[2])
from ipsectools.host.linux import namespaces
namespaces.enter(namespaces.open_namespace(sys.argv[1]))
from ipsectools.daemon import manage
from ipsectools.kernel import statedir
manage.stop()
shutil.rmtree(statedir.choose(), ignore_errors=True)
"""


def test_there_and_back(live: Callable[[str], list[str]], jail: str) -> None:
    """ipsecd has no right to look into other namespaces; ifconfig has its caller's."""
    lines = live(f"""
        ifconfig ipsec0 create reqid 100 descr text group vpn tunnel 192.0.2.1 192.0.2.2
        ifconfig ipsec0 vnet {jail}
        ifconfig -l
        ifconfig -j {jail} ipsec0 | grep -v nd6
        ifconfig -j {jail} -l
        ifconfig ipsec0 -vnet {jail} || echo failed
        ifconfig -j {jail} -l
        ifconfig -D ipsec0 | grep -v nd6
        ifconfig ipsec0 10.0.0.1 10.0.0.2
        ifconfig -l inet6
        ifconfig ipsec0 -vnet {jail}
        ifconfig ipsec0 destroy
        ifconfig ipsec0 -vnet {jail}
    """)
    first = "ipsec0: flags=8010<POINTOPOINT,MULTICAST> metric 0 mtu 1400"
    status = [first, "\toptions=0", "\tgroups: ipsec", "\treqid: 100"]
    assert lines == [
        "lo0 vb va",
        *status,
        "lo0 ipsec0",
        "lo0",
        *status,
        "\tdrivername: ipsec0",
        "lo0 vb va",
        f"ifconfig: SIOCSIFRVNET({jail}, ipsec0): File exists",
        f"ifconfig: SIOCSIFRVNET({jail}, ipsec0): Device not configured",
    ]


def test_cloned_interfaces_stay_clones(live: Callable[[str], list[str]], jail: str) -> None:
    lines = live(f"""
        ifconfig epair create
        ifconfig lo1 create
        ifconfig va vnet {jail}; ifconfig epair0b vnet {jail}; ifconfig lo1 vnet {jail}
        ifconfig -l
        ifconfig va -vnet {jail}; ifconfig epair0b -vnet {jail}; ifconfig lo1 -vnet {jail}
        ifconfig -D epair0b | grep -e groups -e drivername
        ifconfig va destroy
        ifconfig lo1 destroy && ifconfig epair0b destroy && ifconfig -l
    """)
    assert lines == [
        "epair0a",
        "lo0 vb epair0a",
        "\tgroups: epair",
        "\tdrivername: epair0b",
        "ifconfig: SIOCIFDESTROY: Invalid argument",
        "lo0 vb va",
    ]


def test_another_vnet_has_a_kernel_of_its_own(live: Callable[[str], list[str]], jail: str) -> None:
    """The state directory in the environment is not the one of a jail."""
    lines = live(f"""
        ifconfig ipsec0 create
        ifconfig -j {jail} -l
        ifconfig -j {jail} ipsec0 destroy
        ifconfig -l
    """)
    assert lines == ["lo0", "ifconfig: interface ipsec0 does not exist", "lo0 vb va ipsec0"]


def test_addresses_outlive_down(live: Callable[[str], list[str]]) -> None:
    """Linux would forget those of IPv6."""
    lines = live("""
        ifconfig ipsec0 create inet6 2001:db8::1/64
        ifconfig va inet6 2001:db8:9::1/64 no_dad
        for interface in va ipsec0
        do
            ifconfig $interface inet6 | grep inet6 | sed "s/ tentative//" >before
            ifconfig $interface down
            ifconfig $interface inet6 |  grep inet6 | sed "s/ tentative//" | diff before -
            ifconfig $interface up
            ifconfig $interface inet6 |  grep inet6 | sed "s/ tentative//" | diff before -
            wc -l <before
        done
    """)
    assert lines == ["2", "2"]


def test_a_destination_that_is_routed(live: Callable[[str], list[str]]) -> None:
    lines = live("""
        ifconfig va 192.0.2.1/24
        ip route add 10.0.0.2 via 192.0.2.2
        ifconfig ipsec0 create
        ifconfig ipsec0 10.0.0.1 10.0.0.2
        ifconfig -l -u inet
        ip route del 10.0.0.2
        ifconfig ipsec0 10.0.0.1 10.0.0.2
        ifconfig ipsec0 10.0.0.1 10.0.0.2
        ifconfig ipsec0 10.0.0.3 10.0.0.2 alias
        ifconfig tun0 create 10.0.0.4 10.0.0.2
        ifconfig -l inet
        ip route get 10.0.0.2 | grep -o "dev ipsec0"
    """)
    assert lines == ["ifconfig: ioctl (SIOCAIFADDR): File exists", "lo0 va", "lo0 va ipsec0 tun0", "dev ipsec0"]


def test_rules_of_fibs(live: Callable[[str], list[str]]) -> None:
    """There are as many as are needed, and none is left behind."""
    lines = live("""
        rules() { echo "$1:" $(ip rule | grep -o "^30000:.*" | cut -f 2 | sed "s/^from //" | sort); }
        sysctl net.fibs=8 >/dev/null
        ifconfig ipsec0 create fib 3 tunnelfib 2; ifconfig ipsec1 create tunnelfib 2
        rules both
        ifconfig ipsec0 destroy
        rules one
        ifconfig ipsec1 tunnelfib 0 fib 4 name vpn0 >/dev/null; ifconfig va fib 5
        rules named
        ip link del vpn0; ip link del va
        ifconfig -l
        rules none
        ip rule | grep -c unreachable
    """)
    assert lines == [
        "both: all fwmark 0x20000/0xff0000 lookup 2 all fwmark 0x30000/0xff0000 lookup 3 all iif ipsec0 lookup 3",
        "one: all fwmark 0x20000/0xff0000 lookup 2",
        "named: all fwmark 0x40000/0xff0000 lookup 4 all fwmark 0x50000/0xff0000 lookup 5"
        " all iif va lookup 5 all iif vpn0 lookup 4",
        "lo0",
        "none:",
        "0",
    ]


def test_a_description_longer_than_linux_has_room_for(live: Callable[[str], list[str]]) -> None:
    lines = live("""
        text() { printf "%${1}s" | tr " " x; }
        ifconfig ipsec0 create
        for length in 253 254 255 256 257 1023 1024
        do
            ifconfig ipsec0 descr $(text $length)
            echo $(ifconfig ipsec0 | grep description | wc -c) $(ip link show ipsec0 | grep -o "x*$" | wc -c)
        done
    """)
    refused = "ifconfig: ioctl SIOCSIFDESCR (set descr): File name too long"
    assert lines == [
        *(f"{length + 15} {min(length, 254) + 1}" for length in (253, 254, 255, 256, 257, 1023)),
        refused,
        "1038 255",
    ]
