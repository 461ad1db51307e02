"""The control door: operations by name with arguments by name, checked before anything looks at them.

Names are FreeBSD's ioctls, or what netlink does in their place. What a hostile client sends ends in KernelError: EINVAL
for an unknown operation or an argument that is missing, unknown or of the wrong type; ENXIO for an interface that is
not there; EPERM for whoever must not change anything.
"""

from __future__ import annotations

from ipsectools.errno import EINVAL, EPERM, KernelError
from ipsectools.kernel import modules, statistics
from ipsectools.kernel.addresses import inet, inet6, nd6
from ipsectools.kernel.interfaces import (
    all_kinds,  # noqa: F401  # registers them
    bridge,
    cloners,
    fib,
    generic,
    kinds,
    outbound,
    status,
    tunnel,
    vnet,
)
from ipsectools.kernel.operation import OPERATIONS, Operation, interface_of, on_interface
from ipsectools.kernel.sysctl import ACCEPT_UNCLAIMED, MARK_FIB, MARK_STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ipsectools.kernel.operation import Perform
    from ipsectools.kernel.state import KernelState


def perform(state: KernelState, op: object, args: object, privileged: bool) -> Any:
    """Checks and performs one operation. Raises KernelError.

    The order of checks is FreeBSD's: privilege, then the request, then the interface.
    """
    operation = OPERATIONS.get(op) if isinstance(op, str) else None
    if operation is None:
        raise KernelError(EINVAL)
    if operation.needs_privilege and not privileged:
        raise KernelError(EPERM)
    return operation.perform(state, operation.check(args))


def _create(state: KernelState, args: dict[str, Any]) -> str:
    number = args["fib"] or 0
    fib.check(state, number)
    return cloners.create(state, args["name"], number)


def _set_tunnel(family: str) -> Perform:
    def perform(state: KernelState, args: dict[str, Any]) -> None:
        tunnel.set_end_points(state, interface_of(state, args), family, args["src"], args["dst"])

    return perform


def _new_address(state: KernelState, args: dict[str, Any]) -> None:
    interface = interface_of(state, args)
    address, prefixlen, peer = args["address"], args["prefixlen"], args["peer"]
    if args["family"] == "inet":
        inet.add(state, interface, address, prefixlen, peer, args["broadcast"])
        return
    flags, pltime, vltime = args["flags"] or (), args["pltime"], args["vltime"]
    inet6.add(state, interface, address, prefixlen, peer, list(flags), pltime, vltime)


def _delete_address(state: KernelState, args: dict[str, Any]) -> None:
    module = inet if args["family"] == "inet" else inet6
    module.delete(state, interface_of(state, args), args["address"])


def _set_sysctl(state: KernelState, args: dict[str, Any]) -> list[int]:
    old, new = state.sysctl.set(args["name"], args["value"])
    if old != new:
        if new and args["name"] == ACCEPT_UNCLAIMED:
            state.host.check_injection()
        if args["name"] in (MARK_FIB, MARK_STATE):
            fib.change_marks(state)
        for name in state.sysctl.same(args["name"]):
            state.sysctl_changed(name)
    return [old, new]


OPERATIONS |= {
    "LISTIF": Operation(
        lambda state, args: status.list_interfaces(state, args["name"]), "name:text?", needs_privilege=False
    ),
    "SIOCIFGCLONERS": Operation(lambda _state, _args: kinds.names(), "", needs_privilege=False),
    "SIOCIFCREATE2": Operation(_create, "name:text fib:u32?"),
    "SIOCIFDESTROY": Operation(on_interface(cloners.destroy), "name:text"),
    "SIOCSIFFLAGS": Operation(on_interface(generic.set_flags, "set", "clear"), "name:text set:u32 clear:u32"),
    "SIOCSIFMTU": Operation(on_interface(generic.set_mtu, "value"), "name:text value:i32"),
    "SIOCSIFMETRIC": Operation(on_interface(generic.set_metric, "value"), "name:text value:i32"),
    "SIOCSIFNAME": Operation(on_interface(generic.set_name, "new"), "name:text new:text"),
    "SIOCSIFDESCR": Operation(on_interface(generic.set_description, "text"), "name:text text:text"),
    "SIOCSIFCAP": Operation(on_interface(generic.set_capabilities, "value"), "name:text value:u32"),
    "SIOCSIFLLADDR": Operation(on_interface(generic.set_link_address, "address"), "name:text address:text"),
    "SIOCAIFGROUP": Operation(on_interface(generic.join_group, "group"), "name:text group:text"),
    "SIOCDIFGROUP": Operation(on_interface(generic.leave_group, "group"), "name:text group:text"),
    "SIOCGIFGMEMB": Operation(
        lambda state, args: generic.find_members(state, args["group"]), "group:text", needs_privilege=False
    ),
    "SIOCSIFFIB": Operation(on_interface(generic.set_fib, "fib"), "name:text fib:u32"),
    "SIOCSTUNFIB": Operation(on_interface(generic.set_tunnel_fib, "fib"), "name:text fib:u32"),
    "SIOCSIFPHYADDR": Operation(_set_tunnel("inet"), "name:text src:text dst:text"),
    "SIOCSIFPHYADDR_IN6": Operation(_set_tunnel("inet6"), "name:text src:text dst:text"),
    "SIOCDIFPHYADDR": Operation(on_interface(tunnel.delete_end_points), "name:text"),
    "NEWADDR": Operation(
        _new_address,
        "name:text family:family address:text prefixlen:i32 peer:text? broadcast:text? flags:words?"
        " pltime:u32? vltime:u32?",
    ),
    "DELADDR": Operation(_delete_address, "name:text family:family address:text?"),
    "SIOCSIFINFO_IN6": Operation(on_interface(inet6.set_nd6_flags, "set", "clear"), "name:text set:u32 clear:u32"),
    "SIOCSDEFIFACE_IN6": Operation(lambda state, args: nd6.set_default(state, args["name"]), "name:text?"),
    "BRDGADD": Operation(on_interface(bridge.add, "member"), "name:text member:text"),
    "BRDGDEL": Operation(on_interface(bridge.delete, "member"), "name:text member:text"),
    "SIOCSIFVNET": Operation(on_interface(vnet.move, "vnet"), "name:text vnet:text"),
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
}
