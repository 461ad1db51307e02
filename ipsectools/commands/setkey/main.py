"""setkey(8)'s command line.

FreeBSD's order of things: all options first (a file of -f is opened on the way), then the PF_KEY socket, then the last
mode that was named. Exit statuses: 0, also when the kernel refused a request; 1 for wrong usage, an error in a script,
no kernel; 255 where FreeBSD's setkey ends by err(-1).
"""

from __future__ import annotations

import os
import sys

from ipsectools.commands.bsdgetopt import BAD, getopt
from ipsectools.errno import from_host, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.commands.setkey.exchange import Exchange
    from ipsectools.commands.setkey.kernel_door import Door
    from ipsectools.commands.setkey.output import InOrder, Output
    from ipsectools.commands.setkey.statements import Statement

USAGE = """\
usage: setkey [-v] -c
       setkey [-v] -f filename
       setkey [-v] -e "<script>"
       setkey [-Pagltv] -D
       setkey [-Pv] -F
       setkey [-h] -x
"""

SCRIPT, DUMP, FLUSH, MONITOR = "script", "dump", "flush", "monitor"

_LETTERS = "acde:f:ghltvxDFP"
_LONG_OPTIONS = ("--check", "--json", "--libxo:", "--show-keys")
_STDIN = 0
_ERROR = 255
_BROKEN_INPUT = 2


