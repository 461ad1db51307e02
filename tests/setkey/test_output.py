"""What setkey prints of messages: -D, -DP, -l, -v, -x, -h."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from ipsectools.commands.setkey import dump_policy, dump_sa, exchange, kdebug, monitor
from ipsectools.daemon.client import ClientError
from ipsectools.pfkey import constants as c
from ipsectools.pfkey import extensions as ext
from ipsectools.pfkey import policy as policies
from ipsectools.pfkey import sockaddr as sockaddrs
from ipsectools.pfkey.message import build

from .fakes import PID, FakeDoor, setkey

NOW = 1718190130  # 2024-06-12 11:02:10 UTC
CREATED = 1718190000  # 11:00:00

BYTES = bytes(range(64))
INTERFACES = {1: "em0", 5: "ipsec0"}


def name(index: int) -> str | None:
    return INTERFACES.get(index)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "time", lambda: NOW)


def address(kind: int, text: str, **fields: int) -> bytes:
    port = fields.pop("port", 0)
    return ext.address(kind, sockaddrs.from_text(text, port), **fields)  # type: ignore[arg-type]


def pair(source: str = "10.0.0.1", destination: str = "10.0.0.2") -> bytes:
    return address(5, source) + address(6, destination)


def association(
    *more: bytes,
    satype: int = 3,
    addresses: bytes | None = None,
    mode: int = 1,
    sequence: int = 0,
    reqid: int = 0,
    current: tuple[int, int, int, int] | None = (0, 0, CREATED, 0),
    seq: int = 9,
    **fields: int,
) -> bytes:
    """A dumped SA; `more` are further extensions, `fields` those of the SA extension."""
    fields = {"spi": 4096, "state": 1, "flags": 0x40} | fields
    body = ext.sa(**fields) + ext.sa2(mode, reqid, sequence)
    if current is not None:
        packets, size, added, used = current
        body += ext.lifetime(2, allocations=packets, bytes=size, addtime=added, usetime=used)
    body += pair() if addresses is None else addresses
    return build(c.SADB_DUMP, satype, body + b"".join(more), seq=seq, pid=4242, reserved=1)


def long(message: bytes) -> str:
    return dump_sa.text(message, NOW, name)


CBC = ext.key(9, BYTES[:16])
SHA1 = ext.key(8, BYTES[:20])
TAIL = """\
\tcreated: Jun 12 11:00:00 2024\tcurrent: Jun 12 11:02:10 2024
\tdiff: 130(s)\thard: 0(s)\tsoft: 0(s)
\tlast:                     \thard: 0(s)\tsoft: 0(s)
\tcurrent: 0(bytes)\thard: 0(bytes)\tsoft: 0(bytes)
\tallocated: 0\thard: 0\tsoft: 0
\tsadb_seq=9 pid=4242 refcnt=1
"""
KEY32 = "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f"


@pytest.mark.parametrize(
    ("message", "head"),
    [
        pytest.param(
            association(SHA1, CBC, replay=4, encrypt=12, auth=3),
            "10.0.0.1 10.0.0.2\n"
            "\tesp mode=transport spi=4096(0x00001000) reqid=0(0x00000000)\n"
            "\tE: aes-cbc  00010203 04050607 08090a0b 0c0d0e0f\n"
            "\tA: hmac-sha1  00010203 04050607 08090a0b 0c0d0e0f 10111213\n"
            "\tseq=0x00000000 replay=4 flags=0x00000040 state=mature \n",
            id="cbc",
        ),
        pytest.param(
            association(ext.key(9, BYTES[:36]), mode=2, spi=4098, encrypt=20, auth=13, flags=0x440),
            "10.0.0.1 10.0.0.2\n"
            "\tesp mode=tunnel spi=4098(0x00001002) reqid=0(0x00000000)\n"
            f"\tE: aes-gcm-16  {KEY32}\n"
            " 20212223\n"
            "\tseq=0x00000000 replay=0 flags=0x00000440 state=mature \n",
            id="gcm",
        ),
        pytest.param(
            association(ext.key(9, b"\0"), mode=0, spi=4099, encrypt=11),
            "10.0.0.1 10.0.0.2\n"
            "\tesp mode=any spi=4099(0x00001003) reqid=0(0x00000000)\n"
            "\tE: null  00\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="null",
        ),
        pytest.param(
            association(ext.key(9, b""), mode=0, spi=4099, encrypt=11),
            "10.0.0.1 10.0.0.2\n"
            "\tesp mode=any spi=4099(0x00001003) reqid=0(0x00000000)\n"
            "\tE: null \n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="null without key",
        ),
        pytest.param(
            association(SHA1, satype=2, spi=8192, auth=3, state=2),
            "10.0.0.1 10.0.0.2\n"
            "\tah mode=transport spi=8192(0x00002000) reqid=0(0x00000000)\n"
            "\tA: hmac-sha1  00010203 04050607 08090a0b 0c0d0e0f 10111213\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=dying \n",
            id="ah",
        ),
        pytest.param(
            association(satype=9, mode=0, spi=2, encrypt=2),
            "10.0.0.1 10.0.0.2\n"
            "\tipcomp mode=any spi=2(0x00000002) reqid=0(0x00000000)\n"
            "\tC: deflate \tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="ipcomp",
        ),
        pytest.param(
            association(
                ext.key(8, b"TCP-MD5 BGP secret"),
                satype=11,
                mode=0,
                auth=252,
                addresses=pair("10.1.10.34", "10.1.10.36"),
            ),
            "10.1.10.34 10.1.10.36\n"
            "\ttcp mode=any spi=4096(0x00001000) reqid=0(0x00000000)\n"
            "\tA: tcp-md5  5443502d 4d443520 42475020 73656372 6574\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="tcp",
        ),
        pytest.param(
            association(
                mode=7, state=0, flags=0, reqid=0xFFFFFFFF, sequence=0x12345, addresses=pair("2001:db8::1", "::1")
            ),
            "2001:db8::1 ::1\n"
            "\tesp mode=7 spi=4096(0x00001000) reqid=4294967295(0xffffffff)\n"
            "\tseq=0x00012345 replay=0 flags=0x00000000 state=larval \n",
            id="larval",
        ),
        pytest.param(
            association(ext.key(8, b"abc"), CBC, auth=99, encrypt=98, state=9),
            "10.0.0.1 10.0.0.2\n"
            "\tesp mode=transport spi=4096(0x00001000) reqid=0(0x00000000)\n"
            "\tE: 98  00010203 04050607 08090a0b 0c0d0e0f\n"
            "\tA: 99  616263\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=9 \n",
            id="unknown numbers",
        ),
        pytest.param(
            association(
                addresses=ext.address(5, sockaddrs.make(b"\xfe\x80" + bytes(13) + b"\1", 0, 1))
                + ext.address(6, sockaddrs.make(b"\xfe\x80" + bytes(13) + b"\2", 0, 77))
            ),
            "fe80::1%em0 fe80::2%77\n"
            "\tesp mode=transport spi=4096(0x00001000) reqid=0(0x00000000)\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="link-local",
        ),
        pytest.param(
            association(ext.nat_t_type(2), ext.nat_t_port(21, 4500)),
            "10.0.0.1[4500] 10.0.0.2\n"
            "\tesp-udp mode=transport spi=4096(0x00001000) reqid=0(0x00000000)\n"
            "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature \n",
            id="one port",
        ),
    ],
)
def test_associations(message: bytes, head: str) -> None:
    assert long(message) == head + TAIL


def test_nat_traversal_lifetimes_and_large_window() -> None:
    message = association(
        ext.key(8, BYTES[:32]),
        ext.key(9, BYTES[:32]),
        ext.nat_t_type(2),
        ext.nat_t_port(21, 4500),
        ext.nat_t_port(22, 4501),
        address(23, "10.9.9.9", protocol=0),
        address(24, "10.8.8.8", protocol=0),
        ext.sa_replay(2400),
        ext.lifetime(3, addtime=100, usetime=7, bytes=1 << 40, allocations=5),
        ext.lifetime(4, addtime=80, usetime=6, bytes=2, allocations=3),
        spi=4100,
        replay=255,
        auth=5,
        encrypt=12,
        current=(11, 1 << 33, CREATED, CREATED + 9),
        addresses=pair("10.0.0.1", "192.0.2.1"),
    )
    assert long(message) == (
        "10.0.0.1[4500] 192.0.2.1[4501]\n"
        "\tesp-udp mode=transport spi=4100(0x00001004) reqid=0(0x00000000)\n"
        "\tNAT: OAI=10.9.9.9 OAR=10.8.8.8\n"
        f"\tE: aes-cbc  {KEY32}\n"
        f"\tA: hmac-sha2-256  {KEY32}\n"
        "\tseq=0x00000000 replay=300 flags=0x00000040 state=mature \n"
        "\tcreated: Jun 12 11:00:00 2024\tcurrent: Jun 12 11:02:10 2024\n"
        "\tdiff: 130(s)\thard: 100(s)\tsoft: 80(s)\n"
        "\tlast: Jun 12 11:00:09 2024\thard: 7(s)\tsoft: 6(s)\n"
        f"\tcurrent: {1 << 33}(bytes)\thard: {1 << 40}(bytes)\tsoft: 2(bytes)\n"
        "\tallocated: 11\thard: 5\tsoft: 3\n"
        "\tsadb_seq=9 pid=4242 refcnt=1\n"
    )


def test_nothing_was_ever_created() -> None:
    assert "\tcreated:                     \tcurrent: Jun 12 11:02:10 2024\n\tdiff: 0(s)" in long(
        association(current=(0, 0, 0, 0))
    )
    assert long(association(current=None)).splitlines()[2:] == [
        "\tseq=0x00000000 replay=0 flags=0x00000040 state=mature ",
        "\tsadb_seq=9 pid=4242 refcnt=1",
    ]


def test_numbers_are_unsigned_and_bytes_a_double() -> None:
    """As FreeBSD's %lu and %.0f print them, also of a lifetime beyond 63 bits and of a clock set back."""
    largest = (1 << 64) - 1
    printed = long(
        association(
            ext.lifetime(3, addtime=largest, usetime=1 << 63, bytes=(1 << 53) + 1),
            ext.lifetime(4, addtime=1 << 63, bytes=largest),
            current=(1, 2, NOW + 5, 0),
        )
    )
    assert f"\tdiff: {largest - 4}(s)\thard: {largest}(s)\tsoft: {1 << 63}(s)\n" in printed
    assert f"\thard: {1 << 63}(s)\tsoft: 0(s)\n" in printed
    assert f"\tcurrent: 2(bytes)\thard: {1 << 53}(bytes)\tsoft: {1 << 64}(bytes)\n" in printed


