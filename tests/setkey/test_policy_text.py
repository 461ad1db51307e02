"""The policy language: what is accepted, what is refused, and with which words (observed with FreeBSD's libipsec)."""

from __future__ import annotations

import pytest

from ipsectools.commands.setkey.policy import Policy, PolicyError, parse

from .fakes import FakeDoor, Result, script


def read(text: str) -> Policy:
    return parse(text, FakeDoor().interface_index, lambda character: None)


A, B = "10020000c00002010000000000000000", "10020000c00002020000000000000000"


@pytest.mark.parametrize(
    ("text", "action", "direction", "requests"),
    [
        ("in", 0, 1, []),
        (" out ", 0, 2, []),
        ("out discard", 0, 2, []),
        ("out none", 1, 2, []),
        ("out ipsec", 2, 2, []),
        ("out entrust", 3, 2, []),
        ("out bypass", 4, 2, []),
        ("out ipsec esp/transport", 2, 2, ["0800320001000000"]),
        ("out ipsec esp/transport/", 2, 2, ["0800320001000000"]),
        ("out ipsec esp / transport / / require", 2, 2, ["0800320001020000"]),
        ("out ipsec ah/transport//use", 2, 2, ["0800330001010000"]),
        ("out ipsec ipcomp/transport//unique", 2, 2, ["08006c0001030000"]),
        ("out ipsec tcp/transport//default", 2, 2, ["0800060001000000"]),
        ("out ipsec esp/transport//unique:5", 2, 2, ["0800320001030500"]),
        ("out ipsec esp/transport//unique:70000", 2, 2, ["0800320001037011"]),
        ("out ipsec esp/transport//unique:99999999999999999999", 2, 2, ["080032000103ffff"]),
        ("out ipsec esp/tunnel/192.0.2.1-192.0.2.2", 2, 2, ["2800320002000000" + A + B]),
        ("out ipsec esp/tunnel/192.0.2.1-192.0.2.2/", 2, 2, ["2800320002000000" + A + B]),
        ("out ipsec\n\tesp/tunnel/192.0.2.1 - 192.0.2.2 /\nrequire", 2, 2, ["2800320002020000" + A + B]),
        ("in none esp/tunnel", 1, 1, ["0800320002000000"]),
        ("in ipsec esp/transport/any-me/use", 2, 1, ["0800320001010000"]),
        ("out ipsec esp/transport/me-any/use", 2, 2, ["0800320001010000"]),
        ("out ipsec esp/transport//use ah/transport", 2, 2, ["0800320001010000", "0800330001000000"]),
        (
            "out ipsec esp/tunnel/fe80::1%em0-fe80::2%5/use",
            2,
            2,
            ["4000320002010000" + "1c1c000000000000fe80" + "00" * 13 + "0101000000"
             + "1c1c000000000000fe80" + "00" * 13 + "0205000000"],
        ),
    ],
)  # fmt: skip
def test_accepted(text: str, action: int, direction: int, requests: list[str]) -> None:
    policy = read(text)
    assert (policy.action, policy.direction) == (action, direction)
    assert [request.pack().hex() for request in policy.requests] == requests
    packed = policy.pack()
    assert packed[:8] == bytes([len(packed) // 8, 0, 18, 0, action, 0, direction, 0])
    assert packed[8:16] == bytes(8)


def syntax(token: str) -> tuple[str, str]:
    return "Invalid argument", f'syntax error while parsing "{token}"'


def address(token: str) -> tuple[str, str]:
    return "Name does not resolve", f'invalid IP address while parsing "{token}"'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", syntax("")),
        ("  ", syntax("")),
        ("both none", syntax("both")),
        ("none", syntax("none")),
        ("out prio ipsec", syntax("prio")),
        ("out none garbage", syntax("garbage")),
        ("out in", syntax("in")),
        ("out ipsec esp", ("Too few arguments", "")),
        ("out ipsec esp/", ("Too few arguments", "")),
        ("out none esp", ("Too few arguments", "")),
        ("out ipsec esp ah/transport", ("Too few arguments", "")),
        ("out ipsec esp/ ah/transport", ("Too few arguments", "")),
        ("out ipsec esp foo", syntax("foo")),
        ("out ipsec esp/any//require", syntax("any")),
        ("out ipsec esp-old/transport", syntax("-")),
        ("out ipsec esp/transport//", syntax("")),
        ("out ipsec esp/transport/use", syntax("use")),
        ("out ipsec esp/transport/192.0.2.1/use", syntax("/")),
        ("out ipsec esp/transport/192.0.2.1 192.0.2.2/require", syntax("192.0.2.2")),
        ("out ipsec esp/transport//require5", syntax("require5")),
        ("out ipsec esp/transport//unique:5a", syntax("unique:5a")),
        ("out ipsec esp/transport//unique:", syntax("unique:")),
        ("out ipsec esp/tunnel", ("Invalid address specification", "")),
        ("out ipsec esp/tunnel/me-any/require", ("Invalid address specification", "")),
        ("out ipsec esp/tunnel/192.0.2.1-::1/require", ("Family mismatch", "")),
        ("out ipsec esp/transport/any-me/use", ("Invalid direction", "")),
        ("in ipsec esp/transport/me-any/use", ("Invalid direction", "")),
        ("out ipsec esp/transport/me-me/use", syntax("me")),
        ("out ipsec esp/tunnel/host.example-192.0.2.1/use", address("host.example")),
        ("out ipsec esp/tunnel/192.0.2.1-fe80::1%nosuch/use", address("fe80::1%nosuch")),
        ("out ipsec esp/tunnel/host.example garbage", address("host.example")),  # looked at before what follows
    ],
)
def test_refused(text: str, error: tuple[str, str]) -> None:
    with pytest.raises(PolicyError) as caught:
        read(text)
    assert (caught.value.text, caught.value.detail) == error


