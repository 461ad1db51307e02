"""Injection into a link's receiving side where Linux lacks what it takes."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from ipsectools.errno import EADDRNOTAVAIL, EINVAL, EOPNOTSUPP, KernelError
from ipsectools.host.linux import inject
from tests.datapath.world import LOCAL6, ipv4, ipv6


def fail(number: int) -> Any:
    def raising(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return raising


def test_without_tun_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject.os, "open", fail(errno.ENOENT))
    error = inject.why_not()
    assert error is not None and error.errno == EOPNOTSUPP
    assert error.detail == "no TAP device to be had (No such file or directory)"
    assert inject.Injector().inject(ipv4(b"", src="192.0.2.1"), 1) == EOPNOTSUPP


def test_without_tc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device does not stay."""
    device = os.open("/dev/null", os.O_RDWR)
    monkeypatch.setattr(inject.os, "open", lambda *_: device)
    monkeypatch.setattr(inject.fcntl, "ioctl", lambda *_: b"unclaimed0" + bytes(30))
    monkeypatch.setattr(inject.socket, "if_nametoindex", lambda _: 7)
    monkeypatch.setattr(inject, "_change", fail(errno.EOPNOTSUPP))
    with pytest.raises(KernelError) as refusal:
        inject.Injector().open()
    assert refusal.value.errno == EOPNOTSUPP
    assert refusal.value.detail == "the kernel has no tc ingress with u32 and mirred (Operation not supported)"
    with pytest.raises(OSError):
        os.fstat(device)


def test_what_is_no_packet_or_a_lie() -> None:
    injector = inject.Injector()
    for packet in (b"", b"\x45" + bytes(10), b"\x75" + bytes(40), b"\x60" + bytes(30)):
        assert injector.inject(packet, 1) == EINVAL
    for source in ("0.1.2.3", "127.1.2.3"):
        assert injector.inject(ipv4(b"", src=source), 1) == EADDRNOTAVAIL
    for last in range(2):
        assert injector.inject(ipv6(b"", src=bytes(15) + bytes([last]), dst=LOCAL6), 1) == EADDRNOTAVAIL