def test_hardware_offload() -> None:
    def interface(word: bytes) -> bytes:
        return b"\5\0\x1f\0" + bytes(4) + word.ljust(32, b"\0")

    text = long(
        association(
            ext.lifetime(29, allocations=3, bytes=4, usetime=CREATED),
            ext.lifetime(30, allocations=5, bytes=6),
            interface(b"mce0"),
            interface(b"mce1"),
        )
    )
    assert "state=mature \n\thw offl if: mce0,mce1\n\tcreated: " in text
    assert text.endswith(
        "\tsadb_seq=9 pid=4242 refcnt=1\n"
        "\tsw offl use: Jun 12 11:00:00 2024\tsw offl allocated: 3\tsw offl: 4(bytes)\n"
        "\thw offl use:                     \thw offl allocated: 5\thw offl: 6(bytes)\n"
    )


SA, SA2 = ext.sa(5), ext.sa2(0, 0)


def raw(body: bytes, kind: int = c.SADB_DUMP, satype: int = 3) -> bytes:
    return build(kind, satype, body)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (raw(SA + SA2), "no ADDRESS_SRC extension."),
        (raw(SA + SA2 + address(5, "::1")), "::1\nno ADDRESS_DST extension."),
        (raw(pair() + SA2), "10.0.0.1 10.0.0.2\nno SA extension."),
        (raw(pair() + SA), "10.0.0.1 10.0.0.2\nno SA2 extension."),
        (raw(b"\0\0\1\0" + bytes(4)), "Invalid sadb message"),
        (raw(b"\2\0\1\0" + bytes(4)), "Invalid sadb message"),
        (raw(SA + SA), "Invalid extension type"),
        (raw(b"\1\0\0\0" + bytes(4)), "Invalid extension type"),
        (raw(b"\1\0\x11\0" + bytes(4)), "Invalid extension type"),
        (raw(b"\1\0\x20\0" + bytes(4)), "Invalid extension type"),
        (b"\1" + raw(SA)[1:], "Invalid version"),
        (raw(SA, kind=23), "Invalid message type"),
        (raw(SA, kind=c.SADB_GET, satype=0), "Invalid SA type"),
        (raw(SA, kind=c.SADB_X_SPDDUMP, satype=3), "Invalid SA type"),
        (raw(SA, satype=5), "Not supported"),
        (raw(SA, satype=8), "Not supported"),
        (raw(SA, satype=1), "Invalid SA type"),
        (raw(SA, satype=12), "Invalid SA type"),
        (raw(address(5, "10.0.0.1") + address(6, "10.0.0.2", protocol=6)), "Protocol mismatch"),
        (raw(address(5, "10.0.0.1") + address(6, "::1")), "Family mismatch"),
        (raw(pair().replace(b"\x10\x02", b"\x10\x03")), "Invalid address family"),
    ],
)
def test_messages_that_make_no_sense(message: bytes, text: str) -> None:
    """libipsec's words take the place of the entry."""
    assert long(message) == text + "\n"
    if message[1] == c.SADB_DUMP:
        door = FakeDoor(lambda request: [message])
        assert setkey("-D", door=door) == (0, text + "\n", "")


