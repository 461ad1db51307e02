"""The bars: what our tunnels have to reach against rivals and limits measured in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.bench.results import Results

ESP, NATT, PLAIN = "ipsectools-compiled-esp-gcm", "ipsectools-compiled-natt-gcm", "ipsectools-python-esp-gcm"
CBC = "ipsectools-compiled-esp-cbc"
TUNNEL_RIVALS = ("strongswan-gcm", "openvpn", "wireguard-go")


class Bar(NamedTuple):
    """`value` of `test` on `peer`, divided by the best of `others` (none: as it is), has to be at least `wanted`, or
    at most that if `at_most`."""

    peer: str
    test: str
    value: str
    others: tuple[str, ...]
    wanted: float
    at_most: bool = False


class Verdict(NamedTuple):
    """A bar in words, what was reached (None: not measured), and whether that is enough.

    `disturbed`: other processes disturbed every round of one of the figures, so it says little.
    """

    text: str
    wanted: str
    reached: float | None
    met: bool | None
    disturbed: bool = False


def _tcp(peer: str, other: str, wanted: float) -> Bar:
    return Bar(peer, "tcp1", "mbit_s", (other,), wanted)


BARS = (
    _tcp(ESP, "strongswan-gcm", 4),
    _tcp(ESP, "openvpn", 2.5),
    _tcp(ESP, "limit-esp", 0.85),
    _tcp(NATT, "strongswan-gcm", 8),
    _tcp(NATT, "openvpn", 5),
    _tcp(NATT, "wireguard-go", 1),
    _tcp(NATT, "tunfwd-gso", 0.5),
    _tcp(PLAIN, "openvpn", 1),
    _tcp(PLAIN, "strongswan-gcm", 1.2),
    _tcp(CBC, "strongswan-cbc", 2.5),
    *(
        bar
        for peer in (ESP, NATT)
        for bar in (
            Bar(peer, "rate", "packets_s", TUNNEL_RIVALS, 1.3),
            Bar(peer, "rate", "packets_s", ("tunfwd",), 0.9),
            Bar(peer, "ping", "rtt_us", ("openvpn",), 1, at_most=True),
            Bar(peer, "loaded", "rtt_us", (), 5000, at_most=True),
            Bar(peer, "tcp1", "cpu_seconds_per_gb", ("strongswan-gcm",), 1 / 3, at_most=True),
        )
    ),
)

VALUES = {
    "mbit_s": "TCP",
    "packets_s": "64-byte packets/s",
    "rtt_us": "round trip",
    "cpu_seconds_per_gb": "CPU s per GB",
}


def judge(results: Results) -> list[Verdict]:
    """Every bar whose peer was measured."""
    return [_judge(bar, results) for bar in BARS if results.values(bar.peer, bar.test, bar.value)]


def _judge(bar: Bar, results: Results) -> Verdict:
    what = VALUES[bar.value] + (" idle" if bar.test == "ping" else " under load" if bar.test == "loaded" else "")
    text = f"{bar.peer.removeprefix('ipsectools-')}: {what}"
    sign = "<=" if bar.at_most else ">="
    if not bar.others:
        wanted, divisor = f"{sign} {bar.wanted:g} us", 1.0
    else:
        text += f" / {'best of ' if len(bar.others) > 1 else ''}{', '.join(bar.others)}"
        wanted = f"{sign} {bar.wanted:.3g}"
        measured = [found for other in bar.others if (found := results.median(other, bar.test, bar.value))]
        if not measured:
            return Verdict(text, wanted, None, None)
        divisor = min(measured) if bar.at_most else max(measured)
    own = results.median(bar.peer, bar.test, bar.value)
    assert own is not None
    reached = own / divisor
    met = reached <= bar.wanted if bar.at_most else reached >= bar.wanted
    return Verdict(
        text, wanted, reached, met, any(results.disturbed(name, bar.test) for name in (bar.peer, *bar.others))
    )
