"""PF_KEYv2 (RFC 2367 with KAME's and FreeBSD's extensions) as bytes: constants, socket addresses, messages,
extensions, policies, and Linux's dialect of it. Knows layouts, not what a message does. No I/O.
"""
