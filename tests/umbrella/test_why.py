"""`ipsectools why`: every reason, and that what it foretells is what then leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.lab.capture import Capture
from ipsectools.lab.ping import ping
from tests.traffic.scene import CBC_SHA256, GCM, INNER, Algorithm, tunnel

if TYPE_CHECKING:
    from ipsectools.lab.host import Host
    from tests.daemon.state import State

INSIDE = ("172.16.0.3", "172.16.0.5")
ADD = "add 192.168.0.3 192.168.0.5 esp {spi} -m tunnel -u {reqid} {more} -E {algorithm};\n"
CBC = 'rijndael-cbc "VerySecret!!1234"'


def ask(host: State, *words: str) -> dict[str, Any]:
    status, output, errors = host.run("ipsectools", "why", "--json", *words)
    assert not errors
    document: dict[str, Any] = json.loads(output)
    assert document["version"] == 1
    assert status == int(document["stopped"] is not None) == int(document["outer"] is None)
    return document


def stopped(host: State, *words: str) -> dict[str, str]:
    found: dict[str, str] = ask(host, *words)["stopped"]
    return found


@pytest.fixture
def ready(host: State) -> State:
    """A host with a tunnel but no SA, its ipsecd running, so that commands are quick."""
    host.ok("ipsecd")
    host.ok("ifconfig", "em0", "inet", "192.168.0.3/24")
    host.ok("ifconfig", "ipsec0", "create", "reqid", "100")
    host.ok("ifconfig", "ipsec0", "inet", "tunnel", "192.168.0.3", "192.168.0.5")
    host.ok("ifconfig", "ipsec0", "inet", "172.16.0.3/16", "172.16.0.5")
    return host


def add(host: State, spi: int = 10000, reqid: int = 100, algorithm: str = CBC, more: str = "") -> None:
    host.ok("setkey", "-c", stdin=ADD.format(spi=spi, reqid=reqid, algorithm=algorithm, more=more))


def test_the_way_of_a_packet(ready: State) -> None:
    add(ready)
    assert ready.ok("ipsectools", "why", *INSIDE, "icmp") == (
        "packet:    inet icmp 172.16.0.3 > 172.16.0.5, 84 bytes, DF clear\n"
        "route:     172.16.0.5 through ipsec0\n"
        "interface: ipsec0 <UP,RUNNING> mtu 1400, tunnel 192.168.0.3 --> 192.168.0.5, reqid 100\n"
        "policy:    spid 2: out ipsec esp/tunnel/192.168.0.3-192.168.0.5/unique:100\n"
        "SA:        spi 10000 (0x00002710) mature mode tunnel aes-cbc\n"
        "sequence:  next 1 (65536 reserved)\n"
        "size:      84 inner + 10 padding + 2 trailer + 16 IV + 0 ICV + 8 ESP + 20 IPv4 = 140 bytes\n"
        "wire:      192.168.0.5 through em0, MTU 1500\n"
        "leaves:    192.168.0.3 > 192.168.0.5 ESP spi 10000 (0x00002710) sequence 1, 140 bytes, TTL 64, DF clear,"
        " DSCP of the inner packet, through em0\n"
    )


def test_nothing_changes(ready: State) -> None:
    add(ready, algorithm="aes-gcm-16 0x" + "5a" * 20)
    before = ready.ok("setkey", "-D"), ready.ok("ifconfig", "ipsec0"), ready.ok("netstat", "-s", "-p", "esp")
    first = ask(ready, *INSIDE)
    assert ask(ready, *INSIDE) == first
    without_pid = [line for line in before[0].splitlines() if "pid=" not in line and "diff" not in line]
    after = [line for line in ready.ok("setkey", "-D").splitlines() if "pid=" not in line and "diff" not in line]
    assert [line.split("current: ")[0] for line in after] == [line.split("current: ")[0] for line in without_pid]
    assert (ready.ok("ifconfig", "ipsec0"), ready.ok("netstat", "-s", "-p", "esp")) == before[1:]


def test_no_interface(host: State) -> None:
    assert stopped(host, *INSIDE) == {
        "reason": "no route to 172.16.0.5: No route to host",
        "fix": "ifconfig ipsec0 create reqid 100, then give it a tunnel and addresses: see if_ipsec(4)",
        "drop": None,
    }


def test_no_route_and_the_way_it_is_mended(ready: State) -> None:
    found = stopped(ready, "172.16.0.3", "10.9.9.9")
    assert found["reason"] == "no route to 10.9.9.9: No route to host"
    assert found["fix"] == "ifconfig ipsec0 inet 172.16.0.3 10.9.9.9"


def test_in_clear_text(ready: State) -> None:
    found = stopped(ready, "192.168.0.3", "192.168.0.77")
    assert found["reason"] == "it leaves in clear text through em0, which is no ipsec interface"
    assert "outer end" in stopped(ready, "192.168.0.3", "192.168.0.5")["fix"]


def test_to_itself(ready: State) -> None:
    assert "never leaves" in stopped(ready, *INSIDE[::-1])["reason"]


@pytest.mark.parametrize(
    ("commands", "drop", "fix"),
    [
        (["ifconfig ipsec0 deletetunnel"], "out-no-tunnel", "ifconfig ipsec0 inet tunnel LOCAL REMOTE"),
        (["ifconfig ipsec0 inet tunnel 192.168.0.9 192.168.0.5"], "out-not-running",
         "ifconfig em0 inet 192.168.0.9/32 alias"),
        (["ifconfig ipsec0 monitor"], "out-monitor", "ifconfig ipsec0 -monitor"),
        (["sysctl net.inet.esp.esp_enable=0"], "out-esp-disabled", "sysctl net.inet.esp.esp_enable=1"),
        (["ifconfig ipsec0 inet tunnel 192.168.0.3 10.7.7.7", "setkey -c"], "out-no-route",
         "ip route add 10.7.7.7 via GATEWAY"),
        ([], None, ""),
    ],
)  # fmt: skip
def test_what_stops_it_and_that_the_fix_mends(ready: State, commands: list[str], drop: str | None, fix: str) -> None:
    add(ready)
    for command in commands:
        script = ADD.format(spi=10001, reqid=100, algorithm=CBC, more="").replace("192.168.0.5", "10.7.7.7")
        ready.ok(*command.split(), stdin=script if command == "setkey -c" else None)
    document = ask(ready, *INSIDE)
    if drop is None:
        assert document["outer"]["sequence"] == 1
        return
    assert (document["stopped"]["drop"], document["stopped"]["fix"]) == (drop, fix)
    if "LOCAL" not in fix and "GATEWAY" not in fix:
        ready.ok(*fix.split())
        assert (ask(ready, *INSIDE)["stopped"] or {"drop": None})["drop"] != drop


def test_an_interface_that_is_down(ready: State) -> None:
    add(ready)
    ready.ok("ifconfig", "ipsec0", "down")
    found = stopped(ready, *INSIDE)
    assert found["fix"] == "ifconfig ipsec0 up"


def test_no_sa(ready: State) -> None:
    add(ready, spi=5000, reqid=7)
    document = ask(ready, *INSIDE)
    other = {
        "step": "other SA",
        "text": "spi 5000 (0x00001388) reqid 7 mode tunnel mature: not the interface's reqid 100",
    }
    assert document["steps"][-1] == other
    assert document["stopped"]["drop"] == "out-no-sa"
    assert "add 192.168.0.3 192.168.0.5 esp SPI -m tunnel -u 100" in document["stopped"]["fix"]


def test_which_sa(ready: State) -> None:
    add(ready, spi=5000)
    add(ready, spi=5001)
    assert ask(ready, *INSIDE)["outer"]["spi"] == 5000
    ready.ok("sysctl", "net.key.preferred_oldsa=0")
    assert ask(ready, *INSIDE)["outer"]["spi"] == 5001


def test_sizes(ready: State) -> None:
    add(ready)
    assert "1500 bytes do not fit" in stopped(ready, *INSIDE, "udp", "--size", "1500", "--df")["reason"]
    assert ask(ready, *INSIDE, "--size=1400", "--df")["outer"]["length"] == 20 + 8 + 16 + 1408
    assert stopped(ready, *INSIDE, "--size", "8192", "--df")["fix"].endswith("ifconfig ipsec0 mtu 8192")
    assert stopped(ready, *INSIDE, "--size", "8193", "--df")["fix"] == "send at most 1400 bytes"
    texts = {step["step"]: step["text"] for step in ask(ready, *INSIDE, "--size=4000")["steps"]}
    assert texts["fragments"].endswith("3 inner packets")
    ready.ok("ifconfig", "ipsec0", "mtu", "8192")
    assert ask(ready, *INSIDE, "--size=8000")["outer"]["fragments"] == 6
    ready.ok("sysctl", "net.inet.ipsec.dfbit=2")
    assert ask(ready, *INSIDE, "--size=1500")["outer"]["df"] is False
    found = stopped(ready, *INSIDE, "--size", "1500", "--df")
    assert found["drop"] == "out-mtu"
    assert found["fix"] == "ifconfig ipsec0 mtu 1454, or: sysctl net.inet.ipsec.dfbit=0"
    assert ask(ready, *INSIDE, "--size", "1454", "--df")["outer"]["length"] == 1500


def test_a_narrow_path_and_df(ready: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that nobody has to make smaller leaves without DF; less than min_pmtu is not believed."""
    add(ready)
    ready.ok("ifconfig", "em0", "mtu", "600")
    for name in ("dfbit=2", "min_pmtu=9000"):
        ready.ok("sysctl", f"net.inet.ipsec.{name}")
    outer = ask(ready, *INSIDE, "--size=570", "--df")["outer"]
    assert (outer["length"], outer["df"], outer["fragments"]) == (620, False, 2)
    assert stopped(ready, *INSIDE, "--size=577", "--df")["drop"] == "out-mtu"
    outer = ask(ready, *INSIDE, "--size=500", "--df")["outer"]
    assert (outer["df"], outer["fragments"]) == (True, 1)


