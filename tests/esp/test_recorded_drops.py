"""The packets that FreeBSD's kernel was given in the recording `inbound_manpage`, and what it counted for them.

Its input is `manpage.json` of the vectors, partly damaged. The numbers are read from the recording: espstat by index.
"""

from __future__ import annotations

import json
from pathlib import Path

from ipsectools.esp import drops, tunnel
from ipsectools.esp.drops import Drop
from ipsectools.esp.sa import EspSA
from ipsectools.esp.traffic import Traffic
from ipsectools.pfkey import constants

DATA = Path(__file__).parent.parent / "data"
STEPS = json.loads((DATA / "recordings" / "kernel.json").read_text())["scenarios"]["inbound_manpage"]
ESPSTAT = {0: "esps_hdrops", 1: "esps_nopf", 2: "esps_notdb", 6: "esps_badilen", 8: "esps_badenc"}
INPUT, IBYTES = 11, 14
INPUT_FRONT, INPUT_MIDDLE = 13, 14


def test_counters_as_recorded() -> None:
    case = json.loads((DATA / "vectors" / "manpage.json").read_text())
    inbound = [bytes.fromhex(packet["outer"])[20:] for packet in case["packets"]]
    inbound = [esp for esp in inbound if int.from_bytes(esp[:4], "big") == 10000]
    key = bytes.fromhex(case["sas"][0]["enc"]["key"])
    sa = EspSA(10000, constants.EALG_AESCBC, key, 0, b"", 0, 0, Traffic())
    first = inbound[0]

    def flipped(place: int) -> bytes:
        changed = bytearray(first)
        changed[place] ^= 1
        return bytes(changed)

    frames = {
        "as it should be": first,
        "the same packet again (no replay window)": first,
        "another": inbound[2],
        "IV changed (no authentication)": flipped(23),
        "last byte changed (no authentication)": flipped(-1),
    }
    for step in STEPS:
        words = step.get("wire", "").split()
        if words[:2] == ["cut", "to"]:
            frames[step["wire"]] = first[: int(words[2]) - 20]

    base: dict[str, int] | None = None
    base_ipsec: dict[str, int] = {}
    counted = dict.fromkeys([*ESPSTAT.values(), "input", "ibytes", "front", "middle"], 0)
    compared = 0
    unknown = {"unknown SPI", "SPI 0", "SPI 255"}
    for index, step in enumerate(STEPS):
        name = step.get("wire")
        if name == "interface down":
            break
        if name in frames or name in unknown:
            base = base or {}
            esp = frames.get(name, b"")
            result: object = drops.IN_UNKNOWN_SPI if name in unknown else sa.open(esp)
            if isinstance(result, tuple):
                inner, next_header = result
                what = tunnel.decapsulation(4, tunnel.MODE_TUNNEL, next_header, len(inner))
                if isinstance(what, Drop):
                    result = what
            stage = result.stage if isinstance(result, Drop) else drops.STAGE_DECAPSULATED
            counted["input"] += stage >= drops.STAGE_INPUT
            counted["ibytes"] += sa.ciphertext_length(len(esp)) if stage >= drops.STAGE_CRYPTO else 0
            counted["middle"] += stage >= drops.STAGE_STRIPPED
            counted["front"] += stage >= drops.STAGE_DECAPSULATED
            for counter in result.counters if isinstance(result, Drop) else ():
                counted[counter] += 1
        elif step.get("stats") == "esp":
            now = {int(key): value for key, value in step["nonzero"].items()}
            following = {int(key): value for key, value in STEPS[index + 1]["nonzero"].items()}
            if base is None or not counted["input"]:
                base, base_ipsec = step["nonzero"], STEPS[index + 1]["nonzero"]
                continue
            grown = {name: now.get(place, 0) - base.get(str(place), 0) for place, name in ESPSTAT.items()}
            grown["input"] = now[INPUT] - base.get(str(INPUT), 0)
            grown["ibytes"] = now[IBYTES] - base.get(str(IBYTES), 0)
            grown["front"] = following[INPUT_FRONT] - base_ipsec.get(str(INPUT_FRONT), 0)
            grown["middle"] = following[INPUT_MIDDLE] - base_ipsec.get(str(INPUT_MIDDLE), 0)
            assert grown == counted, step
            compared += 1
    assert compared == 6
