"""All or nothing: the state file or the host refuses at each step of each operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ipsectools.errno import EIO, ENOSPC, ENXIO, KernelError

from .driver import Driver
from .linux_like import LinuxLike
from .test_recordings import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

Request = tuple[str, dict[str, Any]]

REQUESTS: list[Request] = [
    ("SIOCIFCREATE2", {"name": "ipsec"}),
    ("SIOCIFCREATE2", {"name": "epair"}),
    ("SIOCIFCREATE2", {"name": "bridge3"}),
    ("SIOCIFCREATE2", {"name": "lo1"}),
    ("SIOCIFDESTROY", {"name": "ipsec0"}),
    ("SIOCIFDESTROY", {"name": "ipsec1"}),
    ("SIOCIFDESTROY", {"name": "epair0b"}),
    ("SIOCIFDESTROY", {"name": "bridge0"}),
    ("SIOCSIFFLAGS", {"name": "ipsec1", "set": 0x21001, "clear": 0}),
    ("SIOCSIFFLAGS", {"name": "ipsec0", "set": 0, "clear": 1}),
    ("SIOCSIFFLAGS", {"name": "em0", "set": 0x820084, "clear": 1}),
    ("SIOCSIFMTU", {"name": "ipsec0", "value": 1300}),
    ("SIOCSIFMETRIC", {"name": "ipsec0", "value": 5}),
    ("SIOCSIFNAME", {"name": "ipsec0", "new": "vpn0"}),
    ("SIOCSIFDESCR", {"name": "ipsec0", "text": "elsewhere"}),
    ("SIOCSIFLLADDR", {"name": "em0", "address": "02:00:00:00:00:01"}),
    ("SIOCAIFGROUP", {"name": "ipsec0", "group": "more"}),
    ("SIOCDIFGROUP", {"name": "ipsec0", "group": "ipsec"}),
    ("SIOCSIFFIB", {"name": "ipsec0", "fib": 1}),
    ("SIOCSTUNFIB", {"name": "ipsec0", "fib": 2}),
    ("SIOCSIFPHYADDR", {"name": "ipsec0", "src": "192.168.0.3", "dst": "192.168.0.9"}),
    ("SIOCSIFPHYADDR", {"name": "ipsec1", "src": "192.168.0.3", "dst": "192.168.0.9"}),
    ("SIOCSIFPHYADDR_IN6", {"name": "ipsec0", "src": "2001:db8::3", "dst": "2001:db8::5"}),
    ("SIOCDIFPHYADDR", {"name": "ipsec0"}),
    ("IPSECSREQID", {"name": "ipsec0", "reqid": 0}),
    ("IPSECSREQID", {"name": "ipsec0", "reqid": 300}),
    ("NEWADDR", {"name": "ipsec1", "family": "inet", "address": "10.0.0.1", "prefixlen": 30, "peer": "10.0.0.2"}),
    ("NEWADDR", {"name": "ipsec0", "family": "inet", "address": "172.16.0.3", "prefixlen": 8, "peer": "172.16.0.6"}),
    ("NEWADDR", {"name": "ipsec1", "family": "inet6", "address": "2001:db8:2::1", "prefixlen": 64}),
    (
        "NEWADDR",
        {"name": "ipsec0", "family": "inet6", "address": "2001:db8:1::1", "prefixlen": 64, "vltime": 9, "pltime": 8},
    ),
    ("DELADDR", {"name": "em0", "family": "inet"}),
    ("DELADDR", {"name": "ipsec0", "family": "inet6", "address": "2001:db8:1::1"}),
    ("SIOCSIFINFO_IN6", {"name": "ipsec0", "set": 8, "clear": 0}),
    ("SIOCSDEFIFACE_IN6", {"name": "ipsec0"}),
    ("BRDGADD", {"name": "bridge0", "member": "epair0b"}),
    ("BRDGDEL", {"name": "bridge0", "member": "epair0a"}),
    ("SYSCTLSET", {"name": "net.fibs", "value": 9}),
    ("SIOCSIFVNET", {"name": "ipsec0", "vnet": "blue"}),
]


HOST_ALONE = ("SIOCSIFLLADDR", "BRDGADD", "BRDGDEL")
"""Operations that on a live host leave nothing in the state file."""

ADD = bytes.fromhex(
    next(message for step in SCENARIOS["manpage"] for message in step.get("messages", ()) if message[:6] == "S 0203")[
        2:
    ]
)
"""A SADB_ADD that setkey sent."""


def prepare(driver: Driver) -> None:
    """A host with something of everything."""
    for op, args in (
        ("SYSCTLSET", {"name": "net.fibs", "value": 4}),
        ("NEWADDR", {"name": "em0", "family": "inet", "address": "192.168.0.3", "prefixlen": 24}),
        ("SIOCIFCREATE2", {"name": "ipsec0"}),
        ("SIOCIFCREATE2", {"name": "ipsec1", "fib": 1}),
        ("SIOCSIFPHYADDR", {"name": "ipsec0", "src": "192.168.0.3", "dst": "192.168.0.5"}),
        (
            "NEWADDR",
            {"name": "ipsec0", "family": "inet", "address": "172.16.0.3", "prefixlen": 16, "peer": "172.16.0.5"},
        ),
        ("NEWADDR", {"name": "ipsec0", "family": "inet6", "address": "2001:db8:1::1", "prefixlen": 64}),
        ("SIOCIFCREATE2", {"name": "epair0"}),
        ("SIOCIFCREATE2", {"name": "bridge0"}),
        ("BRDGADD", {"name": "bridge0", "member": "epair0a"}),
        ("SIOCAIFGROUP", {"name": "ipsec0", "group": "vpn"}),
        ("SIOCSIFDESCR", {"name": "ipsec0", "text": "to branch office"}),
    ):
        driver.call(op, **args)


def seen(driver: Driver) -> Any:
    """All that can be seen through the doors."""
    client = driver.client()
    for message in ("020a0000020000000000000000000000", "02120000020000000000000000000000"):
        assert client.send(bytes.fromhex(message)) == 0
    client.socket.close()
    dumps = [message.hex() for message in client.take()]
    return driver.call("LISTIF"), dumps, driver.call("SYSCTLLIST"), driver.call("SIOCGIFGMEMB", group="ipsec")


def failing_put(driver: Driver, at: int, errno: int) -> None:
    """Lets the `at`-th change of the state file from now on fail (and with it, as SQLite does, what follows)."""
    store = driver.kernel.store
    execute, left = store._execute, [at]

    def fail(*values: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            store.changed = True
            store._failed = errno
        execute(*values)

    store._execute = fail  # type: ignore[method-assign]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("op", "args"), REQUESTS, ids=lambda value: value if isinstance(value, str) else "")
def test_state_file_refuses(op: str, args: dict[str, Any], live: bool, tmp_path: Path) -> None:
    host = LinuxLike() if live else None
    driver = Driver(f"{tmp_path}/state.db", host)
    prepare(driver)
    client = driver.client()
    before, on_host = seen(driver), host and host.state()
    if op == "SIOCSIFVNET" and not live:
        assert driver.errno(op, **args) == ENXIO
        return
    for step in range(1, 60):
        driver.recorder.take()
        client.take()
        failing_put(driver, step, ENOSPC)
        errno = driver.errno(op, **args)
        del driver.kernel.store._execute
        if errno == 0:
            break
        assert errno == ENOSPC
        assert client.take() == []
        assert {name for name, _ in driver.recorder.take()} <= {"reloaded"}
        after = seen(driver)
        if live and op in ("SIOCIFDESTROY", "SIOCSIFVNET"):
            after = before if without_identifiers(after) == without_identifiers(before) else after
        assert after == before, step
        if host and op != "SIOCSIFVNET":
            assert host.state() == on_host
        driver.restart(host=host)
        client = driver.client()
        assert without_identifiers(seen(driver)) == without_identifiers(before)
    else:
        pytest.fail("never succeeds")
    assert step > 1 or (live and op in HOST_ALONE)
    after = seen(driver)
    assert after != before
    driver.restart(clean=False, host=host)
    assert seen(driver) == after


def without_identifiers(state: Any) -> Any:
    """A device that had to be made again may have lost its counters, nothing else."""
    interfaces, *rest = state
    return [{**interface, "statistics": None} for interface in interfaces], *rest


@pytest.mark.parametrize(("op", "args"), REQUESTS, ids=lambda value: value if isinstance(value, str) else "")
def test_host_refuses(op: str, args: dict[str, Any], tmp_path: Path) -> None:
    host = LinuxLike()
    driver = Driver(f"{tmp_path}/state.db", host)
    prepare(driver)
    before, on_host = seen(driver), host.state()
    for step in range(1, 40):
        host.fail_at, host.errno = step, EIO
        client = driver.client()
        errno = driver.errno(op, **args)
        host.fail_at = 0
        if errno == 0:
            break
        assert errno == EIO
        assert client.take() == []
        assert seen(driver) == before
        assert host.state() == on_host
        driver.restart(clean=False, host=host)
        assert seen(driver) == before
        assert host.state() == on_host
    else:
        pytest.fail("never succeeds")


@pytest.mark.parametrize("live", [False, True])
def test_commit_fails(live: bool, tmp_path: Path) -> None:
    host = LinuxLike() if live else None
    driver = Driver(f"{tmp_path}/state.db", host)
    prepare(driver)
    before = seen(driver)
    commit = driver.kernel.store.commit
    for op, args in REQUESTS:
        if op == "SIOCSIFVNET" or (live and op in HOST_ALONE):
            continue

        def fail() -> None:
            if driver.kernel.store.changed:
                raise KernelError(ENOSPC)

        driver.kernel.store.commit = fail  # type: ignore[method-assign]
        assert driver.errno(op, **args) == ENOSPC, op
        driver.kernel.store.commit = commit  # type: ignore[method-assign]
        assert seen(driver) == before, op


def test_full_state_file(tmp_path: Path) -> None:
    """SQLite itself runs out of room."""
    driver = Driver(f"{tmp_path}/state.db")
    prepare(driver)
    pages = driver.kernel.store._db.execute("PRAGMA page_count").fetchone()[0]
    driver.kernel.store._db.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(200):
        before = seen(driver)
        if errno := driver.errno("SIOCIFCREATE2", name="ipsec"):
            break
    assert len(before[0]) > 7
    assert errno == ENOSPC
    assert seen(driver) == before
    driver.kernel.store._db.execute("PRAGMA max_page_count = 100000")
    assert driver.errno("SIOCIFCREATE2", name="ipsec") == 0
    driver.restart(clean=False)
    assert len(driver.names()) == len(before[0]) + 1


def test_a_pfkey_write_fails_with_the_state_file(tmp_path: Path) -> None:
    driver = Driver(f"{tmp_path}/state.db")
    writer, reader = driver.client(), driver.client()
    failing_put(driver, 1, ENOSPC)
    assert writer.send(ADD) == ENOSPC
    assert (writer.take(), reader.take()) == ([], [])
    del driver.kernel.store._execute
    assert writer.send(ADD) == 0
    assert len(reader.take()) == 1
