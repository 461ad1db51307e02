"""Hosts with a faulty link between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsectools.lab.faults import FaultyLink, faulty_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.lab.host import Host


@pytest.fixture
def faulty() -> Iterator[tuple[Host, Host, FaultyLink]]:
    """Hosts A and B as in `hosts`, and the link between them."""
    with faulty_hosts() as scene:
        yield scene
