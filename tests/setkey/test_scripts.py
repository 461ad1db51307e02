"""Scripts against a kernel that says yes: what is printed and what is sent (observed with FreeBSD's own parser)."""

from __future__ import annotations

import pytest

from ipsectools.commands.setkey import addresses
from ipsectools.pfkey.message import extensions

from .fakes import FakeDoor, Result, script

PAIR = "10.0.0.1 10.0.0.2"
KEY16 = "0x000102030405060708090a0b0c0d0e0f"
KEY20 = KEY16 + "10111213"
LINES16 = '"abcdefgh\nijklmno"'


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server is asked; `two.example` has two IPv4 addresses, `both.example` one of each family."""
    known = {
        "two.example": ["192.0.2.1", "192.0.2.2"],
        "four.example": ["192.0.2.3", "192.0.2.4"],
        "both.example": ["192.0.2.5", "2001:db8::5"],
        "one.example": ["192.0.2.9"],
    }

    def look_up(host: str, family: int) -> list[bytes]:
        found = [address for text in known.get(host, []) if (address := addresses.numeric(text, lambda name: 0))]
        found = [address for address in found if family in (0, address[1])]
        if not found:
            raise addresses.ResolverError(addresses.NO_NAME)
        return found

    monkeypatch.setattr(addresses, "_look_up", look_up)


def sent(message: bytes) -> str:
    """A message as the specification's tables write it: NAME bytes: type(units) ..."""
    name = {3: "ADD", 4: "DELETE", 5: "GET", 9: "FLUSH", 10: "DUMP", 14: "SPDADD", 15: "SPDDELETE"}[message[1]]
    body = " ".join(f"{kind}({len(extension) // 8})" for kind, extension in extensions(message))
    return f"{name} {len(message)}" + (f": {body}" if body else "")


def failing(line: int, text: str, *more: str) -> Result:
    """An error in a script: its lines and the last one."""
    return Result(1, "".join([f"line {line}: {text}\n", *more, f"parse failed, line {line}.\n"]), "")


