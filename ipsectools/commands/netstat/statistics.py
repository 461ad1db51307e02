"""`netstat -s -p esp|ah|ipsec|ipsec6`: FreeBSD's lines for the statistics structures.

Each text has `{s}` where FreeBSD writes an "s" unless the value is 1 (and `{es}` likewise); the order of the lines is
the order of the values in the structure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipsectools.answers import StructureName

IPSEC = (
    "inbound packet{s} violated process security policy",
    "inbound packet{s} failed due to insufficient memory",
    "invalid inbound packet{s}",
    "outbound packet{s} violated process security policy",
    "outbound packet{s} with no SA available",
    "outbound packet{s} failed due to insufficient memory",
    "outbound packet{s} with no route available",
    "invalid outbound packet{s}",
    "outbound packet{s} with bundled SAs",
    "spd cache hit{s}",
    "spd cache miss{es}",
    "cluster{s} copied during clone",
    "mbuf{s} inserted during makespace",
)

ESP = (
    "packet{s} shorter than header shows",
    "packet{s} dropped; protocol family not supported",
    "packet{s} dropped; no TDB",
    "packet{s} dropped; bad KCR",
    "packet{s} dropped; queue full",
    "packet{s} dropped; no transform",
    "packet{s} dropped; bad ilen",
    "replay counter wrap{s}",
    "packet{s} dropped; bad encryption detected",
    "packet{s} dropped; bad authentication detected",
    "possible replay packet{s} detected",
    "packet{s} in",
    "packet{s} out",
    "packet{s} dropped; invalid TDB",
    "byte{s} in",
    "byte{s} out",
    "packet{s} dropped; larger than IP_MAXPACKET",
    "packet{s} blocked due to policy",
    "crypto processing failure{s}",
    "tunnel sanity check failure{s}",
)

AH = (
    "packet{s} shorter than header shows",
    "packet{s} dropped; protocol family not supported",
    "packet{s} dropped; no TDB",
    "packet{s} dropped; bad KCR",
    "packet{s} dropped; queue full",
    "packet{s} dropped; no transform",
    "replay counter wrap{s}",
    "packet{s} dropped; bad authentication detected",
    "packet{s} dropped; bad authentication length",
    "possible replay packet{s} detected",
    "packet{s} in",
    "packet{s} out",
    "packet{s} dropped; invalid TDB",
    "byte{s} in",
    "byte{s} out",
    "packet{s} dropped; larger than IP_MAXPACKET",
    "packet{s} blocked due to policy",
    "crypto processing failure{s}",
    "tunnel sanity check failure{s}",
)

TEXTS: dict[StructureName, Sequence[str]] = {"ah": AH, "esp": ESP, "ipsec": IPSEC, "ipsec6": IPSEC}

ESP_NAMES = {0: "none", 11: "null", 12: "aes-cbc", 13: "aes-ctr", 20: "aes-gcm-16", 23: "aes-gmac"}

AH_NAMES = {
    0: "none",
    3: "hmac-sha1",
    5: "hmac-sha2-256",
    6: "hmac-sha2-384",
    7: "hmac-sha2-512",
    9: "aes-xcbc-mac",
    11: "aes-gmac-128",
    12: "aes-gmac-192",
    13: "aes-gmac-256",
    251: "null",
    252: "tcp-md5",
}


def lines(protocol: StructureName, values: Sequence[int], histogram: Sequence[int], hide_zeros: bool) -> Iterator[str]:
    """The lines of one protocol, without newlines: the counters, then the histogram of algorithm ids if any is set."""
    yield f"{protocol}:"
    for text, value in zip(TEXTS[protocol], values, strict=True):
        if value or not hide_zeros:
            one = value == 1
            yield f"\t{value} " + text.replace("{s}", "" if one else "s").replace("{es}", "" if one else "es")
    if any(histogram):
        names = AH_NAMES if protocol == "ah" else ESP_NAMES
        yield f"\t{protocol.upper()} output histogram:"
        for identifier, count in enumerate(histogram):
            if count:
                yield f"\t\t{names.get(identifier, f'#{identifier}')}: {count}"
