"""`ipsectools dump ipsec0 | enc0 [-w FILE] [-c COUNT]`: the packets inside the tunnels, as a pcap file or pipe.

ipsecN gives packets as FreeBSD's bpf(4) does there (DLT_NULL); enc0 those of all ipsec interfaces, with the header of
enc(4) before each (DLT_ENC: address family, SPI, what protects it). Written with nanoseconds.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time

from ipsectools.commands.ipsectools import private_file
from ipsectools.daemon import client
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, BinaryIO

    from ipsectools.answers import OutboundSA

USAGE = "usage: ipsectools dump [-c COUNT] [-w FILE] ipsecN | enc0\n"

ENC = "enc0"
DLT_NULL, DLT_ENC = 0, 109
_FILE_HEADER = struct.Struct("=IHHiIII")
_PACKET_HEADER = struct.Struct("=IIII")
_ENC_HEADER = struct.Struct("=I4sI")
_NANOSECONDS = 0xA1B23C4D
SNAPLEN = 262144
AF_INET, AF_INET6 = 2, 28
"""FreeBSD's numbers, as in its captures."""
M_CONF, M_AUTH = 0x0400, 0x0800
"""Flags of enc(4): the SA encrypts, the SA authenticates."""
ENC_NULL = 11

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4
SO_TIMESTAMPNS = 35
LOOK_AGAIN = 1.0
"""Seconds after which interfaces and SAs are looked at again."""
_RECEIVE_BUFFER = 8 << 20
_AT_ONCE = 256


class CannotDump(Exception):
    """One line that says why."""


class NoInterface(CannotDump):
    """There is none of that name, or none any more."""


def main(arguments: list[str]) -> int:
    """0: ended by ^C, SIGTERM or COUNT; 1: cannot; 2: a command line that makes no sense."""
    from ipsectools.commands import bsdgetopt

    argv = ["ipsectools", *arguments]
    path, count = "-", 0
    # options may also follow the interface, as people type it
    words: list[str] = []
    while len(argv) > 1:
        parser = bsdgetopt.getopt(argv, "c:w:", program="ipsectools")
        for letter, argument in parser:
            if letter == bsdgetopt.BAD:
                return _usage()
            if letter == "w":
                path = argument or ""
            elif argument and argument.isascii() and argument.isdigit() and 0 < int(argument) < 1 << 31:
                count = int(argument)
            else:
                return _usage()
        words += argv[parser.index : parser.index + 1]
        argv = ["ipsectools", *argv[parser.index + 1 :]]
    if len(words) != 1:
        return _usage()
    try:
        return _dump(words[0], path, count)
    except CannotDump as error:
        sys.stderr.write(f"ipsectools: {error}\n")
        return 1


def _usage() -> int:
    sys.stderr.write(USAGE)
    return 2


def _dump(name: str, path: str, count: int) -> int:
    from ipsectools.daemon import limits
    from ipsectools.host import is_simulated

    if path == "-" and sys.stdout.isatty():
        raise CannotDump("standard output is a terminal: give a file with -w, or a pipe: | tcpdump -nr -")
    limits.check_start()
    if is_simulated():
        raise CannotDump("there are no packets on a simulated host; see `ipsectools doctor'")
    with Taps(name) as taps:
        taps.look()
        try:
            file = sys.stdout.buffer if path == "-" else os.fdopen(private_file.create(path), "wb")
        except OSError as error:
            raise CannotDump(f"{path}: {error.strerror}") from None
        sys.stderr.write(f"ipsectools: listening on {name}\n")
        sys.stderr.flush()
        try:
            written = _write_packets(taps, file, count)
            file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CannotDump(f"{path}: {error.strerror}") from None
        missed = taps.missed()
    sys.stderr.write(f"ipsectools: {written} packets" + (f", {missed} missed" if missed else "") + "\n")
    return 0


