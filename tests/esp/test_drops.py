"""The table of drop reasons."""

from __future__ import annotations

import re
from pathlib import Path

from ipsectools.esp import drops
from ipsectools.esp.drops import DROPS, IN, OUT, Drop

SOURCE = Path(drops.__file__).parent.parent

# netstat -s -p esp and -p ipsec, in their order; those that FreeBSD's ESP never touches are left out.
COUNTERS = {
    "esps_hdrops",
    "esps_nopf",
    "esps_notdb",
    "esps_qfull",
    "esps_noxform",
    "esps_badilen",
    "esps_wrap",
    "esps_badenc",
    "esps_badauth",
    "esps_replay",
    "esps_toobig",
    "esps_pdrops",
    "esps_crypto",
    "ips_in_polvio",
    "ips_out_polvio",
    "ips_out_nosa",
    "ips_out_inval",
}


def test_names() -> None:
    constants = {name: value for name, value in vars(drops).items() if isinstance(value, Drop)}
    assert list(constants.values()) == list(DROPS.values())
    for constant, drop in constants.items():
        assert re.fullmatch(r"(in|out)(-[a-z]+)+", drop.name)
        assert DROPS[drop.name] is drop
        assert drop.direction == drop.name.partition("-")[0]
        assert constant.startswith(drop.direction.upper() + "_")
        assert drop.text
        assert "\n" not in drop.text
        assert drop.name in repr(drop)


def test_counters_are_freebsds() -> None:
    used = {counter for drop in DROPS.values() for counter in drop.counters}
    assert used == COUNTERS


def test_directions_stay_apart() -> None:
    for drop in DROPS.values():
        if drop.direction == OUT:
            assert drop.stage == drops.STAGE_NONE
            assert not any(counter.startswith("ips_in") for counter in drop.counters)
        else:
            assert drop.direction == IN
            assert not drop.oerrors  # an interface has no input errors either
            assert not any(counter.startswith("ips_out") for counter in drop.counters)


def test_a_name_is_given_once() -> None:
    before = dict(DROPS)
    try:
        Drop("in-replay", "again", IN)
    except ValueError:
        pass
    else:
        raise AssertionError("two reasons with one name")
    assert before == DROPS
