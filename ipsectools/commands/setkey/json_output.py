"""`setkey -D` and `setkey -DP` as JSON. The schema is in setkey(8); a change that may break a reader raises VERSION."""

from __future__ import annotations

import json
from time import time

from ipsectools.commands.setkey import checks, dump_policy, names
from ipsectools.commands.setkey.addresses import text_of
from ipsectools.commands.setkey.exchange import TIMEOUT
from ipsectools.errno import EAGAIN, ENOENT, KernelError, strerror
from ipsectools.pfkey import constants as c
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.message import HEADER, extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ipsectools.commands.setkey.kernel_door import Door
    from ipsectools.commands.setkey.output import Output

    InterfaceName = Callable[[int], str | None]

VERSION = 1

_SCOPES = {c.SCOPE_GLOBAL: "global", c.SCOPE_IFNET: "ifnet", c.SCOPE_PCB: "pcb"}
_DIRECTION = {number: word for word, number in names.DIRECTION.items()}
_ACTION = {number: word for word, number in names.ACTION.items()}
_PROTOCOL = {number: word for word, number in names.PROTOCOL.items()}
_LEVEL = {number: word for word, number in names.LEVEL.items()}


class _RefusedError(Exception):
    """The kernel's answer is an error (its text)."""


def dump(request: bytes, door: Door, output: Output, *, pretty: bool, show_keys: bool, dead: bool) -> int:
    """Sends a SADB_DUMP or SADB_X_SPDDUMP request and prints the answers as one JSON object. The exit status.

    Raises ClientError if the kernel is gone.
    """
    policies_wanted = request[1] == c.SADB_X_SPDDUMP
    indent = 2 if pretty else None
    head: dict[str, Any] = {
        "schema": f"ipsectools.setkey.{'spd' if policies_wanted else 'sad'}",
        "version": VERSION,
        "time": int(time()),
    }
    opening = json.dumps(head, indent=indent)[:-1].rstrip()
    name = "policies" if policies_wanted else "associations"
    opening += f',\n  "{name}": [' if pretty else f', "{name}": ['
    separator = opening
    try:
        for message in _replies(request, door):
            if policies_wanted:
                entry = policy(message, door.interface_name)
            else:
                entry = association(message, door.interface_name, show_keys)
                if entry.get("state") == "dead" and not dead:
                    continue
            text = json.dumps(entry, indent=indent)
            if pretty:
                text = "\n    " + text.replace("\n", "\n    ")
            output.write(separator + text)
            separator = "," if pretty else ", "
    except _RefusedError as error:
        output.write_error(f"setkey: {error}\n")
        return 1
    if separator is opening:
        output.write(opening)
    output.write("\n  ]\n}\n" if pretty else "]}\n")
    return 0


def _replies(request: bytes, door: Door) -> Iterator[bytes]:
    number = door.send(request)
    if number:
        raise _RefusedError(strerror(number))
    while True:
        reply = door.receive(TIMEOUT)
        if reply is None:
            raise _RefusedError(strerror(EAGAIN))
        if reply[2]:
            if reply[2] == ENOENT:
                return
            raise _RefusedError(strerror(reply[2]))
        yield reply
        if reply[8:12] == b"\0\0\0\0":
            return


def association(message: bytes, interface_name: InterfaceName, show_keys: bool) -> dict[str, Any]:
    """The SA of a SADB_DUMP reply; {"error": text} for a message that makes no sense."""
    found, wrong = _read(message)
    needed = (c.EXT_ADDRESS_SRC, c.EXT_ADDRESS_DST, c.EXT_SA, c.EXT_X_SA2)
    if wrong or any(kind not in found for kind in needed):
        return {"error": wrong or "Invalid sadb message"}
    _, _, _, satype, _, refcnt, _, _ = HEADER.unpack_from(message)
    spi, replay, state, authentication, encryption, flags = ext.read_sa(found[c.EXT_SA])
    mode, sequence, reqid = ext.read_sa2(found[c.EXT_X_SA2])
    if c.EXT_X_SA_REPLAY in found:
        replay = ext.read_sa_replay(found[c.EXT_X_SA_REPLAY]) >> 3

    def algorithm(kind: int, number: int, known: dict[int, str]) -> dict[str, Any] | None:
        if kind not in found:
            return None
        bits, key = ext.read_key(found[kind])
        return {"algorithm": known.get(number) or str(number), "bits": bits, "key": key.hex() if show_keys else None}

    compressed = satype == c.SATYPE_IPCOMP
    return {
        "source": _address(found[c.EXT_ADDRESS_SRC], interface_name),
        "destination": _address(found[c.EXT_ADDRESS_DST], interface_name),
        "protocol": names.SATYPE_NAMES.get(satype) or str(satype),
        "mode": names.MODE_NAMES.get(mode) or str(mode),
        "spi": spi,
        "reqid": reqid,
        "nat_t": _natt(found, interface_name),
        "encryption": None if compressed else algorithm(c.EXT_KEY_ENCRYPT, encryption, names.ENCRYPTION_NAMES),
        "authentication": algorithm(c.EXT_KEY_AUTH, authentication, names.AUTHENTICATION_NAMES),
        "compression": (names.COMPRESSION_NAMES.get(encryption) or str(encryption)) if compressed else None,
        "sequence": sequence,
        "replay_window": replay,
        "flags": flags,
        "esn": bool(flags & c.SA_FLAG_ESN),
        "state": names.STATE_NAMES.get(state) or str(state),
        "current": _lifetime(found, c.EXT_LIFETIME_CURRENT),
        "hard": _lifetime(found, c.EXT_LIFETIME_HARD),
        "soft": _lifetime(found, c.EXT_LIFETIME_SOFT),
        "refcnt": refcnt,
    }


