"""FreeBSD's SAD, SPD and acquire list as plain lists that are searched from end to end: the reference of test_model.

Knows nothing of bytes, dictionaries, rows or restarts. Requests are words; answers are an errno, or what a dump shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ipsectools.errno import EACCES, EEXIST, EINVAL, ENOENT, ESRCH

ANY, TUNNEL = 0, 2
LARVAL, MATURE, DYING = 0, 1, 2
LARVAL_LIFETIME = 30
IPSEC = 2


@dataclass
class ModelSa:
    spi: int
    state: int
    created: int
    pid: int
    soft: int = 0
    hard: int = 0
    limited: bool = False


@dataclass
class ModelHead:
    src: str
    dst: str
    mode: int
    reqid: int
    larval: list[ModelSa] = field(default_factory=list)
    alive: list[ModelSa] = field(default_factory=list)

    def matches(self, src: str, dst: str, mode: int, reqid: int) -> bool:
        return (
            (self.src, self.dst) == (src, dst)
            and (self.mode == ANY or self.mode == mode)
            and (reqid == 0 or self.reqid == reqid)
        )


@dataclass
class ModelPolicy:
    id: int
    direction: int
    selector: tuple[str, str]
    priority: int
    level: int = 0
    reqid: int = 0
    interface: bool = False


class Model:
    def __init__(self, now: int) -> None:
        self.now = now
        self.heads: list[ModelHead] = []  # newest first
        self.policies: list[ModelPolicy] = []  # in order of insertion
        self.policy_id = 0
        self.reqid = 0x4000

    # SAD

    def _find(self, spi: int) -> tuple[ModelHead, ModelSa] | None:
        for head in self.heads:
            for sa in head.larval + head.alive:
                if sa.spi == spi:
                    return head, sa
        return None

    def _head(self, src: str, dst: str, mode: int, reqid: int) -> ModelHead:
        for head in self.heads:
            if head.matches(src, dst, mode, reqid):
                return head
        self.heads.insert(0, ModelHead(src, dst, mode, reqid))
        return self.heads[0]

    def add(self, spi: int, src: str, dst: str, mode: int, reqid: int, soft: int, hard: int, pid: int) -> int:
        if self._find(spi):
            return EEXIST
        if spi <= 255:
            return EINVAL
        sa = ModelSa(spi, MATURE, self.now, pid, soft, hard, bool(soft or hard))
        self._head(src, dst, mode, reqid).alive.insert(0, sa)
        return 0

    def getspi(self, spi: int, src: str, dst: str, mode: int, reqid: int, pid: int) -> int:
        if self._find(spi):
            return EEXIST
        if spi <= 255:
            return EINVAL
        self._head(src, dst, mode, reqid).larval.insert(0, ModelSa(spi, LARVAL, self.now, pid))
        return 0

    def update(self, spi: int, src: str, dst: str, mode: int, reqid: int, soft: int, hard: int, pid: int) -> int:
        """An UPDATE with a key."""
        found = self._find(spi)
        if found is None:
            return EINVAL
        head, sa = found
        if sa.pid != pid:
            return EINVAL
        if not head.matches(src, dst, mode, reqid):
            return ESRCH
        if sa.state != LARVAL:
            return EINVAL
        head.larval.remove(sa)
        head.alive.insert(0, sa)
        sa.state, sa.created, sa.soft, sa.hard, sa.limited = MATURE, self.now, soft, hard, bool(soft or hard)
        return 0

    def refresh(self, spi: int, src: str, dst: str, mode: int, reqid: int, soft: int, hard: int, pid: int) -> int:
        """An UPDATE without a key."""
        found = self._find(spi)
        if found is None:
            return EINVAL
        head, sa = found
        if sa.pid != pid:
            return EINVAL
        if not head.matches(src, dst, mode, reqid):
            return ESRCH
        if sa.state == LARVAL:
            return EINVAL
        if soft or hard or sa.state == MATURE:
            sa.soft, sa.hard, sa.limited = soft, hard, bool(soft or hard)
        sa.state = MATURE
        return 0

    def get(self, spi: int, src: str, dst: str) -> int:
        found = self._find(spi)
        return 0 if found and (found[0].src, found[0].dst) == (src, dst) else ESRCH

    def delete(self, spi: int, src: str, dst: str) -> int:
        found = self._find(spi)
        if found is None or (found[0].src, found[0].dst) != (src, dst):
            return ESRCH
        head, sa = found
        (head.larval if sa.state == LARVAL else head.alive).remove(sa)
        return 0

    def delete_all(self, src: str, dst: str) -> int:
        for head in self.heads:
            if (head.src, head.dst) == (src, dst):
                head.alive.clear()
        return 0

    def flush(self) -> int:
        self.heads.clear()
        return 0

    def sas(self) -> list[tuple[int, int, str, str, int, int, int]]:
        """(SPI, state, src, dst, mode, reqid, created) in the order of a dump."""
        return [
            (sa.spi, sa.state, head.src, head.dst, head.mode, head.reqid, sa.created)
            for head in self.heads
            for sa in head.larval + head.alive
        ]

    def outbound(self, src: str, dst: str, reqid: int) -> int | None:
        for head in self.heads:
            if head.matches(src, dst, TUNNEL, reqid):
                return head.alive[-1].spi if head.alive else None
        return None

    # SPD

    def _new_id(self) -> int:
        self.policy_id += 1
        return self.policy_id

    def _policy(self, direction: int, selector: tuple[str, str]) -> ModelPolicy | None:
        for policy in self.policies:
            if (policy.direction, policy.selector, policy.interface) == (direction, selector, False):
                return policy
        return None

    def spd_add(
        self, direction: int, selector: tuple[str, str], priority: int, level: int, reqid: int, update: bool
    ) -> int:
        existing = self._policy(direction, selector)
        if existing:
            if not update:
                return EEXIST
            self.policies.remove(existing)
        if level != 3:
            reqid = 0
        elif not 0 < reqid <= 0x3FFF:
            self.reqid += 1
            reqid = self.reqid
        self.policies.append(ModelPolicy(self._new_id(), direction, selector, priority, level, reqid))
        return 0

    def spd_delete(self, direction: int, selector: tuple[str, str]) -> int:
        policy = self._policy(direction, selector)
        if policy is None:
            return EINVAL
        self.policies.remove(policy)
        return 0

    def spd_delete2(self, id: int) -> int:
        for policy in self.policies:
            if policy.id == id:
                if policy.interface:
                    return EACCES
                self.policies.remove(policy)
                return 0
        return EINVAL

    def spd_get(self, id: int) -> int:
        return 0 if any(policy.id == id for policy in self.policies) else ENOENT

    def spd_flush(self) -> int:
        self.policies = [policy for policy in self.policies if policy.interface]
        return 0

    def install(self, ifindex: int, reqid: int, old: list[int]) -> list[int]:
        new = [
            ModelPolicy(self._new_id(), direction, (anything, anything), ifindex, 3, reqid, True)
            for anything in ("0.0.0.0", "::")
            for direction in (1, 2)
        ]
        self.policies += new
        self.policies = [policy for policy in self.policies if policy.id not in old]
        return [policy.id for policy in new]

    def spd(self) -> list[tuple[int, int, int, int]]:
        """(id, direction, scope, reqid as a record has it) in the order of a dump."""
        found = []
        for direction in (1, 2):
            own = [each for each in self.policies if each.direction == direction]
            found += sorted((each for each in own if not each.interface), key=lambda each: each.priority)
            found += [each for each in own if each.interface]
        return [(each.id, each.direction, 2 if each.interface else 1, each.reqid & 0xFFFF) for each in found]

    # time

    def tick(self) -> None:
        empty = [head for head in self.heads if not head.larval and not head.alive]
        for head in self.heads:
            head.larval = [sa for sa in head.larval if self.now - sa.created < LARVAL_LIFETIME]
            for sa in list(head.alive):
                age = self.now - sa.created
                if sa.limited and sa.hard and age > sa.hard:
                    head.alive.remove(sa)
                elif sa.limited and sa.state == MATURE and sa.soft and age > sa.soft:
                    sa.state = DYING
        self.heads = [head for head in self.heads if head not in empty]
