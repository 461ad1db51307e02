"""Measures on a lab host: `python -m tests.bench.worker` reads one JSON request and prints one JSON answer.

It runs there as a child of the host, so that what it starts is in the host's namespaces and its resource usage is seen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(20)


def run(argv: list[str], output: str = os.devnull) -> dict[str, float]:
    """Runs a command to its end: wall and processor seconds, largest memory in MiB, exit status."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    began = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    return {
        "wall": time.perf_counter() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "status": os.waitstatus_to_exitcode(status),
    }


def interleaved(commands: list[list[str]], rounds: int) -> list[list[dict[str, float]]]:
    """Runs all commands in turn, `rounds` times, after one round that does not count."""
    results: list[list[dict[str, float]]] = [[] for _ in commands]
    for round_ in range(-1, rounds):
        for command, kept in zip(commands, results, strict=True):
            ended = run(command)
            if round_ >= 0:
                kept.append(ended)
    return results


def create(count: int) -> float:
    """Creates ipsec interfaces through one control connection: seconds."""
    from ipsectools.daemon.client import open_control

    door = open_control()
    began = time.perf_counter()
    for _ in range(count):
        door.call("SIOCIFCREATE2", name="ipsec")
    return time.perf_counter() - began


def adds(count: int, first_spi: int) -> list[float]:
    """Adds SAs one by one, each after the answer to the one before, and deletes them again: seconds of each ADD."""
    from ipsectools.commands.setkey.statements import Statement, messages
    from ipsectools.daemon.client import open_pfkey
    from ipsectools.pfkey import constants as c
    from ipsectools.pfkey import sockaddr

    door = open_pfkey(served=True)
    statement = Statement()
    statement.sources, statement.destinations = ([sockaddr.from_text(text)] for text in ("192.0.2.1", "192.0.2.2"))
    statement.satype, statement.mode, statement.reqid = c.SATYPE_ESP, c.MODE_TUNNEL, 1
    statement.encryption, statement.encryption_key = c.EALG_AESGCM16, KEY
    seconds = []
    for statement.command in ("add", "delete"):
        for statement.spi in range(first_spi, first_spi + count):
            (message,) = messages(statement, os.getpid())
            began = time.perf_counter()
            number = door.send(message)
            if statement.command == "add":
                seconds.append(time.perf_counter() - began)
            answer = door.receive(5)
            if number or answer is None or answer[2]:
                raise SystemExit(f"{statement.command}: refused ({number})")
    return seconds


OPERATIONS: dict[str, Callable[..., Any]] = {"run": run, "interleaved": interleaved, "create": create, "adds": adds}


def main() -> None:
    request: dict[str, Any] = json.load(sys.stdin)
    json.dump(OPERATIONS[request.pop("op")](**request), sys.stdout)


if __name__ == "__main__":
    main()
