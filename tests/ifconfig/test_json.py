"""`--json` and `--libxo`: form, version, and that the manual page has every member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ifconfig.harness import ETHERNET, FakeDoor, failed, install, interface, ok, run

PAGE = Path(__file__).parents[2] / "man" / "ifconfig.8"
LIFETIMES = {"pltime": 60, "vltime": None, "pltime_left": 50, "vltime_left": None}
FULL = interface(
    description="text",
    tunnel={"family": "inet", "src": "192.0.2.1", "dst": "198.51.100.1"},
    inet=[{"address": "10.0.0.1", "peer": "10.0.0.2", "prefixlen": 30, "broadcast": None}],
    inet6=[{"address": "fe80::1", "peer": None, "prefixlen": 64, "flags": ["tentative"], "scopeid": 3, **LIFETIMES}],
    reqid=100,
)


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> FakeDoor:
    door = install(monkeypatch, FakeDoor(ETHERNET, FULL))
    door.values.update(SIOCIFGCLONERS=["ipsec", "lo"], SIOCGIFGMEMB=["ipsec0"])
    return door


def parsed(command: str) -> dict[str, Any]:
    result = run(command)
    assert result == ok(result.out)
    document: dict[str, Any] = json.loads(result.out)
    assert document.pop("__version") == "1"
    return document


def test_interface() -> None:
    assert parsed("ifconfig --json ipsec0") == {
        "interface": [
            {
                "name": "ipsec0",
                "index": 3,
                "flags": {"value": 0x8010, "names": ["POINTOPOINT", "MULTICAST"]},
                "metric": 0,
                "mtu": 1400,
                "description": "text",
                "options": {"value": 0, "names": []},
                "capabilities": {"value": 0, "names": []},
                "tunnel": {"family": "inet", "source": "192.0.2.1", "destination": "198.51.100.1"},
                "link-address": None,
                "inet": [
                    {
                        "address": "10.0.0.1",
                        "peer": "10.0.0.2",
                        "prefix-length": 30,
                        "netmask": "255.255.255.252",
                        "broadcast": None,
                    }
                ],
                "inet6": [
                    {
                        "address": "fe80::1",
                        "peer": None,
                        "prefix-length": 64,
                        "flags": ["tentative"],
                        "scope-id": 3,
                        "preferred-lifetime": 60,
                        "valid-lifetime": None,
                        "preferred-lifetime-left": 50,
                        "valid-lifetime-left": None,
                    }
                ],
                "nd6": {"value": 0x29, "names": ["PERFORMNUD", "IFDISABLED", "AUTO_LINKLOCAL"]},
                "groups": ["ipsec"],
                "reqid": 100,
                "fib": 0,
                "tunnelfib": 0,
                "media": None,
                "status": None,
                "members": [],
                "driver-name": "ipsec0",
                "type": "tunnel",
                "cloner": "ipsec",
                "statistics": {
                    "received-packets": 0,
                    "received-bytes": 0,
                    "received-errors": 0,
                    "sent-packets": 0,
                    "sent-bytes": 0,
                    "send-errors": 0,
                },
            }
        ]
    }


@pytest.mark.parametrize(
    "command",
    [
        "ifconfig --json",
        "ifconfig -a --json",
        "ifconfig --libxo json",
        "ifconfig --libxo=json -a",
        "ifconfig --libxo json,pretty",
    ],
)
def test_all(command: str) -> None:
    assert [each["name"] for each in parsed(command)["interface"]] == ["em0", "ipsec0"]


@pytest.mark.parametrize(
    "command",
    [
        "ifconfig ipsec0 --json",
        "ifconfig ipsec0 --libxo json",
        "ifconfig ipsec0 --libxo=json,pretty",
    ],
)
def test_flags_at_the_end(command: str) -> None:
    assert parsed(command) == parsed("ifconfig --json ipsec0")


def test_one_family() -> None:
    members = set(parsed("ifconfig --json ipsec0 inet")["interface"][0])
    assert "inet" in members and not members & {"inet6", "nd6", "link-address", "groups", "reqid", "media", "members"}
    assert {"inet6", "nd6"} <= set(parsed("ifconfig ipsec0 inet6 --json")["interface"][0])
    assert [each["name"] for each in parsed("ifconfig -a --json ether")["interface"]] == ["em0"]


def test_broadcast_address_is_that_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    address = {"address": "192.0.2.9", "peer": None, "prefixlen": 32, "broadcast": None}
    install(monkeypatch, FakeDoor({**ETHERNET, "inet": [address]}))
    assert parsed("ifconfig --json em0")["interface"][0]["inet"][0]["broadcast"] == "192.0.2.9"


def test_names() -> None:
    assert parsed("ifconfig --json -l") == parsed("ifconfig -l --json") == {"name": ["em0", "ipsec0"]}
    assert parsed("ifconfig -l inet --json") == {"name": ["ipsec0"]}
    assert parsed("ifconfig --json -C") == parsed("ifconfig -C --json") == {"cloner": ["ipsec", "lo"]}
    assert parsed("ifconfig --json -g ipsec") == parsed("ifconfig -g ipsec --libxo json") == {"member": ["ipsec0"]}
    assert run("ifconfig -g --json") == ok("ipsec0\n")  # the name of a group


def test_styles() -> None:
    assert run("ifconfig --libxo text ipsec0") == run("ifconfig ipsec0")
    assert run("ifconfig --libxo json ipsec0").out.count("\n") == 1
    assert '\n  "interface": [\n' in run("ifconfig --libxo json,pretty ipsec0").out
    assert run("ifconfig --libxo xml ipsec0") == failed("--libxo: unsupported style: xml")
    assert run("ifconfig --libxo json,nice ipsec0") == failed("--libxo: unsupported style: json,nice")


def test_a_text_that_looks_like_the_flag(two: FakeDoor) -> None:
    assert run("ifconfig ipsec0 descr --json") == ok()
    assert two.asked("SIOCSIFDESCR") == [{"name": "ipsec0", "text": "--json"}]


def test_every_member_is_in_the_manual() -> None:
    section = PAGE.read_text().partition(".Sh JSON OUTPUT")[2].partition(".Sh ")[0]
    words = set(section.replace("*", " ").split())

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert words.issuperset(value)
            for each in value.values():
                check(each)
        elif isinstance(value, list):
            for each in value:
                check(each)

    check(parsed("ifconfig --json ipsec0"))
