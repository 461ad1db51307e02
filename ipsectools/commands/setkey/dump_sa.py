"""An SA as `setkey -D` shows it: the long format, and the line of `-l`.

An SA is formatted in a handful of operations: dumps may have a hundred thousand of them.
"""

from __future__ import annotations

from struct import Struct
from sys import byteorder as _BYTEORDER
from time import ctime

from ipsectools.commands.setkey import checks, names
from ipsectools.commands.setkey.addresses import text_of
from ipsectools.pfkey import constants as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    InterfaceName = Callable[[int], str | None]

_HEADER = Struct("=BBBBHHII")
_SA = Struct(">4xIBBBB")
_U32 = Struct("=I")
_LIFETIME = Struct("=IQQQ")  # allocations, bytes, addtime, usetime; from offset 4
_KEY_BITS = Struct("=H")

_SA_KIND = c.EXT_SA.to_bytes(2, _BYTEORDER)
_NO_LIFETIME = (0, 0, 0, 0)
_NO_TIME = " " * 20
_U64_MAX = 0xFFFFFFFFFFFFFFFF

_times: dict[int, str] = {}


def time_text(seconds: int) -> str:
    """A time as the dumps show it, 20 characters; blanks for 0."""
    text = _times.get(seconds)
    if text is None:
        if len(_times) > 10000:
            _times.clear()
        try:
            text = _NO_TIME if seconds == 0 else ctime(seconds)[4:24]
        except (OverflowError, ValueError, OSError):
            text = _NO_TIME
        _times[seconds] = text
    return text


def text(message: bytes, now: int, interface_name: InterfaceName) -> str:
    """The SA of a SADB_GET or SADB_DUMP reply in the long format; `now` is unix seconds."""
    found, wrong = checks.align(message)
    wrong = wrong or checks.check(message, found)
    if wrong:
        return wrong + "\n"
    get = found.get
    source = get(c.EXT_ADDRESS_SRC)
    if source is None:
        return "no ADDRESS_SRC extension.\n"
    natt = get(c.EXT_X_NAT_T_TYPE)
    source_text = text_of(message[source + 8 : source + 36], interface_name) + _natt_port(
        message, get(c.EXT_X_NAT_T_SPORT), natt
    )
    destination = get(c.EXT_ADDRESS_DST)
    if destination is None:
        return source_text + "\nno ADDRESS_DST extension.\n"
    destination_text = text_of(message[destination + 8 : destination + 36], interface_name) + _natt_port(
        message, get(c.EXT_X_NAT_T_DPORT), natt
    )
    sa = get(c.EXT_SA)
    if sa is None:
        return f"{source_text} {destination_text}\nno SA extension.\n"
    sa2 = get(c.EXT_X_SA2)
    if sa2 is None:
        return f"{source_text} {destination_text}\nno SA2 extension.\n"

    _, _, _, satype, _, refcnt, seq, pid = _HEADER.unpack_from(message)
    spi, replay, sa_state, authentication, encryption = _SA.unpack_from(message, sa)
    (flags,) = _U32.unpack_from(message, sa + 12)
    (sequence,) = _U32.unpack_from(message, sa2 + 8)
    (reqid,) = _U32.unpack_from(message, sa2 + 12)
    mode = message[sa2 + 4]
    window = get(c.EXT_X_SA_REPLAY)
    if window is not None:
        replay = _U32.unpack_from(message, window + 4)[0] >> 3
    if satype == c.SATYPE_ESP and natt is not None:
        protocol = "esp-udp"
    else:
        protocol = names.SATYPE_NAMES.get(satype) or str(satype)
    algorithms = ""
    if satype == c.SATYPE_IPCOMP:
        algorithms = f"\tC: {names.COMPRESSION_NAMES.get(encryption) or encryption} "
    elif satype == c.SATYPE_ESP and (key := get(c.EXT_KEY_ENCRYPT)) is not None:
        algorithms = f"\tE: {names.ENCRYPTION_NAMES.get(encryption) or encryption} {_key_text(message, key)}\n"
    if (key := get(c.EXT_KEY_AUTH)) is not None:
        name = names.AUTHENTICATION_NAMES.get(authentication) or authentication
        algorithms += f"\tA: {name} {_key_text(message, key)}\n"
    lines = (
        f"{source_text} {destination_text}\n"
        f"\t{protocol} mode={names.MODE_NAMES.get(mode) or mode} "
        f"spi={spi}(0x{spi:08x}) reqid={reqid}(0x{reqid:08x})\n"
        f"{_natt_addresses(message, found, interface_name) if natt is not None else ''}{algorithms}"
        f"\tseq=0x{sequence:08x} replay={replay} flags=0x{flags:08x} "
        f"state={names.STATE_NAMES.get(sa_state) or sa_state} \n"
    )
    if c.EXT_X_IF_HW_OFFL in found:
        lines += _offload_interfaces(message)
    current = get(c.EXT_LIFETIME_CURRENT)
    if current is not None:
        hard, soft = get(c.EXT_LIFETIME_HARD), get(c.EXT_LIFETIME_SOFT)
        hard_limits = _NO_LIFETIME if hard is None else _LIFETIME.unpack_from(message, hard + 4)
        soft_limits = _NO_LIFETIME if soft is None else _LIFETIME.unpack_from(message, soft + 4)
        allocations, used, created, last = _LIFETIME.unpack_from(message, current + 4)
        age = now - created & _U64_MAX if created else 0
        lines += (
            f"\tcreated: {time_text(created)}\tcurrent: {time_text(now)}\n"
            f"\tdiff: {age}(s)\thard: {hard_limits[2]}(s)\tsoft: {soft_limits[2]}(s)\n"
            f"\tlast: {time_text(last)}\thard: {hard_limits[3]}(s)\tsoft: {soft_limits[3]}(s)\n"
            f"\tcurrent: {used:.0f}(bytes)\thard: {hard_limits[1]:.0f}(bytes)\tsoft: {soft_limits[1]:.0f}(bytes)\n"
            f"\tallocated: {allocations}\thard: {hard_limits[0]}\tsoft: {soft_limits[0]}\n"
        )
    lines += f"\tsadb_seq={seq} pid={pid} refcnt={refcnt}\n"
    if c.EXT_X_LFT_CUR_SW_OFFL in found or c.EXT_X_LFT_CUR_HW_OFFL in found:
        lines += _offload_use(message, found)
    return lines


