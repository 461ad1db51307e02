"""What the pump knows of the kernel: interfaces, SAs, settings. Each entry is replaced as a whole, never changed."""

from __future__ import annotations

from ipsectools.esp.algorithms import ENCRYPTIONS
from ipsectools.esp.tunnel import MODE_TUNNEL, inner_mtu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.esp.traffic import Traffic


_CRYPTOGRAPHY = ("enc", "enc_key", "auth", "auth_key", "flags", "window")


class Settings:
    """The sysctl values that packets feel, by their FreeBSD meaning.

    `dfbit`, `ecn` (IPv4 outer), `ecn6` (IPv6 outer), `ttl` and `hlim` shape outer headers; `esp_enable` 0 stops ESP.
    `mark`: the firewall mark that sockets have by themselves (most packets need no other). `min_pmtu`: smaller path
    MTUs are not believed. `accept_unclaimed`: the host's IP input gets what an SA of no interface brings.
    """

    __slots__ = ("accept_unclaimed", "dfbit", "ecn", "ecn6", "esp_enable", "hlim", "mark", "min_pmtu", "ttl")

    def __init__(
        self,
        *,
        dfbit: int = 0,
        ecn: int = 0,
        ecn6: int = 0,
        ttl: int = 64,
        hlim: int = 64,
        esp_enable: int = 1,
        accept_unclaimed: int = 0,
        min_pmtu: int = 0,
        mark: int = 0,
    ) -> None:
        self.dfbit = dfbit
        self.ecn = ecn
        self.ecn6 = ecn6
        self.ttl = ttl
        self.hlim = hlim
        self.esp_enable = esp_enable
        self.accept_unclaimed = accept_unclaimed
        self.mark = mark
        self.min_pmtu = max(0, min(min_pmtu, 0xFFFF))


class SA:
    """An ESP SA as the data path needs it.

    `src`, `dst`: 4 or 16 address bytes. `id` tells it from an earlier SA with the same SPI. `enc_key` is the whole key
    material, salt included. `window` is in packets. `natt`: (source port, destination port) of its packets, or None.
    `blocked` names a drop reason (`esp.drops`) for which nothing may be sent with it, e.g. "out-ledger-unavailable".
    """

    __slots__ = (
        "auth",
        "auth_key",
        "blocked",
        "ctr_compatibility",
        "dst",
        "enc",
        "enc_key",
        "flags",
        "id",
        "mode",
        "natt",
        "reqid",
        "spi",
        "src",
        "traffic",
        "window",
    )

    def __init__(
        self,
        spi: int,
        src: bytes,
        dst: bytes,
        *,
        id: int = 0,
        enc: int,
        enc_key: bytes,
        auth: int = 0,
        auth_key: bytes = b"",
        flags: int = 0,
        window: int = 0,
        mode: int = MODE_TUNNEL,
        reqid: int = 0,
        natt: tuple[int, int] | None = None,
        ctr_compatibility: bool = True,
        blocked: str = "",
        traffic: Traffic,
    ) -> None:
        self.spi = spi
        self.src = src
        self.dst = dst
        self.id = id
        self.enc = enc
        self.enc_key = enc_key
        self.auth = auth
        self.auth_key = auth_key
        self.flags = flags
        self.window = window
        self.mode = mode
        self.reqid = reqid
        self.natt = natt
        self.ctr_compatibility = ctr_compatibility
        self.blocked = blocked
        self.traffic = traffic

    def __repr__(self) -> str:
        return f"<SA spi={self.spi:#x}>"

    def same_as(self, other: SA) -> bool:
        """Whether nothing that packets feel is different."""
        return all(getattr(self, field) == getattr(other, field) for field in self.__slots__)

    def same_cryptography(self, other: SA) -> bool:
        """Whether it is the same SA in what seals and opens, so that a replay window may be kept."""
        return self.traffic is other.traffic and all(
            getattr(self, field) == getattr(other, field) for field in ("spi", *_CRYPTOGRAPHY)
        )


class Interface:
    """An ipsec interface as the data path needs it.

    `src`, `dst`: the tunnel's local and remote address (bytes), None without tunnel. `outbound`: the SA that the key
    engine chose for its packets, None if there is none (each packet then asks for one). `mark` is the firewall mark
    of outer packets.
    """

    __slots__ = ("dst", "index", "mark", "monitor", "mtu", "name", "outbound", "reqid", "running", "src", "up")

    def __init__(
        self,
        index: int,
        name: str,
        *,
        up: bool = True,
        running: bool = True,
        monitor: bool = False,
        mtu: int = 1400,
        src: bytes | None = None,
        dst: bytes | None = None,
        reqid: int = 0,
        mark: int = 0,
        outbound: SA | None = None,
    ) -> None:
        self.index = index
        self.name = name
        self.up = up
        self.running = running
        self.monitor = monitor
        self.mtu = mtu
        self.src = src
        self.dst = dst
        self.reqid = reqid
        self.mark = mark
        self.outbound = outbound


def largest_inner(sa: SA, outer_mtu: int) -> int:
    """The longest inner packet whose outer packet is at most `outer_mtu` bytes."""
    return inner_mtu(
        ENCRYPTIONS[sa.enc],
        sa.auth,
        outer_mtu,
        outer_header=20 if len(sa.src) == 4 else 40,
        natt=sa.natt is not None,
        ctr_compatibility=sa.ctr_compatibility,
    )
