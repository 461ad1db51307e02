"""What a statement says, and the PF_KEY messages that say it to the kernel.

The order of extensions, the prefixes, protocols and padding are those of FreeBSD's setkey. A number that does not fit
into its field is cut to it, as there.
"""

from __future__ import annotations

from ipsectools.pfkey import constants as c
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey.message import build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.commands.setkey.policy import Policy

LARGEST_BYTES = 0xFFFF * 8
"""Of a message: its length field counts 8-byte units in 16 bits."""

_TYPES = {
    "add": c.SADB_ADD,
    "get": c.SADB_GET,
    "delete": c.SADB_DELETE,
    "deleteall": c.SADB_DELETE,
    "flush": c.SADB_FLUSH,
    "dump": c.SADB_DUMP,
    "spdadd": c.SADB_X_SPDADD,
    "spddelete": c.SADB_X_SPDDELETE,
    "spdflush": c.SADB_X_SPDFLUSH,
    "spddump": c.SADB_X_SPDDUMP,
}


class Range:
    """An address range of a policy's selector as written: host, prefix length (None: the whole address), port."""

    __slots__ = ("host", "port", "prefix")

    def __init__(self, host: str, prefix: int | None = None, port: str | None = None) -> None:
        self.host = host
        self.prefix = prefix
        self.port = port

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        return (self.host, self.prefix, self.port) == (other.host, other.prefix, other.port)

    __hash__ = None  # type: ignore[assignment]


class Statement:
    """One statement. What it does not say has the value given here (as class attributes: making one costs little).

    `sources`, `destinations` and the sides of `natt` are socket addresses (one host may have several); `ranges` are a
    policy's source and destination. Sizes and times are in setkey's units: bytes of window, seconds.
    """

    command = ""
    family = 0
    numeric_only = False
    hosts: tuple[str, ...] = ()
    sources: list[bytes] = []  # noqa: RUF012
    destinations: list[bytes] = []  # noqa: RUF012
    satype = c.SATYPE_UNSPEC
    spi = 0
    flags = c.SA_FLAG_CYCSEQ
    mode = c.MODE_ANY
    reqid = 0
    replay = 0
    hard_addtime = 0
    soft_addtime = 0
    natt: tuple[bytes, int, bytes, int] | None = None
    natt_hosts: tuple[str, str] = ("", "")
    natt_fragment: int | None = None
    hardware_interface = ""
    encryption = 0
    encryption_key: bytes | None = None
    authentication = 0
    authentication_key: bytes | None = None
    ranges: tuple[Range, Range] | None = None
    upper = c.IPSEC_ULPROTO_ANY
    misc: str | None = None
    policy: Policy | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statement):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__dict__.keys() | other.__dict__.keys())

    __hash__ = None  # type: ignore[assignment]


def messages(statement: Statement, pid: int) -> Iterator[bytes]:
    """The requests of a statement, in order; none if no source and destination are of the same family.

    A statement whose hosts have several addresses is one request for every pair of a source and a destination.
    """
    kind = _TYPES[statement.command]
    if statement.command in ("flush", "dump", "spdflush", "spddump"):
        yield build(kind, statement.satype, pid=pid)
        return
    if statement.policy is not None:
        before = statement.policy.pack() if len(statement.policy.requests) < 8192 else bytes(LARGEST_BYTES)
        protocol = statement.upper & 0xFF
    else:
        before = b"" if statement.command == "deleteall" else _association(statement)
        protocol = c.IPSEC_PROTO_ANY
    source_prefix, destination_prefix = (
        (None, None) if statement.ranges is None else [side.prefix for side in statement.ranges]
    )
    for source in statement.sources:
        for destination in statement.destinations:
            if source[1] != destination[1]:
                continue
            body = (
                before
                + ext.address(c.EXT_ADDRESS_SRC, source, protocol=protocol, prefixlen=_byte(source_prefix))
                + ext.address(c.EXT_ADDRESS_DST, destination, protocol=protocol, prefixlen=_byte(destination_prefix))
            )
            yield build(kind, statement.satype, body, pid=pid) if len(body) < LARGEST_BYTES else body


def _association(statement: Statement) -> bytes:
    """The extensions before the addresses of add, get and delete."""
    adding = statement.command == "add"
    parts = []
    if adding:
        if statement.encryption_key is not None and statement.satype != c.SATYPE_IPCOMP:
            parts.append(_key(c.EXT_KEY_ENCRYPT, statement.encryption_key))
        if statement.authentication_key is not None:
            parts.append(_key(c.EXT_KEY_AUTH, statement.authentication_key))
        if statement.hard_addtime:
            parts.append(ext.lifetime(c.EXT_LIFETIME_HARD, addtime=statement.hard_addtime))
        if statement.soft_addtime:
            parts.append(ext.lifetime(c.EXT_LIFETIME_SOFT, addtime=statement.soft_addtime))
    replay = statement.replay
    parts.append(
        ext.sa(
            statement.spi,
            replay=min(replay, 255),
            auth=statement.authentication,
            encrypt=statement.encryption,
            flags=statement.flags,
        )
    )
    parts.append(ext.sa2(statement.mode, statement.reqid))
    if replay > 255:
        parts.append(ext.sa_replay(replay * 8 & 0xFFFFFFFF))
    if adding and statement.natt is not None:
        source, source_port, destination, destination_port = statement.natt
        parts += (
            ext.nat_t_type(c.NAT_T_ESPINUDP),
            ext.address(c.EXT_X_NAT_T_OAI, source, protocol=0),
            ext.nat_t_port(c.EXT_X_NAT_T_SPORT, source_port),
            ext.address(c.EXT_X_NAT_T_OAR, destination, protocol=0),
            ext.nat_t_port(c.EXT_X_NAT_T_DPORT, destination_port),
        )
        if statement.natt_fragment is not None:
            parts.append(ext.nat_t_frag(statement.natt_fragment & 0xFFFF))
    return b"".join(parts)


def _key(kind: int, key: bytes) -> bytes:
    return ext.key(kind, key, len(key) * 8 & 0xFFFF)


def _byte(prefix: int | None) -> int | None:
    return None if prefix is None else prefix & 0xFF