def state(message: bytes) -> int | None:
    """The state of the SA in a message (SADB_SASTATE_*), None if it has none."""
    if message[18:20] == _SA_KIND:  # it comes first
        return message[25]
    sa = checks.align(message)[0].get(c.EXT_SA)
    return None if sa is None else message[sa + 9]


def short_text(message: bytes, now: int, interface_name: InterfaceName) -> str:
    """The SA of a SADB_DUMP reply as the line of `-l`."""
    found, _ = checks.align(message)
    get = found.get
    protocol = {c.SATYPE_AH: "ah", c.SATYPE_ESP: "esp"}.get(message[3]) or f"#{message[3]}"
    line = f"{now % 3600 // 60:02}{now % 60:02} {protocol:3}"
    sa = get(c.EXT_SA)
    if sa is None:
        line += "? ?        "
    else:
        sa_state = message[sa + 9]
        line += f" {'LMDd'[sa_state] if sa_state < 4 else f'#{sa_state}'} {message[sa + 4 : sa + 8].hex()} "
    times = [get(kind) for kind in (c.EXT_LIFETIME_CURRENT, c.EXT_LIFETIME_HARD, c.EXT_LIFETIME_SOFT)]
    if None in times:
        line += "???/??? "
    else:
        created, hard, _ = (_LIFETIME.unpack_from(message, (place or 0) + 4)[2] & 0xFFFFFFFF for place in times)
        age = now - created & 0xFFFFFFFF if created else 0
        line += f"{'big' if age >= 1000 else f'{age:3}'}/{'big' if hard >= 1000 else f'{hard:<3}'} "
    sides = [_short_address(message, get(kind), interface_name) for kind in (c.EXT_ADDRESS_SRC, c.EXT_ADDRESS_DST)]
    return f"{line}{sides[0]} -> {sides[1]}\n"


def key_groups(key: bytes) -> str:
    """A key in hexadecimal: groups of 4 bytes, each after a blank, a line break after every 32 bytes."""
    if len(key) <= 32:
        return " " + key.hex(" ", -4) if key else ""
    return "\n".join(" " + key[start : start + 32].hex(" ", -4) for start in range(0, len(key), 32))


def _key_text(message: bytes, offset: int) -> str:
    (bits,) = _KEY_BITS.unpack_from(message, offset + 4)
    end = offset + int.from_bytes(message[offset : offset + 2], _BYTEORDER) * 8
    return key_groups(message[offset + 8 : min(end, offset + 8 + bits // 8)])


def _natt_port(message: bytes, port: int | None, natt: int | None) -> str:
    if natt is None or port is None:
        return ""
    return f"[{int.from_bytes(message[port + 4 : port + 6], 'big')}]"


def _natt_addresses(message: bytes, found: dict[int, int], interface_name: InterfaceName) -> str:
    line = ""
    for word, kind in (("OAI", c.EXT_X_NAT_T_OAI), ("OAR", c.EXT_X_NAT_T_OAR)):
        if kind in found:
            line += f" {word}={text_of(message[found[kind] + 8 : found[kind] + 36], interface_name)}"
    return f"\tNAT:{line}\n" if line else ""


def _short_address(message: bytes, offset: int | None, interface_name: InterfaceName) -> str:
    if offset is None:
        return "?"
    protocol = message[offset + 4]
    sockaddr = message[offset + 8 : offset + 36]
    port = int.from_bytes(sockaddr[2:4], "big")
    text = (f"#{protocol} " if protocol else "") + text_of(sockaddr, interface_name)
    return f"{text}[{port}]" if port else text


def _offload_interfaces(message: bytes) -> str:
    from ipsectools.pfkey.message import extensions

    found = [
        extension[8:40].partition(b"\0")[0].decode("latin-1")
        for kind, extension in extensions(message)
        if kind == c.EXT_X_IF_HW_OFFL
    ]
    return f"\thw offl if: {','.join(found)}\n"


def _offload_use(message: bytes, found: dict[int, int]) -> str:
    lines = ""
    for word, kind in (("sw", c.EXT_X_LFT_CUR_SW_OFFL), ("hw", c.EXT_X_LFT_CUR_HW_OFFL)):
        if kind in found:
            allocations, used, _, last = _LIFETIME.unpack_from(message, found[kind] + 4)
            lines += f"\t{word} offl use: {time_text(last)}\t{word} offl allocated: {allocations}"
            lines += f"\t{word} offl: {used}(bytes)\n"
    return lines
