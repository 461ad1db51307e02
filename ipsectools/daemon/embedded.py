"""The kernel opened in the command's own process, while no ipsecd owns the state directory."""

from __future__ import annotations

from collections import deque
from time import time

from ipsectools.daemon import secrecy
from ipsectools.daemon.doors import READING_MESSAGES, ClientError
from ipsectools.errno import KernelError
from ipsectools.host import HostError, find_host, look
from ipsectools.kernel.errors import StateError
from ipsectools.kernel.kernel import Kernel
from ipsectools.kernel.statedir import STATE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.daemon.ownership import Ownership


class EmbeddedKernel:
    """Owner of the state directory until it is shut. Timers that were due meanwhile have fired.

    The doors of this process share it; the last one to close shuts it. It may also be shut under them (`closed`), as
    they come only to read then: they open it again, or connect to the ipsecd that has taken over.
    """

    __slots__ = ("_host", "_kernel", "_lock", "closed", "directory", "is_limited", "may_change", "users")

    def __init__(self, directory: str, lock: Ownership | None) -> None:
        """Without a directory and its lock, a kernel without a past that shows the machine as it is.

        Raises ClientError if the state cannot be used; the lock is released then.
        """
        try:
            secrecy.guard_memory()
            if lock is not None:
                lock.sign("command")
            self._host = find_host() if lock is not None else look()
            path = f"{directory}/{STATE_FILE}" if lock is not None else None
            self._kernel = Kernel(path, self._host, time(), moves_traffic=False)
            self._kernel.tick(time())
        except (StateError, HostError) as error:
            _release(lock)
            raise ClientError(str(error)) from None
        except KernelError as error:
            _release(lock)
            raise ClientError(f"{directory}: {error}") from None
        except OSError as error:
            _release(lock)
            raise ClientError(f"{error.filename or directory}: {error.strerror}") from None
        except BaseException:
            _release(lock)
            raise
        self._lock = lock
        self.directory = directory
        self.users = 1
        self.closed = False
        self.may_change = not self._host.live or not self._host.may_protect
        """False on a host where packets flow: changes are ipsecd's."""
        self.is_limited = not self._host.may_change
        """Interfaces are only looked at."""

    def control(self, op: str, args: dict[str, Any]) -> Any:
        """One control request. Raises KernelError."""
        return self._kernel.control(op, args, time(), True)

    def open_pfkey(self) -> EmbeddedPfkey:
        """A PF_KEY socket, the closing of which closes the kernel."""
        return EmbeddedPfkey(self)

    def usable(self, changing: bool) -> bool:
        """True if a request of this sort may come here."""
        return not self.closed and (self.may_change or not changing)

    def close(self) -> None:
        """One door less."""
        self.users -= 1
        if self.users == 0:
            self.shut()

    def shut(self) -> None:
        """Lets go of the state directory."""
        if self.closed:
            return
        self.closed = True
        try:
            self._kernel.close(clean=True)
            self._host.close()
        finally:
            _release(self._lock)


def _release(lock: Ownership | None) -> None:
    if lock is not None:
        lock.release()


class EmbeddedPfkey:
    """A PF_KEY socket of an embedded kernel. Nobody else can send, so nothing arrives but answers."""

    __slots__ = ("_door", "_inbox", "_owner", "only_read")

    def __init__(self, owner: EmbeddedKernel) -> None:
        self._owner = owner
        self._inbox: deque[bytes] = deque()
        self._door = owner._kernel.open_pfkey(self._deliver)
        self.only_read = True
        """No request so far changed anything, so that closing and opening again makes no difference."""

    def usable(self, changing: bool) -> bool:
        return self._owner.usable(changing)

    def _deliver(self, message: bytes) -> bool:
        self._inbox.append(message)
        return True

    def send(self, message: bytes) -> int:
        if len(message) < 2 or message[1] not in READING_MESSAGES:
            self.only_read = False
        return self._door.send(message, time())

    def receive(self) -> bytes | None:
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        if not self._owner.closed:
            self._door.close()
        self._owner.close()
