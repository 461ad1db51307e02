"""`setkey --check`: reads a script, does nothing of it, and prints its statements in canonical form.

There is no kernel and no look-up of hosts: names of hosts and interfaces stay names, and keys are checked against the
algorithms that FreeBSD 14 has. What is wrong goes to standard error.
"""

from __future__ import annotations

from ipsectools.commands.setkey import canonical
from ipsectools.commands.setkey.addresses import NO_NAME, Resolver, ResolverError, numeric, port_of, text_of
from ipsectools.commands.setkey.algorithms import FREEBSD
from ipsectools.commands.setkey.script import Script
from ipsectools.pfkey import sockaddr as sockaddrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.commands.setkey.output import Output
    from ipsectools.commands.setkey.statements import Statement

NAME = b""
"""Stands for the socket address of a host that is named."""


def check(read: Callable[[int], bytes], output: Output) -> int:
    """Reads a script from `read` (as Lexer does) and prints it. The exit status: 0, or 1 if something is wrong."""
    return _script(read, _ErrorsOnly(output), lambda statement: output.write(unparse(statement) + "\n")).run()


def parse(text: str) -> list[Statement]:
    """The statements of a script, as `check` prints them. Raises ValueError with what is wrong with it."""
    found: list[Statement] = []
    complaints = _Complaints()
    rest = [text.encode("latin-1")]
    if _script(lambda size: rest.pop() if rest else b"", complaints, found.append).run():
        raise ValueError("".join(complaints.texts))
    return found


def unparse(statement: Statement) -> str:
    """The canonical form of a statement that `parse` gave."""
    return canonical.text(statement, _address_text)


class _Interfaces:
    """Gives every interface that is named an index, so that the name comes out again."""

    __slots__ = ("_names",)

    _FIRST = 0xF0000000  # above every index that somebody may write as a number

    def __init__(self) -> None:
        self._names: list[str] = []

    def index(self, name: str) -> int:
        if name.isdigit():
            return 0
        if name not in self._names:
            self._names.append(name)
        return self._FIRST + self._names.index(name)

    def name(self, index: int) -> str | None:
        return self._names[index - self._FIRST] if 0 <= index - self._FIRST < len(self._names) else None


_interfaces = _Interfaces()


def _address_text(sockaddr: bytes) -> str:
    return text_of(sockaddrs.without_port(sockaddr), _interfaces.name)


class _Names(Resolver):
    """Looks nothing up."""

    __slots__ = ()

    def resolve(
        self, host: str, family: int = 0, numeric_only: bool = False, service: str | None = None
    ) -> list[bytes]:
        if service is not None:
            port_of(service)
        address = numeric(host, self.interface_index)
        if address is not None and family in (0, address[1]):
            return [address]
        if numeric_only or ":" in host:
            raise ResolverError(NO_NAME)
        return [NAME]


class _ErrorsOnly:
    """An Output whose standard output is standard error, where it does not mix with the canonical text."""

    def __init__(self, output: Output) -> None:
        self.write = self.write_error = output.write_error
        self.flush = output.flush


class _Complaints:
    """An Output that only keeps what it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.write = self.write_error = self.texts.append

    def flush(self) -> None:
        pass


def _script(
    read: Callable[[int], bytes], output: _ErrorsOnly | _Complaints, use: Callable[[Statement], None]
) -> Script:
    def execute(statement: Statement, line: int) -> bool:
        if not _has_pair(statement):
            return False
        _use_canonical_hosts(statement)
        use(statement)
        return True

    return Script(read, output, _Names(_interfaces.index), FREEBSD, execute)


def _has_pair(statement: Statement) -> bool:
    """Whether a source and a destination can be of the same family."""
    if not statement.sources:
        return True
    source, destination = statement.sources[0], statement.destinations[0]
    return NAME in (source, destination) or source[1] == destination[1]


def _use_canonical_hosts(statement: Statement) -> None:
    if statement.sources:
        source, destination = statement.hosts
        statement.hosts = (
            _host_text(source, statement.sources[0]),
            _host_text(destination, statement.destinations[0]),
        )
    if statement.ranges is not None:
        for side, text in zip(statement.ranges, statement.hosts, strict=True):
            side.host = text
    if statement.natt is not None:
        source, destination = statement.natt_hosts
        statement.natt_hosts = (_host_text(source, statement.natt[0]), _host_text(destination, statement.natt[2]))


def _host_text(name: str, address: bytes) -> str:
    return name if address == NAME else _address_text(address)