def test_a_stray_character_is_echoed() -> None:
    echoed: list[str] = []
    policy = parse("in %none%", FakeDoor().interface_index, echoed.append)
    assert (policy.direction, policy.action) == (1, 1)
    assert echoed == ["%", "%"]
    assert script("spdadd 10.0.0.1 10.0.0.2 any -P in n%one;").stdout == (
        "line 1: Invalid argument at [ in n%one]\nparse failed, line 1.\n"
    )


@pytest.mark.parametrize(
    ("policy", "result"),
    [
        (
            " out bad\n",
            Result(
                1,
                "line 2: Invalid argument at [ out bad\n]\nparse failed, line 2.\n",
                'libipsec: syntax error while parsing "bad"\n',
            ),
        ),
        (
            "out ipsec esp",
            Result(1, "line 1: Too few arguments at [out ipsec esp]\nparse failed, line 1.\n", ""),
        ),
        (
            " in ipsec esp/tunnel/a-b",
            Result(
                1,
                "line 1: Name does not resolve at [ in ipsec esp/tunnel/a-b]\nparse failed, line 1.\n",
                'libipsec: invalid IP address while parsing "a"\n',
            ),
        ),
    ],
)
def test_in_a_script(policy: str, result: Result) -> None:
    assert script(f"spdadd 10.0.0.1 10.0.0.2 any -P{policy};") == result


def test_a_request_between_families_is_cut_off() -> None:
    """Only what is not `ipsec` may have one. Its 52 bytes are no whole units: the last 4 do not travel."""
    packed = read("out none esp/tunnel/192.0.2.1-2001:db8::1/use").pack()
    assert packed[:2] == b"\x08\0"
    assert packed[16:].hex() == "3400320002010000" + A + "1c1c000000000000" + "20010db8" + "00" * 11 + "01"


def test_many_requests() -> None:
    """The kernel takes four; setkey sends what was asked for, as far as a message can hold it."""
    door = FakeDoor()
    assert script("spdadd ::1 ::1 any -P out ipsec" + " esp/transport" * 6 + ";", door).status == 0
    assert door.sent[0][16] == 2 + 6
    request = " esp/tunnel/::1-::2/use"
    assert script("spdadd ::1 ::1 any -P out ipsec" + request * 20000 + ";", door) == (
        0,
        "",
        "send: No buffer space available\n",
    )
