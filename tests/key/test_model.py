"""Random requests, ticks and restarts: the key engine answers as the reference model does, whatever came before."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipsectools.errno import ENOENT
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr
from ipsectools.pfkey.constants import (
    SADB_ADD,
    SADB_DELETE,
    SADB_DUMP,
    SADB_FLUSH,
    SADB_GET,
    SADB_GETSPI,
    SADB_UPDATE,
    SADB_X_SPDADD,
    SADB_X_SPDDELETE,
    SADB_X_SPDDELETE2,
    SADB_X_SPDDUMP,
    SADB_X_SPDFLUSH,
    SADB_X_SPDGET,
    SADB_X_SPDUPDATE,
)
from ipsectools.pfkey.message import build, extensions
from tests.key.driver import EPOCH, A, B, C, Driver, add, pair
from tests.key.model import Model

spis = st.sampled_from([255, *range(256, 262)])
ends = st.sampled_from([(A, B), (A, B), (A, B), (A, B), (A, C), ("fd00::1", "fd00::2")])
modes = st.sampled_from([0, 1, 2])
reqids = st.sampled_from([0, 0, 7, 8])
pids = st.sampled_from([1, 1, 1, 1, 1, 1, 2])
limits = st.sampled_from([(0, 0), (0, 0), (5, 10), (3, 3), (0, 4), (20, 40)])
directions = st.sampled_from([1, 2])
selectors = st.sampled_from([("10.0.0.0", "10.1.0.0"), ("10.2.0.0", "10.3.0.0"), ("fd01::", "fd02::")])
names = st.sampled_from(["ipsec0", "ipsec1"])


def lifetimes(soft_and_hard: tuple[int, int]) -> bytes:
    soft, hard = soft_and_hard
    if not soft and not hard:
        return b""
    return ext.lifetime(3, addtime=hard) + ext.lifetime(4, addtime=soft)


class KeyEngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.client = self.driver.client()
        self.model = Model(EPOCH)
        self.interfaces: dict[str, list[int]] = {}

    def _ask(self, message: bytes) -> int:
        self.client.take()
        return self.client.errno(message)

    @rule(spi=spis, ends=ends, mode=modes, reqid=reqids, limit=limits, pid=pids)
    def add(self, spi: int, ends: tuple[str, str], mode: int, reqid: int, limit: tuple[int, int], pid: int) -> None:
        request = add(spi, *ends, mode=mode, reqid=reqid, extra=lifetimes(limit), pid=pid, type=SADB_ADD)
        assert self._ask(request) == self.model.add(spi, *ends, mode, reqid, *limit, pid)

    @rule(spi=spis, ends=ends, mode=modes, reqid=reqids, pid=pids)
    def getspi(self, spi: int, ends: tuple[str, str], mode: int, reqid: int, pid: int) -> None:
        request = build(SADB_GETSPI, 3, ext.sa2(mode, reqid) + pair(*ends) + ext.spirange(spi, spi), pid=pid)
        assert self._ask(request) == self.model.getspi(spi, *ends, mode, reqid, pid)

    @rule(spi=spis, ends=ends, mode=modes, reqid=reqids, limit=limits, pid=pids)
    def update(self, spi: int, ends: tuple[str, str], mode: int, reqid: int, limit: tuple[int, int], pid: int) -> None:
        request = add(spi, *ends, mode=mode, reqid=reqid, extra=lifetimes(limit), pid=pid, type=SADB_UPDATE)
        assert self._ask(request) == self.model.update(spi, *ends, mode, reqid, *limit, pid)

    @rule(spi=spis, ends=ends, mode=modes, reqid=reqids, limit=limits, pid=pids)
    def refresh(self, spi: int, ends: tuple[str, str], mode: int, reqid: int, limit: tuple[int, int], pid: int) -> None:
        body = ext.sa(spi) + ext.sa2(mode, reqid) + pair(*ends) + lifetimes(limit)
        wanted = self.model.refresh(spi, *ends, mode, reqid, *limit, pid)
        assert self._ask(build(SADB_UPDATE, 3, body, pid=pid)) == wanted

    @rule(number=st.integers(0, 20), mode=modes, reqid=reqids, limit=limits, key=st.booleans())
    def update_existing(self, number: int, mode: int, reqid: int, limit: tuple[int, int], key: bool) -> None:
        """An UPDATE that fits an SA but perhaps for mode and reqid."""
        sas = self.model.sas()
        if sas:
            spi, _, src, dst, _, _, _ = sas[number % len(sas)]
            request = self.update if key else self.refresh
            request(spi=spi, ends=(src, dst), mode=mode, reqid=reqid, limit=limit, pid=1)

    @rule(number=st.integers(0, 20), tick=st.booleans())
    def delete_existing(self, number: int, tick: bool) -> None:
        sas = self.model.sas()
        if sas:
            spi, _, src, dst, _, _, _ = sas[number % len(sas)]
            self.delete(spi=spi, ends=(src, dst))
            if tick:
                self.time(seconds=1)

    @rule(spi=spis, ends=ends)
    def get(self, spi: int, ends: tuple[str, str]) -> None:
        assert self._ask(build(SADB_GET, 3, ext.sa(spi) + pair(*ends))) == self.model.get(spi, *ends)

    @rule(spi=spis, ends=ends)
    def delete(self, spi: int, ends: tuple[str, str]) -> None:
        assert self._ask(build(SADB_DELETE, 3, ext.sa(spi) + pair(*ends))) == self.model.delete(spi, *ends)

    @rule(ends=ends)
    def delete_all(self, ends: tuple[str, str]) -> None:
        assert self._ask(build(SADB_DELETE, 3, pair(*ends))) == self.model.delete_all(*ends)

    @rule(satype=st.sampled_from([0, 2, 3]))
    def flush(self, satype: int) -> None:
        assert self._ask(build(SADB_FLUSH, satype)) == 0
        if satype != 2:
            self.model.flush()

    @rule(ends=ends, reqid=reqids)
    def outbound(self, ends: tuple[str, str], reqid: int) -> None:
        found = self.driver.engine.outbound_sa(*ends, reqid)
        assert (found.spi if found else None) == self.model.outbound(*ends, reqid)

    @rule(
        direction=directions,
        selector=selectors,
        priority=st.sampled_from([0, 0, 5, 2**32 - 1]),
        level=st.integers(0, 3),
        reqid=st.sampled_from([0, 5, 0x3FFF, 0x4000]),
        update=st.booleans(),
    )
    def spd_add(
        self, direction: int, selector: tuple[str, str], priority: int, level: int, reqid: int, update: bool
    ) -> None:
        ends = sockaddr.from_text(A), sockaddr.from_text(B)
        request = policies.Request(50, 2, level, reqid, *ends).pack()
        type = SADB_X_SPDUPDATE if update else SADB_X_SPDADD
        message = build(type, 0, policies.policy(2, direction, request, priority=priority) + pair(*selector))
        assert self._ask(message) == self.model.spd_add(direction, selector, priority, level, reqid, update)

    @rule(direction=directions, selector=selectors)
    def spd_delete(self, direction: int, selector: tuple[str, str]) -> None:
        message = build(SADB_X_SPDDELETE, 0, policies.policy(0, direction) + pair(*selector))
        assert self._ask(message) == self.model.spd_delete(direction, selector)

    @rule(id=st.integers(1, 12))
    def spd_delete2(self, id: int) -> None:
        assert self._ask(build(SADB_X_SPDDELETE2, 0, policies.policy(0, 0, id=id))) == self.model.spd_delete2(id)

    @rule(id=st.integers(1, 12))
    def spd_get(self, id: int) -> None:
        assert self._ask(build(SADB_X_SPDGET, 0, policies.policy(0, 0, id=id))) == self.model.spd_get(id)

    @rule()
    def spd_flush(self) -> None:
        assert self._ask(build(SADB_X_SPDFLUSH, 0)) == self.model.spd_flush()

    @rule(name=names, reqid=st.sampled_from([9, 70000]))
    def tunnel(self, name: str, reqid: int) -> None:
        old = self.interfaces.get(name, [])
        index = 3 + int(name[-1])
        new = self.driver.engine.install_interface_policies(index, reqid, A, B, self.driver.now, old)
        self.driver.end()
        assert new == self.model.install(index, reqid, old)
        self.interfaces[name] = new

    @rule(name=names)
    def delete_tunnel(self, name: str) -> None:
        old = self.interfaces.pop(name, [])
        self.driver.engine.remove_interface_policies(old, self.driver.now)
        self.driver.end()
        self.model.policies = [policy for policy in self.model.policies if policy.id not in old]

    @rule(seconds=st.sampled_from([1, 1, 2, 5, 31]))
    def time(self, seconds: int) -> None:
        """Some seconds pass at once, then the timer runs."""
        self.driver.now += seconds
        self.model.now += seconds
        self.driver.tick()
        self.model.tick()

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.driver.restart(clean)
        self.client = self.driver.client()

    @invariant()
    def the_same_sas(self) -> None:
        found = []
        self.client.take()
        records = self.client.ask(build(SADB_DUMP, 0))
        for number, record in enumerate(records):
            if record[2]:
                assert (record[2], len(records)) == (ENOENT, 1)
                break
            assert int.from_bytes(record[8:12], "little") == len(records) - 1 - number
            parts = dict(extensions(record))
            spi, _, state, _, _, _ = ext.read_sa(parts[1])
            mode, _, reqid = ext.read_sa2(parts[19])
            src, dst = (sockaddr.to_text(ext.read_address(parts[kind])[2]) for kind in (5, 6))
            found.append((spi, state, src, dst, mode, reqid, ext.read_lifetime(parts[2])[2]))
        assert found == self.model.sas()

    @invariant()
    def the_same_policies(self) -> None:
        found = []
        self.client.take()
        for record in self.client.ask(build(SADB_X_SPDDUMP, 0)):
            if record[2]:
                assert record[2] == ENOENT
                break
            extension = dict(extensions(record))[18]
            _, direction, scope, id, _ = policies.read_policy(extension)
            ((_, request),) = policies.read_requests(extension)
            found.append((id, direction, scope, request.reqid))
        assert found == self.model.spd()

    def teardown(self) -> None:
        self.driver.store.close()


TestKeyEngine = KeyEngineMachine.TestCase
TestKeyEngine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