def test_cut_off_message_is_no_crash() -> None:
    whole = raw(address(6, "::1") + SA + SA2 + address(5, "::2"))
    cut = whole[:4] + (len(whole) // 8 - 3).to_bytes(2, "little") + whole[6:-40] + b"\2\0\5\0" + whole[-36:-24]
    assert setkey("-D", door=FakeDoor(lambda request: [cut])).status == 0
    assert setkey("-vD", door=FakeDoor(lambda request: [cut])).status == 0


def dumping(*messages: bytes) -> FakeDoor:
    """A kernel that dumps these, whatever their sequence numbers were."""

    def number(index: int, message: bytes) -> bytes:
        return message[:8] + (len(messages) - 1 - index).to_bytes(4, "little") + message[12:]

    return FakeDoor(lambda request: [number(index, message) for index, message in enumerate(messages)])


def test_dead_ones_are_shown_with_a_only() -> None:
    door = dumping(association(state=3), association(state=1))
    assert setkey("-D", door=door).stdout.count("state=") == 1
    assert setkey("-Da", door=dumping(association(state=3), association())).stdout.count("state=dead ") == 1
    get = association(state=3).replace(b"\2\x0a", b"\2\5", 1)
    assert setkey("-e", "get ::1 ::1 esp 5;", door=dumping(get)).stdout.count("state=dead ") == 1


# Policies


def dumped_policy(
    requests: bytes = b"",
    *more: bytes,
    source: bytes = b"",
    destination: bytes = b"",
    type: int = 1,
    direction: int = 1,
    id: int = 2,
    scope: int = 1,
    priority: int = 0,
    seq: int = 9,
) -> bytes:
    body = source or address(5, "10.0.0.0", prefixlen=24)
    body += destination or address(6, "10.0.1.0", prefixlen=24)
    body += policies.policy(type, direction, requests, scope=scope, id=id, priority=priority)
    return build(c.SADB_X_SPDDUMP, 0, body + b"".join(more), seq=seq, pid=4242, reserved=1)


def request(protocol: int, mode: int, level: int, reqid: int = 0, *sides: str) -> bytes:
    return policies.Request(protocol, mode, level, reqid, *[sockaddrs.from_text(side) for side in sides]).pack()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(
            dumped_policy(),
            "10.0.0.0/24[any] 10.0.1.0/24[any] any\n\tin none\n\tspid=2 seq=9 pid=4242 scope=global \n\trefcnt=1\n",
            id="any",
        ),
        pytest.param(
            dumped_policy(
                source=address(5, "10.0.0.1", protocol=6),
                destination=address(6, "10.0.0.2", protocol=6, port=80),
                type=0,
                id=3,
                seq=8,
            ),
            "10.0.0.1[any] 10.0.0.2[80] tcp\n\tin discard\n\tspid=3 seq=8 pid=4242 scope=global \n\trefcnt=1\n",
            id="ports",
        ),
        pytest.param(
            dumped_policy(
                source=address(5, "::", protocol=58, prefixlen=0, port=135),
                destination=address(6, "::", protocol=58, prefixlen=0),
            ),
            "::/0 ::/0 icmp6 135,0\n\tin none\n\tspid=2 seq=9 pid=4242 scope=global \n\trefcnt=1\n",
            id="icmp6",
        ),
        pytest.param(
            dumped_policy(
                request(108, 1, 1)
                + request(50, 1, 3, 5)
                + request(51, 1, 3, 16385)
                + request(50, 1, 0, 0, "10.0.0.1", "10.0.0.2")
                + request(6, 2, 2, 16383, "::1", "::2"),
                source=address(5, "10.0.0.1", protocol=17),
                destination=address(6, "10.0.0.2", protocol=17),
                type=2,
                direction=2,
            ),
            "10.0.0.1[any] 10.0.0.2[any] udp\n"
            "\tout ipsec\n"
            "\tipcomp/transport//use\n"
            "\tesp/transport//unique:5\n"
            "\tah/transport//unique#16385\n"
            "\tesp/transport/10.0.0.1-10.0.0.2/default\n"
            "\ttcp/tunnel/::1-::2/require:16383\n"
            "\tspid=2 seq=9 pid=4242 scope=global \n"
            "\trefcnt=1\n",
            id="requests",
        ),
        pytest.param(
            dumped_policy(request(50, 1, 1), scope=2, priority=5),
            "10.0.0.0/24[any] 10.0.1.0/24[any] any\n"
            "\tin none\n"
            "\tspid=2 seq=9 pid=4242 scope=ifnet ifname=ipsec0\n"
            "\trefcnt=1\n",
            id="ifnet",
        ),
        pytest.param(
            dumped_policy(scope=2, priority=99),
            "10.0.0.0/24[any] 10.0.1.0/24[any] any\n\tin none\n\tspid=2 seq=9 pid=4242 scope=ifnet \n\trefcnt=1\n",
            id="no such interface",
        ),
        pytest.param(
            dumped_policy(
                b"",
                ext.lifetime(2, addtime=CREATED, usetime=CREATED + 9),
                ext.lifetime(3, addtime=3600, usetime=60),
                source=address(5, "10.0.0.1", protocol=200),
                destination=address(6, "10.0.0.2", protocol=200),
                scope=4,
            ),
            "10.0.0.1[any] 10.0.0.2[any] 200\n"
            "\tin none\n"
            "\tcreated: Jun 12 11:00:00 2024  lastused: Jun 12 11:00:09 2024\n"
            "\tlifetime: 3600(s) validtime: 60(s)\n"
            "\tspid=2 seq=9 pid=4242 scope=pcb \n"
            "\trefcnt=1\n",
            id="lifetimes",
        ),
        pytest.param(
            dumped_policy(
                source=address(5, "10.0.0.1", protocol=4),
                destination=address(6, "10.0.0.2", protocol=4),
                direction=0,
                type=4,
                scope=9,
            ),
            "10.0.0.1[any] 10.0.0.2[any] ip4\n\tany bypass\n\tspid=2 seq=9 pid=4242 scope=9 \n\trefcnt=1\n",
            id="numbers",
        ),
        pytest.param(
            dumped_policy(request(50, 7, 1), type=2),
            "10.0.0.0/24[any] 10.0.1.0/24[any] any\n\t(null)\n\tspid=2 seq=9 pid=4242 scope=global \n\trefcnt=1\n",
            id="cannot be formatted",
        ),
        pytest.param(
            build(c.SADB_X_SPDDUMP, 0, policies.policy(1, 1, id=2)),
            "(no selector, probably per-socket policy) \n\tin none\n\tspid=2 seq=0 pid=0 scope=0 \n\trefcnt=0\n",
            id="no selector",
        ),
        pytest.param(
            build(c.SADB_X_SPDDUMP, 0, pair()),
            "10.0.0.1[any] 10.0.0.2[any] anyno X_POLICY extension.\n",
            id="no policy",
        ),
        pytest.param(
            build(c.SADB_X_SPDDUMP, 0, address(5, "::1") + address(6, "::2", protocol=6)),
            "Protocol mismatch\n",
            id="mismatch",
        ),
    ],
)
def test_policies(message: bytes, text: str) -> None:
    assert dump_policy.text(message, name) == text


