"""Changes links, addresses and rules, with pyroute2. Only ipsecd comes here: the import takes longer than a command."""

from __future__ import annotations

import contextlib
import errno as host_errno
import os
import socket

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ipsectools.errno import EINVAL, ENXIO, KernelError, from_host
from ipsectools.host.linux import tun
from ipsectools.host.linux.namespaces import open_namespace
from ipsectools.host.linux.rtnetlink import FIB_PRIORITY, LOOPBACK_GROUP, linux_name
from ipsectools.host.marks import fib_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from ipsectools.host.api import Address
    from ipsectools.host.marks import Marks

    _Rule = tuple[int, int | None, int | None, str | None, int | None]
    """Priority, mark and its mask, link, table (None: unreachable)."""

_IFF_NOARP, _IFF_PROMISC, _IFF_ALLMULTI = 0x80, 0x100, 0x200
_ADDRESS_GENERATION_NONE = 1
_FOREVER = 0xFFFFFFFF

_UNREACHABLE = 7  # FR_ACT_UNREACHABLE
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Makes KernelErrors of what Linux answers. A device that is not there is ENXIO on FreeBSD."""
    try:
        yield
    except NetlinkError as error:
        raise KernelError(_number(error.code)) from None
    except OSError as error:
        raise KernelError(_number(error.errno or 0)) from None


def _number(linux: int) -> int:
    if linux == host_errno.ERANGE:  # of an attribute that is too long
        return EINVAL
    return ENXIO if linux == host_errno.ENODEV else from_host(linux)


class Changes:
    """Fulfils the changing half of `host.api.Host`. Every method raises KernelError."""

    def __init__(self) -> None:
        with _errors():
            self._route = IPRoute()

    def close(self) -> None:
        self._route.close()

    # devices

    def create_tun(self, name: str, mtu: int | None, index: int | None) -> None:
        """A persistent TUN device, with a wanted index if that is free."""
        with _errors():
            try:
                tun.create(name, index)
            except OSError as error:
                # EBUSY: the name is taken, or (with another index) only the index.
                if error.errno != host_errno.EBUSY or index is None:
                    raise
                tun.create(name, None)
            self._give_no_addresses(name, **({} if mtu is None else {"mtu": mtu}))

    def leave_addresses_alone(self, index: int) -> None:
        """Of a device that came from another namespace, where it lost its settings."""
        with _errors():
            self._give_no_addresses(socket.if_indextoname(index))

    def _give_no_addresses(self, name: str, **request: Any) -> None:
        """Linux neither gives a device of ours a link-local address, nor takes away what was given."""
        self._route.link(
            "set",
            index=socket.if_nametoindex(name),
            IFLA_AF_SPEC={"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)]})]},
            **request,
        )
        # `ifconfig down` must not cost an interface its addresses, as it does on Linux for IPv6.
        with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv6/conf/{name}/keep_addr_on_down", "w") as file:
            file.write("1")

    def create_link(self, name: str, kind: str, peer: str | None, index: int | None) -> None:
        """A device of kind lo, bridge, tun or veth. The index is a wish."""
        if kind == "tun":
            self.create_tun(name, None, index)
            return
        if kind not in ("lo", "bridge", "veth") or (kind == "veth") != (peer is not None):
            raise KernelError(EINVAL)
        request: dict[str, Any] = {"ifname": name, "kind": "dummy" if kind == "lo" else kind}
        if peer is not None:
            request["peer"] = peer
        with _errors():
            try:
                self._add_link(request, index)
            except NetlinkError as error:
                if kind != "lo" or error.code != host_errno.EOPNOTSUPP:
                    raise
                self.create_tun(name, None, index)  # a Linux without dummy devices; nothing ever reads this one
            for each in (name, *([] if peer is None else [peer])):
                self._give_no_addresses(each)
            if kind == "lo":
                self._route.link("set", index=socket.if_nametoindex(name), group=LOOPBACK_GROUP)

    def _add_link(self, request: dict[str, Any], index: int | None) -> None:
        if index is not None:
            try:
                self._route.link("add", index=index, **request)
                return
            except NetlinkError as error:
                if error.code not in (host_errno.EBUSY, host_errno.EEXIST):
                    raise
        self._route.link("add", **request)

    def destroy(self, index: int) -> None:
        with _errors():
            self._route.link("del", index=index)

    def set_link(
        self,
        index: int,
        *,
        up: bool | None,
        mtu: int | None,
        name: str | None,
        alias: str | None,
        promisc: bool | None,
        allmulti: bool | None,
        arp: bool | None,
        lladdr: str | None,
    ) -> None:
        flags = mask = 0
        for bit, wanted in ((_IFF_PROMISC, promisc), (_IFF_ALLMULTI, allmulti), (_IFF_NOARP, arp)):
            if wanted is not None:
                mask |= bit
                flags |= bit if wanted != (bit == _IFF_NOARP) else 0
        request: dict[str, Any] = {}
        if up is not None:
            request["state"] = "up" if up else "down"
        if mtu is not None:
            request["mtu"] = mtu
        if name is not None:
            request["ifname"] = linux_name(name)
        if alias is not None:
            request["ifalias"] = alias
        if lladdr is not None:
            request["address"] = lladdr
        with _errors():
            if mask:
                self._route.link("set", index=index, flags=flags, mask=mask)
            if request:
                self._route.link("set", index=index, **request)

    def set_master(self, index: int, bridge: int | None) -> None:
        with _errors():
            self._route.link("set", index=index, master=bridge or 0)

    def move_link(self, index: int, vnet: str) -> None:
        namespace = open_namespace(vnet)
        try:
            with _errors():
                self._route.link("set", index=index, net_ns_fd=namespace)
        finally:
            os.close(namespace)

    # addresses

    def add_address(self, address: Address) -> None:
        """Adds it, or gives the one that is there new lifetimes."""
        request = _address(address)
        if address.broadcast is not None:
            request["broadcast"] = address.broadcast
        if address.family == "inet6" and "nodad" in address.flags:
            request["flags"] = 0x02
        if address.preferred is not None or address.valid is not None or "deprecated" in address.flags:
            valid = _FOREVER if address.valid is None else address.valid
            preferred = _FOREVER if address.preferred is None else address.preferred
            request["valid"] = valid
            request["preferred"] = 0 if "deprecated" in address.flags else min(preferred, valid)
        with _errors():
            self._route.addr("replace", **request)

    def delete_address(self, address: Address, others: Callable[[], list[Address]]) -> None:
        """Deletes it. Linux may delete further IPv4 addresses of its prefix: those come back.

        `others` tells the link's addresses as they are at the moment.
        """
        before = others() if address.family == "inet" else []
        with _errors():
            self._route.addr("delete", **_address(address))
        if not before:
            return
        left = {other.address for other in others()}
        for other in before:
            if other.family == "inet" and other.address != address.address and other.address not in left:
                self.add_address(other)

    # FIBs

    def set_receive_fib(self, name: str, fib: int) -> None:
        """Packets received on the link are routed by table `fib` (0: as all others) from now on."""
        self._set_rules(
            lambda rule: rule.get_attr("FRA_IIFNAME") == name, [{"iifname": name, "table": fib}] if fib else []
        )

    def set_send_fibs(self, fibs: Collection[int], marks: Marks) -> None:
        """Packets that bear the mark of FIB N are routed by table N, and by no other."""
        self._set_rules(
            _is_of_a_fib,
            [{"fwmark": marks.of_fib(fib), "fwmask": marks.fib_mask, "table": fib} for fib in sorted(fibs)],
        )

    def _set_rules(self, is_old: Callable[[Any], bool], wanted: list[dict[str, Any]]) -> None:
        rules: dict[_Rule, dict[str, Any]] = {}
        for new in wanted:
            selector = {key: value for key, value in new.items() if key != "table"}
            place = new.get("fwmark"), new.get("fwmask"), new.get("iifname")
            rules[FIB_PRIORITY, *place, new["table"]] = {"priority": FIB_PRIORITY, **new}
            # Without this, what a FIB has no route for would take the main table's.
            last = {"priority": FIB_PRIORITY + 1, "action": "FR_ACT_UNREACHABLE", **selector}
            rules[FIB_PRIORITY + 1, *place, None] = last
        with _errors():
            for family in _FAMILIES:
                there = set()
                for rule in list(self._route.get_rules(family=family)):
                    priority = rule.get_attr("FRA_PRIORITY")
                    if priority not in (FIB_PRIORITY, FIB_PRIORITY + 1) or not is_old(rule):
                        continue
                    found = _as_wanted(rule)
                    if found in rules and found not in there:
                        there.add(found)
                    else:
                        self._delete_rule(family, rule)
                for wish, request in rules.items():
                    if wish not in there:
                        self._route.rule("add", family=family, **request)

    def _delete_rule(self, family: int, rule: Any) -> None:
        request = {"family": family, "priority": rule.get_attr("FRA_PRIORITY"), "action": rule["action"]}
        for attribute, key in (
            ("FRA_FWMARK", "fwmark"),
            ("FRA_FWMASK", "fwmask"),
            ("FRA_IIFNAME", "iifname"),
            ("FRA_TABLE", "table"),
        ):
            value = rule.get_attr(attribute)
            if value is not None:
                request[key] = value
        self._route.rule("del", **request)


def _as_wanted(rule: Any) -> _Rule:
    mark = rule.get_attr("FRA_FWMARK")
    mask = None if mark is None else rule.get_attr("FRA_FWMASK")
    table = None if rule["action"] == _UNREACHABLE else rule.get_attr("FRA_TABLE")
    return rule.get_attr("FRA_PRIORITY"), mark, mask, rule.get_attr("FRA_IIFNAME"), table


def _is_of_a_fib(rule: Any) -> bool:
    """Whether a rule at a priority of ours is of `set_send_fibs`, with whatever mask: earlier releases had none."""
    mark = rule.get_attr("FRA_FWMARK")
    if mark is None:
        return False
    if rule.get_attr("FRA_PRIORITY") == FIB_PRIORITY:
        return bool(fib_in(mark, rule.get_attr("FRA_FWMASK") or 0xFFFFFFFF) == rule.get_attr("FRA_TABLE"))
    return bool(rule["action"] == _UNREACHABLE)


def _address(address: Address) -> dict[str, Any]:
    request: dict[str, Any] = {
        "index": address.index,
        "family": socket.AF_INET if address.family == "inet" else socket.AF_INET6,
        "prefixlen": address.prefixlen,
    }
    if address.peer is not None:
        request["local"] = address.address
        request["address"] = address.peer
    else:
        request["address"] = address.address
        if address.family == "inet":
            request["local"] = address.address
    return request
