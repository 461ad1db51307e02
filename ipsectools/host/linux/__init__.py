"""The Linux adapter: netlink and sysfs for links and addresses, /dev/net/tun, raw and UDP sockets for packets.

`rtnetlink` reads (and needs only the standard library's C parts), `changes` writes with pyroute2, which only ipsecd
imports; `tun` and `wire` move packets; `host` is the whole of it behind `ipsectools.host.api.Host`.
"""
