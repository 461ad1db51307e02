"""How a handler says no."""

from ipsectools.errno import KernelError


class Refused(KernelError):
    """The request is answered with this errno (a reply, while the write succeeds).

    Any other KernelError that leaves a handler comes from the store: the request as a whole has failed and must be
    rolled back. `answer` is what goes back with the errno if the handler has changed it; else it is the request.
    """

    answer = b""
