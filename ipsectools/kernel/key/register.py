"""REGISTER and X_PROMISC: what a socket wants to hear."""

from __future__ import annotations

from ipsectools.errno import EEXIST, EINVAL
from ipsectools.kernel.key.errors import Refused
from ipsectools.kernel.key.validate import AUTH_ALGORITHMS, ENCRYPTION_ALGORITHMS
from ipsectools.pfkey import extensions
from ipsectools.pfkey.constants import EXT_SUPPORTED_AUTH, EXT_SUPPORTED_ENCRYPT, SATYPE_UNSPEC
from ipsectools.pfkey.message import HEADER_BYTES, Message, echo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.kernel.key.engine import KeyEngine
    from ipsectools.kernel.key.sockets import KeySocket

_SUPPORTED = extensions.supported(EXT_SUPPORTED_AUTH, AUTH_ALGORITHMS) + extensions.supported(
    EXT_SUPPORTED_ENCRYPT, ENCRYPTION_ALGORITHMS
)


def register(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """Registers for an SA type (for none with satype 0); the answer goes to all that are registered for any."""
    if message.satype != SATYPE_UNSPEC:
        if message.satype in socket.registered:
            raise Refused(EEXIST)
        socket.registered.add(message.satype)
    engine.delivery.to_registered(echo(message, _SUPPORTED))


def promisc(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """Switches the socket's promiscuous mode by the satype (0 or 1); a longer message is passed on to all."""
    if len(message.data) > HEADER_BYTES:
        engine.delivery.to_all(message.data[HEADER_BYTES:])
        return
    if message.satype not in (0, 1):
        raise Refused(EINVAL)
    socket.promiscuous = bool(message.satype)
    engine.delivery.to_all(echo(message))


def refuse(engine: KeyEngine, socket: KeySocket, message: Message, now: int) -> None:
    """EXPIRE is the kernel's to send."""
    raise Refused(EINVAL)
