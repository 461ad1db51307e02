"""The state changes hands, from command to command, to ipsecd and back, and nothing that was answered is missing."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipsectools.daemon import client, manage, owner
from ipsectools.pfkey import constants, extensions, message, sockaddr

from .state import PATIENCE

SLOWLY = Path(__file__).parent / "slowly.py"


def add(spi):
    ends = [(constants.EXT_ADDRESS_SRC, "192.0.2.1"), (constants.EXT_ADDRESS_DST, "192.0.2.2")]
    body = extensions.sa(spi, encrypt=constants.EALG_AESCBC)
    body += b"".join(extensions.address(kind, sockaddr.from_text(text)) for kind, text in ends)
    body += extensions.key(constants.EXT_KEY_ENCRYPT, bytes(range(16)))
    return message.build(constants.SADB_ADD, constants.SATYPE_ESP, body, pid=1, seq=spi)


def test_what_others_are_told_before_the_hello_is_no_answer(state, monkeypatch):
    """A slow command: between its connection and its hello, others' SAs are announced to every open socket."""
    state.ok("ipsecd")
    directory = str(state.directory)
    connect = owner.connect

    def slow_connect(directory, name, kind):
        connection = connect(directory, name, kind)
        if name != "pfkey":
            return connection
        deadline = time.monotonic() + PATIENCE
        while manage.status(directory)["clients"] < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        monkeypatch.setattr(owner, "connect", connect)
        state.ok("setkey", "-c", stdin='add 192.0.2.1 192.0.2.2 esp 0x1000 -E aes-cbc "0123456789abcdef";')
        return connection

    monkeypatch.setattr(owner, "connect", slow_connect)
    key = client.PfkeyConnection(directory, client.DEFAULT_RECEIVE_BUFFER, True)
    try:
        for spi in (0x1001, 0x1002):
            assert key.send(add(spi)) == 0
            answer = message.parse(key.receive(0))
            assert (answer.type, answer.seq, answer.errno) == (constants.SADB_ADD, spi, 0)
        assert key.send(b"no message") == 22
    finally:
        key.close()
    assert state.ok("setkey", "-D").count("spi=") == 3


def test_what_was_written_by_who_has_left_is_done(state):
    """As on FreeBSD, where a message is in the kernel when write(2) returns."""
    state.ok("ipsecd")
    monitors = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(10)]
    for n, each in enumerate(monitors):
        each.connect(f"{state.directory}/pfkey")
        for m in range(20):
            each.send(add(0x1000 + 20 * n + m))
        each.close()
    assert state.ok("setkey", "-D").count("spi=") == 200


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_hands_that_are_slow_to_let_go(state, seed):
    """Commands that want ipsecd and commands that do not, ipsecd ending when idle, asked to, and killed; all of them
    with pauses at each hand-over."""
    dice = random.Random(seed)
    pause = "0.05"

    def start(*command, stdin=""):
        return subprocess.Popen(
            [sys.executable, SLOWLY, str(seed), pause, *command],
            env={**state.environment, "IPSECTOOLS_IDLE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ), stdin

    running, made = [], set()
    for n in range(10):
        spi = 0x1000 + n
        statement = f'add 192.0.2.1 192.0.2.2 esp {spi:#x} -E aes-cbc "0123456789abcdef";'
        source = ["-c"] if n % 2 else ["-f", str(script(state, n, statement))]
        running.append((*start("setkey", *source, stdin=statement), spi))
        if n % 3 == 0:
            running.append((*start("ipsecd"), 0))
        if n % 4 == 1:
            running.append((*start("ipsecd", "--stop"), 0))
        if n in (4, 8) and state.directory.exists() and (pid := state.ipsecd()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(dice.random() * 0.2)
    for process, stdin, spi in running:
        out, err = process.communicate(stdin, timeout=PATIENCE)
        assert "answered before" not in err and "Traceback" not in err, err
        if spi and process.returncode == 0:
            assert (out, err) == ("", "")
            made.add(spi)
    assert made
    shown = state.ok("setkey", "-D")
    assert {spi for spi in made if f"spi={spi}(" not in shown} == set()


def script(state, n, text):
    path = state.directory.parent / f"script{n}"
    path.write_text(text)
    return path
