"""The control door: operations by name with arguments by name, checked before anything looks at them.

Names are FreeBSD's ioctls, or what netlink does in their place. What a hostile client sends ends in KernelError: EINVAL
for an unknown operation or an argument that is missing, unknown or of the wrong type; ENXIO for an interface that is
not there; EPERM for whoever must not change anything.
"""

from __future__ import annotations

from ipsectools.errno import EINVAL, ENXIO, EPERM, KernelError
from ipsectools.kernel import modules, statistics
from ipsectools.kernel.addresses import inet, inet6, nd6
from ipsectools.kernel.interfaces import bridge, cloners, generic, if_ipsec, outbound, status, vnet
from ipsectools.kernel.sysctl import ACCEPT_UNCLAIMED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

    Check = Callable[[Any], bool]
    Perform = Callable[[KernelState, dict[str, Any]], Any]


def perform(state: KernelState, op: object, args: object, privileged: bool) -> Any:
    """Checks and performs one operation. Raises KernelError."""
    operation = OPERATIONS.get(op) if isinstance(op, str) else None
    if operation is None:
        raise KernelError(EINVAL)
    if operation.needs_privilege and not privileged:
        raise KernelError(EPERM)
    return operation.perform(state, operation.check(args))


class Operation:
    """One row of the table: what it does and which arguments it takes; a `?` marks one that may be absent or None."""

    __slots__ = ("_checks", "_optional", "needs_privilege", "perform")

    def __init__(self, perform: Perform, arguments: str, *, needs_privilege: bool = True) -> None:
        self.perform = perform
        self.needs_privilege = needs_privilege
        self._checks: dict[str, Check] = {}
        self._optional: set[str] = set()
        for word in arguments.split():
            name, _, kind = word.partition(":")
            if kind.endswith("?"):
                self._optional.add(name)
            self._checks[name] = CHECKS[kind.rstrip("?")]

    def check(self, args: object) -> dict[str, Any]:
        """The arguments, complete: absent ones are None. EINVAL."""
        if not isinstance(args, dict) or not args.keys() <= self._checks.keys():
            raise KernelError(EINVAL)
        checked: dict[str, Any] = {}
        for name, check in self._checks.items():
            value = args.get(name)
            if value is None and name in self._optional:
                checked[name] = None
            elif check(value):
                checked[name] = value
            else:
                raise KernelError(EINVAL)
        return checked


