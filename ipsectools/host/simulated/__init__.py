"""A machine in memory: links and addresses without packets from anywhere, for everybody and without privilege.

`host` is the machine behind `ipsectools.host.api.Host`; `links` are the kinds of interfaces it has, `rows` how they
stand in the kernel's state file; `packets` are its TUN devices and its wire, which tests can feed and read.
"""
