"""Switches an offload of an interface on or off, as `ethtool -K` does, without that program (linux/ethtool.h)."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsectools.lab.host import Host

SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS, ETHTOOL_GSSET_INFO, ETHTOOL_SFEATURES = 0x1B, 0x37, 0x3B
ETH_SS_FEATURES = 4
STRING_LENGTH = 32


def _ask(control: socket.socket, interface: str, command: bytearray) -> None:
    """Raises OSError. The answer is in `command` afterwards."""
    data = (ctypes.c_char * len(command)).from_buffer(command)
    fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", interface.encode(), ctypes.addressof(data)) + bytes(16))


def feature_names(control: socket.socket, interface: str) -> list[str]:
    """The features the kernel knows; a feature's place in the list is its bit."""
    info = bytearray(struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0))
    _ask(control, interface, info)
    (count,) = struct.unpack_from("=I", info, 16)
    strings = bytearray(struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count) + bytes(count * STRING_LENGTH))
    _ask(control, interface, strings)
    return [
        strings[start : start + STRING_LENGTH].split(b"\0")[0].decode()
        for start in range(12, 12 + count * STRING_LENGTH, STRING_LENGTH)
    ]


def set_feature(host: Host, interface: str, feature: str, on: bool) -> None:
    """`set_feature(host, "em0", "tx-udp-segmentation", False)`. Raises OSError, ValueError for an unknown feature."""
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        names = feature_names(control, interface)
        block, bit = divmod(names.index(feature), 32)
        blocks = [(0, 0)] * ((len(names) + 31) // 32)
        blocks[block] = (1 << bit, on << bit)
        command = struct.pack("=II", ETHTOOL_SFEATURES, len(blocks)) + b"".join(struct.pack("=II", *b) for b in blocks)
        _ask(control, interface, bytearray(command))
