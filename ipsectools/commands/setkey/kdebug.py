"""Messages field by field, as FreeBSD's kdebug_sadb prints them (`setkey -v`, `-x`), and in hexadecimal (`-h`)."""

from __future__ import annotations

import _socket
from struct import Struct
from struct import error as StructError
from sys import byteorder as _BYTEORDER

from ipsectools.commands.setkey.dump_sa import key_groups
from ipsectools.pfkey import constants as c

_MESSAGES = """
    RESERVED GETSPI UPDATE ADD DELETE GET ACQUIRE REGISTER EXPIRE FLUSH DUMP X_PROMISC X_PCHANGE X_SPDUPDATE X_SPDADD
    X_SPDDELETE X_SPDGET X_SPDACQUIRE X_SPDDUMP X_SPDFLUSH X_SPDSETIDX X_SPDEXPIRE X_SPDDELETE2
""".split()  # noqa: SIM905
_EXTENSIONS = """
    RESERVED SA LIFETIME_CURRENT LIFETIME_HARD LIFETIME_SOFT ADDRESS_SRC ADDRESS_DST ADDRESS_PROXY KEY_AUTH
    KEY_ENCRYPT IDENTITY_SRC IDENTITY_DST SENSITIVITY PROPOSAL SUPPORTED_AUTH SUPPORTED_ENCRYPT SPIRANGE KMPRIVATE
    POLICY SA2 NAT_T_TYPE NAT_T_SPORT NAT_T_DPORT NAT_T_OAI NAT_T_OAR NAT_T_FRAG SA_REPLAY NEW_ADDRESS_SRC
    NEW_ADDRESS_DST LFT_CUR_SW_OFFL LFT_CUR_HW_OFFL
""".split()  # noqa: SIM905

_HEADER = Struct("=BBBBHHII")
_PAIR = Struct("=HH")


def message(data: bytes) -> str:
    """The message (at least its header) as a block of lines; one with an extension cut short as far as it goes."""
    version, kind, number, satype, length, reserved, seq, pid = _HEADER.unpack_from(data)
    lines = (
        f"sadb_msg{{ version={version} type={kind}({_name(_MESSAGES, kind)}) errno={number} satype={satype}\n"
        f"  len={length} reserved={reserved} seq={seq} pid={pid}\n"
    )
    offset = 16
    while offset + 4 <= len(data):
        units, kind = _PAIR.unpack_from(data, offset)
        lines += f"sadb_ext{{ len={units} type={kind}({_name(_EXTENSIONS, kind)}) }}\n"
        if units == 0:
            return lines + "kdebug_sadb: invalid ext_len=0 was passed.\n"
        left = len(data) - offset
        if units * 8 > left:
            return lines + f"kdebug_sadb: ext_len too big ({units * 8} > {left}).\n"
        show = _SHOW.get(kind)
        if show is None:
            return lines + f"kdebug_sadb: invalid ext_type {kind}\n"
        try:
            lines += show(data[offset : offset + units * 8])
        except (IndexError, StructError):
            return lines  # an extension too short for what it is
        if kind in (c.EXT_X_LFT_CUR_SW_OFFL, c.EXT_X_LFT_CUR_HW_OFFL):
            return lines + f"kdebug_sadb: invalid ext_type {kind}\n"
        offset += units * 8
    return lines


def hexadecimal(data: bytes) -> str:
    """The bytes, 16 to a line, each line beginning with its offset."""
    return "".join(f"{offset:08x}: {data[offset : offset + 16].hex(' ')} \n" for offset in range(0, len(data), 16))


def _name(names: list[str], number: int) -> str:
    return names[number] if number < len(names) else "UNKNOWN"


def _nothing(extension: bytes) -> str:
    return ""


def _sa(extension: bytes) -> str:
    spi, replay, state, authentication, encryption = Struct(">IBBBB").unpack_from(extension, 4)
    flags = _u32(extension, 12)
    return (
        f"sadb_sa{{ spi={spi} replay={replay} state={state}\n"
        f"  auth={authentication} encrypt={encryption} flags=0x{flags:08x} }}\n"
    )


def _lifetime(extension: bytes) -> str:
    allocations, used, created, last = (_u32(extension, offset) for offset in (4, 8, 16, 24))
    return f"sadb_lifetime{{ alloc={allocations}, bytes={used}\n  addtime={created}, usetime={last} }}\n"


def _address(extension: bytes) -> str:
    protocol, prefix = extension[4:6]
    line = f"sadb_address{{ proto={protocol} prefixlen={prefix} reserved=0x{extension[6:8].hex()} }}\n"
    return line + _sockaddr(extension[8:])


def _sockaddr(data: bytes) -> str:
    length, family = data[0], data[1]
    text = "unknown"
    if family == c.AF_INET:
        text = _socket.inet_ntop(_socket.AF_INET, data[4:8].ljust(4, b"\0"))
    elif family == c.AF_INET6:
        packed = data[8:24].ljust(16, b"\0")
        text = _socket.inet_ntop(_socket.AF_INET6, packed)
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            text += f"%{_u32(data.ljust(28, bytes(1)), 24)}"
    return f"sockaddr{{ len={length} family={family} addr={text} }}\n"


def _key(extension: bytes) -> str:
    _, _, bits, reserved = Struct("=HHHH").unpack_from(extension)
    return f"sadb_key{{ bits={bits} reserved={reserved}\n  key={key_groups(extension[8 : 8 + bits // 8])} }}\n"


