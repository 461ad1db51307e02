"""--json and --libxo json: the schema of the manual page, keys masked unless asked for."""

from __future__ import annotations

import json

import pytest

from ipsectools.pfkey import constants as c
from ipsectools.pfkey import extensions as ext

from .fakes import FakeDoor, setkey
from .test_output import BYTES, CREATED, address, association, dumped_policy, dumping, request

SA = association(
    ext.key(8, BYTES[:20]),
    ext.key(9, BYTES[:16]),
    ext.lifetime(3, addtime=100),
    ext.nat_t_type(2),
    ext.nat_t_port(21, 4500),
    ext.nat_t_port(22, 4501),
    address(23, "10.9.9.9", protocol=0),
    ext.sa_replay(2400),
    encrypt=12,
    auth=3,
    flags=0x440,
    reqid=7,
    sequence=3,
    current=(1, 2, CREATED, CREATED + 1),
)


def described(show_keys: bool) -> dict[str, object]:
    return {
        "source": "10.0.0.1",
        "destination": "10.0.0.2",
        "protocol": "esp",
        "mode": "transport",
        "spi": 4096,
        "reqid": 7,
        "nat_t": {
            "source_port": 4500,
            "destination_port": 4501,
            "original_source": "10.9.9.9",
            "original_destination": None,
        },
        "encryption": {"algorithm": "aes-cbc", "bits": 128, "key": BYTES[:16].hex() if show_keys else None},
        "authentication": {"algorithm": "hmac-sha1", "bits": 160, "key": BYTES[:20].hex() if show_keys else None},
        "compression": None,
        "sequence": 3,
        "replay_window": 300,
        "flags": 0x440,
        "esn": True,
        "state": "mature",
        "current": {"packets": 1, "bytes": 2, "added": CREATED, "used": CREATED + 1},
        "hard": {"packets": 0, "bytes": 0, "added": 100, "used": 0},
        "soft": None,
        "refcnt": 1,
    }


@pytest.mark.parametrize("words", [["--json"], ["--libxo", "json"], ["--libxo=json,pretty"]])
@pytest.mark.parametrize("show_keys", [False, True])
def test_associations(words: list[str], show_keys: bool) -> None:
    result = setkey("-D", *words, *["--show-keys"] * show_keys, door=dumping(SA, association(satype=9, encrypt=2)))
    assert (result.status, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["schema"] == "ipsectools.setkey.sad"
    assert found["version"] == 1
    assert isinstance(found["time"], int)
    assert found["associations"][0] == described(show_keys)
    assert found["associations"][1]["compression"] == "deflate"
    assert found["associations"][1]["encryption"] is None
    assert ("\n  " in result.stdout) == any("pretty" in word for word in words)
    assert (BYTES[:16].hex() in result.stdout) == show_keys


def test_policies() -> None:
    door = dumping(
        dumped_policy(
            request(50, 2, 3, 16385, "192.0.2.1", "192.0.2.2") + request(51, 1, 1),
            ext.lifetime(2, addtime=CREATED),
            source=address(5, "10.0.0.0", prefixlen=24, port=80, protocol=17),
            destination=address(6, "10.0.1.0", prefixlen=24, protocol=17),
            type=2,
            scope=2,
            priority=5,
        ),
        dumped_policy(
            source=address(5, "::", protocol=58, prefixlen=0, port=135),
            destination=address(6, "::", protocol=58, prefixlen=0),
            direction=2,
            priority=9,
        ),
    )
    first, second = json.loads(setkey("-DP", "--json", door=door).stdout)["policies"]
    assert first == {
        "id": 2,
        "source": "10.0.0.0/24",
        "source_port": 80,
        "destination": "10.0.1.0/24",
        "destination_port": None,
        "upper": "udp",
        "icmp6": None,
        "direction": "in",
        "action": "ipsec",
        "requests": [
            {
                "protocol": "esp",
                "mode": "tunnel",
                "source": "192.0.2.1",
                "destination": "192.0.2.2",
                "level": "unique",
                "reqid": 16385,
            },
            {"protocol": "ah", "mode": "transport", "source": None, "destination": None, "level": "use", "reqid": 0},
        ],
        "scope": "ifnet",
        "interface": "ipsec0",
        "priority": None,
        "current": {"packets": 0, "bytes": 0, "added": CREATED, "used": 0},
        "hard": None,
        "refcnt": 1,
    }
    assert second["icmp6"] == {"type": 135, "code": 0}
    assert (second["upper"], second["source_port"], second["direction"], second["priority"]) == (
        "icmp6",
        None,
        "out",
        9,
    )


def refusing(number: int) -> FakeDoor:
    return FakeDoor(lambda message: [message[:2] + bytes([number]) + message[3:]])


def test_empty_databases_and_refusals() -> None:
    assert json.loads(setkey("-D", "--json", door=refusing(2)).stdout)["associations"] == []
    assert json.loads(setkey("-DP", "--libxo=json,pretty", door=refusing(2)).stdout)["policies"] == []
    assert setkey("-DPgt", "--json", door=refusing(22)) == (1, "", "setkey: Invalid argument\n")
    assert setkey("-D", "--json", door=FakeDoor(lambda message: 55)) == (1, "", "setkey: No buffer space available\n")


def test_dead_ones_and_nonsense() -> None:
    door = dumping(association(state=3), association())
    assert len(json.loads(setkey("-D", "--json", door=door).stdout)["associations"]) == 1
    door = dumping(association(state=3), association())
    assert len(json.loads(setkey("-Da", "--json", door=door).stdout)["associations"]) == 2
    nonsense = bytes([2, c.SADB_DUMP, 0, 3, 3, 0, 0, 0]) + bytes(16)
    assert json.loads(setkey("-D", "--json", door=dumping(nonsense)).stdout)["associations"] == [
        {"error": "Invalid sadb message"}
    ]


def test_unknown_format() -> None:
    assert setkey("-D", "--libxo", "xml") == (1, "", "setkey: --libxo: xml: not json, pretty or text\n")
    assert setkey("-D", "--libxo", "text", door=refusing(2)).stdout == "No SAD entries.\n"
