"""The process that the daemon is: its clock, its descriptors, and what it tells whoever started it."""

import os
import re
import resource
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import HELP, HELP_REPLY, Log
from twistds import DEADLINE_SECONDS, ask, run_daemon

from filetransfer.server.notify import Notifier
from filetransfer.server.process import raise_descriptor_limit
from filetransfer.server.signals import Signals


@pytest.fixture
def descriptor_limits() -> Iterator[tuple[int, int]]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_descriptors(descriptor_limits: tuple[int, int]) -> None:
    _, hard = descriptor_limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    assert raise_descriptor_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert raise_descriptor_limit() == hard


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Give the socket of somebody who wants to be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(DEADLINE_SECONDS)
        yield listening


def hear(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().splitlines()


def test_tells_its_states(service_manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": service_manager.getsockname()})
    notifier.tell_ready()
    assert hear(service_manager)[0] == "READY=1"
    notifier.tell_reloading()
    reloading, since = hear(service_manager)
    assert reloading == "RELOADING=1"
    assert re.fullmatch("MONOTONIC_USEC=[0-9]+", since)
    notifier.tell_alive()
    assert hear(service_manager) == ["WATCHDOG=1"]
    notifier.tell_stopping("for lunch")
    assert hear(service_manager) == ["STOPPING=1", "STATUS=for lunch"]
    notifier.close()
    notifier.close()
    notifier.tell_ready()


def test_tells_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        # The kernel picks one.
        listening.bind("")
        name = listening.getsockname()
        assert name[:1] == b"\0"
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name[1:].decode()})
        notifier.tell_alive()
        assert hear(listening) == ["WATCHDOG=1"]
        notifier.close()


@pytest.mark.parametrize("address", ["", "nonsense", "/no/such/socket", "@"])
def test_tells_nobody(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notifier.tell_ready()
    assert notifier.watchdog_seconds is None


def test_whoever_does_not_listen_is_not_waited_for(service_manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": service_manager.getsockname()})
    for _ in range(10_000):
        notifier.tell_alive()
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog(
    service_manager: socket.socket, variables: dict[str, str], seconds: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": service_manager.getsockname()} | variables)
    assert notifier.watchdog_seconds == seconds
    notifier.close()


class Direct:
    """A reactor that is always in its own thread."""

    def callFromThread(self, act) -> None:  # type: ignore[no-untyped-def]  # noqa: N802
        act()


def test_signals_are_told_to_whoever_asked_and_given_back(log: Log) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    told: list[str] = []
    signals = Signals(Direct(), lambda: told.append("end"))
    signals.on_reload(lambda: 1 // 0)
    signals.on_reload(lambda: told.append("reload"))
    signals.install()
    signals.install()
    try:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.raise_signal(number)
    finally:
        signals.restore()
    assert told == ["reload", "end", "end", "reload"]
    assert [type(failure) for failure in log.failures] == [ZeroDivisionError] * 2
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    signals.restore()


def test_signals_are_not_heard_at_the_very_end() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    signals = Signals(Direct(), lambda: 1 // 0)
    signals.install()
    try:
        signals.ignore()
        signal.raise_signal(signal.SIGTERM)
        signals.restore()
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, earlier in zip(
            (signal.SIGTERM, signal.SIGINT, signal.SIGHUP), before, strict=True
        ):
            signal.signal(number, earlier)


def test_whoever_started_the_daemon_is_told(tmp_path: Path, service_manager: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

    def wait_for(word: str) -> None:
        told = list(iter(lambda: hear(service_manager)[0], word))
        assert set(told) <= {"WATCHDOG=1"}

    with run_daemon(tmp_path, "--listen", f"unix:{tmp_path}/socket", variables=variables) as daemon:
        assert hear(service_manager)[0] == "READY=1"
        assert hear(service_manager) == ["WATCHDOG=1"]
        assert hear(service_manager) == ["WATCHDOG=1"]
        assert ask(f"{tmp_path}/socket", HELP) == HELP_REPLY
        daemon.process.send_signal(signal.SIGHUP)
        wait_for("RELOADING=1")
        wait_for("READY=1")
        assert daemon.end() == 0
        wait_for("STOPPING=1")


def find_faketime() -> str:
    """Give the library that a stepped clock comes from."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("needs libfaketime")
    return str(found[0])


@pytest.mark.parametrize("step", ["-3600", "+3600"])
def test_a_clock_that_is_set_changes_nothing(
    tmp_path: Path, service_manager: socket.socket, step: str
) -> None:
    """The watchdog's timer goes on at its pace, as all timers do."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    variables = {
        "LD_PRELOAD": find_faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "200000",
    }
    # Its sandbox would keep it from reading the other clock.
    arguments = ["--listen", f"unix:{tmp_path}/socket", "--no-landlock"]
    with run_daemon(tmp_path, *arguments, variables=variables) as daemon:
        assert hear(service_manager)[0] == "READY=1"
        hour = daemon.wait_for(r"^[-0-9]+T([0-9]+):.*listening on unix")[1]
        clock.write_text(step)
        while service_manager in select.select([service_manager], [], [], 0)[0]:
            hear(service_manager)
        for _ in range(3):
            assert hear(service_manager) == ["WATCHDOG=1"]
        assert daemon.end() == 0
        # The clock was indeed another one.
        assert daemon.wait_for(r"^[-0-9]+T([0-9]+):.*ending")[1] != hour