APPENDIX_A = [
    ("", Result(0, "", ""), []),
    (" \t\n\n", Result(0, "", ""), []),
    ("# only a comment", Result(0, "", ""), []),
    ("flush; # foo; bar\nflush;", Result(0, "", ""), ["FLUSH 16", "FLUSH 16"]),
    ("flush", failing(1, "syntax error at []"), []),
    ("flush;;flush;", failing(1, "syntax error at [;]"), ["FLUSH 16"]),
    ("flush\nadd 1.1.1.1 2.2.2.2 esp 1;", failing(2, "syntax error at [add]"), []),
    ("SPDFLUSH;", failing(1, "syntax error at [SPDFLUSH]"), []),
    ("dump foo;", failing(1, "syntax error at [foo]"), []),
    (f"add {PAIR} esp 4096 -E null ;", failing(1, "syntax error at [;]"), []),
    (f'add {PAIR} esp 300 -E des-cbc "12345678";', failing(1, "syntax error at [des-cbc]"), []),
    (f'add {PAIR} esp 4096 -E aes-cbc "x" ;', failing(1, "Invalid key length at [x]"), []),
    (f"add {PAIR} esp 300 -E aes-cbc {LINES16}\n-A xx;", failing(2, "syntax error at [xx]"), []),
    (f"add 10.0.0.1/24 10.0.0.2 esp 5 -E null {KEY16};", failing(1, "syntax error at [/]"), []),
    (f"add 10.0.0.1[500] 10.0.0.2 esp 5 -E null {KEY16};", failing(1, "syntax error at [[]"), []),
    (f"add ::1 -6 ::1 esp 5 -E null {KEY16};", failing(1, "syntax error at [-6]"), []),
    (f"add {PAIR} esp -5 -E null {KEY16};", Result(1, "line 1: Syntax error at [-]\n", ""), []),
    (f"add 10 10.0.0.2 esp 5 -E null {KEY16};", failing(1, "syntax error at [10]"), []),
    ("add ::1 10.0.0.2 esp 0x1234 -E null 0x00;", Result(1, "parse failed, line 1.\n", ""), []),
    (f'add {PAIR} tcp 300 -A tcp-md5 "";', Result(1, "parse failed, line 1.\n", ""), []),
    (
        f"add {PAIR} esp-old 300 -r 4 -E null {KEY16};",
        failing(1, "replay prevention cannot be used with ah/esp-old at [4]"),
        [],
    ),
    (f"add {PAIR} esp 300 -natt 10.0.0.1[500] 10.0.0.2 -E null {KEY16};", failing(1, "syntax error at [-E]"), []),
    (
        f"add {PAIR} esp 4096 -natt 1.1.1.1 [4500] 2.2.2.2[4501] -natt_mtu 1400 -esn -r 300 -u 5 -lh 100 -ls 80 "
        f"-E aes-gcm-16 {KEY20};",
        Result(0, "", ""),
        ["ADD 280: 9(4) 3(4) 4(4) 1(2) 19(2) 26(1) 20(1) 23(3) 21(1) 24(3) 22(1) 25(1) 5(3) 6(3)"],
    ),
    ("add ::1 ::1 esp 0x1000 -E null 0x0000;", Result(0, "", ""), ["ADD 144: 9(2) 1(2) 19(2) 5(5) 6(5)"]),
    (
        f"get {PAIR} esp 5 -m tunnel;",
        Result(0, "line 1: WARNING: mode is obsolete at [;]\n", ""),
        ["GET 96: 1(2) 19(2) 5(3) 6(3)"],
    ),
    (f"deleteall {PAIR} esp;", Result(0, "", ""), ["DELETE 64: 5(3) 6(3)"]),
    ("get -n foo.example 10.0.0.2 esp 5;", failing(1, "Name does not resolve at [foo.example]"), []),
    ("spdadd -n badhost 10.0.0.2 any -P out none;", failing(1, "Name does not resolve at [ out none;]"), []),
    (
        "spdadd 10.0.0.0/24 10.0.1.0/24[foo-bar] tcp -P out none;",
        failing(1, "Service was not recognized for socket type at [ out none;]"),
        [],
    ),
    ("spdadd 10.0.0.1[any 10.0.0.2 any -P out none;", failing(1, "syntax error at [10.0.0.2]"), []),
    ("spdadd a-range b-range ah -P out none;", failing(1, "syntax error at [ah]"), []),
    (f"spdadd {PAIR} nonesuch -P out none;", failing(1, "invalid upper layer protocol at [nonesuch]"), []),
    ("spdadd ::/0 ::/0 icmp6 135 -P in none;", failing(1, "syntax error at [135]"), []),
    (
        "spdadd ::/0 ::/0 icmp6 135, -P in none;",
        failing(1, "invalid an upper layer protocol spec at [ in none;]"),
        [],
    ),
    (f"spdadd {PAIR} udp 53,0 -P in none;", Result(1, "parse failed, line 1.\n", ""), []),
    (
        f"spdadd {PAIR} any -P out ipsec # c\n esp/transport//require;",
        failing(2, "syntax error at [\n esp/transport//require]"),
        [],
    ),
    (f"spdadd {PAIR} any -P;", failing(1, "syntax error at [;]"), []),
    (f"spdadd {PAIR} any -P out none\n\n\n;", Result(0, "", ""), ["SPDADD 80: 18(2) 5(3) 6(3)"]),
    ('spdadd tagged "x" -P out none;', Result(1, "parse failed, line 1.\n", ""), []),
    ("spdupdate 1;", failing(1, "syntax error at [spdupdate]"), []),
]


