"""A tunnel between the two lab hosts, set up with the commands a person would use."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from ipsectools.lab.flow import Counters, tcp_stream
from ipsectools.lab.ping import ping

if TYPE_CHECKING:
    from ipsectools.lab.capture import Seen
    from ipsectools.lab.host import Host

OUTER = {"inet": ("192.168.0.3", "192.168.0.5"), "inet6": ("2001:db8::3", "2001:db8::5")}
INNER = {"inet": ("172.16.0.3", "172.16.0.5"), "inet6": ("fd00::3", "fd00::5")}
REQIDS = (100, 200)
SPIS = (10000, 10001)
"""Of what A sends, of what B sends."""


class Algorithm(NamedTuple):
    """An ESP transform: names and key lengths in bytes as setkey(8) takes them, and scapy's names of the same."""

    cipher: str
    key_length: int
    authenticator: str = ""
    auth_length: int = 0
    scapy_cipher: str = ""
    scapy_authenticator: str | None = None

    def __str__(self) -> str:
        return f"{self.cipher}-{self.key_length * 8}" + (f"+{self.authenticator}" if self.authenticator else "")

    def key(self, spi: int) -> bytes:
        return hashlib.shake_256(f"{self} cipher {spi}".encode()).digest(self.key_length)

    def auth_key(self, spi: int) -> bytes:
        return hashlib.shake_256(f"{self} authenticator {spi}".encode()).digest(self.auth_length)

    def options(self, spi: int) -> str:
        """The -E and -A part of an add statement."""
        text = f"-E {self.cipher} 0x{self.key(spi).hex()}"
        return text + (f" -A {self.authenticator} 0x{self.auth_key(spi).hex()}" if self.authenticator else "")


MANUAL = Algorithm("rijndael-cbc", 16, scapy_cipher="AES-CBC")
CBC_SHA256 = Algorithm("rijndael-cbc", 32, "hmac-sha2-256", 32, "AES-CBC", "SHA2-256-128")
GCM = Algorithm("aes-gcm-16", 20, scapy_cipher="AES-GCM")
ALGORITHMS = [
    MANUAL,
    Algorithm("rijndael-cbc", 24, scapy_cipher="AES-CBC"),
    Algorithm("aes-cbc", 16, "hmac-sha1", 20, "AES-CBC", "HMAC-SHA1-96"),
    CBC_SHA256,
    Algorithm("rijndael-cbc", 16, "hmac-sha2-384", 48, "AES-CBC", "SHA2-384-192"),
    Algorithm("rijndael-cbc", 16, "hmac-sha2-512", 64, "AES-CBC", "SHA2-512-256"),
    Algorithm("aes-ctr", 20, "hmac-sha2-256", 32, "AES-CTR", "SHA2-256-128"),
    Algorithm("aes-ctr", 36, scapy_cipher="AES-CTR"),
    GCM,
    Algorithm("aes-gcm-16", 28, scapy_cipher="AES-GCM"),
    Algorithm("aes-gcm-16", 36, scapy_cipher="AES-GCM"),
    Algorithm("chacha20-poly1305", 36, scapy_cipher="CHACHA20-POLY1305"),
    Algorithm("null", 1, "hmac-sha2-256", 32, "NULL", "SHA2-256-128"),
    Algorithm("null", 1, scapy_cipher="NULL"),
]


def sas(reqid: int, algorithm: Algorithm = MANUAL, outer: str = "inet", more: str = "") -> str:
    """The two add statements of a host; `more` are further options of each."""
    a, b = OUTER[outer]
    return "".join(
        f"add {source} {destination} esp {spi} -m tunnel -u {reqid} {more} {algorithm.options(spi)};\n"
        for source, destination, spi in ((a, b, SPIS[0]), (b, a, SPIS[1]))
    )


def configure(host: Host, side: int, algorithm: Algorithm = MANUAL, outer: str = "inet", more: str = "") -> None:
    """Makes one end of the tunnel: side 0 is A, 1 is B. Raises CommandError when a command fails."""
    local, remote = OUTER[outer][side], OUTER[outer][1 - side]
    host.run("ifconfig", "ipsec0", "create", "reqid", str(REQIDS[side]))
    host.run("ifconfig", "ipsec0", outer, "tunnel", local, remote)
    host.run("ifconfig", "ipsec0", "inet", INNER["inet"][side] + "/16", INNER["inet"][1 - side])
    host.run("ifconfig", "ipsec0", "inet6", INNER["inet6"][side], INNER["inet6"][1 - side], "prefixlen", "128")
    add_sas(host, side, algorithm, outer, more)


def add_sas(host: Host, side: int, algorithm: Algorithm, outer: str = "inet", more: str = "") -> None:
    """Adds the SAs of one end, and sees to it that setkey had nothing to complain about."""
    result = host.setkey(sas(REQIDS[side], algorithm, outer, more))
    assert not result.output + result.errors, result


def tunnel(a: Host, b: Host, algorithm: Algorithm = MANUAL, outer: str = "inet", more: str = "") -> None:
    """Makes both ends."""
    for side, host in enumerate((a, b)):
        configure(host, side, algorithm, outer, more)


def assert_pings(a: Host, b: Host) -> None:
    """Both hosts reach each other through the tunnel, in both families."""
    for family in INNER:
        here, there = INNER[family]
        for host, address in ((a, there), (b, here)):
            result = ping(host, address, count=2)
            assert result, (result, *(f"{end.name}: {where_packets_went(end)}" for end in (a, b)))


def assert_transfers(a: Host, b: Host) -> None:
    """TCP and UDP both ways and in both families."""
    for family in INNER:
        here, there = INNER[family]
        assert tcp_stream(a, b, there, 300_000)
        assert tcp_stream(b, a, here, 300_000)
        with Counters(a, here, b, there, 1000) as counters:
            counters.run(50)
            assert counters.forth.complete and counters.back.complete


def where_packets_went(host: Host) -> dict[str, int]:
    """What the host's data path counted, for a test that fails."""
    counted = json.loads(host.run("ipsectools", "stats", "--json").output)
    drops = {reason: count for reason, count in counted["drops"].items() if count}
    return {**counted["balance"], **drops}


def assert_sequences(packets: list[Seen]) -> None:
    """On each SA the sequence numbers of the packets on the wire rise: none is there twice."""
    last: dict[tuple[str, str, int], int] = {}
    for seen in packets:
        key = seen.source, seen.destination, seen.spi
        assert seen.sequence > last.get(key, 0), (seen, last.get(key))
        last[key] = seen.sequence
