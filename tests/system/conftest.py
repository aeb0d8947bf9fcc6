"""Daemons for the tests: one for all of them, others with options of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from running import Daemon

StartDaemon = Callable[..., Daemon]


@pytest.fixture(scope="session")
def start_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartDaemon]:
    """Start a daemon with options; one that was started with the same options is given again."""
    running: dict[tuple[str, ...], Daemon] = {}
    with ExitStack() as stack:

        def start(*options: str) -> Daemon:
            if options not in running or not running[options].is_running:
                directory = tmp_path_factory.mktemp("daemon")
                running[options] = stack.enter_context(Daemon(directory, *options))
            return running[options]

        yield start


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Iterator[Daemon]:
    """Give a daemon with an empty root, which has not logged a bug when the test is over."""
    daemon = start_daemon()
    daemon.clear_root()
    before = len(daemon.log)
    yield daemon
    assert daemon.is_running, daemon.log
    assert "Traceback" not in daemon.log[before:], daemon.log[before:]
