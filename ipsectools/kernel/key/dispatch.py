"""PF_KEY messages, packets without an SA and time, each to the part of the key engine that answers it.

On top of this room: it imports the handlers, which take the `KeyEngine` below them and know nothing of each other.
"""

from __future__ import annotations

from ipsectools.errno import EINVAL, KernelError
from ipsectools.kernel.key import acquire, interface_policies, policies, register, sa_create, sa_query, timers
from ipsectools.kernel.key.checks import check_addresses, check_satype
from ipsectools.kernel.key.engine import KeyEngine
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.sockets import KeySocket
from ipsectools.pfkey.constants import (
    EXT_ADDRESS_DST,
    EXT_ADDRESS_SRC,
    SADB_ACQUIRE,
    SADB_ADD,
    SADB_DELETE,
    SADB_DUMP,
    SADB_EXPIRE,
    SADB_FLUSH,
    SADB_GET,
    SADB_GETSPI,
    SADB_REGISTER,
    SADB_UPDATE,
    SADB_X_PROMISC,
    SADB_X_SPDADD,
    SADB_X_SPDDELETE,
    SADB_X_SPDDELETE2,
    SADB_X_SPDDUMP,
    SADB_X_SPDFLUSH,
    SADB_X_SPDGET,
    SADB_X_SPDSETIDX,
    SADB_X_SPDUPDATE,
)
from ipsectools.pfkey.message import Message, parse, with_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsectools.kernel.key.sad import SecurityAssociation

    Handler = Callable[[KeyEngine, KeySocket, Message, int], None]


_HANDLERS: dict[int, Handler] = {
    SADB_GETSPI: sa_create.getspi,
    SADB_UPDATE: sa_create.update,
    SADB_ADD: sa_create.add,
    SADB_DELETE: sa_query.delete,
    SADB_GET: sa_query.get,
    SADB_ACQUIRE: acquire.from_user,
    SADB_REGISTER: register.register,
    SADB_EXPIRE: register.refuse,
    SADB_FLUSH: sa_query.flush,
    SADB_DUMP: sa_query.dump,
    SADB_X_PROMISC: register.promisc,
    SADB_X_SPDADD: policies.add,
    SADB_X_SPDUPDATE: policies.add,
    SADB_X_SPDSETIDX: policies.add,
    SADB_X_SPDDELETE: policies.delete,
    SADB_X_SPDDELETE2: policies.delete_by_id,
    SADB_X_SPDGET: policies.get,
    SADB_X_SPDDUMP: policies.dump,
    SADB_X_SPDFLUSH: policies.flush,
}


class Dispatcher(KeyEngine):
    """The key engine of one emulated kernel with everything that comes to it."""

    def open_socket(self, deliver: Callable[[bytes], bool]) -> KeySocket:
        socket = KeySocket(self, self.delivery, deliver)
        self.delivery.add(socket)
        return socket

    def send(self, socket: KeySocket, data: bytes, now: float) -> int:
        """Handles a request (see KeySocket.send)."""
        self.delivery.begin(socket)
        try:
            message = parse(data)
        except KernelError as error:
            return error.errno
        try:
            if message.flaw:
                raise Refused(message.flaw)
            check_satype(message)
            found = message.extensions
            if EXT_ADDRESS_SRC in found and EXT_ADDRESS_DST in found:
                check_addresses(found[EXT_ADDRESS_SRC], found[EXT_ADDRESS_DST])
            handler = _HANDLERS.get(message.type)
            if handler is None:
                raise Refused(EINVAL)
            handler(self, socket, message, int(now))
        except Refused as refusal:
            self.delivery.to_one(socket, with_errno(refusal.answer or data, refusal.errno))
        return 0

    def tasks(self, now: float) -> list[Callable[[], None]]:
        """What is due, once a second or after any time without it: each a transaction for itself, in this order."""

        def make(task: Callable[[KeyEngine, int], None]) -> Callable[[], None]:
            def perform() -> None:
                self.delivery.begin(None)
                task(self, int(now))

            return perform

        return [make(task) for task in timers.TASKS]

    def install_interface_policies(
        self, ifindex: int, reqid: int, src: str, dst: str, now: float, old: Sequence[int] = ()
    ) -> list[int]:
        """The four policies of an ipsec interface with this tunnel (`src` local, `dst` remote).

        Addresses are numeric texts, a zone the index of an interface (`fe80::1%3`).

        They are announced, then those in `old` are removed and announced. Returns the ids: IPv4 in, IPv4 out, IPv6 in,
        IPv6 out. Raises KernelError.
        """
        self.delivery.begin(None)
        return interface_policies.install(self, ifindex, reqid, src, dst, int(now), old)

    def remove_interface_policies(self, ids: Sequence[int], now: float) -> None:
        """Removes policies of an interface and announces it."""
        self.delivery.begin(None)
        interface_policies.remove(self, ids)

    def acquire_for_policy(self, policy_id: int, now: float) -> None:
        """A packet met this policy and found no SA: an ACQUIRE, if it is time for one."""
        self.delivery.begin(None)
        acquire.for_policy(self, policy_id, int(now))

    def exhausted(self, sa: SecurityAssociation, now: float) -> None:
        """The SA has sent its last sequence number or IV, so it ends, as if a hard limit had passed (RFC 4303 3.3.3).

        The next packet takes another SA or asks for one. (FreeBSD starts again at 0.)
        """
        self.delivery.begin(None)
        timers.end(self, sa)