def _identity(extension: bytes) -> str:
    word = "src" if extension[2:4] == c.EXT_IDENTITY_SRC.to_bytes(2, _BYTEORDER) else "dst"
    kind, _, number = Struct("=HHQ").unpack_from(extension, 4)
    line = f"sadb_ident_{word}{{ type={kind} id={number}"
    if len(extension) > 16:
        characters = extension[16:].partition(b"\0")[0]
        shown = "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in characters)
        line += f'\n  str="{shown}"'
    return line + " }\n"


def _proposal(extension: bytes) -> str:
    lines = f"sadb_prop{{ replay={extension[4]}\n"
    for offset in range(8, len(extension) - 71, 72):
        (
            authentication,
            encryption,
            flags,
            auth_min,
            auth_max,
            encrypt_min,
            encrypt_max,
            reserved,
            soft_alloc,
            hard_alloc,
            *limits,
        ) = Struct("=BBHHHHHIIIQQQQQQ").unpack_from(extension, offset)
        lines += (
            f"sadb_comb{{ auth={authentication} encrypt={encryption} flags=0x{flags:04x} reserved=0x{reserved:08x}\n"
            f"  auth_minbits={auth_min} auth_maxbits={auth_max} "
            f"encrypt_minbits={encrypt_min} encrypt_maxbits={encrypt_max}\n"
            f"  soft_alloc={soft_alloc} hard_alloc={hard_alloc} soft_bytes={limits[0]} hard_bytes={limits[1]}\n"
            # the original's words for the times
            f"  soft_alloc={limits[2]} hard_alloc={limits[3]} soft_bytes={limits[4]} hard_bytes={limits[5]} }}\n"
        )
    return lines + "}\n"


def _supported(extension: bytes) -> str:
    lines = "sadb_sup{\n"
    for offset in range(8, len(extension), 8):
        number, ivlen, fewest, most = Struct("=BBHH").unpack_from(extension, offset)
        lines += f"  {{ id={number} ivlen={ivlen} min={fewest} max={most} }}\n"
    return lines + "}\n"


def _sa2(extension: bytes) -> str:
    mode, reserved1, reserved2, sequence, reqid = Struct("=BBHII").unpack_from(extension, 4)
    return (
        f"sadb_x_sa2{{ mode={mode} reqid={reqid}\n"
        f"  reserved1={reserved1} reserved2={reserved2} sequence={sequence} }}\n"
    )


def _policy(extension: bytes) -> str:
    kind, direction, scope, number, priority = Struct("=HBBII").unpack_from(extension, 4)
    last = "ifindex" if scope == c.SCOPE_IFNET else "priority"
    lines = f"sadb_x_policy{{ type={kind} dir={direction} id={number:x} scope={scope} {last}={priority} }}\n"
    offset = 16
    while kind == c.POLICY_IPSEC and offset + 8 <= len(extension):
        size, protocol, mode, level, reqid = Struct("=HHBBH").unpack_from(extension, offset)
        lines += f" {{ len={size} proto={protocol} mode={mode} level={level} reqid={reqid}\n"
        if size < 8:
            return lines
        addresses = extension[offset + 8 : offset + size]
        while len(addresses) > 1 and addresses[0]:
            lines += _sockaddr(addresses)
            addresses = addresses[addresses[0] :]
        lines += " }\n"
        offset += size
    return lines


def _natt_type(extension: bytes) -> str:
    return f"sadb_x_nat_t_type{{ type={extension[4]} }}\n"


def _natt_port(extension: bytes) -> str:
    return f"sadb_x_nat_t_port{{ port={int.from_bytes(extension[4:6], 'big')} }}\n"


def _sa_replay(extension: bytes) -> str:
    return f"sadb_x_sa_replay{{ replay={_u32(extension, 4)} }}\n"


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], _BYTEORDER)


_SHOW = (
    {
        c.EXT_SA: _sa,
        c.EXT_PROPOSAL: _proposal,
        c.EXT_SENSITIVITY: _nothing,
        c.EXT_SPIRANGE: _nothing,
        c.EXT_X_KMPRIVATE: _nothing,
        c.EXT_X_POLICY: _policy,
        c.EXT_X_SA2: _sa2,
        c.EXT_X_NAT_T_TYPE: _natt_type,
        c.EXT_X_NAT_T_SPORT: _natt_port,
        c.EXT_X_NAT_T_DPORT: _natt_port,
        c.EXT_X_SA_REPLAY: _sa_replay,
    }
    | dict.fromkeys([c.EXT_KEY_AUTH, c.EXT_KEY_ENCRYPT], _key)
    | dict.fromkeys([c.EXT_IDENTITY_SRC, c.EXT_IDENTITY_DST], _identity)
    | dict.fromkeys([c.EXT_SUPPORTED_AUTH, c.EXT_SUPPORTED_ENCRYPT], _supported)
    | dict.fromkeys(
        [
            c.EXT_LIFETIME_CURRENT,
            c.EXT_LIFETIME_HARD,
            c.EXT_LIFETIME_SOFT,
            c.EXT_X_LFT_CUR_SW_OFFL,
            c.EXT_X_LFT_CUR_HW_OFFL,
        ],
        _lifetime,
    )
    | dict.fromkeys(
        [
            c.EXT_ADDRESS_SRC,
            c.EXT_ADDRESS_DST,
            c.EXT_ADDRESS_PROXY,
            c.EXT_X_NAT_T_OAI,
            c.EXT_X_NAT_T_OAR,
            c.EXT_X_NEW_ADDRESS_SRC,
            c.EXT_X_NEW_ADDRESS_DST,
        ],
        _address,
    )
)

EMPTY = message(bytes(16)) + "\n"
"""What setkey -v prints after a dump reply: what lies behind it in the buffer, here as if nothing ever was there."""
