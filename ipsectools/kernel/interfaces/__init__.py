"""Interfaces of one emulated kernel: what each has, how they are made, and how they follow the host's devices.

`interface` and `list` are the books; `cloners`, `generic`, `if_ipsec`, `bridge`, `fib`, `vnet`, `status` and `outbound`
are what requests do, `sync` what the host does. All but the books take a `KernelState`.
"""
