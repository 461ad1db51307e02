"""Every reason for which a packet does not pass, and what FreeBSD counts for it.

Wherever the data path drops a packet it does so with one of these objects, so that netstat's counters, Prometheus and
the test that proves sent = received + named drops all come from this table. The names are stable.

`esps_*` and `ips_*` are the members of FreeBSD's espstat and ipsecstat (netstat(1), ipsec(4)). An `ips_*` counter is
counted in the structure of the address family it belongs to: outbound the inner packet's, inbound the outer packet's.
"""

from __future__ import annotations

OUT = "out"
IN = "in"

# How far ESP input got with a packet before it was dropped; each stage includes those before it.
STAGE_NONE = 0
"""Not given to ESP input."""
STAGE_INPUT = 1
"""Counted in esps_input."""
STAGE_CRYPTO = 2
"""Its ciphertext is counted in esps_ibytes."""
STAGE_VERIFIED = 3
"""Counted in the histograms of the algorithms (a failed ICV is, too)."""
STAGE_STRIPPED = 4
"""ESP header and IV taken out: ips_input_middle."""
STAGE_DECAPSULATED = 5
"""Outer header taken off: ips_input_front; the SA's usage is counted."""


class Drop:
    """A reason to drop a packet. Compare by identity.

    `name`: stable, kebab-case, unique. `text`: one line for people. `direction`: `OUT` or `IN`. `counters`: the FreeBSD
    counters it adds one to, beside those of the stages. `stage`: see above. `oerrors`: the interface counts an output
    error.
    """

    __slots__ = ("counters", "direction", "name", "oerrors", "stage", "text")

    def __init__(
        self,
        name: str,
        text: str,
        direction: str,
        *counters: str,
        stage: int = STAGE_NONE,
        oerrors: bool = False,
    ) -> None:
        self.name = name
        self.text = text
        self.direction = direction
        self.counters = counters
        self.stage = stage
        self.oerrors = oerrors
        if name in DROPS:
            raise ValueError(f"two drop reasons named {name}")
        DROPS[name] = self

    def __repr__(self) -> str:
        return f"<Drop {self.name}>"


DROPS: dict[str, Drop] = {}
"""All reasons by name, in the order of this file."""

# --- out: the interface -------------------------------------------------------------------------------------------
OUT_NO_INTERFACE = Drop("out-no-interface", "the interface is gone", OUT, oerrors=True)
OUT_INTERFACE_DOWN = Drop("out-interface-down", "the interface is not up", OUT, oerrors=True)
OUT_NOT_RUNNING = Drop("out-not-running", "the tunnel's local address is not on this host", OUT, oerrors=True)
OUT_MONITOR = Drop("out-monitor", "the interface is in monitor mode", OUT, oerrors=True)
OUT_NO_TUNNEL = Drop("out-no-tunnel", "the interface has no tunnel addresses", OUT, oerrors=True)
OUT_MALFORMED = Drop("out-malformed", "the inner packet is neither IPv4 nor IPv6", OUT, oerrors=True)
OUT_LOOP = Drop("out-loop", "the tunnel's outer packets are routed into the tunnel", OUT, oerrors=True)

# --- out: policy and SA -------------------------------------------------------------------------------------------
OUT_POLICY = Drop("out-policy", "a policy discards it", OUT, "ips_out_polvio", oerrors=True)
OUT_NO_SA = Drop("out-no-sa", "no SA for it; key management was asked for one", OUT, "ips_out_nosa", "ips_out_inval")
OUT_NOT_ESP = Drop("out-not-esp", "the SA is AH or IPComp, which the data path does not carry", OUT, oerrors=True)
OUT_ESP_DISABLED = Drop(
    "out-esp-disabled", "net.inet.esp.esp_enable is 0", OUT, "esps_pdrops", "ips_out_inval", oerrors=True
)
OUT_NO_TRANSFORM = Drop("out-no-transform", "the SA's algorithms cannot be set up", OUT, "esps_noxform", oerrors=True)
OUT_TOO_BIG = Drop("out-too-big", "the outer packet would exceed 65535 bytes", OUT, "esps_toobig", oerrors=True)
OUT_SEQUENCE_EXHAUSTED = Drop(
    "out-sequence-exhausted", "the SA has no sequence number or IV left", OUT, "esps_wrap", oerrors=True
)
OUT_SEQUENCE_UNRESERVED = Drop(
    "out-sequence-unreserved", "the next sequence number or IV is not reserved in the state file", OUT, oerrors=True
)
OUT_LEDGER = Drop(
    "out-ledger-unavailable", "the counter ledger cannot be used; counter-mode ciphers do not send", OUT, oerrors=True
)
OUT_CRYPTO = Drop("out-crypto", "the cryptographic library failed", OUT, "esps_crypto")

# --- out: the wire (FreeBSD reports none of these to the sender) --------------------------------------------------
OUT_ADDRESS = Drop("out-address", "the SA's addresses cannot make an outer header", OUT, "ips_out_inval", oerrors=True)
OUT_FRAGMENTATION = Drop("out-fragmentation-needed", "the outer packet may not be fragmented and is too big", OUT)
OUT_MTU = Drop("out-mtu", "the inner packet does not fit and its sender was told", OUT)
OUT_NO_ROUTE = Drop("out-no-route", "no route to the tunnel's far end", OUT)
OUT_WIRE_FULL = Drop("out-wire-full", "the socket's buffer is full", OUT)
OUT_WIRE_ERROR = Drop("out-wire-error", "the host refused to send the outer packet", OUT)

