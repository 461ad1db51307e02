"""A host that behaves as Linux does: it remembers by itself and outlives kernels; its calls can be made to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipsectools.errno import EACCES, ENXIO, KernelError
from ipsectools.host.simulated.host import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsectools.host.api import Address, Route

CHANGES = (
    "create_tun",
    "create_link",
    "destroy_link",
    "set_link",
    "set_master",
    "add_address",
    "delete_address",
    "set_receive_fib",
    "set_send_fibs",
    "set_neighbor_discovery",
    "move_link",
    "fetch_link",
)


class LinuxLike(SimulatedHost):
    """`fail_at` n lets the n-th change from now on fail with `errno`, once."""

    live = True
    tables: Any = {}  # noqa: RUF012 (as in the protocol)

    def __init__(self) -> None:
        self.fail_at = 0
        self.errno = ENXIO
        self.calls: list[str] = []
        self.receive_fibs: dict[int, int] = {}
        self.send_fibs: set[int] = set()
        self.host_routes: set[tuple[str, int]] = set()
        self.vnets: dict[tuple[str, str], Any] = {}
        self.withdrawn: set[tuple[int, str]] = set()
        self.ipv6 = True
        self.listener: Callable[[], None] | None = None
        super().__init__()

    def load(self, rows: Any) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CHANGES:
            return found

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            self.fail_at -= 1
            if self.fail_at == 0:
                raise KernelError(self.errno)
            return found(*args, **options)

        return call

    def refuse_ipv6(self, index: int) -> None:
        """Linux takes IPv6 away from a link, with all addresses (disable_ipv6, an MTU below 1280)."""
        for address in self.addresses():
            if address.index == index and address.family == "inet6":
                super().delete_address(address)
                self.withdrawn.add((index, address.address))
        for route in self.routing.routes([index]):
            if route.family == "inet6":
                self.routing.delete(route)
        self.ipv6 = False

    def allow_ipv6(self) -> None:
        self.ipv6 = True

    def add_address(self, address: Address) -> None:
        if address.family == "inet6" and not self.ipv6:
            raise KernelError(EACCES)
        super().add_address(address)

    def add_route(self, route: Route, *, beside: bool = False) -> None:
        if route.family == "inet6" and not self.ipv6:
            raise KernelError(EACCES)
        super().add_route(route, beside=beside)

    def withdrawn_addresses(self) -> set[tuple[int, str]]:
        withdrawn, self.withdrawn = self.withdrawn, set()
        return withdrawn

    def has_host_route(self, destination: str, mark: int) -> bool:
        return (destination, mark >> 16) in self.host_routes

    def set_receive_fib(self, index: int, fib: int) -> None:
        super().set_receive_fib(index, fib)
        self.receive_fibs[index] = fib

    def set_send_fibs(self, fibs: Any, marks: Any) -> None:
        self.send_fibs = set(fibs)

    def forget_receive_fib(self, index: int, name: str) -> None:
        self.receive_fibs.pop(index, None)

    def move_link(self, index: int, vnet: str) -> None:
        if vnet != "blue":
            raise KernelError(ENXIO)
        self.vnets[vnet, self.link(index).name] = self.link(index)  # type: ignore[union-attr]
        super().destroy_link(index)

    def fetch_link(self, name: str, vnet: str) -> int:
        link = self.vnets.pop((vnet, name), None)
        if link is None:
            raise KernelError(ENXIO)
        return super().create_tun(name, link.mtu, link.index)

    def state(self) -> Any:
        """All that can be seen of the host; addresses without their order within a family."""
        links = [
            (link.index, link.name, link.flags, link.mtu, link.alias, link.lladdr, link.master)
            for link in sorted(self.links(), key=lambda link: link.index)
        ]
        addresses = sorted(
            (each.index, each.family, each.address, each.prefixlen, each.peer or "", each.broadcast or "")
            for each in self.addresses()
        )
        return links, addresses, {index: fib for index, fib in self.receive_fibs.items() if fib}
