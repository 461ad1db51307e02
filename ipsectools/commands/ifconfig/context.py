"""One run of ifconfig: its options, the interface and family at hand, and the way to the kernel's control door."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import Fatal
from ipsectools.commands.ifconfig.formats import Formats
from ipsectools.errno import ENXIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from ipsectools.answers import Interface

    class Door(Protocol):
        """What `daemon.client.open_control` gives."""

        def call(self, op: str, **args: Any) -> Any: ...
        def close(self) -> None: ...


NAME_SIZE = 16
"""Bytes of an interface's name with its terminating zero (IFNAMSIZ)."""


def is_too_long(name: str) -> bool:
    """Whether no interface (and no group) can have that name."""
    return len(name.encode("utf-8", "surrogateescape")) >= NAME_SIZE


def open_door() -> Door:
    """The kernel's control door. Raises Fatal with one clear line if there is no kernel to talk to."""
    from ipsectools.daemon.client import ClientError, open_control

    try:
        return _Reached(open_control(), ClientError)
    except ClientError as error:
        raise Fatal(str(error)) from None


class _Reached:
    """A control door whose failures to reach the kernel end the command."""

    __slots__ = ("_door", "_unreachable")

    def __init__(self, door: Door, unreachable: type[Exception]) -> None:
        self._door = door
        self._unreachable = unreachable

    def call(self, op: str, **args: Any) -> Any:
        try:
            return self._door.call(op, **args)
        except self._unreachable as error:
            raise Fatal(str(error)) from None

    def close(self) -> None:
        self._door.close()


class Options:
    """The flags of the command line."""

    __slots__ = (
        "all",
        "capabilities",
        "down_only",
        "driver_name",
        "exclude_group",
        "json",
        "lifetimes",
        "list_names",
        "pretty",
        "up_only",
        "want_group",
    )

    def __init__(self) -> None:
        self.all = False
        self.list_names = False
        self.up_only = False
        self.down_only = False
        self.capabilities = False
        self.driver_name = False
        self.lifetimes = False
        self.want_group: str | None = None
        self.exclude_group: str | None = None
        self.json = False
        self.pretty = False


class AddressRequest:
    """The address that the words describe, to be added or deleted when all of them are read."""

    __slots__ = ("address", "broadcast", "flags", "lifetimes", "peer", "prefixlen", "prefixlen_given", "target")

    def __init__(self) -> None:
        self.address: str | None = None
        self.target: str | None = None  # the address to delete
        self.peer: str | None = None
        self.broadcast: str | None = None
        self.prefixlen: int | None = None
        self.prefixlen_given = False
        self.flags: list[str] = []
        self.lifetimes: dict[str, int] = {}


class Family:
    """An address family. This base class is one that has neither addresses nor tunnels (`af_ipsec` and its like)."""

    __slots__ = ("aliases", "name")

    changes_addresses = False
    """False: address words do nothing and the family ends in a warning."""
    deletes_addresses = True
    """False: an address word without `alias` does not schedule a deletion."""
    tunnel_operation = ""
    """The control operation that sets tunnel endpoints; empty: none."""

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None:
        self.name = name
        self.aliases = aliases

    def shown(self, interface: Interface, word: str) -> bool:
        """Whether an interface is listed when the family was named, by `word`."""
        return False

    def take(self, context: Context, word: str, slot: str) -> None:
        """Reads an address word into `context.request`; `slot`: `address`, `target`, `peer`, `netmask`, `broadcast`."""

    def take_prefixlen(self, context: Context, word: str) -> None:
        """Reads a prefix length into `context.request`."""

    def complete(self, context: Context) -> None:
        """Default mask or prefix length, once all words are read and an address may be added."""

    def delete(self, context: Context) -> None:
        """Deletes the address that `context.request` says. Raises KernelError."""

    def add(self, context: Context) -> None:
        """Adds the address in `context.request`. Raises KernelError."""


class Context:
    """What the feature modules work on.

    `alias` is 0, or 1 after `alias`, or -1 after `-alias`. `addressed` counts address words, `masked` is true after a
    `netmask`; `adding` and `deleting` say what is to be done at the end. `announce`: print `name` when the run ends.
    """

    __slots__ = (
        "_door",
        "adding",
        "addressed",
        "alias",
        "announce",
        "callbacks",
        "deleting",
        "family",
        "formats",
        "masked",
        "name",
        "options",
        "request",
        "status",
    )

    def __init__(self) -> None:
        self._door: Door | None = None
        self.options = Options()
        self.formats = Formats()
        self.status = 0
        self.name = ""
        self.announce = False
        self.family: Family | None = None
        self.request = AddressRequest()
        self.callbacks: list[Callable[[Context], None]] = []
        self.alias = 0
        self.addressed = 0
        self.masked = False
        self.adding = True
        self.deleting = False

    def call(self, op: str, **args: Any) -> Any:
        """A control operation (CONTRIBUTING.md lists them). Raises KernelError, or Fatal if there is no kernel."""
        if self._door is None:
            self._door = open_door()
        return self._door.call(op, **args)

    def close(self) -> None:
        """Lets go of the kernel."""
        if self._door is not None:
            self._door.close()
            self._door = None

    def interfaces(self) -> list[Interface]:
        """All interfaces in kernel order."""
        return self._list()

    def zones(self, *words: str) -> set[str]:
        """The names of interfaces, if one of the words has a `%` behind which one may stand."""
        return {interface["name"] for interface in self.interfaces()} if any("%" in word for word in words) else set()

    def interface(self, name: str | None = None) -> Interface | None:
        """One interface as it is now (default: the one at hand), None if there is none of that name."""
        wanted = self.name if name is None else name
        found = self._list(name=wanted) if wanted and not is_too_long(wanted) else []
        return found[0] if found else None

    def _list(self, **which: str) -> list[Interface]:
        try:
            listed: list[Interface] = self.call("LISTIF", **which)
        except KernelError as error:
            if error.errno == ENXIO:
                return []
            raise Fatal(f"unable to get interface list: {error}") from None
        return listed
