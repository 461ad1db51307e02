"""Speed and duplex of Ethernet links (ethtool's ETHTOOL_GSET ioctl, which unlike /sys sees this network namespace)."""

from __future__ import annotations

import _socket
import fcntl
from array import array
from struct import Struct

_SIOCETHTOOL = 0x8946
_ETHTOOL_GSET = 1
_COMMAND = Struct("=IIIHBBBBBBIIHBBII")  # ethtool_cmd
_REQUEST = Struct("16sP16x")  # ifreq with a pointer
_UNKNOWN_SPEED = 0xFFFFFFFF
_DUPLEX = {0: "half", 1: "full"}


def settings(names: list[str]) -> list[tuple[int | None, str | None]]:
    """For each link its speed in Mbit/s and `half` or `full`; None where the driver does not say."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        return [_settings(probe, name) for name in names]
    finally:
        probe.close()


def _settings(probe: _socket.socket, name: str) -> tuple[int | None, str | None]:
    command = array("B", bytes(_COMMAND.size))
    command[0] = _ETHTOOL_GSET
    try:
        fcntl.ioctl(probe, _SIOCETHTOOL, _REQUEST.pack(name.encode(), command.buffer_info()[0]))
    except OSError:
        return None, None
    fields = _COMMAND.unpack(command)
    speed = fields[3] | fields[12] << 16
    return (None if speed in (0, 0xFFFF, _UNKNOWN_SPEED) else speed), _DUPLEX.get(fields[4])
