"""Commands at the same time: each does its work, nothing is lost."""

from __future__ import annotations

import os

import pytest

from ipsectools.lab.host import Host, Process, Result

pytestmark = pytest.mark.traffic
Pair = tuple[Host, Host]


def start(host: Host, *argv: str) -> tuple[Process, int]:
    """Starts a command; both its outputs go into the file that is returned."""
    output = os.memfd_create("output")
    with open(os.devnull, "rb") as nothing:
        return host.spawn(argv, nothing.fileno(), output, output), output


def finish(process: Process, output: int) -> Result:
    status = process.wait(60)
    text = os.pread(output, os.fstat(output).st_size, 0).decode()
    os.close(output)
    return Result(process.argv, status, text, "")


@pytest.mark.parametrize("live", [False, True], ids=["embedded", "served"])
def test_two_setkeys_of_a_thousand_sas_each(hosts: Pair, live: bool) -> None:
    a, _ = hosts
    if live:
        a.run("ifconfig", "ipsec0", "create")
    for half in (0, 1):
        statements = "".join(
            f"add 10.0.{half}.1 10.0.{half}.2 esp {1000 + half * 1000 + i} -m tunnel -u {1 + half} "
            f"-E aes-gcm-16 0x{i:040x};\n"
            for i in range(1000)
        )
        with open(a.path(f"/run/{half}.conf"), "w") as file:
            file.write(statements)
    results = [finish(*started) for started in [start(a, "setkey", "-f", f"/run/{half}.conf") for half in (0, 1)]]
    assert [(r.status, r.output) for r in results] == [(0, "")] * 2
    dump = a.run("setkey", "-D").output
    for half in (0, 1):
        assert dump.count(f"\n10.0.{half}.1 10.0.{half}.2\n") + dump.startswith(f"10.0.{half}.1") == 1000
    assert dump.count("spi=") == 2000


def test_fifty_parallel_creates(hosts: Pair) -> None:
    a, _ = hosts
    started = [start(a, "ifconfig", "ipsec", "create") for _ in range(50)]
    results = [finish(*one) for one in started]
    assert {r.status for r in results} == {0}
    wanted = {f"ipsec{number}" for number in range(50)}
    assert sorted(r.output for r in results) == sorted(f"{name}\n" for name in wanted)
    listed = a.run("ifconfig", "-l").output.split()
    assert {name for name in listed if name.startswith("ipsec")} == wanted
