"""Statements back to text: one line each, options in one order, defaults left out, keys and SPIs in hexadecimal.

Reading such a line gives the same statement again.
"""

from __future__ import annotations

from ipsectools.commands.setkey import names
from ipsectools.pfkey import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.commands.setkey.policy import Policy
    from ipsectools.commands.setkey.statements import Range, Statement
    from ipsectools.pfkey.policy import Request

    AddressText = Callable[[bytes], str]

_MODE = {number: word for word, number in names.MODE.items()}
_SATYPE = {number: word for word, number in names.SATYPE.items() if not word.endswith("-old")}
_DIRECTION = {number: word for word, number in names.DIRECTION.items()}
_ACTION = {number: word for word, number in names.ACTION.items()}
_PROTOCOL = {number: word for word, number in names.PROTOCOL.items()}
_LEVEL = {number: word for word, number in names.LEVEL.items()}
_UPPER = {c.IPSEC_ULPROTO_ANY: "any", 1: "icmp", c.IPPROTO_TCP: "tcp", c.IPPROTO_UDP: "udp", c.IPPROTO_ICMPV6: "icmp6"}


def text(statement: Statement, address_text: AddressText) -> str:
    """The statement's line, without its end. `address_text` writes a socket address (without port)."""
    return " ".join(_WORDS[statement.command](statement, address_text)) + ";"


def _add(statement: Statement, address_text: AddressText) -> list[str]:
    return _association(statement, address_text) + _algorithms(statement)


def _association(statement: Statement, address_text: AddressText) -> list[str]:
    return [
        *_hosts(statement),
        f"0x{statement.spi:x}",
        *_extensions(statement, address_text),
    ]


def _hosts(statement: Statement, _: AddressText | None = None) -> list[str]:
    return [statement.command, *_address_options(statement), *statement.hosts, *_protocol(statement)]


def _one_word(statement: Statement, _: AddressText) -> list[str]:
    return [statement.command, *_protocol(statement)]


def _policy(statement: Statement, address_text: AddressText) -> list[str]:
    assert statement.ranges is not None and statement.policy is not None
    words = [statement.command, *_address_options(statement)]
    words += [_range(side, statement.misc is None) for side in statement.ranges]
    words.append(_UPPER.get(statement.upper) or str(statement.upper))
    if statement.misc is not None:
        words.append(statement.misc)
    bare = statement.command == "spddelete"
    return [*words, "-P", *_policy_words(statement.policy, bare, address_text)]


_WORDS: dict[str, Callable[[Statement, AddressText], list[str]]] = {
    "add": _add,
    "get": _association,
    "delete": _association,
    "deleteall": _hosts,
    "flush": _one_word,
    "dump": _one_word,
    "spdadd": _policy,
    "spddelete": _policy,
    "spdflush": _one_word,
    "spddump": _one_word,
}


def _address_options(statement: Statement) -> list[str]:
    letters = {0: "", c.AF_INET: "4", c.AF_INET6: "6"}[statement.family] + "n" * statement.numeric_only
    return [f"-{letters}"] if letters else []


def _protocol(statement: Statement) -> list[str]:
    if not statement.satype:
        return []
    return [_SATYPE[statement.satype] + ("-old" if statement.flags & c.SA_FLAG_OLD else "")]


def _extensions(statement: Statement, address_text: AddressText) -> list[str]:
    words = []
    if statement.mode:
        words += ["-m", _MODE[statement.mode]]
    for option, value in (
        ("-u", statement.reqid),
        ("-r", statement.replay),
        ("-lh", statement.hard_addtime),
        ("-ls", statement.soft_addtime),
    ):
        if value:
            words += [option, str(value)]
    if not statement.flags & c.SA_FLAG_CYCSEQ:
        words += ["-f", "nocyclic-seq"]
    for padding, bit in names.PADDING.items():
        if statement.flags & bit:
            words += ["-f", padding]
    if statement.flags & c.SA_FLAG_ESN:
        words.append("-esn")
    if statement.natt is not None:
        source, destination = statement.natt_hosts
        _, source_port, _, destination_port = statement.natt
        words += ["-natt", f"{source}[{source_port}]", f"{destination}[{destination_port}]"]
    if statement.natt_fragment is not None:
        words += ["-natt_mtu", str(statement.natt_fragment)]
    if statement.hardware_interface:
        words += ["-hwif", statement.hardware_interface]
    return words


def _algorithms(statement: Statement) -> list[str]:
    words = []
    if statement.encryption_key is not None:
        words += ["-E", names.ENCRYPTION_NAMES[statement.encryption], _key(statement.encryption_key)]
    elif statement.encryption == c.EALG_NULL:
        words += ["-E", "simple"]
    elif statement.encryption:
        words += ["-C", names.COMPRESSION_NAMES[statement.encryption]]
        if statement.flags & c.SA_FLAG_RAWCPI:
            words.append("-R")
    if statement.authentication:
        words += ["-A", names.AUTHENTICATION_NAMES[statement.authentication]]
        if statement.authentication_key is not None:
            words.append(_key(statement.authentication_key))
    return words


def _key(key: bytes) -> str:
    return f"0x{key.hex()}" if key else '""'


def _range(side: Range, with_port: bool) -> str:
    prefix = "" if side.prefix is None else f"/{side.prefix}"
    port = f"[{side.port}]" if with_port and side.port is not None else ""
    return side.host + prefix + port


def _policy_words(policy: Policy, bare: bool, address_text: AddressText) -> list[str]:
    words = [_DIRECTION[policy.direction]]
    if policy.action or policy.requests or not bare:
        words.append(_ACTION[policy.action])
    return words + [_request(request, address_text) for request in policy.requests]


def _request(request: Request, address_text: AddressText) -> str:
    between = f"{address_text(request.src)}-{address_text(request.dst)}" if request.src else ""
    level = _LEVEL[request.level] + (f":{request.reqid}" if request.reqid else "")
    return f"{_PROTOCOL[request.protocol]}/{_MODE[request.mode]}/{between}/{level}"
