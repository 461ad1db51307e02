"""Tokens: what is one, on which line it is, how errors show it, and that nothing depends on how the input arrives."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipsectools.commands.setkey.lexer import COMPLETE, END, ILLEGAL, MORE, Lexer

from .fakes import FakeDoor, script
from .test_scripts import failing


def tokens(*chunks: str) -> tuple[list[tuple[str, str, int, str]], str]:
    """(kind, text, line, shown) of all tokens of an input that arrives in these pieces, and how it ended."""
    rest = [chunk.encode("latin-1") for chunk in chunks if chunk]
    lexer = Lexer(lambda size: rest.pop(0) if rest else b"")
    found = []
    while True:
        result = lexer.scan()
        if result == MORE:
            lexer.refill()
            continue
        found += [
            (kind, text, lexer.line_of(index), lexer.shown(index))
            for index, (kind, text) in enumerate(zip(lexer.kinds, lexer.texts, strict=True))
        ]
        if result == COMPLETE:
            lexer.begin()
            continue
        end = f"illegal [{lexer.illegal}] on {lexer.line}" if result == ILLEGAL else f"end on {lexer.line}"
        assert result in (ILLEGAL, END)
        return found, end


def kinds(text: str) -> str:
    return " ".join(f"{kind}={word}" for kind, word, _, _ in tokens(text)[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1 ::1 fe80::1%em0 a-1.example", "STRING=10.0.0.1 STRING=::1 STRING=fe80::1%em0 STRING=a-1.example"),
        ("10 0x10 0X1f 0xzz 1a 0x12g", "DECIMAL=10 HEX=0x10 HEX=0X1f STRING=0xzz STRING=1a STRING=0x12g"),
        ("135,0 , 1, ,2 12,3a", "STRING=135,0 STRING=, STRING=1, STRING=,2 STRING=12,3 STRING=a"),
        ("12:3,4 1.2,3", "STRING=12:3 STRING=,4 STRING=1.2 STRING=,3"),
        ("-u5 -mtunnel -fzero-pad", "OPTION_U=-u DECIMAL=5 OPTION_M=-m MODE=tunnel OPTION_F=-f PADDING=zero-pad"),
        ("-nat -natt -natt_mtu -n4natt", "ADDRESS_FLAGS=-n STRING=at OPTION_NATT=-natt OPTION_NATT_MTU=-natt_mtu "
         "ADDRESS_FLAGS=-n4n STRING=att"),
        ("-4 -46n -lh -ls -esn -hwif -R -r", "ADDRESS_FLAGS=-4 ADDRESS_FLAGS=-46n OPTION_LH=-lh OPTION_LS=-ls "
         "OPTION_ESN=-esn OPTION_HWIF=-hwif OPTION_RAW=-R OPTION_R=-r"),
        ("any-P esp-oldx ESP", "STRING=any-P STRING=esp-oldx STRING=ESP"),
        ("null simple aes-cbc hmac-sha1", "STRING=null STRING=simple STRING=aes-cbc STRING=hmac-sha1"),
        ("-E aes-cbc -A hmac-sha1", "OPTION_E=-E ENCRYPTION=aes-cbc OPTION_A=-A AUTHENTICATION=hmac-sha1"),
        ("-E simple -A null", "OPTION_E=-E ENCRYPTION_WITHOUT_KEY=simple OPTION_A=-A AUTHENTICATION_WITHOUT_KEY=null"),
        ("-A aes-cbc -E hmac-sha1", "OPTION_A=-A STRING=aes-cbc OPTION_E=-E STRING=hmac-sha1"),
        ("-E get", "OPTION_E=-E GET=get"),
        ("-A chacha20-poly1305 -Echacha20-poly1305", "OPTION_A=-A AUTHENTICATION=chacha20-poly1305 OPTION_E=-E "
         "ENCRYPTION=chacha20-poly1305"),
        ('"a;b#c" "" 0x00', 'QUOTED="a;b#c" QUOTED="" HEX=0x00'),
        ("10.0.0.0/24[80]", "STRING=10.0.0.0 SLASH=/ DECIMAL=24 LSQB=[ DECIMAL=80 RSQB=]"),
        ("-P out none;get", "OPTION_P=-P POLICY_TEXT= out none SEMICOLON=; GET=get"),
        ("-Pout\n\tipsec;", "OPTION_P=-P POLICY_TEXT=out\n\tipsec SEMICOLON=;"),
        ("-P;", "OPTION_P=-P SEMICOLON=;"),
        ("-P# c\n in;", "OPTION_P=-P COMMENT= POLICY_TEXT=\n in SEMICOLON=;"),
        ('-P in[1]"x";', 'OPTION_P=-P POLICY_TEXT= in LSQB=[ POLICY_TEXT=1 RSQB=] QUOTED="x" SEMICOLON=;'),
    ],
)  # fmt: skip
def test_tokens(text: str, expected: str) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("flush;\r\nflush;", "illegal [\r] on 1"),
        ("\n\f", "illegal [\f] on 2"),
        ("a\n_", "illegal [_] on 2"),
        ("\\", "illegal [\\] on 1"),
        ("@", "illegal [@] on 1"),
        ("caf\xe9", "illegal [\xe9] on 1"),
        ("\0", "illegal [] on 1"),
        ('"abc\n;;', 'illegal ["] on 1'),
        ("-x", "illegal [-] on 1"),
        ("-es", "illegal [-] on 1"),
        ("-5", "illegal [-] on 1"),
        (".5", "illegal [.] on 1"),
        ("%", "illegal [%] on 1"),
        ("-P in {", "illegal [ in {] on 1"),
        ("-P in\n%", "end on 2"),
        ("# \\", "end on 1"),
        ("flush\n\n", "end on 3"),
    ],
)
def test_illegal_characters(text: str, end: str) -> None:
    assert tokens(text)[1] == end


def test_lines() -> None:
    text = 'add\n"two\nlines" # c\n-P in\nnone\n; get'
    assert [(kind, line) for kind, _, line, _ in tokens(text)[0]] == [
        ("ADD", 1),
        ("QUOTED", 2),
        ("OPTION_P", 3),
        ("POLICY_TEXT", 5),
        ("SEMICOLON", 5),
        ("GET", 5),
    ]


def test_shown() -> None:
    assert [shown for _, _, _, shown in tokens('"key\0rest" 0xab "" -P in;')[0]] == [
        "key",
        "0xab",
        "",
        "-P",
        " in",
        " in;",
    ]
    assert tokens('-P in"x"')[0][-1][3] == "in"


def test_algorithms_are_known_however_the_input_arrives() -> None:
    text = "-E flush null ;"
    assert tokens(text) == tokens(*text)


PIECES = [
    "flush",
    "add",
    " ",
    "\n",
    ";",
    "10.0.0.1",
    "0x12",
    "0x",
    "135,0",
    "-natt_mtu",
    "-nat",
    "-",
    "-n4",
    "-es",
    "-E",
    "null",
    "-P",
    " in none",
    "# c\n",
    "# d",
    '"a\nb"',
    '"',
    "/24[80]",
    "\\",
    "%",
    "_",
    "-u 5 -m tunnel",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(0, 60), max_size=8))
def test_tokens_do_not_depend_on_how_the_input_arrives(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    places = sorted({cut for cut in cuts if cut < len(text)} | {0, len(text)})
    chunks = [text[start:end] for start, end in pairwise(places)]
    assert tokens(*chunks) == tokens(text) == tokens(*text)


@pytest.mark.parametrize(
    "first", ["flush;", "\n flush;", "spdadd 10.0.0.1 10.0.0.2 any -P in none;", 'add ::1 ::1 esp 5 -E null "x";']
)
def test_a_statement_is_given_out_when_its_end_is_there(first: str) -> None:
    """A terminal may never give more."""
    lexer = Lexer(lambda size: first.encode() if not lexer.kinds else pytest.fail("reads on"))
    assert lexer.scan() == MORE
    lexer.refill()
    assert lexer.scan() == COMPLETE


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("add 10.0.0.1 host_name esp 5;", failing(1, "Name does not resolve at [host]")),
        ('add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc "ke\0y";', failing(1, "Invalid key length at [ke]")),
        ("spdadd ::1 ::1 any -P in none[;", failing(1, "syntax error at [ in none[]")),
        ("flush\n\n", failing(3, "syntax error at []")),
        ("spdadd ::1 ::1 any -P in none", failing(1, "syntax error at []")),
    ],
)
def test_errors(text: str, error: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from ipsectools.commands.setkey import addresses

    def nothing(host: str, family: int) -> list[bytes]:
        raise addresses.ResolverError(addresses.NO_NAME)

    monkeypatch.setattr(addresses, "_look_up", nothing)
    assert script(text, FakeDoor()) == error


SHAPES = [
    "add -n 10.0.0.1 10.0.0.2 esp 0x1000 -m tunnel -u 100 -E aes-cbc 0x00000000000000000000000000000000;",
    "add -n 10.0.0.1 10.0.0.2 esp 0x1000 -m tunnel -u 100 -E aes-cbc 0x00;",
    "add -n 10.0.0.1 nosuch esp 0x1000 -m tunnel -u 100 -E aes-cbc 0x00000000000000000000000000000000;",
    "add -n 10.0.0.1 ::1 esp 0x1000 -m tunnel -u 100 -E aes-cbc 0x00000000000000000000000000000000;",
    "get -n 10.0.0.1 10.0.0.2 esp 5 -m tunnel;",
    "get -n 10.0.0.1 10.0.0.2 esp 5 -m transport\n;",
    "spdadd 10.0.0.1 10.0.0.2 any -P out none;",
    "spdadd 10.0.0.1 10.0.0.2 any -P out\n\nnonsense;",
    "spdadd -n 10.0.0.1 nosuch any -P out none;",
    "spdadd 10.0.0.1[99999] 10.0.0.2 any -P out none;",
    "spdadd 10.0.0.1 10.0.0.2 nosuch -P out none;",
    'add -n ::1 ::2 tcp 5 -A tcp-md5 "a\nb";',
    'add -n ::1 ::2 tcp 5 -A tcp-md5 "";',
    "flush;",
    "flush esp;",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=5), st.sampled_from(["", "\n", " # c\n"]))
def test_known_shapes_do_what_the_parser_does(statements: list[str], between: str) -> None:
    """A comment after the first word keeps a statement from being read the short way; nothing else may differ."""
    text = between.join(statements)
    long_way = between.join(statement.replace(" ", " #\n", 1) for statement in statements)
    short, long = FakeDoor(), FakeDoor()
    one = script(text, short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ipsectools.commands.setkey.script._MOST_PLANS", 0)
        other = script(long_way, long)
    assert short.sent == long.sent
    assert (one.status, one.stderr) == (other.status, other.stderr)
    assert without_lines(one.stdout) == without_lines(other.stdout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ipsectools.commands.setkey.script._MOST_PLANS", 0)
        assert script(text, FakeDoor()) == one


def without_lines(text: str) -> str:
    return re.sub(r"line \d+", "line", text)
