"""ifconfig in the test's own process: on a simulated host, or on a door that fails as told."""

from __future__ import annotations

import contextlib
import io
import shlex
from typing import Any, NamedTuple

from ipsectools.commands.ifconfig import context as context_module
from ipsectools.commands.ifconfig.main import main
from ipsectools.errno import ENXIO, KernelError


class Result(NamedTuple):
    """What a command gave."""

    status: int
    out: str
    err: str


def ok(out: str = "") -> Result:
    """Success, silent on stderr."""
    return Result(0, out, "")


def warned(*lines: str, out: str = "") -> Result:
    """Success with complaints."""
    return Result(0, out, "".join(f"ifconfig: {line}\n" for line in lines))


def failed(*lines: str, out: str = "") -> Result:
    """Status 1 with complaints."""
    return Result(1, out, "".join(f"ifconfig: {line}\n" for line in lines))


def run(command: str | list[str]) -> Result:
    """Runs `ifconfig ...`, given as a shell would read it or as a list of arguments."""
    arguments = shlex.split(command) if isinstance(command, str) else ["ifconfig", *command]
    assert arguments[0] == "ifconfig"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments[1:])
    return Result(status, out.getvalue(), err.getvalue())


def interface(name: str = "ipsec0", **changes: Any) -> dict[str, Any]:
    """An interface dict as the kernel's LISTIF gives it; by default an ipsec interface just created."""
    return {
        "name": name,
        "index": 3,
        "flags": 0x8010,
        "mtu": 1400,
        "metric": 0,
        "description": "",
        "options": 0,
        "capabilities": 0,
        "iftype": "tunnel",
        "lladdr": None,
        "groups": ["all", "ipsec"],
        "tunnel": None,
        "reqid": 0,
        "fib": 0,
        "tunnelfib": 0,
        "nd6": 0x29,
        "inet": [],
        "inet6": [],
        "media": None,
        "status": None,
        "drivername": name,
        "statistics": dict.fromkeys(("ipackets", "ibytes", "ierrors", "opackets", "obytes", "oerrors"), 0),
        "cloner": "ipsec",
        **changes,
    }


ETHERNET = interface(
    "em0",
    index=1,
    flags=0x1008843,
    mtu=1500,
    iftype="ether",
    lladdr="52:54:00:12:34:56",
    groups=["all"],
    reqid=None,
    media="Ethernet autoselect (1000baseT <full-duplex>)",
    status="active",
    cloner=None,
)


class FakeDoor:
    """A control door that remembers what it was asked, fails as it was told, and lists fixed interfaces."""

    def __init__(self, *interfaces: dict[str, Any]) -> None:
        self.interfaces = list(interfaces)
        self.errors: dict[str, KernelError] = {}
        self.values: dict[str, Any] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, op: str, **arguments: Any) -> Any:
        if op in self.errors:
            raise self.errors[op]
        if op == "LISTIF":
            if "name" not in arguments:
                return self.interfaces
            found = [each for each in self.interfaces if each["name"] == arguments["name"]]
            if not found:
                raise KernelError(ENXIO)
            return found
        self.calls.append((op, arguments))
        return self.values.get(op, arguments.get("name"))

    def close(self) -> None:
        pass

    def asked(self, op: str) -> list[dict[str, Any]]:
        """The arguments of each call of an operation."""
        return [arguments for called, arguments in self.calls if called == op]


def install(monkeypatch: Any, door: FakeDoor) -> FakeDoor:
    """Lets ifconfig talk to the door instead of a kernel."""
    monkeypatch.setattr(context_module, "open_door", lambda: door)
    return door
