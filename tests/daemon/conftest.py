import pytest

from .fake import Served


@pytest.fixture
def served(tmp_path):
    """A FakeKernel behind ipsecd's sockets."""
    running = Served(tmp_path)
    yield running
    running.close()