def policy(message: bytes, interface_name: InterfaceName) -> dict[str, Any]:
    """The policy of a SADB_X_SPDDUMP reply; {"error": text} for a message that makes no sense."""
    found, wrong = _read(message)
    needed = (c.EXT_ADDRESS_SRC, c.EXT_ADDRESS_DST, c.EXT_X_POLICY)
    if wrong or any(kind not in found for kind in needed):
        return {"error": wrong or "Invalid sadb message"}
    upper, source_prefix, source = ext.read_address(found[c.EXT_ADDRESS_SRC])
    _, destination_prefix, destination = ext.read_address(found[c.EXT_ADDRESS_DST])
    action, direction, scope, number, priority = policies.read_policy(found[c.EXT_X_POLICY])
    ports = sockaddrs.port(source), sockaddrs.port(destination)
    icmp6 = upper == c.IPPROTO_ICMPV6
    try:
        requests = policies.read_requests(found[c.EXT_X_POLICY]) if action == c.POLICY_IPSEC else []
    except KernelError as error:
        return {"error": str(error)}
    return {
        "id": number,
        "source": f"{text_of(source, interface_name)}/{source_prefix}",
        "source_port": ports[0] if ports[0] and not icmp6 else None,
        "destination": f"{text_of(destination, interface_name)}/{destination_prefix}",
        "destination_port": ports[1] if ports[1] and not icmp6 else None,
        "upper": dump_policy.upper_text(upper, 0, 0),
        "icmp6": {"type": ports[0], "code": ports[1]} if icmp6 and any(ports) else None,
        "direction": _DIRECTION.get(direction) or str(direction),
        "action": _ACTION.get(action) or str(action),
        "requests": [
            {
                "protocol": _PROTOCOL.get(request.protocol) or str(request.protocol),
                "mode": names.MODE_NAMES.get(request.mode) or str(request.mode),
                "source": text_of(request.src, interface_name) if request.src else None,
                "destination": text_of(request.dst, interface_name) if request.dst else None,
                "level": _LEVEL.get(request.level) or str(request.level),
                "reqid": request.reqid,
            }
            for _, request in requests
        ],
        "scope": _SCOPES.get(scope) or str(scope),
        "interface": interface_name(priority) if scope == c.SCOPE_IFNET else None,
        "priority": None if scope == c.SCOPE_IFNET else priority,
        "current": _lifetime(found, c.EXT_LIFETIME_CURRENT),
        "hard": _lifetime(found, c.EXT_LIFETIME_HARD),
        "refcnt": message[6] | message[7] << 8,
    }


def _read(message: bytes) -> tuple[dict[int, bytes], str]:
    places, wrong = checks.align(message)
    return dict(extensions(message)), wrong or checks.check(message, places)


def _address(extension: bytes, interface_name: InterfaceName) -> str:
    return text_of(extension[8:], interface_name)


def _natt(found: dict[int, bytes], interface_name: InterfaceName) -> dict[str, Any] | None:
    if c.EXT_X_NAT_T_TYPE not in found:
        return None
    values: dict[str, Any] = {}
    for name, kind in (("source_port", c.EXT_X_NAT_T_SPORT), ("destination_port", c.EXT_X_NAT_T_DPORT)):
        values[name] = ext.read_nat_t_port(found[kind]) if kind in found else None
    for name, kind in (("original_source", c.EXT_X_NAT_T_OAI), ("original_destination", c.EXT_X_NAT_T_OAR)):
        values[name] = _address(found[kind], interface_name) if kind in found else None
    return values


def _lifetime(found: dict[int, bytes], kind: int) -> dict[str, int] | None:
    if kind not in found:
        return None
    allocations, size, added, used = ext.read_lifetime(found[kind])
    return {"packets": allocations, "bytes": size, "added": added, "used": used}