# -l


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (association(), "0210 esp M 00001000 ???/??? #255 10.0.0.1 -> #255 10.0.0.2\n"),
        (association(satype=2, state=0), "0210 ah  L 00001000 ???/??? #255 10.0.0.1 -> #255 10.0.0.2\n"),
        (association(satype=9, state=3), "0210 #9  d 00001000 ???/??? #255 10.0.0.1 -> #255 10.0.0.2\n"),
        (
            association(ext.lifetime(3, addtime=60), ext.lifetime(4, addtime=5), state=2),
            "0210 esp D 00001000 130/60  #255 10.0.0.1 -> #255 10.0.0.2\n",
        ),
        (
            association(ext.lifetime(3, addtime=1000), ext.lifetime(4), current=(0, 0, NOW - 5, 0)),
            "0210 esp M 00001000   5/big #255 10.0.0.1 -> #255 10.0.0.2\n",
        ),
        (
            association(ext.lifetime(3, addtime=999), ext.lifetime(4), current=(0, 0, NOW - 1000, 0)),
            "0210 esp M 00001000 big/999 #255 10.0.0.1 -> #255 10.0.0.2\n",
        ),
        (
            association(addresses=address(5, "10.0.0.1", protocol=0, port=9) + address(6, "10.0.0.2", protocol=0)),
            "0210 esp M 00001000 ???/??? 10.0.0.1[9] -> 10.0.0.2\n",
        ),
        (association(state=4), "0210 esp #4 00001000 ???/??? #255 10.0.0.1 -> #255 10.0.0.2\n"),
        (
            association(ext.lifetime(3, addtime=(1 << 64) - 1), ext.lifetime(4), current=(0, 0, NOW + 5, 0)),
            "0210 esp M 00001000 big/big #255 10.0.0.1 -> #255 10.0.0.2\n",
        ),
        (
            association(ext.lifetime(3, addtime=(1 << 32) + 7), ext.lifetime(4), current=(0, 0, 0, 0)),
            "0210 esp M 00001000   0/7   #255 10.0.0.1 -> #255 10.0.0.2\n",
        ),
        (raw(address(5, "::1", protocol=0)), "0210 esp? ?        ???/??? ::1 -> ?\n"),
    ],
)
def test_short_lines(message: bytes, line: str) -> None:
    assert dump_sa.short_text(message, NOW, name) == line