@pytest.mark.parametrize(
    ("words", "errors"),
    [
        ("", ""),
        ("172.16.0.3", ""),
        ("172.16.0.3 172.16.0.5 tcp 80 81", ""),
        ("--what 172.16.0.3 172.16.0.5", ""),
        ("172.16.0.3 nowhere", "ipsectools: nowhere: not an IP address\n"),
        ("172.16.0.3 fd00::1", "ipsectools: source and destination are of different families\n"),
        ("172.16.0.3 172.16.0.5 foo", "ipsectools: foo: no protocol\n"),
        ("172.16.0.3 172.16.0.5 icmp 80", "ipsectools: protocol icmp has no ports\n"),
        ("172.16.0.3 172.16.0.5 tcp 0", "ipsectools: 0: no port from 1 to 65535\n"),
        ("172.16.0.3 172.16.0.5 --size 19", "ipsectools: 19: no size from 20 to 65535\n"),
        ("172.16.0.3 172.16.0.5 --size 70000", "ipsectools: 70000: no size from 20 to 65535\n"),
    ],
)
def test_command_lines_that_make_no_sense(host: State, words: str, errors: str) -> None:
    status, output, said = host.run("ipsectools", "why", *words.split())
    assert (status, output) == (2, "")
    assert said.startswith(errors + "usage: ipsectools why")


