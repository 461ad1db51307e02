"""kldload(8), kldstat(8), kldunload(8) for the two modules that the emulated kernel is: `ipsec` and `if_ipsec`.

"Loaded" means that ipsecd runs for this network namespace.
"""
