from collections.abc import Iterator

import pytest
from doubles import Log, Rig
from reactors import HeldThreads
from twisted.logger import globalLogPublisher


@pytest.fixture
def log() -> Iterator[Log]:
    """Collect what is logged."""
    observer = Log()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def rig(threads: HeldThreads) -> Rig:
    """Give a server in memory."""
    return Rig(threads)
