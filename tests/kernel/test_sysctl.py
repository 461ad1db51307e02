"""The sysctl tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.errno import EINVAL, ENOENT, EOPNOTSUPP, EPERM, KernelError
from ipsectools.kernel.sysctl import LEAVES

from .driver import Driver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_tree(driver: Driver) -> None:
    leaves = driver.call("SYSCTLLIST")
    assert [leaf["name"] for leaf in leaves] == list(LEAVES)
    for leaf in leaves:
        assert leaf == driver.call("SYSCTLGET", name=leaf["name"])
        assert set(leaf) == {"name", "type", "value", "description", "writable", "tunable"}
        assert leaf["type"] in ("int", "unsigned int", "unsigned long", "struct")
        assert (leaf["value"] is None) == (leaf["type"] == "struct")
        assert leaf["description"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.key.spi_trycnt", 1000),
        ("net.key.spi_maxval", 268435455),
        ("net.key.larval_lifetime", 30),
        ("net.key.recvspace", 8192),
        ("net.inet.ipsec.def_policy", 1),
        ("net.inet.ipsec.esp_net_deflev", 1),
        ("net.inet.ipsec.crypto_support", 50331648),
        ("net.inet.ipsec.min_pmtu", 576),
        ("net.inet.esp.ctr_compatibility", 1),
        ("net.inet.ip.ttl", 64),
        ("net.fibs", 1),
        ("kern.features.ipsec", 1),
    ],
)
def test_defaults(driver: Driver, name: str, value: int) -> None:
    assert driver.call("SYSCTLGET", name=name)["value"] == value
    assert driver.kernel.sysctl.value(name) == value


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("net.key.nonsense", 1, ENOENT),
        ("net.key", 1, ENOENT),
        ("kern.features.ipsec", 0, EPERM),
        ("net.key.spdcache.maxentries", 1, EPERM),
        ("net.inet.esp.stats", 1, EPERM),
        ("net.inet.ipsec.def_policy", 2, EINVAL),
        ("net.inet.ipsec.def_policy", -1, EINVAL),
        ("net.inet6.ipsec6.def_policy", 2, EINVAL),
        ("net.inet.ipsec.ecn", -1, 0),
        ("net.inet.ipsec.dfbit", 2, 0),
        ("net.inet.ipsec.debug", 1 << 31, EINVAL),
        ("net.inet.ipsec.debug", -(1 << 31), 0),
        ("net.key.spi_minval", -1, 0),
        ("net.key.spi_minval", 1 << 31, EINVAL),
        ("net.key.sendspace", 1 << 40, 0),
        ("net.key.sendspace", 1 << 63, EINVAL),
        ("net.fibs", 0, EINVAL),
        ("net.fibs", 65536, EINVAL),
        ("net.inet.ip.ttl", 256, EINVAL),
        ("net.inet.ip.ttl", "0x21", 0),
        ("net.inet.ip.ttl", "many", EINVAL),
        ("net.inet.ip.ttl", "9" * 5000, EINVAL),
    ],
)
def test_set(driver: Driver, name: str, value: Any, number: int) -> None:
    before = driver.call("SYSCTLLIST")
    assert driver.errno("SYSCTLSET", name=name, value=value) == number
    if number:
        assert driver.call("SYSCTLLIST") == before
    else:
        assert driver.call("SYSCTLGET", name=name)["value"] == (int(value, 0) if isinstance(value, str) else value)


def test_a_host_that_cannot_take_unclaimed_packets(driver: Driver) -> None:
    """Then the variable cannot be set; 0 can."""

    def refuse() -> None:
        raise KernelError(EOPNOTSUPP, "no tc")

    name = "net.inet.ipsec.accept_unclaimed"
    assert driver.call("SYSCTLSET", name=name, value=1) == [0, 1]
    assert driver.call("SYSCTLSET", name=name, value=0) == [1, 0]
    driver.recorder.take()
    driver.kernel.host.check_injection = refuse
    with pytest.raises(KernelError) as refusal:
        driver.call("SYSCTLSET", name=name, value=1)
    assert (refusal.value.errno, refusal.value.detail) == (EOPNOTSUPP, "no tc")
    assert driver.call("SYSCTLGET", name=name)["value"] == 0
    assert ("sysctl_changed", name) not in driver.recorder.take()
    assert driver.call("SYSCTLSET", name=name, value=0) == [0, 0]


def test_old_and_new(driver: Driver) -> None:
    assert driver.call("SYSCTLSET", name="net.inet.ipsec.dfbit", value=1) == [0, 1]
    assert driver.recorder.take() == [("sysctl_changed", "net.inet.ipsec.dfbit")]
    assert driver.call("SYSCTLSET", name="net.inet.ipsec.dfbit", value="1") == [1, 1]
    assert driver.recorder.take() == []


def test_one_variable_with_two_names(driver: Driver) -> None:
    driver.call("SYSCTLSET", name="net.inet6.ipsec6.def_policy", value=0)
    assert driver.call("SYSCTLGET", name="net.inet.ipsec.def_policy")["value"] == 0
    assert [name for _, name in driver.recorder.take()] == ["net.inet.ipsec.def_policy", "net.inet6.ipsec6.def_policy"]


def test_log_messages_are_one_variable_too(driver: Driver) -> None:
    driver.call("SYSCTLSET", name="net.inet.ipsec.debug", value=1)
    assert driver.call("SYSCTLGET", name="net.inet6.ipsec6.debug")["value"] == 1


def test_types(driver: Driver) -> None:
    types = {leaf["name"]: leaf["type"] for leaf in driver.call("SYSCTLLIST") if leaf["type"] != "struct"}
    other = {name: type for name, type in types.items() if type != "int"}
    assert other == {
        "net.fibs": "unsigned int",
        "net.inet.ipsec.mark_fib": "unsigned int",
        "net.inet.ipsec.mark_state": "unsigned int",
        "net.key.spdcache.maxentries": "unsigned int",
        "net.key.spdcache.threshold": "unsigned int",
        "net.key.sendspace": "unsigned long",
        "net.key.recvspace": "unsigned long",
    }


def test_fibs_only_grow(driver: Driver) -> None:
    driver.call("SYSCTLSET", name="net.fibs", value=4)
    assert driver.errno("SYSCTLSET", name="net.fibs", value=3) == EINVAL


def test_kept(tmp_path: Path) -> None:
    driver = Driver(f"{tmp_path}/state.db")
    driver.call("SYSCTLSET", name="net.key.preferred_oldsa", value=0)
    driver.restart(clean=False)
    assert driver.kernel.sysctl.value("net.key.preferred_oldsa") == 0


def test_statistics(driver: Driver) -> None:
    zeros = driver.call("STATISTICS")
    assert [len(zeros[each]) for each in ("esp", "ah", "ipsec", "ipsec6")] == [276, 275, 16, 16]
    driver.kernel.ipsec_statistics = lambda: {"esp": [1]}
    assert driver.call("STATISTICS") == {"esp": [1]}


def test_interface_counters(driver: Driver) -> None:
    driver.call("SIOCIFCREATE2", name="ipsec0")
    driver.kernel.interface_counters = lambda index: (1, 2, 3, 4, 5, index)
    assert list(driver.interface("ipsec0")["statistics"].values()) == [1, 2, 3, 4, 5, 3]
    assert list(driver.interface("em0")["statistics"].values()) == [0] * 6
