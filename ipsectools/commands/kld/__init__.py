"""kldload(8), kldstat(8), kldunload(8) for the modules `ipsec` and `if_ipsec`, and for `tcpmd5`.

The first two are the emulated kernel: loaded means that ipsecd runs for this network namespace. The third is a switch
in that kernel's state.
"""