@pytest.mark.traffic
@pytest.mark.parametrize("algorithm", [CBC_SHA256, GCM], ids=str)
def test_what_is_foretold_leaves(hosts: tuple[Host, Host], algorithm: Algorithm) -> None:
    a, b = hosts
    for host in hosts:
        host.set_kernel("net/ipv6/conf/default/router_solicitations", 0)
    tunnel(a, b, algorithm)

    def foretold(*words: str) -> dict[str, Any]:
        result = a.run("ipsectools", "why", "--json", INNER["inet"][0], *words, check=False)
        document: dict[str, Any] = json.loads(result.output)
        return document

    for size in (28, 84, 85, 1400):
        outer = foretold(INNER["inet"][1], "icmp", "--size", str(size))["outer"]
        with Capture(a) as wire:
            assert ping(a, INNER["inet"][1], sizes=[size - 28])
            sent = next(seen for seen in wire.esp() if seen.source == outer["src"])
        assert (sent.spi, sent.sequence, sent.size) == (outer["spi"], outer["sequence"], outer["length"])
    assert foretold("203.0.113.1")["stopped"]["fix"] == "ip route add 203.0.113.1 dev ipsec0"
    a.set_kernel("net/ipv4/ip_forward", 0)
    elsewhere = a.run("ipsectools", "why", "10.0.0.1", INNER["inet"][1], check=False)
    assert elsewhere.output.splitlines()[-1] == "to mend:   sysctl net.ipv4.ip_forward=1"
    a.set_kernel("net/ipv4/ip_forward", 1)
    assert a.run("ipsectools", "why", "10.0.0.1", INNER["inet"][1]).status == 0
