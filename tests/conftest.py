"""What every test may rely on: the mark needs_root, and what becomes of a test that bears it."""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from reactors import HeldThreads


def pytest_configure() -> None:
    """Heed signals as usual: behind ``nohup`` or ``&`` a program and all that it starts are deaf to some."""
    for number, action in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``needs_root("strace", ...)`` without root or without one of the programs."""
    for mark in item.iter_markers("needs_root"):
        if os.geteuid() != 0:
            pytest.skip("needs root")
        for program in mark.args:
            if shutil.which(program) is None:
                pytest.skip(f"needs the program {program}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set nothing may be missing: there a skipped needs_root test has failed."""
    report = yield
    if report.skipped and item.get_closest_marker("needs_root") and os.environ.get("CI"):
        report.outcome = "failed"
    return report


def pytest_sessionstart() -> None:
    """Raise the limit on open files, as the daemon does: the deepest paths take a descriptor for each component."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="session", autouse=True)
def nobody_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep ft-client from the settings, and from the memory, of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("CONFIG", "STATE", "CACHE"):
            patch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
        yield


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> HeldThreads:
    """Hold what is handed to the reactor's threads until the test says ``threads.run()``."""
    from twisted.internet import reactor

    held = HeldThreads()
    monkeypatch.setattr(reactor, "getThreadPool", lambda: held)
    monkeypatch.setattr(reactor, "callFromThread", lambda act, *rest: act(*rest))
    return held


def pytest_sessionfinish() -> None:
    """End the reactor's threads: Python would wait for them for ever."""
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        reactor.fireSystemEvent("shutdown")  # type: ignore[attr-defined]
