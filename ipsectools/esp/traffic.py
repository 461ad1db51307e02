"""What moves in an SA while packets pass: the part that the data path writes and the key engine reads."""


class Traffic:
    """Counters of one SA.

    `sequence` is FreeBSD's packet counter of the SA (64 bits): outbound the number last sent, inbound the number of
    packets accepted (it stands still while the replay window is 0). Nothing may be sent with a sequence number above
    `sequence_limit` or an IV counter at or above `iv_limit`: those are the marks that the state file already holds, so
    that a restart continues above them. `received_high` is the highest sequence number accepted, `received_limit` the
    mark up to which a restart will treat numbers as already seen: with a replay window, nothing above it is accepted.
    `first_used` is unix seconds, 0 for never.
    """

    __slots__ = (
        "bytes",
        "first_used",
        "iv",
        "iv_limit",
        "packets",
        "received_high",
        "received_limit",
        "sequence",
        "sequence_limit",
    )

    def __init__(self) -> None:
        self.sequence = 0
        self.sequence_limit = 0
        self.iv = 0
        self.iv_limit = 0
        self.packets = 0
        self.bytes = 0
        self.first_used = 0
        self.received_high = 0
        self.received_limit = 0

    def account_out(self, outer_length: int, now: float) -> None:
        """Counts a packet sent: the whole outer packet (IP header, ESP, ICV), without NAT-T's UDP header."""
        self.packets += 1
        self.bytes += outer_length
        if not self.first_used:
            self.first_used = int(now)

    def account_in(self, inner_length: int, now: float) -> None:
        """Counts a packet received: the inner packet, whatever becomes of it after its outer header is off."""
        self.packets += 1
        self.bytes += inner_length
        if not self.first_used:
            self.first_used = int(now)
