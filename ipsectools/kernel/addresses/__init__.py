"""Addresses of interfaces: `assign` for both families, `inet` and `inet6` with their rules, `nd6` with the flags."""