@pytest.mark.parametrize(("text", "result", "messages"), APPENDIX_A)
def test_appendix_a(text: str, result: Result, messages: list[str]) -> None:
    door = FakeDoor(lambda message: [message[:1] + b"\3" + message[2:]])  # silent success, whatever it is
    found = script(text, door)
    assert found == result
    assert [sent(message) for message in door.sent] == messages


def hex_lines(text: str) -> bytes:
    return bytes.fromhex("".join(line.partition(":")[2] for line in text.strip().splitlines()))


def test_bytes_of_add() -> None:
    door = FakeDoor()
    text = f"add {PAIR} esp 0x1000 -m transport -E aes-cbc {KEY16} -A hmac-sha1 {KEY20};"
    assert script(text, door) == (0, "", "")
    assert door.sent == [
        hex_lines("""
            00000000: 02 03 00 03 13 00 00 00 00 00 00 00 00 00 00 00
            00000010: 03 00 09 00 80 00 00 00 00 01 02 03 04 05 06 07
            00000020: 08 09 0a 0b 0c 0d 0e 0f 04 00 08 00 a0 00 00 00
            00000030: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
            00000040: 10 11 12 13 00 00 00 00 02 00 01 00 00 00 10 00
            00000050: 00 00 03 0c 40 00 00 00 02 00 13 00 01 00 00 00
            00000060: 00 00 00 00 00 00 00 00 03 00 05 00 ff 20 00 00
            00000070: 10 02 00 00 0a 00 00 01 00 00 00 00 00 00 00 00
            00000080: 03 00 06 00 ff 20 00 00 10 02 00 00 0a 00 00 02
            00000090: 00 00 00 00 00 00 00 00
        """)
    ]


def test_bytes_of_spdadd() -> None:
    door = FakeDoor()
    text = "spdadd 10.0.0.0/24 10.0.1.0/24[80] any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/require;"
    assert script(text, door) == (0, "", "")
    assert door.sent == [
        hex_lines("""
            00000000: 02 0e 00 00 0f 00 00 00 00 00 00 00 00 00 00 00
            00000010: 07 00 12 00 02 00 02 00 00 00 00 00 00 00 00 00
            00000020: 28 00 32 00 02 02 00 00 10 02 00 00 c0 00 02 01
            00000030: 00 00 00 00 00 00 00 00 10 02 00 00 c0 00 02 02
            00000040: 00 00 00 00 00 00 00 00 03 00 05 00 ff 18 00 00
            00000050: 10 02 00 00 0a 00 00 00 00 00 00 00 00 00 00 00
            00000060: 03 00 06 00 ff 18 00 00 10 02 00 50 0a 00 01 00
            00000070: 00 00 00 00 00 00 00 00
        """)
    ]


def only(text: str) -> bytes:
    """The one message that a script sends."""
    door = FakeDoor()
    assert script(text, door) == (0, "", "")
    (message,) = door.sent
    return message


def extension(message: bytes, kind: int) -> bytes:
    return dict(extensions(message))[kind]


