"""protocols(5) and services(5) as FreeBSD ships them, as far as policies need them, then those of this host.

A fresh Linux may have neither file, and names that FreeBSD knows differ there (`http` over UDP, `ipencap`).
"""

from __future__ import annotations

import _socket

# number, name, aliases
_PROTOCOL_LINES = """
    0 ip IP; 1 icmp ICMP; 2 igmp IGMP; 3 ggp GGP; 4 ipencap IP-ENCAP; 5 st2 ST2; 6 tcp TCP; 7 cbt CBT; 8 egp EGP;
    9 igp IGP; 10 bbn-rcc BBN-RCC-MON; 11 nvp NVP-II; 12 pup PUP; 13 argus ARGUS; 14 emcon EMCON; 15 xnet XNET;
    16 chaos CHAOS; 17 udp UDP; 18 mux MUX; 19 dcn DCN-MEAS; 20 hmp HMP; 21 prm PRM; 22 xns-idp XNS-IDP;
    23 trunk-1 TRUNK-1; 24 trunk-2 TRUNK-2; 25 leaf-1 LEAF-1; 26 leaf-2 LEAF-2; 27 rdp RDP; 28 irtp IRTP;
    29 iso-tp4 ISO-TP4; 30 netblt NETBLT; 31 mfe-nsp MFE-NSP; 32 merit-inp MERIT-INP; 33 dccp DCCP; 34 3pc 3PC;
    35 idpr IDPR; 36 xtp XTP; 37 ddp DDP; 38 idpr-cmtp IDPR-CMTP; 39 tp++ TP++; 40 il IL; 41 ipv6 IPV6; 42 sdrp SDRP;
    43 ipv6-route IPV6-ROUTE; 44 ipv6-frag IPV6-FRAG; 45 idrp IDRP; 46 rsvp RSVP; 47 gre GRE; 48 dsr DSR; 49 bna BNA;
    50 esp ESP; 51 ah AH; 52 i-nlsp I-NLSP; 53 swipe SWIPE; 54 narp NARP; 55 mobile MOBILE; 56 tlsp TLSP; 57 skip SKIP;
    58 ipv6-icmp IPV6-ICMP icmp6; 59 ipv6-nonxt IPV6-NONXT; 60 ipv6-opts IPV6-OPTS; 62 cftp CFTP;
    64 sat-expak SAT-EXPAK; 65 kryptolan KRYPTOLAN; 66 rvd RVD; 67 ippc IPPC; 69 sat-mon SAT-MON; 70 visa VISA;
    71 ipcv IPCV; 72 cpnx CPNX; 73 cphb CPHB; 74 wsn WSN; 75 pvp PVP; 76 br-sat-mon BR-SAT-MON; 77 sun-nd SUN-ND;
    78 wb-mon WB-MON; 79 wb-expak WB-EXPAK; 80 iso-ip ISO-IP; 81 vmtp VMTP; 82 secure-vmtp SECURE-VMTP;
    83 vines VINES; 84 ttp TTP; 85 nsfnet-igp NSFNET-IGP; 86 dgp DGP; 87 tcf TCF; 88 eigrp EIGRP; 89 ospf OSPFIGP;
    90 sprite-rpc Sprite-RPC; 91 larp LARP; 92 mtp MTP; 93 ax.25 AX.25; 94 ipip IPIP; 95 micp MICP; 96 scc-sp SCC-SP;
    97 etherip ETHERIP; 98 encap ENCAP; 100 gmtp GMTP; 101 ifmp IFMP; 102 pnni PNNI; 103 pim PIM; 104 aris ARIS;
    105 scps SCPS; 106 qnx QNX; 107 a/n A/N; 108 ipcomp IPComp; 109 snp SNP; 110 compaq-peer Compaq-Peer;
    111 ipx-in-ip IPX-in-IP; 112 carp CARP vrrp; 113 pgm PGM; 115 l2tp L2TP; 116 ddx DDX; 117 iatp IATP; 118 stp STP;
    119 srp SRP; 120 uti UTI; 121 smp SMP; 122 sm SM; 123 ptp PTP; 124 isis ISIS; 125 fire FIRE; 126 crtp CRTP;
    127 crudp CRUDP; 128 sscopmce SSCOPMCE; 129 iplt IPLT; 130 sps SPS; 131 pipe PIPE; 132 sctp SCTP; 133 fc FC;
    134 rsvp-e2e-ignore RSVP-E2E-IGNORE; 135 mobility-header Mobility-Header; 136 udplite UDPLite;
    137 mpls-in-ip MPLS-IN-IP; 138 manet MANET; 139 hip HIP; 140 shim6 SHIM6; 141 wesp WESP; 142 rohc ROHC;
    240 pfsync PFSYNC; 258 divert DIVERT
"""
# Only those that an ordinary Linux knows for TCP alone, under another name or not at all matter here.
_UDP_SERVICE_LINES = """
    1 tcpmux; 7 echo; 9 discard sink null; 11 systat users; 13 daytime; 17 qotd quote; 18 msp;
    19 chargen ttytst source; 20 ftp-data; 21 ftp; 22 ssh; 23 telnet; 25 smtp mail; 37 time timserver; 39 rlp resource;
    42 nameserver name; 43 nicname whois; 48 auditd; 49 tacacs; 53 domain; 67 bootps dhcps; 68 bootpc dhcpc; 69 tftp;
    70 gopher; 79 finger; 80 http www www-http; 88 kerberos-sec kerberos; 101 hostname hostnames; 102 iso-tsap tsap;
    105 csnet-ns cso-ns cso; 107 rtelnet; 109 pop2 postoffice; 110 pop3; 111 sunrpc rpcbind; 113 auth ident tap;
    115 sftp; 117 uucp-path; 119 nntp usenet; 123 ntp; 135 epmap; 137 netbios-ns; 138 netbios-dgm; 139 netbios-ssn;
    143 imap imap2 imap4; 161 snmp; 162 snmptrap snmp-trap; 177 xdmcp; 179 bgp; 194 irc; 199 smux; 209 qmtp;
    210 z39-50 z39.50 wais; 389 ldap; 443 https; 445 microsoft-ds; 500 isakmp; 512 biff; 513 who; 514 syslog; 517 talk;
    518 ntalk; 520 router; 521 ripng; 540 uucp; 546 dhcpv6-client; 547 dhcpv6-server; 554 rtsp; 631 ipp; 636 ldaps;
    853 domain-s; 873 rsync; 992 telnets; 993 imaps; 995 pop3s; 1080 socks; 1194 openvpn; 1701 l2tp; 1812 radius;
    1813 radius-acct; 2049 nfsd nfs; 3306 mysql; 3784 bfd-control; 4500 ipsec-nat-t; 4789 vxlan; 5060 sip; 5353 mdns;
    5432 postgresql
"""


def _table(lines: str) -> list[list[str]]:
    return [line.split() for line in lines.split(";")]


_PROTOCOLS = {int(line[0]): line[1] for line in _table(_PROTOCOL_LINES)}
_PROTOCOL_NUMBERS = {name: int(line[0]) for line in _table(_PROTOCOL_LINES) for name in line[1:]}
_UDP_SERVICES = {name: int(line[0]) for line in _table(_UDP_SERVICE_LINES) for name in line[1:]}


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
