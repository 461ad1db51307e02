"""Several PF_KEY messages in one transaction: as if each had been alone, or nothing at all."""

from __future__ import annotations

import pytest

from ipsectools.errno import ENOSPC, KernelError
from ipsectools.host.simulated.host import SimulatedHost
from ipsectools.kernel.kernel import Kernel, PfkeySocket
from ipsectools.pfkey.constants import SADB_ADD, SADB_DELETE
from ipsectools.pfkey.message import build
from tests.key.driver import add, pair

NOW = 1_700_000_000
DELETE_NOTHING = build(SADB_DELETE, 0, pair())


class Two:
    """A kernel with the socket that sends and one that listens; `heard` has what either got, in order."""

    def __init__(self) -> None:
        self.kernel = Kernel(None, SimulatedHost(), NOW)
        self.heard: list[tuple[str, object]] = []
        self.listener = self.open("listener")
        self.sender = self.open("sender")

    def open(self, name: str) -> PfkeySocket:
        return self.kernel.open_pfkey(lambda message: self.heard.append((name, (message[1], message[2]))) or True)

    def send_all(self, *messages: bytes) -> bool:
        return self.sender.send_all(messages, NOW, lambda number: self.heard.append(("result", number)))

    @property
    def spis(self) -> list[int]:
        return list(self.kernel.engine.sad.by_spi)


def test_each_has_its_answers_and_its_result() -> None:
    two = Two()
    assert two.send_all(add(1000), add(1000), b"nonsense", DELETE_NOTHING, add(1001))
    assert two.heard == [
        ("listener", (SADB_ADD, 0)),
        ("sender", (SADB_ADD, 0)),
        ("result", 0),
        ("sender", (SADB_ADD, 17)),
        ("result", 0),
        ("result", 22),
        ("sender", (SADB_DELETE, 22)),
        ("result", 0),
        ("listener", (SADB_ADD, 0)),
        ("sender", (SADB_ADD, 0)),
        ("result", 0),
    ]
    assert two.spis == [1000, 1001]


@pytest.mark.parametrize("where", ["put", "commit"])
def test_all_or_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the state file cannot take has not happened, and nobody hears of it; later requests are none the worse."""
    two = Two()
    store = two.kernel.store
    whole = getattr(store, where)
    left = [4 if where == "put" else 0]

    def full(*arguments: object) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise KernelError(ENOSPC)
        whole(*arguments)

    monkeypatch.setattr(store, where, full)
    assert not two.send_all(add(1000), add(1001), add(1002), add(1003), add(1004))
    assert two.heard == []
    assert two.spis == []
    assert two.send_all(add(1000), add(1001))
    assert two.spis == [1000, 1001]
    assert [each for each in two.heard if each[0] == "sender"] == [("sender", (SADB_ADD, 0))] * 2


def test_observers_hear_of_it_before_the_answers() -> None:
    two = Two()

    class Observer:
        def sa_changed(self, sa: object) -> None:
            two.heard.append(("observer", sa.spi))  # type: ignore[attr-defined]

    two.kernel.observers.append(Observer())  # type: ignore[arg-type]
    assert two.send_all(add(1000), add(1001))
    assert two.heard[:2] == [("observer", 1000), ("observer", 1001)]
    assert ("observer", 1000) not in two.heard[2:]