def sa(text: str) -> dict[str, int]:
    """The fields of SA and SA2 of `add PAIR <text>`."""
    message = only(f"add {PAIR} {text};")
    one, two = extension(message, 1), extension(message, 19)
    return {
        "satype": message[3],
        "spi": int.from_bytes(one[4:8], "big"),
        "replay": one[8],
        "auth": one[10],
        "encrypt": one[11],
        "flags": int.from_bytes(one[12:16], "little"),
        "mode": two[4],
        "reqid": int.from_bytes(two[12:16], "little"),
    }


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("esp 5", {"satype": 3, "spi": 5, "flags": 0x40, "mode": 0, "reqid": 0, "replay": 0}),
        ("esp-old 5", {"satype": 3, "flags": 0x41}),
        ("ah 5", {"satype": 2, "flags": 0x40}),
        ("ah-old 5", {"satype": 2, "flags": 0x41}),
        ("ipcomp 5", {"satype": 9}),
        ("tcp 5", {"satype": 11}),
        ("5", {"satype": 0}),
        ("esp 0x10", {"spi": 16}),
        ("esp 0X10", {"spi": 16}),
        ("esp 4294967552", {"spi": 256}),
        ("esp 99999999999999999999999", {"spi": 0xFFFFFFFF}),
        ("esp 0x123456789", {"spi": 0x23456789}),
        ("esp 0x10000000000000001", {"spi": 0xFFFFFFFF}),
        ("esp 5 -f nocyclic-seq", {"flags": 0}),
        ("esp 5 -f random-pad", {"flags": 0x140}),
        ("esp 5 -f zero-pad", {"flags": 0x240}),
        ("esp 5 -fzero-pad -frandom-pad -fseq-pad", {"flags": 0x340}),
        ("esp 5 -esn", {"flags": 0x440}),
        ("esp 5 -m tunnel", {"mode": 2}),
        ("esp 5 -mtunnel -mtransport", {"mode": 1}),
        ("esp 5 -m tunnel -m any", {"mode": 0}),
        ("esp 5 -u 100", {"reqid": 100}),
        ("esp 5 -u5", {"reqid": 5}),
        ("esp 5 -u 4294967297", {"reqid": 1}),
        ("esp 5 -r 255", {"replay": 255}),
        ("esp 5 -r 256", {"replay": 255}),
        ("esp 5 -r 4294967297", {"replay": 1}),
        ("esp 5 -hwif mce0", {"flags": 0x40}),
    ],
)
def test_options_of_add(options: str, fields: dict[str, int]) -> None:
    found = sa(f"{options} -E null 0x00")
    assert {name: found[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("algorithms", "auth", "encrypt", "keys"),
    [
        ('-E null ""', 0, 11, {9: b"\1\0\x09\0\0\0\0\0"}),
        ("-E null 0xabc", 0, 11, {9: b"\2\0\x09\0\x10\0\0\0\x0a\xbc\0\0\0\0\0\0"}),
        ("-E aes-cbc " + KEY16, 0, 12, {9: None}),
        ("-E rijndael-cbc " + KEY16, 0, 12, {9: None}),
        ("-E aes-ctr " + KEY20, 0, 13, {9: None}),
        ("-E aes-gcm-16 " + KEY20, 0, 20, {9: None}),
        ("-E chacha20-poly1305 0x" + "00" * 36, 0, 15, {9: None}),
        (f"-E aes-cbc {KEY16} -A hmac-sha1 {KEY20}", 3, 12, {8: None, 9: None}),
        ("-A hmac-sha2-256 0x" + "00" * 32, 5, 0, {8: None}),
        ("-A hmac-sha2-384 0x" + "00" * 48, 6, 0, {8: None}),
        ("-A hmac-sha2-512 0x" + "00" * 64, 7, 0, {8: None}),
        ("-A chacha20-poly1305 " + KEY16, 14, 0, {8: None}),
        ("-A tcp-md5 0x" + "00" * 80, 252, 0, {8: None}),
        ("-A null", 251, 0, {}),
        ("-C deflate", 0, 2, {}),
        ("-C oui", 0, 1, {}),
        ("-C lzs", 0, 3, {}),
    ],
)
def test_algorithms(algorithms: str, auth: int, encrypt: int, keys: dict[int, bytes | None]) -> None:
    message = only(f"add {PAIR} esp 5 {algorithms};")
    one = extension(message, 1)
    assert (one[10], one[11]) == (auth, encrypt)
    found = {kind: data for kind, data in extensions(message) if kind in (8, 9)}
    assert found.keys() == keys.keys()
    assert all(data is None or found[kind] == data for kind, data in keys.items())


def test_ipcomp_has_no_encryption_key_and_raw_sets_a_flag() -> None:
    message = only(f"add {PAIR} ipcomp 5 -E aes-cbc {KEY16};")
    assert 9 not in dict(extensions(message))
    message = only(f"add {PAIR} ipcomp 5 -C deflate -R;")
    assert extension(message, 1)[12:14] == b"\xc0\0"


@pytest.mark.parametrize(
    ("algorithms", "error"),
    [
        ("-E null 0x" + "00" * 257, "Invalid key length at [0x" + "00" * 257 + "]"),
        ('-E aes-cbc "fifteen bytes.."', "Invalid key length at [fifteen bytes..]"),
        ("-E aes-cbc 0x" + "00" * 33, "Invalid key length at [0x" + "00" * 33 + "]"),
        ("-E aes-gcm-16 " + KEY16, f"Invalid key length at [{KEY16}]"),
        ("-E aes-gcm-16 0x0102", "Invalid key length at [0x0102]"),
        ("-E chacha20-poly1305 0x" + "00" * 32, "Invalid key length at [0x" + "00" * 32 + "]"),
        ('-A hmac-sha2-256 "AH SA configuration!"', "Invalid key length at [AH SA configuration!]"),
        ('-A hmac-sha2-512 "this is the test key"', "Invalid key length at [this is the test key]"),
        (f"-A aes-xcbc-mac {KEY16}", f"Not supported at [{KEY16}]"),
        ("-A null 0x00", "syntax error at [0x00]"),
        ("-E simple 0x00", "syntax error at [0x00]"),
        ("-E aes-cbc 16", "syntax error at [16]"),
        ("-A hmac-md5 0x00", "syntax error at [hmac-md5]"),
        (f"-A hmac-sha1 {KEY20} -E null 0x00", "syntax error at [-E]"),
        ("", "syntax error at [;]"),
        ("-E hmac-sha1 0x00", "syntax error at [hmac-sha1]"),
    ],
)
def test_refused_algorithms(algorithms: str, error: str) -> None:
    before = "line 1: WARNING: obsolete algorithm at [simple]\n" if "simple" in algorithms else ""
    expected = failing(1, error)
    result = script(f"add {PAIR} esp 5 {algorithms};")
    assert result == expected._replace(stdout=before + expected.stdout)


def test_simple_is_obsolete() -> None:
    door = FakeDoor()
    result = script(f"add {PAIR} esp 5 -E simple;", door)
    assert result == (0, "line 1: WARNING: obsolete algorithm at [simple]\n", "")
    assert sent(door.sent[0]) == "ADD 96: 1(2) 19(2) 5(3) 6(3)"


def test_replay_window_too_large_is_only_a_warning() -> None:
    door = FakeDoor()
    result = script(f"add {PAIR} esp 5 -r 536870908 -E null 0x00;", door)
    assert result == (0, "line 1: replay window is too large at [536870908]\n", "")
    assert extension(door.sent[0], 26)[4:] == (536870908 * 8 & 0xFFFFFFFF).to_bytes(4, "little")
    assert script(f"add {PAIR} esp 5 -r 536870907 -E null 0x00;").stdout == ""


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ("-lh 100", [9, 3, 1, 19, 5, 6]),
        ("-ls 100 -lh 0", [9, 4, 1, 19, 5, 6]),
        ("-r 300", [9, 1, 19, 26, 5, 6]),
        ("-natt_mtu 1400", [9, 1, 19, 5, 6]),
        ("-natt 1.1.1.1[1] 2.2.2.2[2]", [9, 1, 19, 20, 23, 21, 24, 22, 5, 6]),
        ("-natt 1.1.1.1[1] 2.2.2.2[2] -natt_mtu 4294967295", [9, 1, 19, 20, 23, 21, 24, 22, 5, 6]),
    ],
)
def test_extensions_present(options: str, kinds: list[int]) -> None:
    message = only(f"add {PAIR} esp 5 {options} -E null 0x00;")
    assert [kind for kind, _ in extensions(message)] == kinds


