"""What both ways to the kernel's doors share, through an ipsecd's sockets or embedded: which requests only read."""

READING_OPS = frozenset(
    ["LISTIF", "SIOCIFGCLONERS", "SIOCGIFGMEMB", "SYSCTLLIST", "SYSCTLGET", "STATISTICS", "OUTBOUND", "KLDSTAT"]
)
"""Control operations that change nothing."""

READING_MESSAGES = frozenset([5, 10, 16, 18])
"""PF_KEY messages that change nothing, not even the socket: GET, DUMP, X_SPDGET, X_SPDDUMP."""

DUMP_MESSAGES = frozenset([10, 18])


class ClientError(Exception):
    """The emulated kernel cannot be reached; the text is one line for the user (without the program's name)."""