class Exit(Exception):
    """Ends the program with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class CommandLine:
    """What the words of the command say. `source` is the script: a descriptor, or the text of -e."""

    __slots__ = (
        "check",
        "dead",
        "hexadecimal",
        "json",
        "loop",
        "mode",
        "monitors",
        "policies",
        "pretty",
        "scope",
        "show_keys",
        "source",
        "verbose",
    )

    def __init__(self) -> None:
        self.mode: str | None = None
        self.source: int | bytes = _STDIN
        self.monitors = 0
        self.scope = 0
        self.policies = self.dead = self.hexadecimal = self.loop = self.verbose = False
        self.check = self.json = self.pretty = self.show_keys = False


def main(arguments: list[str]) -> int:
    """The command with these arguments (without its name). Returns its exit status; raises OSError of its output."""
    from ipsectools.commands.setkey.output import Output

    output = Output()
    try:
        return run(arguments, output)
    finally:
        output.flush()


def run(arguments: list[str], output: Output, open_door: Callable[[bool], Door] | None = None) -> int:
    """As `main`, with another standard output and another way to the kernel (`open_door(served)`)."""
    try:
        return _run(arguments, output, open_door)
    except Exit as end:
        return end.status


def _run(arguments: list[str], output: Output, open_door: Callable[[bool], Door] | None) -> int:
    if not arguments:
        return _usage(output)
    line = _read_options(arguments, output)
    try:
        return _serve(line, output, open_door)
    finally:
        if isinstance(line.source, int) and line.source != _STDIN:
            os.close(line.source)


def _serve(line: CommandLine, output: Output, open_door: Callable[[bool], Door] | None) -> int:
    if line.check:
        return _check(line, output)
    if open_door is None:
        from ipsectools.commands.setkey.kernel_door import Door

        open_door = Door
    from ipsectools.daemon.client import ClientError

    try:
        door = open_door(_is_waiting(line))
    except ClientError as error:
        output.write_error(f"pfkey_open: {error}\n")
        return 1
    try:
        return _do(line, door, output)
    except ClientError as error:
        output.write_error(f"{'setkey' if door.opened else 'pfkey_open'}: {error}\n")
        return 1
    finally:
        door.close()


def _read_options(arguments: list[str], output: Output) -> CommandLine:
    line = CommandLine()
    for option, argument in getopt(["setkey", *arguments], _LETTERS, _LONG_OPTIONS):
        if option == "c":
            line.mode, line.source = SCRIPT, _STDIN
        elif option == "e":
            _only_one_source(line, output)
            text = os.fsencode(argument or "")
            if not text:
                output.write_error("setkey: fmemopen: Invalid argument\n")
                raise Exit(_ERROR)
            line.mode, line.source = SCRIPT, text
        elif option == "f":
            _only_one_source(line, output)
            line.mode, line.source = SCRIPT, _open(argument or "", output)
        elif option in ("D", "F"):
            line.mode = DUMP if option == "D" else FLUSH
        elif option == "x":
            line.mode = MONITOR
            line.monitors += 1
        elif option == "g":
            line.scope |= 1
        elif option == "t":
            line.scope |= 2
        elif option == "P":
            line.policies = True
        elif option == "a":
            line.dead = True
        elif option == "h":
            line.hexadecimal = True
        elif option == "l":
            line.loop = True
        elif option == "v":
            line.verbose = True
        elif option in ("--check", "--show-keys"):
            setattr(line, option[2:].replace("-", "_"), True)
        elif option == "--json":
            line.json = True
        elif option == "--libxo":
            _read_libxo(argument or "", line, output)
        elif option in (BAD, "d"):
            raise Exit(_usage(output))
    return line


def _read_libxo(argument: str, line: CommandLine, output: Output) -> None:
    for word in argument.split(","):
        if word == "json":
            line.json = True
        elif word == "pretty":
            line.pretty = True
        elif word != "text":
            output.write_error(f"setkey: --libxo: {word or 'nothing'}: not json, pretty or text\n")
            raise Exit(1)


def _only_one_source(line: CommandLine, output: Output) -> None:
    if line.source != _STDIN:
        output.write_error(f"setkey: only one -f/-e option is accepted: {strerror(0)}\n")
        raise Exit(_ERROR)


def _open(name: str, output: Output) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        output.write_error(f"setkey: fopen: {strerror(from_host(error.errno or 0))}\n")
    except ValueError:  # a NUL in the name
        output.write_error(f"setkey: fopen: {strerror(2)}\n")
    raise Exit(_ERROR)


def _usage(output: Output) -> int:
    output.write(USAGE)
    return 1


def _is_waiting(line: CommandLine) -> bool:
    """Whether this run may wait for somebody, so that it must not be the owner of the kernel meanwhile."""
    if line.mode == MONITOR or line.loop:
        return True
    if line.mode != SCRIPT or isinstance(line.source, bytes):
        return False
    import _stat

    try:
        return not _stat.S_ISREG(os.fstat(line.source).st_mode)
    except OSError:
        return False


def _do(line: CommandLine, door: Door, output: Output) -> int:
    from ipsectools.commands.setkey.exchange import Exchange, Options
    from ipsectools.pfkey import constants as c
    from ipsectools.pfkey.message import build

    if line.mode == MONITOR:
        from ipsectools.commands.setkey.monitor import monitor

        return monitor(door, output, os.getpid(), unix_time=line.monitors > 1, hexadecimal=line.hexadecimal)
    options = Options(dead=line.dead, hexadecimal=line.hexadecimal, loop=line.loop, verbose=line.verbose)
    exchange = Exchange(door, output, options)
    if line.mode == DUMP:
        kind, satype = (c.SADB_X_SPDDUMP, line.scope) if line.policies else (c.SADB_DUMP, c.SATYPE_UNSPEC)
        request = build(kind, satype, pid=exchange.pid)
        if line.json:
            from ipsectools.commands.setkey import json_output

            return json_output.dump(request, door, output, pretty=line.pretty, show_keys=line.show_keys, dead=line.dead)
        exchange.request(request, None)
        return 0
    if line.mode == FLUSH:
        kind = c.SADB_X_SPDFLUSH if line.policies else c.SADB_FLUSH
        exchange.request(build(kind, c.SATYPE_UNSPEC, pid=exchange.pid), None)
        return 0
    if line.mode == SCRIPT:
        return _script(line, door, exchange, output)
    return _usage(output)


def _script(line: CommandLine, door: Door, exchange: Exchange, output: Output) -> int:
    from ipsectools.commands.setkey.addresses import Resolver
    from ipsectools.commands.setkey.algorithms import Algorithms
    from ipsectools.commands.setkey.output import InOrder
    from ipsectools.commands.setkey.script import Script
    from ipsectools.commands.setkey.statements import messages
    from ipsectools.daemon.client import ClientError

    try:
        algorithms = Algorithms.of_reply(exchange.register())
    except ClientError as error:
        if not door.opened:
            raise
        output.write_error(f"setkey: {error}\n")
        return _ERROR
    except OSError as error:
        output.write_error(f"setkey: {error.strerror}\n")
        return _ERROR

    added: set[int] | None = set() if output.errors_are_read else None

    def execute(statement: Statement, line_number: int) -> bool:
        sent = False
        if added is not None and statement.command == "add":
            added.add(statement.spi)
        for message in messages(statement, exchange.pid):
            sent = True
            exchange.request_ahead(message, line_number)
        return sent

    ordered = InOrder(output, exchange.catch_up)
    script = Script(_reader(line.source, ordered), ordered, Resolver(door.interface_index), algorithms, execute)
    status = script.run()
    exchange.catch_up()
    if added:
        _tell_shared_keys(added, door, output)
    return status


def _tell_shared_keys(added: set[int], door: Door, output: Output) -> None:
    """Says to whoever typed the keys that one of them is not the only one of its kind."""
    for told in door.shared_keys():
        if not added.isdisjoint(told["spis"]):
            output.write_error(f"setkey: warning: {told['text']}: {told['fix']}\n")


def _check(line: CommandLine, output: Output) -> int:
    if line.mode != SCRIPT:
        return _usage(output)
    from ipsectools.commands.setkey.check import check

    return check(_reader(line.source, output), output)


def _reader(source: int | bytes, output: Output | InOrder) -> Callable[[int], bytes]:
    """How to read the script. A failing read ends the program as flex does."""
    if isinstance(source, bytes):
        rest = [source]
        return lambda size: rest.pop() if rest else b""
    descriptor = source

    def read(size: int) -> bytes:
        try:
            return os.read(descriptor, size)
        except OSError:
            output.write_error("input in flex scanner failed\n")
            raise Exit(_BROKEN_INPUT) from None

    return read


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