def _is_text(value: Any) -> bool:
    """A text that a C program could give. How long it may be is checked where it belongs."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        # Arguments that are not UTF-8 come as Python has them, with lone surrogates of one kind.
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_within(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _are_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= 16 and all(map(_is_text, value))


CHECKS: dict[str, Check] = {
    "text": _is_text,
    "i32": _is_within(-(1 << 31), (1 << 31) - 1),
    "u32": _is_within(0, (1 << 32) - 1),
    "words": _are_words,
    "family": lambda value: value in ("inet", "inet6") if isinstance(value, str) else False,
    "value": lambda value: _is_text(value) or _is_within(-(1 << 63), (1 << 64) - 1)(value),
}


def _interface(state: KernelState, args: dict[str, Any]) -> Interface:
    interface = state.interfaces.by_name(args["name"])
    if interface is None:
        raise KernelError(ENXIO)
    return interface


def _on_interface(function: Callable[..., None], *names: str) -> Perform:
    """An operation on the interface `name`, with these arguments."""

    def perform(state: KernelState, args: dict[str, Any]) -> None:
        function(state, _interface(state, args), *(args[name] for name in names))

    return perform


def _create(state: KernelState, args: dict[str, Any]) -> str:
    fib = args["fib"] or 0
    generic.check_fib(state, fib)
    return cloners.create(state, args["name"], fib)


def _set_tunnel(family: str) -> Perform:
    def perform(state: KernelState, args: dict[str, Any]) -> None:
        if_ipsec.set_tunnel(state, _interface(state, args), family, args["src"], args["dst"])

    return perform


def _new_address(state: KernelState, args: dict[str, Any]) -> None:
    interface = _interface(state, args)
    address, prefixlen, peer = args["address"], args["prefixlen"], args["peer"]
    if args["family"] == "inet":
        inet.add(state, interface, address, prefixlen, peer, args["broadcast"])
        return
    flags, pltime, vltime = args["flags"] or (), args["pltime"], args["vltime"]
    inet6.add(state, interface, address, prefixlen, peer, list(flags), pltime, vltime)


def _delete_address(state: KernelState, args: dict[str, Any]) -> None:
    module = inet if args["family"] == "inet" else inet6
    module.delete(state, _interface(state, args), args["address"])


def _set_sysctl(state: KernelState, args: dict[str, Any]) -> list[int]:
    old, new = state.sysctl.set(args["name"], args["value"])
    if old != new:
        if new and args["name"] == ACCEPT_UNCLAIMED:
            state.host.check_injection()
        for name in state.sysctl.same(args["name"]):
            state.sysctl_changed(name)
    return [old, new]


OPERATIONS = {
    "LISTIF": Operation(
        lambda state, args: status.list_interfaces(state, args["name"]), "name:text?", needs_privilege=False
    ),
    "SIOCIFGCLONERS": Operation(lambda _state, _args: cloners.names(), "", needs_privilege=False),
    "SIOCIFCREATE2": Operation(_create, "name:text fib:u32?"),
    "SIOCIFDESTROY": Operation(_on_interface(cloners.destroy), "name:text"),
    "SIOCSIFFLAGS": Operation(_on_interface(generic.set_flags, "set", "clear"), "name:text set:u32 clear:u32"),
    "SIOCSIFMTU": Operation(_on_interface(generic.set_mtu, "value"), "name:text value:i32"),
    "SIOCSIFMETRIC": Operation(_on_interface(generic.set_metric, "value"), "name:text value:i32"),
    "SIOCSIFNAME": Operation(_on_interface(generic.set_name, "new"), "name:text new:text"),
    "SIOCSIFDESCR": Operation(_on_interface(generic.set_description, "text"), "name:text text:text"),
    "SIOCSIFCAP": Operation(_on_interface(generic.set_capabilities, "value"), "name:text value:u32"),
    "SIOCSIFLLADDR": Operation(_on_interface(generic.set_link_address, "address"), "name:text address:text"),
    "SIOCAIFGROUP": Operation(_on_interface(generic.join_group, "group"), "name:text group:text"),
    "SIOCDIFGROUP": Operation(_on_interface(generic.leave_group, "group"), "name:text group:text"),
    "SIOCGIFGMEMB": Operation(
        lambda state, args: generic.find_members(state, args["group"]), "group:text", needs_privilege=False
    ),
    "SIOCSIFFIB": Operation(_on_interface(generic.set_fib, "fib"), "name:text fib:u32"),
    "SIOCSTUNFIB": Operation(_on_interface(generic.set_tunnel_fib, "fib"), "name:text fib:u32"),
    "SIOCSIFPHYADDR": Operation(_set_tunnel("inet"), "name:text src:text dst:text"),
    "SIOCSIFPHYADDR_IN6": Operation(_set_tunnel("inet6"), "name:text src:text dst:text"),
    "SIOCDIFPHYADDR": Operation(_on_interface(if_ipsec.delete_tunnel), "name:text"),
    "IPSECSREQID": Operation(_on_interface(if_ipsec.set_reqid, "reqid"), "name:text reqid:u32"),
    "NEWADDR": Operation(
        _new_address,
        "name:text family:family address:text prefixlen:i32 peer:text? broadcast:text? flags:words?"
        " pltime:u32? vltime:u32?",
    ),
    "DELADDR": Operation(_delete_address, "name:text family:family address:text?"),
    "SIOCSIFINFO_IN6": Operation(_on_interface(inet6.set_nd6_flags, "set", "clear"), "name:text set:u32 clear:u32"),
    "SIOCSDEFIFACE_IN6": Operation(lambda state, args: nd6.set_default(state, args["name"]), "name:text?"),
    "BRDGADD": Operation(_on_interface(bridge.add, "member"), "name:text member:text"),
    "BRDGDEL": Operation(_on_interface(bridge.delete, "member"), "name:text member:text"),
    "SIOCSIFVNET": Operation(_on_interface(vnet.move, "vnet"), "name:text vnet:text"),
    "SIOCSIFRVNET": Operation(
        lambda state, args: vnet.reclaim(state, args["name"], args["vnet"]), "name:text vnet:text"
    ),
    "SYSCTLLIST": Operation(lambda state, _args: state.sysctl.all(), "", needs_privilege=False),
    "SYSCTLGET": Operation(lambda state, args: state.sysctl.get(args["name"]), "name:text", needs_privilege=False),
    "SYSCTLSET": Operation(_set_sysctl, "name:text value:value"),
    "KLDSTAT": Operation(lambda state, _args: modules.loaded(state), "", needs_privilege=False),
    "KLDLOAD": Operation(lambda state, args: modules.load(state, args["file"]), "file:text"),
    "KLDUNLOAD": Operation(lambda state, args: modules.unload(state, args["file"]), "file:text"),
    "STATISTICS": Operation(lambda state, _args: statistics.read(state), "", needs_privilege=False),
    "SHAREDKEYS": Operation(lambda state, _args: outbound.shared_keys(state), ""),
    "OUTBOUND": Operation(
        lambda state, args: outbound.read(state, _interface(state, args)), "name:text", needs_privilege=False
    ),
}
"""All operations. The order of checks is FreeBSD's: privilege, then the request, then the interface."""
