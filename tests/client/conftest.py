from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_rig import Rig
from reactors import HeldThreads
from twisted.internet.defer import Deferred, maybeDeferred

from filetransfer.bodies import digesting


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what a client remembers out of the tester's home."""
    home = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@pytest.fixture
def rig(threads: HeldThreads) -> Iterator[Rig]:
    """Give a session without sockets; what a test leaves under way is given up when it is over."""
    rig = Rig(threads)
    yield rig
    rig.end()


class _NoMovers:
    """Stands in for the movers' threads: does at once what it is given."""

    def run(self, reactor: object, act: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(act, *args)


@pytest.fixture
def rig_2(threads: HeldThreads, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """As ``rig``, with a session that prefers version 2."""
    monkeypatch.setattr(digesting, "movers", _NoMovers())
    rig = Rig(threads, (1, 2))
    yield rig
    rig.end()
