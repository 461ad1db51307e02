"""What `ipsectools why` is asked: a packet, as the command line describes it; and how an answer begins that is a no."""

from __future__ import annotations

import ipaddress

from ipsectools.esp.drops import DROPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "icmp6": 58, "ipv6-icmp": 58, "sctp": 132}
WITH_PORTS = frozenset([6, 17, 132])
DEFAULT_SIZE = 84
"""Bytes of an echo request as ping(8) sends it."""
LARGEST = 65535
SMALLEST_MTU, LARGEST_MTU = 1280, 8192


class Packet:
    """The packet in question. `size` counts its IP header; `df` is only meant for IPv4."""

    __slots__ = ("destination", "df", "port", "protocol", "size", "source")

    def __init__(self, source: str, destination: str) -> None:
        self.source = source
        self.destination = destination
        self.protocol: int | None = None
        self.port: int | None = None
        self.size = DEFAULT_SIZE
        self.df = False

    @property
    def version(self) -> int:
        return 6 if ":" in self.destination else 4

    @property
    def header(self) -> int:
        return 40 if self.version == 6 else 20


class Stopped(Exception):
    """The packet does not leave; `drop` is the data path's name of it, or empty if it never gets that far."""

    def __init__(self, reason: str, fix: str, drop: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.drop = drop


def stop(reason: str, fix: str, drop: str = "") -> NoReturn:
    raise Stopped(reason, fix, DROPS[drop].name if drop else "")


class WrongUsage(Exception):
    """The command line makes no sense; the text says why."""


def parse(arguments: list[str]) -> Packet:
    """The packet of a command line. Raises WrongUsage."""
    words: list[str] = []
    size = ""
    df = False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--df":
            df = True
        elif word == "--size" and rest:
            size = rest.pop(0)
        elif word.startswith("--size="):
            size = word[7:]
        elif word.startswith("-"):
            raise WrongUsage("")
        else:
            words.append(word)
    if not 2 <= len(words) <= 4:
        raise WrongUsage("")
    packet = Packet(_address(words[0]), _address(words[1]))
    if ":" in packet.source + packet.destination and not (":" in packet.source and ":" in packet.destination):
        raise WrongUsage("source and destination are of different families")
    packet.df = df
    if len(words) > 2:
        packet.protocol = PROTOCOLS.get(words[2].lower())
        if packet.protocol is None:
            packet.protocol = _number(words[2], 0, 255, "protocol")
    if len(words) > 3:
        if packet.protocol not in WITH_PORTS:
            raise WrongUsage(f"protocol {words[2]} has no ports")
        packet.port = _number(words[3], 1, 65535, "port")
    if size:
        packet.size = _number(size, packet.header, LARGEST, "size")
    return packet


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise WrongUsage(f"{text}: not an IP address") from None


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high):
        raise WrongUsage(f"{text}: no {what}" + (f" from {low} to {high}" if what != "protocol" else ""))
    return int(text)