# --- in: before ESP -----------------------------------------------------------------------------------------------
IN_NATT_SHORT = Drop("in-natt-short", "UDP payload shorter than 4 bytes: not ESP", IN)
IN_NATT_KEEPALIVE = Drop("in-natt-keepalive", "a NAT-T keepalive", IN)
IN_NON_ESP_MARKER = Drop("in-non-esp-marker", "non-ESP marker: IKE, for whoever owns the socket", IN)
IN_NATT_NO_SA = Drop("in-natt-no-sa", "no SA, or one without NAT-T, for a UDP-encapsulated packet", IN, "esps_notdb")
IN_NATT_PORTS = Drop("in-natt-ports", "UDP ports other than the SA's", IN, "esps_notdb")
IN_ESP_DISABLED = Drop("in-esp-disabled", "net.inet.esp.esp_enable is 0", IN, "esps_pdrops", stage=STAGE_INPUT)
IN_SHORT = Drop("in-short", "shorter than an ESP header", IN, "esps_hdrops", stage=STAGE_INPUT)
IN_UNKNOWN_SPI = Drop("in-unknown-spi", "no SA with this SPI and destination", IN, "esps_notdb", stage=STAGE_INPUT)
IN_SA_LARVAL = Drop("in-sa-larval", "the SA has no keys yet", IN, "esps_notdb", stage=STAGE_INPUT)
IN_NOT_ESP = Drop("in-not-esp", "the SA with this SPI is not an ESP SA", IN, "esps_notdb", stage=STAGE_INPUT)
IN_NO_TRANSFORM = Drop("in-no-transform", "the SA's algorithms cannot be set up", IN, "esps_noxform", stage=STAGE_INPUT)

# --- in: ESP ------------------------------------------------------------------------------------------------------
IN_LENGTH = Drop("in-length", "length impossible for the SA's algorithms", IN, "esps_badilen", stage=STAGE_INPUT)
IN_REPLAY = Drop("in-replay", "sequence number seen, or too old", IN, "esps_replay", stage=STAGE_INPUT)
IN_WRAP = Drop("in-wrap", "sequence number space used up", IN, "esps_wrap", "esps_replay", stage=STAGE_INPUT)
IN_CRYPTO = Drop("in-crypto", "the cryptographic library failed", IN, "esps_noxform", stage=STAGE_CRYPTO)
IN_ICV = Drop("in-icv", "authentication failed", IN, "esps_badauth", stage=STAGE_VERIFIED)
IN_WINDOW_UNRESERVED = Drop(
    "in-window-unreserved", "authentic, but its number is not reserved in the state file", IN, stage=STAGE_VERIFIED
)
IN_LATE_REPLAY = Drop("in-late-replay", "authentic, but seen or too old", IN, "esps_replay", stage=STAGE_VERIFIED)
IN_PAD_LENGTH = Drop("in-pad-length", "more padding than packet", IN, "esps_badilen", stage=STAGE_STRIPPED)
IN_PADDING = Drop("in-padding", "padding is wrong", IN, "esps_badenc", stage=STAGE_STRIPPED)
IN_DUMMY = Drop("in-dummy", "a dummy packet (next header 59)", IN, stage=STAGE_STRIPPED)

# --- in: after ESP ------------------------------------------------------------------------------------------------
IN_INNER_SHORT = Drop("in-inner-short", "inner packet shorter than its header", IN, "esps_hdrops", stage=STAGE_STRIPPED)
IN_NEXT_HEADER = Drop("in-next-header", "next header is not IP on a tunnel SA", IN, "esps_nopf", stage=STAGE_STRIPPED)
IN_TRANSPORT = Drop(
    "in-transport", "a transport-mode packet, which the data path does not carry", IN, stage=STAGE_STRIPPED
)
IN_POLICY = Drop("in-policy", "violates a policy", IN, "ips_in_polvio", stage=STAGE_DECAPSULATED)
IN_NO_INTERFACE = Drop(
    "in-no-interface",
    "no interface with the SA's reqid and addresses, and net.inet.ipsec.accept_unclaimed is 0",
    IN,
    "ips_in_polvio",
    stage=STAGE_DECAPSULATED,
)
IN_HOST_REFUSED = Drop(
    "in-host-refused",
    "no interface with the SA's reqid and addresses, and the host refused it (a source address of its own?)",
    IN,
    stage=STAGE_DECAPSULATED,
)
IN_INTERFACE_DOWN = Drop("in-interface-down", "the interface is not up and running", IN, stage=STAGE_DECAPSULATED)
IN_MONITOR = Drop("in-monitor", "the interface is in monitor mode", IN, stage=STAGE_DECAPSULATED)
IN_INNER_VERSION = Drop("in-inner-version", "inner version and next header disagree", IN, stage=STAGE_DECAPSULATED)
IN_TUN_FULL = Drop(
    "in-tun-full", "the host's queue for the interface is full", IN, "esps_qfull", stage=STAGE_DECAPSULATED
)
IN_TUN_ERROR = Drop("in-tun-error", "the host refused the inner packet", IN, stage=STAGE_DECAPSULATED)
