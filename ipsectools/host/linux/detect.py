"""Finds out whether packets can flow on this machine, by trying what needs privilege without changing anything."""

from __future__ import annotations

import _socket
import os

ESP = 50
TUN_DEVICE = "/dev/net/tun"


def missing() -> str | None:
    """None if packets can flow, else what is missing, in a few words.

    Capabilities are tried and not read from /proc: in a user namespace a process can hold all of them without holding
    any over its network namespace.
    """
    try:
        os.close(os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return f"{TUN_DEVICE} ({error.strerror})"
    if not has_esp():
        return "CAP_NET_RAW"
    from ipsectools.host.linux import rtnetlink

    try:
        changeable = rtnetlink.may_change()
    except OSError as error:
        return f"rtnetlink ({error.strerror})"
    return None if changeable else "CAP_NET_ADMIN"


def has_esp() -> bool:
    """True if ESP can be sent and received: a raw socket can be had."""
    try:
        _socket.socket(_socket.AF_INET, _socket.SOCK_RAW, ESP).close()
    except OSError:
        return False
    return True
