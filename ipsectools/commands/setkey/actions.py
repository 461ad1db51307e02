"""What the parts of a statement do as soon as they are read: the actions of grammar.lark.

Numbers are strtoul(3)'s (64 bits, the largest for more) and then cut to their field without a word, as in FreeBSD.
"""

from __future__ import annotations

from ipsectools.commands.setkey import names
from ipsectools.commands.setkey.addresses import Resolver, ResolverError
from ipsectools.commands.setkey.databases import protocol_number
from ipsectools.commands.setkey.policy import PolicyError, parse
from ipsectools.commands.setkey.statements import Range, Statement
from ipsectools.pfkey import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.commands.setkey.algorithms import Algorithms

_LARGEST_WINDOW = (0xFFFFFFFF - 32) >> 3  # bytes; more packets than that the kernel cannot hold in 32 bits


class Failure(Exception):
    """The statement cannot be done; what there is to say has been said."""


class Actions:
    """Builds statements. Every public method but `begin` is an action and gets the text of a token.

    `complain` prints an error of the statement (with line and token), `write` and `write_error` to the two outputs,
    `execute` does the finished statement.
    """

    def __init__(
        self,
        resolver: Resolver,
        algorithms: Algorithms,
        *,
        complain: Callable[[str], None],
        write: Callable[[str], None],
        write_error: Callable[[str], None],
        execute: Callable[[Statement], None],
    ) -> None:
        self._resolver = resolver
        self._algorithms = algorithms
        self._complain = complain
        self._write = write
        self._write_error = write_error
        self._execute = execute
        self.begin()

    def begin(self) -> None:
        """Starts a new statement."""
        self._statement = Statement()
        self._hosts: list[tuple[str, list[bytes]]] = []
        self._natt_ports: list[int] = []
        self._ranges: list[Range] = []

    def _fail(self, text: str) -> Failure:
        self._complain(text)
        return Failure()

    # Hosts

    def address_flags(self, text: str) -> None:
        for flag in text[1:]:
            if flag == "n":
                self._statement.numeric_only = True
            else:
                self._statement.family = c.AF_INET if flag == "4" else c.AF_INET6

    def host(self, text: str) -> None:
        statement = self._statement
        try:
            found = self._resolver.resolve(text, statement.family, statement.numeric_only)
        except ResolverError as error:
            raise self._fail(str(error)) from None
        self._hosts.append((text, found))

    # Security associations

    def satype(self, text: str) -> None:
        self._statement.satype = names.SATYPE[text]
        if text.endswith("-old"):
            self._statement.flags |= c.SA_FLAG_OLD

    def spi(self, text: str) -> None:
        self._statement.spi = (_hexadecimal(text[2:]) if text[1:2] in ("x", "X") else decimal(text)) & 0xFFFFFFFF

    def padding(self, text: str) -> None:
        if text == "nocyclic-seq":
            self._statement.flags &= ~c.SA_FLAG_CYCSEQ
        else:
            self._statement.flags |= names.PADDING[text]

    def mode(self, text: str) -> None:
        self._statement.mode = names.MODE[text]

    def reqid(self, text: str) -> None:
        self._statement.reqid = decimal(text) & 0xFFFFFFFF

    def replay(self, text: str) -> None:
        if self._statement.flags & c.SA_FLAG_OLD:
            raise self._fail("replay prevention cannot be used with ah/esp-old")
        self._statement.replay = window = decimal(text) & 0xFFFFFFFF
        if window > _LARGEST_WINDOW:
            self._complain("replay window is too large")

    def hard_lifetime(self, text: str) -> None:
        self._statement.hard_addtime = decimal(text)

    def soft_lifetime(self, text: str) -> None:
        self._statement.soft_addtime = decimal(text)

    def natt_port(self, text: str) -> None:
        self._natt_ports.append(decimal(text) & 0xFFFF)

    def natt(self, text: str) -> None:
        (source_name, source), (destination_name, destination) = self._hosts[-2:]
        source_port, destination_port = self._natt_ports[-2:]
        del self._hosts[-2:]
        self._statement.natt_hosts = (source_name, destination_name)
        self._statement.natt = (source[0], source_port, destination[0], destination_port)

    def natt_mtu(self, text: str) -> None:
        size = decimal(text) & 0xFFFFFFFF
        self._statement.natt_fragment = None if size == 0xFFFFFFFF else size  # -1: none

    def esn(self, text: str) -> None:
        self._statement.flags |= c.SA_FLAG_ESN

    def hardware_interface(self, text: str) -> None:
        self._statement.hardware_interface = text  # FreeBSD's setkey adds it only after the message has gone

    # Algorithms

    def encryption(self, text: str) -> None:
        self._statement.encryption = names.ENCRYPTION[text]

    def encryption_without_key(self, text: str) -> None:
        self._statement.encryption = names.ENCRYPTION[text]
        self._complain("WARNING: obsolete algorithm")

    def encryption_key(self, text: str) -> None:
        statement = self._statement
        statement.encryption_key = key = _key(text)
        size = len(key) - 4 if statement.encryption in names.SALTED else len(key)
        if error := self._algorithms.check_encryption(statement.encryption, size):
            raise self._fail(error)

    def authentication(self, text: str) -> None:
        self._statement.authentication = names.AUTHENTICATION[text]

    def authentication_key(self, text: str) -> None:
        statement = self._statement
        statement.authentication_key = key = _key(text)
        if statement.authentication == c.AALG_TCP_MD5:
            if not 1 <= len(key) <= 80:
                raise Failure
        elif error := self._algorithms.check_authentication(statement.authentication, len(key)):
            raise self._fail(error)

    def compression(self, text: str) -> None:
        self._statement.encryption = names.COMPRESSION[text]

    def raw_cpi(self, text: str) -> None:
        self._statement.flags |= c.SA_FLAG_RAWCPI

    # Policies

    def range_address(self, text: str) -> None:
        self._ranges.append(Range(text))

    def range_prefix(self, text: str) -> None:
        prefix = decimal(text) & 0xFFFFFFFF
        self._ranges[-1].prefix = None if prefix > 0x7FFFFFFF else prefix  # an int, and a negative one is none

    def range_port(self, text: str) -> None:
        port = text.lstrip("0") if text.isdigit() else text
        self._ranges[-1].port = None if port in ("any", "") else port

    def upper_number(self, text: str) -> None:
        self._statement.upper = decimal(text) & 0xFFFFFFFF

    def upper_word(self, text: str) -> None:
        if text != "any":
            self._statement.upper = c.IPPROTO_TCP if text == "tcp" else c.IPPROTO_ESP

    def upper_name(self, text: str) -> None:
        number = protocol_number(text)
        if number is None and text == "ip4":
            number = 4
        if number is None:
            raise self._fail("invalid upper layer protocol")
        self._statement.upper = number

    def misc(self, text: str) -> None:
        self._statement.misc = text

    def policy(self, text: str) -> None:
        try:
            self._statement.policy = parse(text, self._resolver.interface_index, self._write)
        except PolicyError as error:
            if error.detail:
                self._write_error(f"libipsec: {error.detail}\n")
            raise self._fail(error.text) from None

    # Statements

    def add(self, text: str) -> None:
        self._association("add")

    def get(self, text: str) -> None:
        self._association("get")

    def delete(self, text: str) -> None:
        if any(len(addresses) > 1 for _, addresses in self._hosts):
            raise self._fail("multiple address specified")
        self._association("delete")

    def deleteall(self, text: str) -> None:
        self._association("deleteall")

    def _association(self, command: str) -> None:
        statement = self._statement
        statement.command = command
        (source, statement.sources), (destination, statement.destinations) = self._hosts
        statement.hosts = (source, destination)
        if statement.mode and command != "add":
            self._complain("WARNING: mode is obsolete")
        self._execute(statement)

    def flush(self, text: str) -> None:
        self._simple("flush")

    def dump(self, text: str) -> None:
        self._simple("dump")

    def spdflush(self, text: str) -> None:
        self._simple("spdflush")

    def spddump(self, text: str) -> None:
        self._simple("spddump")

    def _simple(self, command: str) -> None:
        self._statement.command = command
        self._execute(self._statement)

    def spdadd(self, text: str) -> None:
        self._policy("spdadd")

    def spddelete(self, text: str) -> None:
        self._policy("spddelete")

    def spdadd_tagged(self, text: str) -> None:
        raise Failure  # FreeBSD knows the words but cannot do it

    def _policy(self, command: str) -> None:
        statement = self._statement
        statement.command = command
        source, destination = self._ranges
        statement.ranges = (source, destination)
        statement.hosts = (source.host, destination.host)
        if statement.misc is not None:
            if statement.upper != c.IPPROTO_ICMPV6:
                raise Failure
            # type and code of ICMPv6 travel as ports
            source.port, comma, code = statement.misc.partition(",")
            if comma and not code:
                raise self._fail("invalid an upper layer protocol spec")
            destination.port = code or "0"
        found = [self._resolve_range(side) for side in statement.ranges]
        if not all(found):
            raise Failure
        if any(len(addresses) > 1 for addresses in found):
            raise self._fail("multiple address specified")
        statement.sources, statement.destinations = found
        self._execute(statement)

    def _resolve_range(self, side: Range) -> list[bytes]:
        statement = self._statement
        try:
            return self._resolver.resolve(side.host, statement.family, statement.numeric_only, side.port)
        except ResolverError as error:
            self._complain(str(error))
            return []


def decimal(text: str) -> int:
    """A decimal number as strtoul(3) reads it."""
    if len(text) > 19:
        text = text.lstrip("0")
        if len(text) > 20:
            return 0xFFFFFFFFFFFFFFFF
    return min(int(text or "0"), 0xFFFFFFFFFFFFFFFF)


def _hexadecimal(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0", 16) if len(digits) <= 16 else 0xFFFFFFFFFFFFFFFF


def _key(text: str) -> bytes:
    """The bytes of a key, which is quoted or hexadecimal; of an odd number of digits the first is a byte alone."""
    if text[0] == '"':
        return text[1:-1].encode("latin-1")
    digits = text[2:]
    return bytes.fromhex("0" + digits if len(digits) & 1 else digits)
