"""`setkey -x`: every message the kernel sends to anybody, as it is sent."""

from __future__ import annotations

from time import localtime, time_ns

from ipsectools.commands.setkey import kdebug
from ipsectools.errno import strerror
from ipsectools.pfkey import constants as c
from ipsectools.pfkey.message import HEADER_BYTES, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.commands.setkey.kernel_door import Connection
    from ipsectools.commands.setkey.output import Output


def monitor(
    connection: Connection,
    output: Output,
    pid: int,
    *,
    unix_time: bool = False,
    hexadecimal: bool = False,
    clock: Callable[[], int] = time_ns,
) -> int:
    """Prints messages until the connection breaks (ClientError). Returns 1 if the kernel does not let us listen."""
    number = connection.send(build(c.SADB_X_PROMISC, 1, pid=pid))
    if number:
        output.write_error(f"setkey: send: {strerror(number)}\n")
        return 1
    while True:
        message = connection.receive(None)
        if message is None:
            return 1
        seconds, microseconds = divmod(clock() // 1000, 1000000)
        if unix_time:
            stamp = f"{seconds}"
        else:
            local = localtime(seconds)
            stamp = f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
        output.write(f"{stamp}.{microseconds:06} \n")
        if hexadecimal:
            output.write(kdebug.hexadecimal(message))
        if message[1] == c.SADB_X_PROMISC:
            if len(message) < 2 * HEADER_BYTES:
                continue
            message = message[HEADER_BYTES:]
        output.write(kdebug.message(message) + "\n")
        output.flush()
