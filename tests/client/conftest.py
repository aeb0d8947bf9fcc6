from collections.abc import Iterator

import pytest
from client_rig import Rig
from reactors import HeldThreads


@pytest.fixture
def rig(threads: HeldThreads) -> Iterator[Rig]:
    """Give a session without sockets; what a test leaves under way is given up when it is over."""
    rig = Rig(threads)
    yield rig
    rig.end()
