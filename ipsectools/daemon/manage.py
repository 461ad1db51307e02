"""ipsecd seen from outside: is one running, start it, stop it."""

from __future__ import annotations

import _socket
from contextlib import suppress
from time import monotonic, sleep

from ipsectools.daemon import autostart, client, limits, ownership
from ipsectools.kernel import statedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, overload

    from ipsectools import answers


def _door(directory: str) -> client.ControlDoor | None:
    if not directory:
        return None
    connection = client.connect(directory, "control", _socket.SOCK_STREAM)
    return None if connection is None else client.ControlDoor(directory, connection)


if TYPE_CHECKING:

    @overload
    def ask(op: Literal["LISTIF"], directory: str | None = None) -> list[answers.Interface] | None: ...
    @overload
    def ask(op: Literal["SYSCTLLIST"], directory: str | None = None) -> list[answers.Leaf] | None: ...
    @overload
    def ask(op: Literal["SHAREDKEYS"], directory: str | None = None) -> list[answers.SharedKey] | None: ...
    @overload
    def ask(op: Literal["IPSECDSTATUS"], directory: str | None = None) -> answers.DaemonStatus | None: ...
    @overload
    def ask(op: str, directory: str | None = None) -> Any: ...


def ask(op: str, directory: str | None = None) -> Any:
    """The answer of a running ipsecd, None if none serves. Raises ClientError and KernelError."""
    door = _door(directory or client.usable_directory())
    if door is None:
        return None
    try:
        return door.call(op)
    except client.Gone:
        return None
    finally:
        door.close()


def status(directory: str | None = None) -> answers.DaemonStatus | None:
    """What ipsecd says about itself (see `service.Service.status`), None if none serves. Raises ClientError."""
    return ask("IPSECDSTATUS", directory)


def is_served_for_others() -> bool:
    """Whether this process can have no kernel, but root's ipsecd serves here. Raises ClientError."""
    return not client.usable_directory() and statedir.is_served_by_root()


def start(directory: str | None = None) -> None:
    """Returns when an ipsecd serves the state directory, started now if there was none.

    Raises ClientError, also where it could not do its work.
    """
    limits.check_start()
    directory = directory or client.state_directory()
    try:
        autostart.start(directory, client.PATIENCE)
    except autostart.CannotStart as error:
        raise client.ClientError(str(error)) from None


def stop(directory: str | None = None) -> bool:
    """Ends the ipsecd of the state directory and waits for that; False if there is none. Raises ClientError."""
    directory = directory or client.usable_directory()
    door = _door(directory)
    if door is None:
        return False
    with suppress(client.Gone):  # it ended on its own, or its answer was lost in its end
        door.call("IPSECDSTOP")
    door.close()
    deadline = monotonic() + client.PATIENCE
    while monotonic() < deadline:
        lock = ownership.acquire(directory)
        if lock is not None:
            lock.release()
            return True
        sleep(0.005)
    raise client.ClientError(f"ipsecd does not end{ownership.describe_owner(directory)}")


def fetch_link(name: str, vnet: str) -> None:
    """Moves a host's link from the namespace `vnet` to this process's, as SIOCSIFRVNET would.

    ipsecd has given up the right to enter other namespaces; who asks it may have that right. Raises KernelError.
    """
    from ipsectools.host.linux.namespaces import fetch_link as fetch

    fetch(name, vnet)
