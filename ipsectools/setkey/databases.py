"""protocols(5) and services(5) as FreeBSD ships them, as far as policies need them, then those of this host.

A fresh Linux may have neither file, and names that FreeBSD knows differ there (`http` over UDP, `ipencap`).
"""

from __future__ import annotations

import _socket

_PROTOCOLS = {
    0: "ip",
    1: "icmp",
    2: "igmp",
    3: "ggp",
    4: "ipencap",
    5: "st2",
    6: "tcp",
    8: "egp",
    9: "igp",
    12: "pup",
    17: "udp",
    20: "hmp",
    22: "xns-idp",
    27: "rdp",
    29: "iso-tp4",
    33: "dccp",
    36: "xtp",
    37: "ddp",
    38: "idpr-cmtp",
    41: "ipv6",
    43: "ipv6-route",
    44: "ipv6-frag",
    45: "idrp",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    57: "skip",
    58: "ipv6-icmp",
    59: "ipv6-nonxt",
    60: "ipv6-opts",
    73: "rspf",
    81: "vmtp",
    88: "eigrp",
    89: "ospf",
    93: "ax.25",
    94: "ipip",
    97: "etherip",
    98: "encap",
    103: "pim",
    108: "ipcomp",
    112: "carp",
    115: "l2tp",
    124: "isis",
    132: "sctp",
    133: "fc",
    135: "mobility-header",
    136: "udplite",
    137: "mpls-in-ip",
    138: "manet",
    139: "hip",
    140: "shim6",
    240: "pfsync",
    258: "divert",
}
_PROTOCOL_NUMBERS = (
    {name: number for number, name in _PROTOCOLS.items()}
    | {name.upper(): number for number, name in _PROTOCOLS.items()}
    | {"icmp6": 58, "vrrp": 112, "IP-ENCAP": 4, "OSPFIGP": 89, "SIPP-ESP": 50, "SIPP-AH": 51}
)
_UDP_SERVICES = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "chargen": 19,
    "ftp-data": 20,
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "time": 37,
    "tacacs": 49,
    "domain": 53,
    "bootps": 67,
    "bootpc": 68,
    "tftp": 69,
    "http": 80,
    "www": 80,
    "kerberos": 88,
    "pop3": 110,
    "sunrpc": 111,
    "auth": 113,
    "ntp": 123,
    "netbios-ns": 137,
    "netbios-dgm": 138,
    "netbios-ssn": 139,
    "imap": 143,
    "snmp": 161,
    "snmptrap": 162,
    "bgp": 179,
    "ldap": 389,
    "https": 443,
    "isakmp": 500,
    "biff": 512,
    "who": 513,
    "syslog": 514,
    "router": 520,
    "ripng": 521,
    "dhcpv6-client": 546,
    "dhcpv6-server": 547,
    "ldaps": 636,
    "domain-s": 853,
    "imaps": 993,
    "pop3s": 995,
    "l2tp": 1701,
    "radius": 1812,
    "radius-acct": 1813,
    "nfsd": 2049,
    "nfs": 2049,
    "vxlan": 4789,
    "bfd-control": 3784,
    "ipsec-nat-t": 4500,
    "sip": 5060,
    "mdns": 5353,
}


def protocol_number(name: str) -> int | None:
    """The number of an upper-layer protocol by its name, as getprotobyname(3)."""
    number = _PROTOCOL_NUMBERS.get(name)
    if number is None:
        try:
            number = _socket.getprotobyname(name)
        except OSError:
            return None
    return number


def protocol_name(number: int) -> str | None:
    """The name of an upper-layer protocol, as getprotobynumber(3)."""
    name = _PROTOCOLS.get(number)
    return _host_protocols().get(number) if name is None else name


def udp_service(name: str) -> int | None:
    """The port of a UDP service, as getservbyname(3)."""
    port = _UDP_SERVICES.get(name)
    if port is None:
        try:
            port = _socket.getservbyname(name, "udp")
        except OSError:
            return None
    return port


_host: dict[int, str] | None = None


def _host_protocols() -> dict[int, str]:
    global _host
    if _host is None:
        _host = {}
        try:
            with open("/etc/protocols", encoding="latin-1") as file:
                for line in file:
                    words = line.partition("#")[0].split()
                    if len(words) > 1 and words[1].isdigit():
                        _host.setdefault(int(words[1]), words[0])
        except OSError:
            pass
    return _host
