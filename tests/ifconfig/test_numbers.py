"""Numbers as C reads them, and names."""

from __future__ import annotations

import errno

import pytest

from ipsectools.commands.ifconfig import names, numbers
from ipsectools.commands.ifconfig.errors import Fatal
from tests.ifconfig.harness import FakeDoor, failed, ok, run


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("", 0, ""),
        ("0", 0, ""),
        ("100", 100, ""),
        ("0x64", 100, ""),
        ("0X64", 100, ""),
        ("0144", 100, ""),
        (" \t+7", 7, ""),
        ("-1", 2**64 - 1, ""),
        ("08", 0, "8"),
        ("0x", 0, "x"),
        ("0xg", 0, "xg"),
        ("1_000", 1, "_000"),
        ("٣", 0, "٣"),
        ("abc", 0, "abc"),
        ("- 1", 0, "- 1"),
        ("18446744073709551616", 2**64 - 1, ""),
        ("-18446744073709551616", 2**64 - 1, ""),
        ("9" * 10000, 2**64 - 1, ""),
        ("0" * 10000 + "7", 7, ""),
    ],
)
def test_strtoul(text: str, value: int, rest: str) -> None:
    assert numbers.strtoul(text) == (value, rest)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1400", 1400),
        ("1400x", 1400),
        ("x", 0),
        ("-5", -5),
        ("2147483648", -(2**31)),
        ("4294967295", -1),
        ("9" * 30, -1),
    ],
)
def test_atoi(text: str, value: int) -> None:
    assert numbers.atoi(text) == value


@pytest.mark.parametrize(
    ("text", "value", "wrong"),
    [
        ("24", 24, ""),
        ("32", 32, ""),
        ("33", 0, "too large"),
        ("-1", 0, "too small"),
        ("2x", 0, "invalid"),
        ("", 0, "invalid"),
    ],
)
def test_strtonum(text: str, value: int, wrong: str) -> None:
    assert numbers.strtonum(text, 32) == (value, wrong)


@pytest.mark.parametrize(
    ("word", "address"),
    [
        ("10.1", "10.0.0.1"),
        ("5", "0.0.0.5"),
        ("0x0a000001", "10.0.0.1"),
        ("012.0.0.1", "10.0.0.1"),
        ("4294967295", "255.255.255.255"),
        ("gateway.example", "192.0.2.1"),
    ],
)
def test_ipv4(door: FakeDoor, word: str, address: str) -> None:
    assert run(f"ifconfig ipsec0 {word}/24 9.9.9.9 alias") == ok()
    assert door.asked("NEWADDR")[0]["address"] == address


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("256.1", "256.1: bad value"),
        ("1.2.3.4.5", "1.2.3.4.5: bad value"),
        ("'10.0.0.1 x'", "10.0.0.1 x: bad value"),
        ("''", ": bad value"),
        ("2001:db8::1", "2001:db8::1: bad value"),
        ("six.example", "six.example: bad value"),
        ("10.0.0.1/x", "10.0.0.1/x: bad value (width invalid)"),
        ("10.0.0.1/", "10.0.0.1/: bad value (width invalid)"),
        ("10.0.0.1/-1", "10.0.0.1/-1: bad value (width invalid)"),
        ("10.0.0.1/24x", "10.0.0.1/24x: bad value (width invalid)"),
        ("10.0.0.1/33", "10.0.0.1/33: bad value (width too large)"),
        ("10.0.0.1/99999999999999999999", "10.0.0.1/99999999999999999999: bad value (width too large)"),
        ("10.0.0.1/24 10.0.0.2/24", "10.0.0.2/24: bad value"),
        ("-alias 10.0.0.1/24", "10.0.0.1/24: bad value"),
        ("10.0.0.1 netmask /24", "/24: bad value"),
        ("inet6 10.0.0.1", "10.0.0.1: bad value"),
        ("inet6 gateway.example", "gateway.example: bad value"),
        ("inet6 ::1/129", "129: bad value"),
        ("inet6 ::1/-1", "-1: bad value"),
        ("inet6 ::1 prefixlen 129", "129: bad value"),
        ("inet6 ::1 ::2/64", "::2/64: bad value"),
        ("inet6 -alias ::1/64", "::1/64: bad value"),
        ("inet6 ''", ": bad value"),
    ],
)
def test_bad_values(door: FakeDoor, words: str, complaint: str) -> None:
    assert run(f"ifconfig ipsec0 {words}") == failed(complaint)
    assert door.calls == []


