"""SAs of counter modes that have their key in common, of one direction or both.

Our own IVs do not come twice under one key, whatever SA has it (see `ledger`). But who shares a key between SAs has
several senders with it, and what the others send nobody here knows: that is told, in the log, by setkey(8) at a
terminal, by `ipsectools doctor` and `why`.
"""

from __future__ import annotations

from itertools import islice

from ipsectools.kernel.key.validate import COUNTER_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import SharedKey
    from ipsectools.kernel.key.sad import SecurityAssociation

MOST_GROUPS = 64
MOST_SPIS = 16
"""How many a report names."""

FIX = "give each a key of its own (setkey(8), Counter mode keys by hand)"


class SharedKeys:
    """Knows keys by the very objects that the SAs have: a key is in no further place of memory for it."""

    __slots__ = ("_groups", "_single")

    def __init__(self) -> None:
        self._single: dict[bytes, SecurityAssociation] = {}
        self._groups: dict[bytes, dict[int, SecurityAssociation]] = {}  # of two and more, oldest first, by id

    def clear(self) -> None:
        self._single.clear()
        self._groups.clear()

    def name(self, sa: SecurityAssociation) -> bytes | None:
        """The key's name here, which is itself; None if it is not of a counter mode."""
        return sa.key_encrypt or None if sa.encrypt in COUNTER_MODE else None

    def add(self, sa: SecurityAssociation) -> None:
        """The SA is alive from now on, if it is."""
        name = self.name(sa) if sa.alive else None
        if name is None:
            return
        group = self._groups.get(name)
        if group is not None:
            group[sa.id] = sa
        elif name in self._single:
            first = self._single.pop(name)
            self._groups[name] = {first.id: first, sa.id: sa}
        else:
            self._single[name] = sa

    def remove(self, sa: SecurityAssociation) -> None:
        name = self.name(sa)
        if name is None:
            return
        group = self._groups.get(name)
        if group is None:
            self._single.pop(name, None)
            return
        group.pop(sa.id, None)
        if len(group) == 1:
            del self._groups[name]
            (self._single[name],) = group.values()

    def told(self, name: bytes) -> SharedKey | None:
        """What `report` says of the key with this name; None if it is not shared."""
        group = self._groups.get(name)
        return None if group is None else _told(group)

    def report(self) -> list[SharedKey]:
        """The shared keys, up to 64."""
        return [_told(group) for group in islice(self._groups.values(), MOST_GROUPS)]


def _told(group: dict[int, SecurityAssociation]) -> SharedKey:
    newest = list(islice(reversed(group.values()), MOST_SPIS))
    ways = {(sa.src, sa.dst) for sa in newest}
    both = any((dst, src) in ways for src, dst in ways)
    spis = [sa.spi for sa in newest]
    further = len(group) - len(spis)
    named = ", ".join(map(str, sorted(spis))) + (f" and {further} more" if further else "")
    text = f"SPIs {named} have the same key" + (", in both directions" if both else "")
    return {"spis": spis, "both": both, "text": text, "fix": FIX}