def test_last_natt_wins_and_ports_are_16_bits() -> None:
    message = only(f"add {PAIR} esp 5 -natt 1.1.1.1[1] 2.2.2.2[2] -natt ::1[70000] 3.3.3.3[4501] -E null 0x00;")
    assert extension(message, 21)[4:6] == (70000 - 65536).to_bytes(2, "big")
    assert extension(message, 23)[:10] == b"\5\0\x17\0\0\x80\0\0\x1c\x1c"
    assert extension(message, 24)[4:16] == b"\0\x20\0\0\x10\x02\0\0\3\3\3\3"


@pytest.mark.parametrize("command", ["get", "delete"])
def test_get_and_delete_send_mode_reqid_and_replay(command: str) -> None:
    door = FakeDoor(lambda message: [message[:2] + b"\3" + message[3:]])
    result = script(f"{command} {PAIR} ah 5 -m any -u 7 -r 300;", door)
    assert result == (0, "The result of line 1: No such process.\n", "")
    assert [kind for kind, _ in extensions(door.sent[0])] == [1, 19, 26, 5, 6]
    assert extension(door.sent[0], 19)[12:] == b"\7\0\0\0"
    assert script(f"{command} {PAIR} ah 5 -A null;") == failing(1, "syntax error at [-A]")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("flush;", "0209000002000000" + "00" * 8),
        ("flush esp;", "0209000302000000" + "00" * 8),
        ("flush ah-old;", "0209000202000000" + "00" * 8),
        ("flush ipcomp;", "0209000902000000" + "00" * 8),
        ("dump tcp;", "020a000b02000000" + "00" * 8),
        ("spdflush;", "0213000002000000" + "00" * 8),
        ("spddump;", "0212000002000000" + "00" * 8),
    ],
)
def test_short_requests(statement: str, message: str) -> None:
    door = FakeDoor(lambda request: [request[:2] + b"\2" + request[3:]])
    script(statement, door)
    assert [data.hex() for data in door.sent] == [message]


