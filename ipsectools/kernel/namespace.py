"""This network namespace's name, and the mark of a state directory by which others see whether it is still there."""

from __future__ import annotations

import os

from ipsectools.kernel.errors import StateError

VARIABLE = "IPSECTOOLS_STATE"
MARK_FILE = "namespace"
_SO_NETNS_COOKIE = 71  # since Linux 5.14


def namespace_name(*, make: bool = True) -> str:
    """A name of this network namespace that no other has until the next boot.

    `make`: where Linux has no such name, the namespace is given one. Raises StateError if it has none then.
    """
    import _socket

    try:
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            return str(int.from_bytes(probe.getsockopt(_socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little"))
        finally:
            probe.close()
    except OSError:  # an older Linux
        from ipsectools.host.linux import namespaces

        try:
            return f"net-{namespaces.own_name(make=make)}"
        except OSError as error:
            reason = f"this network namespace cannot be named ({error.strerror})"
            raise StateError(f"no place for the state: {reason}; set {VARIABLE}") from None


def namespace_mark() -> list[str]:
    """The boot, two numbers of this network namespace, and the PID namespace from which it can be seen."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = "unknown"
    return [boot, *(str(os.stat(f"/proc/thread-self/{name}").st_ino) for name in ("ns/net", "net/dev", "ns/pid"))]


def read_mark(place: str) -> list[str]:
    """What `namespace_mark` gave to whoever made the directory; empty if there is none, as with older releases."""
    try:
        with open(f"{place}/{MARK_FILE}", encoding="ascii") as file:
            words = file.read(200).split()
    except (OSError, ValueError):
        return []
    return words if len(words) == 4 and all(map(str.isdigit, words[1:])) else []