def test_minutes_of_short_lines_are_those_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")  # half an hour off
    time.tzset()
    try:
        assert dump_sa.short_text(association(), NOW, name).startswith("0210 ")
    finally:
        monkeypatch.undo()
        time.tzset()


HEADER = "time p   s spi      ltime   src -> dst\n"
RECV = "recv: Resource temporarily unavailable\n"


class EnoughError(Exception):
    """Ends what would go on for ever."""


@pytest.fixture
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of -l ends at its second sleep."""
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise EnoughError

    monkeypatch.setattr(exchange, "sleep", sleep)


@pytest.mark.parametrize(
    ("words", "answer", "printed"),
    [
        (["-l", "-D"], association(seq=0), "0210 esp M 00001000 ???/??? #255 10.0.0.1 -> #255 10.0.0.2\n" * 2),
        (["-l", "-D"], bytes.fromhex("020a0200020000000000000000000000"), "No SAD entries.\n" * 2),
        (["-l", "-F"], bytes.fromhex("02090000020000000000000000000000"), ""),
    ],
)
def test_loop(words: list[str], answer: bytes, printed: str, two_seconds: None) -> None:
    from ipsectools.commands.setkey import main
    from ipsectools.commands.setkey.output import Output

    written: list[str] = []

    class Kept(Output):
        def write(self, text: str) -> None:
            written.append(text)

    with pytest.raises(EnoughError):
        main.run(words, Kept(), FakeDoor(lambda request: [answer]).open)  # type: ignore[arg-type]
    assert "".join(written) == HEADER + printed


@pytest.mark.parametrize(
    ("answer", "error"),
    [(lambda message: 55, "send: No buffer space available\n"), (lambda message: [], RECV)],
)
def test_loop_ends_when_a_request_fails(
    answer: Callable[[bytes], Iterable[bytes] | int], error: str, two_seconds: None
) -> None:
    text = "flush; spdflush;"
    assert setkey("-l", "-e", text, door=FakeDoor(answer)) == (0, HEADER * 2, error * 2)


# -v


def kdebug_lines(body: bytes) -> str:
    """The extensions' part of a message's block."""
    return "".join(kdebug.message(build(3, 3, body, pid=7)).splitlines(keepends=True)[2:])


def test_verbose_add() -> None:
    key16, key20 = "0x" + BYTES[:16].hex(), "0x" + BYTES[:20].hex()
    text = f"add 10.0.0.1 10.0.0.2 esp 0x1000 -m transport -E aes-cbc {key16} -A hmac-sha1 {key20};"
    door = FakeDoor(lambda message: [message[:4] + b"\2\0" + message[6:16]])
    assert setkey("-v", "-e", text, door=door).stdout == (
        "sadb_msg{ version=2 type=3(ADD) errno=0 satype=3\n"
        "  len=19 reserved=0 seq=0 pid=PID\n"
        "sadb_ext{ len=3 type=9(KEY_ENCRYPT) }\n"
        "sadb_key{ bits=128 reserved=0\n"
        "  key= 00010203 04050607 08090a0b 0c0d0e0f }\n"
        "sadb_ext{ len=4 type=8(KEY_AUTH) }\n"
        "sadb_key{ bits=160 reserved=0\n"
        "  key= 00010203 04050607 08090a0b 0c0d0e0f 10111213 }\n"
        "sadb_ext{ len=2 type=1(SA) }\n"
        "sadb_sa{ spi=4096 replay=0 state=0\n"
        "  auth=3 encrypt=12 flags=0x00000040 }\n"
        "sadb_ext{ len=2 type=19(SA2) }\n"
        "sadb_x_sa2{ mode=1 reqid=0\n"
        "  reserved1=0 reserved2=0 sequence=0 }\n"
        "sadb_ext{ len=3 type=5(ADDRESS_SRC) }\n"
        "sadb_address{ proto=255 prefixlen=32 reserved=0x0000 }\n"
        "sockaddr{ len=16 family=2 addr=10.0.0.1 }\n"
        "sadb_ext{ len=3 type=6(ADDRESS_DST) }\n"
        "sadb_address{ proto=255 prefixlen=32 reserved=0x0000 }\n"
        "sockaddr{ len=16 family=2 addr=10.0.0.2 }\n"
        "\n"
        "sadb_msg{ version=2 type=3(ADD) errno=0 satype=3\n"
        "  len=2 reserved=0 seq=0 pid=PID\n"
        "\n"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            ext.lifetime(3, addtime=100, bytes=(1 << 32) + 5),
            "sadb_ext{ len=4 type=3(LIFETIME_HARD) }\nsadb_lifetime{ alloc=0, bytes=5\n  addtime=100, usetime=0 }\n",
        ),
        (ext.sa_replay(2400), "sadb_ext{ len=1 type=26(SA_REPLAY) }\nsadb_x_sa_replay{ replay=2400 }\n"),
        (ext.nat_t_type(2), "sadb_ext{ len=1 type=20(NAT_T_TYPE) }\nsadb_x_nat_t_type{ type=2 }\n"),
        (ext.nat_t_port(21, 4500), "sadb_ext{ len=1 type=21(NAT_T_SPORT) }\nsadb_x_nat_t_port{ port=4500 }\n"),
        (
            policies.policy(2, 2, request(50, 2, 2, 0, "192.0.2.1", "192.0.2.2") + request(51, 1, 3, 5), id=26),
            "sadb_ext{ len=8 type=18(POLICY) }\n"
            "sadb_x_policy{ type=2 dir=2 id=1a scope=0 priority=0 }\n"
            " { len=40 proto=50 mode=2 level=2 reqid=0\n"
            "sockaddr{ len=16 family=2 addr=192.0.2.1 }\n"
            "sockaddr{ len=16 family=2 addr=192.0.2.2 }\n"
            " }\n"
            " { len=8 proto=51 mode=1 level=3 reqid=5\n"
            " }\n",
        ),
        (
            policies.policy(1, 1, request(50, 1, 1), scope=2, priority=5),
            "sadb_ext{ len=3 type=18(POLICY) }\nsadb_x_policy{ type=1 dir=1 id=0 scope=2 ifindex=5 }\n",
        ),
        (
            ext.supported(14, [(3, 0, 160, 160)]),
            "sadb_ext{ len=2 type=14(SUPPORTED_AUTH) }\nsadb_sup{\n  { id=3 ivlen=0 min=160 max=160 }\n}\n",
        ),
        (
            b"\2\0\x0a\0\1\0" + bytes(10),
            "sadb_ext{ len=2 type=10(IDENTITY_SRC) }\nsadb_ident_src{ type=1 id=0 }\n",
        ),
        (
            b"\x0a\0\x0d\0\x20\0\0\0" + ext.combination(encrypt=12, encrypt_bits=(128, 256), hard=(1, 2, 3, 4)),
            "sadb_ext{ len=10 type=13(PROPOSAL) }\n"
            "sadb_prop{ replay=32\n"
            "sadb_comb{ auth=0 encrypt=12 flags=0x0000 reserved=0x00000000\n"
            "  auth_minbits=0 auth_maxbits=0 encrypt_minbits=128 encrypt_maxbits=256\n"
            "  soft_alloc=0 hard_alloc=1 soft_bytes=0 hard_bytes=2\n"
            "  soft_alloc=0 hard_alloc=3 soft_bytes=0 hard_bytes=4 }\n"
            "}\n",
        ),
        (ext.spirange(256, 512), "sadb_ext{ len=2 type=16(SPIRANGE) }\n"),
        (ext.key(9, b""), "sadb_ext{ len=1 type=9(KEY_ENCRYPT) }\nsadb_key{ bits=0 reserved=0\n  key= }\n"),
        (
            ext.key(8, BYTES[:40]),
            "sadb_ext{ len=6 type=8(KEY_AUTH) }\n"
            "sadb_key{ bits=320 reserved=0\n"
            f"  key= {KEY32}\n"
            " 20212223 24252627 }\n",
        ),
        (
            address(23, "2001:db8::1", protocol=0),
            "sadb_ext{ len=5 type=23(NAT_T_OAI) }\n"
            "sadb_address{ proto=0 prefixlen=128 reserved=0x0000 }\n"
            "sockaddr{ len=28 family=28 addr=2001:db8::1 }\n",
        ),
        (
            ext.address(5, sockaddrs.make(b"\xfe\x80" + bytes(13) + b"\1", 0, 3)),
            "sadb_ext{ len=5 type=5(ADDRESS_SRC) }\n"
            "sadb_address{ proto=255 prefixlen=128 reserved=0x0000 }\n"
            "sockaddr{ len=28 family=28 addr=fe80::1%3 }\n",
        ),
        (
            pair().replace(b"\x10\x02", b"\x10\x09")[:24],
            "sadb_ext{ len=3 type=5(ADDRESS_SRC) }\n"
            "sadb_address{ proto=255 prefixlen=32 reserved=0x0000 }\n"
            "sockaddr{ len=16 family=9 addr=unknown }\n",
        ),
        (
            ext.address(5, sockaddrs.from_text("10.0.0.1"))[:6]
            + b"\x12\x34"
            + bytes.fromhex("100200000a000001")
            + bytes(8),
            "sadb_ext{ len=3 type=5(ADDRESS_SRC) }\n"
            "sadb_address{ proto=255 prefixlen=32 reserved=0x1234 }\n"
            "sockaddr{ len=16 family=2 addr=10.0.0.1 }\n",
        ),
        (
            ext.nat_t_frag(1400) + SA,
            "sadb_ext{ len=1 type=25(NAT_T_FRAG) }\nkdebug_sadb: invalid ext_type 25\n",
        ),
        (
            ext.lifetime(29) + SA,
            "sadb_ext{ len=4 type=29(LFT_CUR_SW_OFFL) }\n"
            "sadb_lifetime{ alloc=0, bytes=0\n  addtime=0, usetime=0 }\n"
            "kdebug_sadb: invalid ext_type 29\n",
        ),
        (b"\5\0\x1f\0" + bytes(36), "sadb_ext{ len=5 type=31(UNKNOWN) }\nkdebug_sadb: invalid ext_type 31\n"),
        (b"\0\0\1\0" + bytes(4), "sadb_ext{ len=0 type=1(SA) }\nkdebug_sadb: invalid ext_len=0 was passed.\n"),
        (b"\3\0\1\0" + bytes(12), "sadb_ext{ len=3 type=1(SA) }\nkdebug_sadb: ext_len too big (24 > 16).\n"),
    ],
)
def test_verbose_extensions(body: bytes, text: str) -> None:
    assert kdebug_lines(body) == text


EMPTY = "sadb_msg{ version=0 type=0(RESERVED) errno=0 satype=0\n  len=0 reserved=0 seq=0 pid=0\n\n"


def test_verbose_dumps_are_followed_by_what_lies_behind() -> None:
    printed = setkey("-vD", door=dumping(association(), association())).stdout
    assert printed.count(EMPTY) == 2
    assert printed.endswith(EMPTY)
    assert printed.index("sadb_msg{ version=2 type=10(DUMP)") < printed.index("10.0.0.1 10.0.0.2")
    printed = setkey("-vDP", door=dumping(dumped_policy(), dumped_policy())).stdout
    assert printed.count(EMPTY) == 1
    assert not printed.endswith(EMPTY)
    assert EMPTY not in setkey("-vD", door=dumping(association(state=3))).stdout


def test_verbose_script_does_not_show_its_register() -> None:
    assert "REGISTER" not in setkey("-v", "-e", "flush;").stdout


# -h and -x


def test_hexadecimal_request() -> None:
    pid = PID.to_bytes(4, "little").hex(" ")
    request_line = f"00000000: 02 0a 00 00 02 00 00 00 00 00 00 00 {pid} \n"
    empty = FakeDoor(lambda message: [message[:2] + b"\2" + message[3:]])
    assert setkey("-h", "-D", door=empty).stdout == request_line + "No SAD entries.\n"
    printed = setkey("-vh", "-F").stdout
    assert printed.startswith("sadb_msg{")
    assert printed.count("00000000: ") == 1
    assert kdebug.hexadecimal(bytes(range(18))) == (
        "00000000: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f \n00000010: 10 11 \n"
    )


class Heard(FakeDoor):
    """What a promiscuous socket hears, then the kernel is gone."""

    def __init__(self, *messages: bytes) -> None:
        super().__init__(lambda message: list(messages))

    def receive(self, timeout: float | None) -> bytes | None:
        assert timeout is None
        if not self.inbox:
            raise ClientError("ipsecd ended")
        return super().receive(timeout)


def wrapped(message: bytes) -> bytes:
    return build(c.SADB_X_PROMISC, 0, message)


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    times = iter([NOW * 10**9 + 42999, (NOW + 1) * 10**9 + 5 * 10**8, (NOW + 2) * 10**9 + 25 * 10**7])
    monkeypatch.setitem(monitor.monitor.__kwdefaults__, "clock", lambda: next(times))
    yield


ECHO = bytes.fromhex("020b000102000000") + bytes(8)
ECHO_BLOCK = "sadb_msg{ version=2 type=11(X_PROMISC) errno=0 satype=1\n  len=2 reserved=0 seq=0 pid=0\n\n"
FLUSH = bytes.fromhex("0209000002000000") + bytes(8)
FLUSH_BLOCK = "sadb_msg{ version=2 type=9(FLUSH) errno=0 satype=0\n  len=2 reserved=0 seq=0 pid=0\n\n"


def test_monitor(stamps: None) -> None:
    door = Heard(wrapped(ECHO), ECHO, FLUSH)
    result = setkey("-x", door=door)
    assert door.sent == [ECHO]
    assert result == (
        1,
        f"11:02:10.000042 \n{ECHO_BLOCK}11:02:11.500000 \n11:02:12.250000 \n{FLUSH_BLOCK}",
        "setkey: ipsecd ended\n",
    )


def test_monitor_with_unix_time_and_hexadecimal(stamps: None) -> None:
    assert setkey("-hxx", door=Heard(wrapped(FLUSH))).stdout == (
        f"{NOW}.000042 \n"
        "00000000: 02 0b 00 00 04 00 00 00 00 00 00 00 00 00 00 00 \n"
        "00000010: 02 09 00 00 02 00 00 00 00 00 00 00 00 00 00 00 \n"
        f"{FLUSH_BLOCK}"
    )


def test_monitor_is_refused() -> None:
    assert setkey("-x", door=FakeDoor(lambda message: 13)) == (1, "", "setkey: send: Permission denied\n")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "ip"),
        (1, "icmp"),
        (4, "ip4"),
        (41, "ipv6"),
        (55, "mobile"),
        (58, "icmp6"),
        (73, "cphb"),
        (94, "ipip"),
        (112, "carp"),
        (134, "rsvp-e2e-ignore"),
        (240, "pfsync"),
        (254, "254"),
        (255, "any"),
    ],
)
def test_protocols_of_policies_have_freebsds_names(number: int, text: str) -> None:
    assert dump_policy.upper_text(number, 0, 0) == text
