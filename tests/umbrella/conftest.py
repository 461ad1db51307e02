from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.daemon.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[State]:
    """A simulated host."""
    state = State(tmp_path / "state")
    yield state
    state.close()