def test_spddump_statement_ignores_scopes() -> None:
    door = FakeDoor(lambda request: [request[:2] + b"\2" + request[3:]])
    assert script("spddump;", door, "-g", "-t").stdout == "The result of line 1: No SPD entries.\n"
    assert door.sent[0][3] == 0


# Hosts


@pytest.mark.parametrize(
    ("hosts", "pairs"),
    [
        ("10.1 0x7f.1", [("0a000001", "7f000001")]),
        ("010.0.0.1 10.0.0.2", [("08000001", "0a000002")]),
        (
            "two.example four.example",
            [
                ("c0000201", "c0000203"),
                ("c0000201", "c0000204"),
                ("c0000202", "c0000203"),
                ("c0000202", "c0000204"),
            ],
        ),
        ("both.example 10.0.0.2", [("c0000205", "0a000002")]),
        ("-4 both.example 10.0.0.2", [("c0000205", "0a000002")]),
        ("-6 -4 both.example 10.0.0.2", [("c0000205", "0a000002")]),
        ("-64 both.example 10.0.0.2", [("c0000205", "0a000002")]),
    ],
)
def test_hosts_of_add(hosts: str, pairs: list[tuple[str, str]]) -> None:
    door = FakeDoor()
    assert script(f"add {hosts} esp 5 -E null 0x00;", door) == (0, "", "")
    found = [(extension(message, 5)[12:16].hex(), extension(message, 6)[12:16].hex()) for message in door.sent]
    assert found == pairs


