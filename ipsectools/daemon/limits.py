"""What a command may do where packets cannot flow, for want of privilege or of a device, and what it says then.

Nothing is pretended. An ordinary user sees the real machine, and what he wants to change is refused as FreeBSD refuses
it; root is told what is missing. Then a second line says what can be done (`advice`; `programs.run` prints it).
"""

from __future__ import annotations

import os

from ipsectools.daemon.doors import ClientError
from ipsectools.errno import EPERM, KernelError, strerror
from ipsectools.host import HostError, missing
from ipsectools.host.linux.detect import TUN_DEVICE
from ipsectools.kernel import statedir

advice = ""
"""What can be done about the refusal that this process has met; empty if it met none."""

UNKNOWN = frozenset(["SYSCTLLIST", "SYSCTLGET", "STATISTICS", "OUTBOUND", "KLDSTAT"])
"""Operations that read what only the kernel knows, and nobody else on the machine."""


def lacking() -> str | None:
    """What this process lacks to have packets flow, None if nothing. Raises ClientError."""
    try:
        return missing()
    except HostError as error:
        raise ClientError(str(error)) from None


def is_outsider() -> bool:
    """Whether this process is an ordinary user's, who can neither own a kernel of this machine nor look into root's.

    Raises ClientError.
    """
    return os.geteuid() != 0 and lacking() is not None


def advise() -> str:
    """Remembers what can be done, and returns what is missing here."""
    global advice
    want = missing() or "privilege"
    can_open = os.access(TUN_DEVICE, os.R_OK | os.W_OK)
    if os.geteuid() != 0:
        first = "run as root"
    elif want.startswith("CAP_"):
        first = f"give it {want} (in a container: --cap-add {want.removeprefix('CAP_')})"
    else:
        here = f"let it open {TUN_DEVICE}" if os.path.exists(TUN_DEVICE) else "modprobe tun"
        first = f"{here} (in a container: --device {TUN_DEVICE})"
    condition = "" if can_open else f", once {TUN_DEVICE} can be opened"
    lab = f"`ipsectools shell --lab' (real packets without root{condition})"
    advice = f"{first}; {lab}; or IPSECTOOLS_HOST=simulated (everything but packets)"
    return want


def refusal() -> KernelError | ClientError:
    """The exception for a change that this process cannot make: FreeBSD's answer to an ordinary user; root's reason."""
    want = advise()
    if os.geteuid() != 0:
        return KernelError(EPERM)
    return ClientError(f"{strerror(EPERM)} for want of {want}")


def refused_socket() -> ClientError:
    """The same where a PF_KEY socket cannot be opened, or what is sent through it cannot have an effect."""
    error = refusal()
    return error if isinstance(error, ClientError) else ClientError(str(error))


def check_start() -> None:
    """Raises ClientError if an ipsecd that is wanted for its own sake could not do its work here."""
    if lacking() is not None:
        raise refused_socket()


def check_secret(op: str) -> None:
    """Raises KernelError EPERM if what is asked may be in root's kernel, of which this process can know nothing."""
    if op in UNKNOWN and statedir.may_be_hidden():
        advise()
        raise KernelError(EPERM)