@pytest.mark.parametrize(
    ("words", "prefixlen"),
    [
        ("10.0.0.1/0", 0),
        ("10.0.0.1/032", 32),
        ("10.0.0.1 netmask 255.0.255.0", 16),
        ("10.0.0.1 netmask 0xfffffffc", 30),
        ("10.0.0.1 netmask 0", 0),
        ("10.0.0.1/8 netmask 255.255.0.0", 16),
        ("10.0.0.1 netmask gateway.example", 4),
        ("inet6 ::1/", 0),
        ("inet6 ::1/x", 0),
        ("inet6 ::1/48x", 48),
        ("inet6 ::1 prefixlen garbage", 0),
    ],
)
def test_masks(door: FakeDoor, words: str, prefixlen: int) -> None:
    assert run(f"ifconfig ipsec0 {words} alias") == ok()
    assert door.asked("NEWADDR")[0]["prefixlen"] == prefixlen


@pytest.mark.parametrize(
    ("word", "reqid"),
    [
        ("100", 100),
        ("0x64", 100),
        ("0144", 100),
        ("''", 0),
        ("-1", 4294967295),
        ("4294967296", 0),
        ("4294967295", 4294967295),
        ("99999999999999999999999", 4294967295),
    ],
)
def test_reqid(door: FakeDoor, word: str, reqid: int) -> None:
    assert run(f"ifconfig ipsec0 reqid {word}") == ok()
    assert door.asked("IPSECSREQID") == [{"name": "ipsec0", "reqid": reqid}]


@pytest.mark.parametrize(("word", "fib"), [("1", 1), ("0x10", 16), ("''", 0), ("4294967295", 4294967295)])
def test_fib(door: FakeDoor, word: str, fib: int) -> None:
    assert run(f"ifconfig ipsec0 fib {word} tunnelfib {word}") == ok()
    assert door.asked("SIOCSIFFIB") == door.asked("SIOCSTUNFIB") == [{"name": "ipsec0", "fib": fib}]


@pytest.mark.parametrize(
    ("word", "value"), [("1400", 1400), ("1400bytes", 1400), ("garbage", 0), ("-1", -1), ("''", 0)]
)
def test_mtu_and_metric(door: FakeDoor, word: str, value: int) -> None:
    assert run(f"ifconfig ipsec0 mtu {word} metric {word}") == ok()
    assert door.asked("SIOCSIFMTU") == door.asked("SIOCSIFMETRIC") == [{"name": "ipsec0", "value": value}]


class TestNameService:
    """The real lookups, with what the C library answers put in."""

    @pytest.fixture(autouse=True)
    def name_service(self) -> None:
        """Overrides the one of this directory."""

    @pytest.mark.parametrize(
        ("number", "text"),
        [
            ("EAI_NONAME", "Name does not resolve"),
            ("EAI_AGAIN", "Name could not be resolved at this time"),
            ("EAI_FAIL", "Non-recoverable failure in name resolution"),
        ],
    )
    def test_texts(self, monkeypatch: pytest.MonkeyPatch, number: str, text: str) -> None:
        def getaddrinfo(*arguments: object) -> None:
            raise names._socket.gaierror(getattr(names._socket, number), "something of glibc's")

        monkeypatch.setattr(names._socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(names, "_has_nameserver", lambda: True)
        with pytest.raises(names.Unresolved, match=f"^{text}$"):
            names.endpoint("nowhere.example", ())

    def test_without_a_nameserver_unknown_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def getaddrinfo(*arguments: object) -> None:
            raise names._socket.gaierror(names._socket.EAI_AGAIN, "")

        monkeypatch.setattr(names._socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(names, "_has_nameserver", lambda: False)
        with pytest.raises(names.Unresolved, match=r"^Name does not resolve$"):
            names.lookup("nowhere.example", 0)

    @pytest.mark.parametrize("error", [OSError(errno.EIO, ""), UnicodeError()])
    def test_whatever_goes_wrong(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def getaddrinfo(*arguments: object) -> None:
            raise error

        monkeypatch.setattr(names._socket, "getaddrinfo", getaddrinfo)
        with pytest.raises(Fatal, match=r"^x.y: bad value$"):
            names.inet6_address("x\udcffy", ())

    @pytest.mark.parametrize(
        ("text", "address"), [("127", b"\x7f\0\0\0"), ("192.168", b"\xc0\xa8\0\0"), ("0.0.0.0", bytes(4))]
    )
    def test_networks(self, text: str, address: bytes) -> None:
        assert names._network_address(text) == address
