"""A policy as `setkey -DP` shows it."""

from __future__ import annotations

from struct import Struct
from sys import byteorder as _BYTEORDER

from ipsectools.commands.setkey import checks
from ipsectools.commands.setkey.addresses import text_of
from ipsectools.commands.setkey.databases import protocol_name
from ipsectools.commands.setkey.dump_sa import time_text
from ipsectools.commands.setkey.names import ACTION, DIRECTION, LEVEL, MODE, PROTOCOL
from ipsectools.pfkey import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    InterfaceName = Callable[[int], str | None]

_HEADER = Struct("=BBBBHHII")
_POLICY = Struct("=HBBII")  # type, direction, scope, id, priority; from offset 4
_REQUEST = Struct("=HHBBH")
_LIFETIME = Struct("=IQQQ")

_DIRECTIONS = {number: word for word, number in DIRECTION.items()} | {0: "any"}
_ACTIONS = {number: word for word, number in ACTION.items()}
_PROTOCOLS = {number: word for word, number in PROTOCOL.items()}
_MODES = {number: word for word, number in MODE.items()}
_LEVELS = {number: word for word, number in LEVEL.items()}
_SCOPES = {c.SCOPE_GLOBAL: "global", c.SCOPE_IFNET: "ifnet", c.SCOPE_PCB: "pcb"}


def text(message: bytes, interface_name: InterfaceName) -> str:
    """The policy of a SADB_X_SPDDUMP reply."""
    found, wrong = checks.align(message)
    wrong = wrong or checks.check(message, found)
    if wrong:
        return wrong + "\n"
    source, destination = found.get(c.EXT_ADDRESS_SRC), found.get(c.EXT_ADDRESS_DST)
    if source is None or destination is None:
        lines = "(no selector, probably per-socket policy) "
    else:
        upper = message[source + 4]
        if upper != message[destination + 4]:
            return "upper layer protocol mismatched.\n"
        lines = (
            f"{_range(message, source, upper, interface_name)} {_range(message, destination, upper, interface_name)} "
        )
        lines += upper_text(upper, _port(message, source), _port(message, destination))
    policy = found.get(c.EXT_X_POLICY)
    if policy is None:
        return lines + "no X_POLICY extension.\n"
    end = policy + int.from_bytes(message[policy : policy + 2], _BYTEORDER) * 8
    lines += f"\n\t{policy_text(message[policy:end], interface_name) or '(null)'}\n"
    current, hard = found.get(c.EXT_LIFETIME_CURRENT), found.get(c.EXT_LIFETIME_HARD)
    if current is not None:
        _, _, created, used = _LIFETIME.unpack_from(message, current + 4)
        lines += f"\tcreated: {time_text(created)}  lastused: {time_text(used)}\n"
    if hard is not None:
        _, _, lifetime, valid = _LIFETIME.unpack_from(message, hard + 4)
        lines += f"\tlifetime: {lifetime}(s) validtime: {valid}(s)\n"
    _, _, scope, number, priority = _POLICY.unpack_from(message, policy + 4)
    _, _, _, _, _, refcnt, seq, pid = _HEADER.unpack_from(message)
    lines += f"\tspid={number} seq={seq} pid={pid} scope={_SCOPES.get(scope) or scope} "
    if scope == c.SCOPE_IFNET and (name := interface_name(priority)):
        lines += f"ifname={name}"
    return f"{lines}\n\trefcnt={refcnt}\n"


def policy_text(extension: bytes, interface_name: InterfaceName) -> str | None:
    """Direction, action and requests as libipsec writes them, on lines of their own; None if that cannot be done."""
    if len(extension) < 16:
        return None
    action, direction, _, _, _ = _POLICY.unpack_from(extension, 4)
    if direction not in _DIRECTIONS or action not in _ACTIONS:
        return None
    lines = [f"{_DIRECTIONS[direction]} {_ACTIONS[action]}"]
    offset, end = 16, len(extension)
    while action == c.POLICY_IPSEC and offset < end:
        if end - offset < 8:
            return None
        size, protocol, mode, level, reqid = _REQUEST.unpack_from(extension, offset)
        if not 8 <= size <= end - offset:
            return None
        if protocol not in _PROTOCOLS or mode not in _MODES or level not in _LEVELS:
            return None
        between = ""
        if size > 8:
            pair = _pair(extension[offset + 8 : offset + size])
            if pair is None:
                return None
            between = f"{text_of(pair[0], interface_name)}-{text_of(pair[1], interface_name)}"
        line = f"{_PROTOCOLS[protocol]}/{_MODES[mode]}/{between}/{_LEVELS[level]}"
        if reqid:
            line += f"{':' if reqid <= c.MANUAL_REQID_MAX else '#'}{reqid}"
        lines.append(line)
        offset += size
    return "\n\t".join(lines)


def upper_text(upper: int, source_port: int, destination_port: int) -> str:
    """The upper-layer protocol, with type and code of ICMPv6."""
    if upper == c.IPSEC_ULPROTO_ANY:
        return "any"
    if upper == c.IPPROTO_ICMPV6:
        return f"icmp6 {source_port},{destination_port}" if source_port or destination_port else "icmp6"
    if upper == 4:
        return "ip4"
    return protocol_name(upper) or str(upper)


def _range(message: bytes, offset: int, upper: int, interface_name: InterfaceName) -> str:
    sockaddr = message[offset + 8 : offset + 36]
    prefix = message[offset + 5]
    if sockaddr[1] not in (c.AF_INET, c.AF_INET6):
        return "unknown-af"
    line = text_of(sockaddr, interface_name)
    if prefix != (32 if sockaddr[1] == c.AF_INET else 128):
        line += f"/{prefix}"
    if upper == c.IPPROTO_ICMPV6:
        return line
    port = int.from_bytes(sockaddr[2:4], "big")
    return f"{line}[{port or 'any'}]"


def _port(message: bytes, offset: int) -> int:
    return int.from_bytes(message[offset + 10 : offset + 12], "big")


def _pair(data: bytes) -> tuple[bytes, bytes] | None:
    size = {c.AF_INET: 16, c.AF_INET6: 28}.get(data[1]) if len(data) > 1 else None
    if size is None or len(data) < 2 * size or data[size + 1] != data[1]:
        return None
    return data[:size], data[size : 2 * size]