def test_family_option_leaves_only_that_family() -> None:
    message = only("add -6 both.example both.example esp 5 -E null 0x00;")
    assert extension(message, 5)[8:10] == b"\x1c\x1c"
    assert script("add -4 ::1 ::1 esp 5 -E null 0;") == failing(1, "Name does not resolve at [::1]")


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (f"delete two.example {PAIR.split()[0]} esp 5;", "multiple address specified at [;]"),
        ("spdadd 10.0.0.1 two.example any -P in none;", "multiple address specified at [ in none;]"),
        ("spddelete 10.0.0.1 two.example any -P in;", "multiple address specified at [ in;]"),
        ("add -n one.example 10.0.0.1 esp 5 -E null 0x00;", "Name does not resolve at [one.example]"),
        ("add fe80::1%nosuch fe80::2 esp 5 -E null 0x00;", "Name does not resolve at [fe80::1%nosuch]"),
        ("add fe80::1% fe80::2 esp 5 -E null 0x00;", "Name does not resolve at [fe80::1%]"),
        ("add 10.0.0.1%em0 10.0.0.2 esp 5 -E null 0x00;", "Name does not resolve at [10.0.0.1%em0]"),
        ("add get 10.0.0.2 esp 5;", "syntax error at [get]"),
        ("add 10.0.0.1 any esp 5;", "syntax error at [any]"),
        (
            "add 10.0.0.1 10.0.0.2 esp 5 -natt foo [1] 10.0.0.2 [2] -E null 0x00;",
            "Name does not resolve at [foo]",
        ),
    ],
)
def test_refused_hosts(statement: str, error: str) -> None:
    door = FakeDoor()
    assert script(statement, door) == failing(1, error)
    assert door.sent == []


def test_both_ranges_of_a_policy_are_looked_up() -> None:
    line = "line 1: Name does not resolve at [ in none;]\n"
    assert script("spdadd nosuch neither any -P in none;").stdout == line * 2 + "parse failed, line 1.\n"


def test_get_and_deleteall_take_several_addresses() -> None:
    for command, tail in (("get", "esp 5"), ("deleteall", "esp")):
        door = FakeDoor(lambda message: [message[:2] + b"\3" + message[3:]])
        assert script(f"{command} two.example 10.0.0.1 {tail};", door).stdout.count("No such process") == 2


def test_scopes() -> None:
    message = only("add fe80::1%em0 fe80::2%5 esp 5 -E null 0x00;")
    assert extension(message, 5)[32:36] == b"\1\0\0\0"
    assert extension(message, 6)[32:36] == b"\5\0\0\0"


# Selectors of policies


def selector(text: str) -> list[tuple[int, int, int, str]]:
    """(protocol, prefix, port, address) of source and destination of `spdadd <text> -P in none`."""
    message = only(f"spdadd {text} -P in none;")
    return [
        (data[4], data[5], int.from_bytes(data[10:12], "big"), (data[12:16] if data[9] == 2 else data[16:32]).hex())
        for data in (extension(message, 5), extension(message, 6))
    ]


