"""Requests and their answers, and what setkey prints of them.

The requests of a script go ahead while the answers to earlier ones are on their way; what is printed, and its order, is
as if each had been answered before the next.

FreeBSD's setkey takes whatever arrives next for its answer (neither sender nor type is compared), until a message
without error has sequence number 0 or an error was printed; it waits a second at most for each.
"""

from __future__ import annotations

import os
from struct import error as StructError
from sys import byteorder as _BYTEORDER
from time import sleep, time

from ipsectools.commands.setkey import dump_policy, dump_sa
from ipsectools.commands.setkey.errors import INVALID_MESSAGE
from ipsectools.commands.setkey.statements import LARGEST_BYTES
from ipsectools.errno import EAGAIN, ENOBUFS, ENOENT, strerror
from ipsectools.pfkey import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.commands.setkey.kernel_door import Door
    from ipsectools.commands.setkey.output import Output

TIMEOUT = 1.0
"""Seconds to wait for an answer."""

MOST_AHEAD = 32
LONGEST_AHEAD = 1024
"""Requests under way at the most, and bytes of one that may go ahead: so many always fit into the socket."""

SHORT_HEADER = "time p   s spi      ltime   src -> dst\n"

_NOTHING = {
    c.SADB_DELETE: "No entry",
    c.SADB_GET: "No entry",
    c.SADB_X_SPDDELETE: "No entry",
    c.SADB_DUMP: "No SAD entries",
    c.SADB_X_SPDDUMP: "No SPD entries",
}
_DUMPS = frozenset([c.SADB_DUMP, c.SADB_X_SPDDUMP])
_PRINTED = _DUMPS | {c.SADB_GET}


class Options:
    """What the command line says of the output: the options -a, -h, -l, -v."""

    __slots__ = ("dead", "hexadecimal", "loop", "verbose")

    def __init__(
        self, *, dead: bool = False, hexadecimal: bool = False, loop: bool = False, verbose: bool = False
    ) -> None:
        self.dead = dead
        self.hexadecimal = hexadecimal
        self.loop = loop
        self.verbose = verbose


class Exchange:
    """The way of setkey's requests to the kernel. `pid` is this process's."""

    __slots__ = ("_ahead", "_door", "_loud", "_options", "_output", "pid")

    def __init__(self, door: Door, output: Output, options: Options, pid: int | None = None) -> None:
        self._door = door
        self._output = output
        self._options = options
        self._ahead: list[int | None] = []  # the lines of the requests under way
        self._loud = options.loop or options.verbose or options.hexadecimal
        self.pid = os.getpid() if pid is None else pid

    def register(self) -> bytes:
        """Asks for the kernel's algorithms. The reply; raises ClientError, or OSError with FreeBSD's number."""
        from ipsectools.pfkey.message import build

        number = self._door.send(build(c.SADB_REGISTER, c.SATYPE_UNSPEC, pid=self.pid))
        if number:
            raise OSError(number, strerror(number))
        pid = self.pid.to_bytes(4, _BYTEORDER)
        while True:
            message = self._door.receive(None)
            if message is None:
                raise OSError(EAGAIN, strerror(EAGAIN))
            if message[1] == c.SADB_REGISTER and message[12:16] == pid:
                return message

    def request(self, message: bytes, line: int | None) -> None:
        """Sends a request and prints what its answers deserve; `line` is that of the statement, None outside scripts.

        With -l it does so once a second, until it cannot be sent or is not answered. Raises ClientError if the kernel
        is gone.
        """
        if self._loud:
            self._request_loudly(message, line)
        else:
            self._once(message, line)

    def request_ahead(self, message: bytes, line: int | None) -> None:
        """As `request`, but what its answer deserves may be printed later, at `catch_up` at the latest."""
        if self._loud or len(message) > LONGEST_AHEAD or message[1] in _PRINTED:
            self.catch_up()
            self.request(message, line)
            return
        self._door.send_ahead(message)
        self._ahead.append(line)
        if len(self._ahead) >= MOST_AHEAD:
            self._finish(self._ahead.pop(0))

    def catch_up(self) -> None:
        """Waits for the answers to all requests. To be called before anything else is printed or waited for."""
        while self._ahead:
            self._finish(self._ahead.pop(0))

    def _request_loudly(self, message: bytes, line: int | None) -> None:
        from ipsectools.commands.setkey import kdebug

        output = self._output
        if self._options.loop:
            output.write(SHORT_HEADER)
        while True:
            if self._options.verbose:
                output.write(kdebug.message(message) + "\n")
            if self._options.hexadecimal:
                output.write(kdebug.hexadecimal(message))
            came = self._once(message, line)
            if not came or not self._options.loop:
                return
            output.flush()
            sleep(1)

    def _once(self, message: bytes, line: int | None) -> bool:
        """One request and its answers; False if none came."""
        if len(message) > LARGEST_BYTES:
            self._output.write_error(f"send: {strerror(ENOBUFS)}\n")
            return False
        self._door.send_ahead(message)
        if message[1] in _DUMPS:  # printed while more of it comes
            came = self._answers(line)
            self._report(came, self._door.finish())
            return came
        return self._finish(line)

    def _finish(self, line: int | None) -> bool:
        """Does with the answers to the oldest request under way what they deserve; False if none came."""
        number = self._door.finish()
        came = not number and self._answers(line)
        self._report(came, number)
        return came

    def _report(self, came: bool, number: int) -> None:
        """What to say if no answer came: why the request was refused, or that there is none."""
        if not came:
            text = f"send: {strerror(number)}" if number else f"recv: {strerror(EAGAIN)}"
            self._output.write_error(text + "\n")

    def _answers(self, line: int | None) -> bool:
        """Prints the answers to a request; False if one did not come."""
        receive = self._door.receive
        verbose = self._options.verbose
        while True:
            reply = receive(TIMEOUT)
            if reply is None:
                return False
            if len(reply) < 16 or int.from_bytes(reply[4:6], _BYTEORDER) * 8 != len(reply):
                self._output.write_error("setkey: invalid keymsg length\n")
                return True
            if verbose:
                from ipsectools.commands.setkey import kdebug

                self._output.write(kdebug.message(reply) + "\n")
            if reply[2]:
                self._print_error(reply, line)
                return True
            last = reply[8:12] == b"\0\0\0\0"
            if reply[1] in _PRINTED:
                try:
                    self._print(reply, last)
                except (StructError, IndexError, ValueError):  # an extension shorter than what it is
                    self._output.write(f"{INVALID_MESSAGE}\n")
            if last:
                return True

    def _print_error(self, reply: bytes, line: int | None) -> None:
        kind, number = reply[1], reply[2]
        text = _NOTHING.get(kind, "(null)") if number == ENOENT else strerror(number)
        place = "" if line is None else f"The result of line {line}: "
        self._output.write(f"{place}{text}.\n")

    def _print(self, reply: bytes, last: bool) -> None:
        kind = reply[1]
        name = self._door.interface_name
        if kind == c.SADB_X_SPDDUMP:
            self._output.write(dump_policy.text(reply, name))
        elif kind == c.SADB_GET:
            self._output.write(dump_sa.text(reply, int(time()), name))
        elif not self._options.dead and dump_sa.state(reply) == c.SASTATE_DEAD:
            return
        else:
            text = dump_sa.short_text if self._options.loop else dump_sa.text
            self._output.write(text(reply, int(time()), name))
        if self._options.verbose and (kind == c.SADB_DUMP or (kind == c.SADB_X_SPDDUMP and not last)):
            from ipsectools.commands.setkey import kdebug

            self._output.write(kdebug.EMPTY)