def _write_packets(taps: Taps, file: BinaryIO, count: int) -> int:
    """Writes until COUNT packets (0: no limit) or a signal; how many there were."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    written = 0
    before = signal.signal(signal.SIGTERM, stop)
    try:
        kind = DLT_ENC if taps.name == ENC else DLT_NULL
        file.write(_FILE_HEADER.pack(_NANOSECONDS, 2, 4, 0, 0, SNAPLEN, kind))
        file.flush()
        while True:
            for record in taps.receive():
                file.write(record)
                written += 1
                if written == count:
                    return written
            file.flush()
    except (KeyboardInterrupt, NoInterface):
        return written
    finally:
        signal.signal(signal.SIGTERM, before)


class Tap:
    """A packet socket on one ipsec interface, and the enc(4) headers of its two directions."""

    __slots__ = ("enc", "name", "socket")

    def __init__(self, name: str) -> None:
        self.name = name
        self.enc: dict[bool, tuple[bytes, int]] = {}
        """SPI and flags, by whether the packet leaves."""
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setblocking(False)
        self.socket.bind((name, ETH_P_ALL))

    def fileno(self) -> int:
        return self.socket.fileno()


class Taps:
    """The taps on ipsecN, or on every ipsec interface for enc0. A context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._door = client.open_control()
        self._taps: dict[str, Tap] = {}
        self._missed = 0
        self._looked = 0.0

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._taps):
            self._close(name)
        self._door.close()

    def look(self) -> None:
        """Opens taps on new interfaces, closes those on old ones, asks for the SAs of enc(4)'s headers."""
        self._looked = time.monotonic()
        names = [interface["name"] for interface in self._door.call("LISTIF") if interface["reqid"] is not None]
        if self.name != ENC:
            if self.name not in names:
                raise NoInterface(f"interface {self.name} does not exist, or is no ipsec interface")
            names = [self.name]
        for name in [name for name in self._taps if name not in names]:
            self._close(name)
        for name in names:
            try:
                if name not in self._taps:
                    self._taps[name] = Tap(name)
            except PermissionError:
                raise CannotDump("capturing needs CAP_NET_RAW: be root") from None
            except OSError:
                continue  # gone in this moment
            if self.name == ENC:
                self._ask(self._taps[name])

    def _ask(self, tap: Tap) -> None:
        try:
            found = self._door.call("OUTBOUND", name=tap.name)
        except KernelError:
            return
        tap.enc = {True: _enc(found["sa"]), False: _enc(found["inbound"])}

    def _close(self, name: str) -> None:
        tap = self._taps.pop(name)
        self._missed += self._statistics(tap)
        tap.socket.close()

    def receive(self) -> list[bytes]:
        """The pcap records of packets that have come; waits for some a while."""
        ready, _, _ = select.select([*self._taps.values()], [], [], LOOK_AGAIN)
        records = []
        for tap in ready:
            for _ in range(_AT_ONCE):
                try:
                    packet, ancillary, _, address = tap.socket.recvmsg(SNAPLEN, 64)
                except BlockingIOError:
                    break
                except OSError:  # the interface went down or away; if it is there, the next look opens another tap
                    self._close(tap.name)
                    break
                record = self._record(tap, packet, ancillary, address[2] == PACKET_OUTGOING)
                if record is not None:
                    records.append(record)
        if time.monotonic() - self._looked >= LOOK_AGAIN:
            self.look()
        return records

    def _record(self, tap: Tap, packet: bytes, ancillary: list[Any], leaves: bool) -> bytes | None:
        version = packet[0] >> 4 if packet else 0
        if version not in (4, 6):
            return None
        family = AF_INET if version == 4 else AF_INET6
        if self.name == ENC:
            header = _ENC_HEADER.pack(family, *tap.enc.get(leaves, (bytes(4), 0)))
        else:
            header = family.to_bytes(4, sys.byteorder)
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == 16:
                seconds, nanoseconds = struct.unpack("=qq", data)
        length = len(header) + len(packet)
        return _PACKET_HEADER.pack(seconds & 0xFFFFFFFF, nanoseconds, length, length) + header + packet

    @staticmethod
    def _statistics(tap: Tap) -> int:
        """Packets that did not fit into the buffer since this was asked last."""
        return int(struct.unpack("=II", tap.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])

    def missed(self) -> int:
        """Packets that came too fast, in all."""
        self._missed += sum(self._statistics(tap) for tap in self._taps.values())
        return self._missed


def _enc(sa: OutboundSA | None) -> tuple[bytes, int]:
    """SPI and flags of an SA, as enc(4) shows them."""
    if sa is None:
        return bytes(4), 0
    flags = (M_CONF if sa["encrypt"] != ENC_NULL else 0) | (M_AUTH if sa["auth"] else 0)
    return sa["spi"].to_bytes(4, "big"), flags