ONE, TWO = "0a000001", "0a000002"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{PAIR} any", [(255, 32, 0, ONE), (255, 32, 0, TWO)]),
        ("10.0.0.1/24 10.0.0.2/0 tcp", [(6, 24, 0, ONE), (6, 0, 0, TWO)]),
        ("10.0.0.1/256 10.0.0.2/257 esp", [(50, 0, 0, ONE), (50, 1, 0, TWO)]),
        ("10.0.0.1/4294967295 10.0.0.2/2147483648 tcp", [(6, 32, 0, ONE), (6, 32, 0, TWO)]),  # negative: none
        ("10.0.0.1/99999999999999999999 10.0.0.2/4294967320 tcp", [(6, 32, 0, ONE), (6, 24, 0, TWO)]),
        ("10.0.0.1/99 10.0.0.2 esp-old", [(50, 99, 0, ONE), (50, 32, 0, TWO)]),
        ("10.0.0.1[any] 10.0.0.2[0] udp", [(17, 32, 0, ONE), (17, 32, 0, TWO)]),
        ("10.0.0.1 [ 80 ]\n10.0.0.2 / 24 [isakmp] udp", [(17, 32, 80, ONE), (17, 24, 500, TWO)]),
        ("10.0.0.1[http] 10.0.0.2[65535] 17", [(17, 32, 80, ONE), (17, 32, 65535, TWO)]),
        (f"{PAIR} 51", [(51, 32, 0, ONE), (51, 32, 0, TWO)]),
        (f"{PAIR} 511", [(255, 32, 0, ONE), (255, 32, 0, TWO)]),
        (f"{PAIR} ip4", [(4, 32, 0, ONE), (4, 32, 0, TWO)]),
        (f"{PAIR} icmp6", [(58, 32, 0, ONE), (58, 32, 0, TWO)]),
        (f"{PAIR} icmp6 135,1", [(58, 32, 135, ONE), (58, 32, 1, TWO)]),
        ("10.0.0.1[7] 10.0.0.2[8] 58 135,1", [(58, 32, 135, ONE), (58, 32, 1, TWO)]),
        (f"{PAIR} icmp6 domain", [(58, 32, 53, ONE), (58, 32, 0, TWO)]),
        (f"{PAIR} carp", [(112, 32, 0, ONE), (112, 32, 0, TWO)]),
        (f"{PAIR} vrrp", [(112, 32, 0, ONE), (112, 32, 0, TWO)]),
        (f"{PAIR} IP-ENCAP", [(4, 32, 0, ONE), (4, 32, 0, TWO)]),
        (f"{PAIR} IPComp", [(108, 32, 0, ONE), (108, 32, 0, TWO)]),
        (f"{PAIR} cphb", [(73, 32, 0, ONE), (73, 32, 0, TWO)]),
        (f"{PAIR} OSPFIGP", [(89, 32, 0, ONE), (89, 32, 0, TWO)]),
        ("10.0.0.1[nntp] 10.0.0.2[www-http] any", [(255, 32, 119, ONE), (255, 32, 80, TWO)]),
        ("10.0.0.1[z39.50] 10.0.0.2[openvpn] any", [(255, 32, 210, ONE), (255, 32, 1194, TWO)]),
    ],
)
def test_selectors(text: str, expected: list[tuple[int, int, int, str]]) -> None:
    assert selector(text) == expected


SERVICE = "Service was not recognized for socket type at [ in none;]"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("10.0.0.1[65536] 10.0.0.2 any", failing(1, SERVICE)),
        ("10.0.0.1[telnets-nosuch] 10.0.0.2 any", failing(1, SERVICE)),
        (f"{PAIR} icmp6 1,2,3", failing(1, SERVICE)),
        (f"{PAIR} icmp6 65536,0", failing(1, SERVICE)),
        (f"{PAIR} ipcomp", failing(1, "syntax error at [ipcomp]")),
        (f"{PAIR} tunnel", failing(1, "syntax error at [tunnel]")),
        (f"{PAIR} deflate", failing(1, "syntax error at [deflate]")),
        ("10.0.0.1 ::1 any", Result(1, "parse failed, line 1.\n", "")),
        (f"{PAIR} tcp foo", Result(1, "parse failed, line 1.\n", "")),
    ],
)
def test_refused_selectors(text: str, result: Result) -> None:
    door = FakeDoor()
    assert script(f"spdadd {text} -P in none;", door) == result
    assert door.sent == []


def test_spddelete_with_a_bare_direction() -> None:
    message = only(f"spddelete {PAIR} any -P out;")
    assert sent(message) == "SPDDELETE 80: 18(2) 5(3) 6(3)"
    assert extension(message, 18)[4:8] == b"\0\0\2\0"


def test_hwif_after_a_policy_is_part_of_its_text() -> None:
    policy = " out ipsec esp/transport//require -hwif mce0"
    assert script(f"spdadd {PAIR} any -P{policy};") == (
        1,
        f"line 1: Invalid argument at [{policy}]\nparse failed, line 1.\n",
        'libipsec: syntax error while parsing "-"\n',
    )
