import pytest

from .fake import Served
from .state import State


@pytest.fixture
def served(tmp_path):
    """A FakeKernel behind ipsecd's sockets."""
    running = Served(tmp_path)
    yield running
    running.close()


@pytest.fixture
def state(tmp_path):
    """A simulated host."""
    host = State(tmp_path / "state")
    yield host
    host.close()
