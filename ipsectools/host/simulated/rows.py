"""The links and addresses of a simulated machine as rows of the kernel's state file."""

from __future__ import annotations

from ipsectools.host.api import Address
from ipsectools.host.simulated.links import kind_of, new_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.host.api import Link

    Row = tuple[int | str | bytes | float | None, ...]

LINK, ADDRESS = "simulated_link", "simulated_address"

TABLES = {
    LINK: (
        "ifindex INTEGER",
        "name TEXT NOT NULL",
        "kind TEXT NOT NULL",
        "flags INTEGER NOT NULL",
        "mtu INTEGER NOT NULL",
        "lladdr TEXT",
        "alias TEXT NOT NULL",
        "master INTEGER",
        "peer INTEGER",
    ),
    ADDRESS: (
        "id INTEGER",
        "ifindex INTEGER NOT NULL",
        "family TEXT NOT NULL",
        "address TEXT NOT NULL",
        "prefixlen INTEGER NOT NULL",
        "peer TEXT",
        "broadcast TEXT",
        "flags TEXT NOT NULL",
        "preferred INTEGER",
        "valid INTEGER",
    ),
}


def row_of_link(link: Link, peer: int | None) -> Row:
    """`peer`: the index of the other end of an epair."""
    kind = kind_of(link)
    return (link.index, link.name, kind, link.flags, link.mtu, link.lladdr, link.alias, link.master, peer)


def link_of_row(row: Row) -> tuple[Link, int | None]:
    """The link, and its peer's index."""
    index, name, kind, flags, mtu, lladdr, alias, master, peer = row
    assert isinstance(index, int) and isinstance(name, str) and isinstance(kind, str)
    assert isinstance(flags, int) and isinstance(mtu, int) and isinstance(alias, str)
    link = new_link(index, name, kind)
    link.flags, link.mtu, link.alias = flags, mtu, alias
    link.lladdr = lladdr if isinstance(lladdr, str) else None
    link.master = master if isinstance(master, int) else None
    return link, peer if isinstance(peer, int) else None


def row_of_address(number: int, address: Address) -> Row:
    """`number` is the address's place in the order of addition."""
    return (
        number,
        address.index,
        address.family,
        address.address,
        address.prefixlen,
        address.peer,
        address.broadcast,
        " ".join(address.flags),
        address.preferred,
        address.valid,
    )


def address_of_row(row: Row) -> tuple[int, Address]:
    """The number and the address."""
    number, index, family, text, prefixlen, peer, broadcast, flags, preferred, valid = row
    assert isinstance(number, int) and isinstance(index, int) and isinstance(prefixlen, int)
    assert isinstance(family, str) and isinstance(text, str) and isinstance(flags, str)
    return number, Address(
        index,
        family,
        text,
        prefixlen,
        peer=peer if isinstance(peer, str) else None,
        broadcast=broadcast if isinstance(broadcast, str) else None,
        flags=tuple(flags.split()),
        preferred=preferred if isinstance(preferred, int) else None,
        valid=valid if isinstance(valid, int) else None,
    )
