"""Events without a log context: what the reactor does with them is what it ever did."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.python import context, log
from twisted.python.failure import Failure

from filetransfer.server.polling import poll_plainly


class Reader:
    """Something that has octets to read; what reading does is for the test to say."""

    def __init__(self, reactor: Any, act: Callable[[], None]) -> None:
        self._reactor = reactor
        self.lost: Failure | None = None
        self.reads = 0
        self._act = act
        self._ours, self._other = socket.socketpair()
        self._other.send(b"x")
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._ours.fileno()

    def logPrefix(self) -> str:
        return "a reader"

    def doRead(self) -> None:
        self.reads += 1
        self._act()

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._ours.close()
        self._other.close()


@pytest.fixture(params=["plain", "Twisted's"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = EPollReactor()  # type: ignore[no-untyped-call]
    if request.param == "plain":
        poll_plainly(made)
    yield made
    made.removeAll()
    made._poller.close()


def do_nothing() -> None:
    """Read nothing."""


def fail() -> None:
    """Fail to read."""
    raise IndexError


@pytest.mark.parametrize("timeout", [0, 60, None])
def test_who_can_read_reads(reactor: Any, timeout: float | None) -> None:
    reader = Reader(reactor, do_nothing)
    reactor.doIteration(timeout)
    assert reader.reads == 1
    reader.close()
    reactor.doIteration(0)
    assert reader.reads == 1


def test_who_is_gone_in_the_same_turn_reads_nothing(reactor: Any) -> None:
    readers: list[Reader] = []

    def remove_the_other() -> None:
        for reader in readers:
            if not reader.reads:
                reactor.removeReader(reader)

    readers += [Reader(reactor, remove_the_other), Reader(reactor, remove_the_other)]
    reactor.doIteration(0)
    reactor.doIteration(0)
    assert sorted(reader.reads for reader in readers) == [0, 2]
    for reader in readers:
        reader.close()


def test_what_is_raised_ends_that_reader_alone(reactor: Any) -> None:
    told: list[dict[str, Any]] = []
    log.addObserver(told.append)
    failing, other = Reader(reactor, fail), Reader(reactor, do_nothing)
    reactor.doIteration(0)
    log.removeObserver(told.append)
    assert failing.lost is not None
    assert failing.lost.check(IndexError)
    assert (other.reads, other.lost) == (1, None)
    assert [bool(event["isError"]) for event in told] == [True]
    other.close()
    failing.close()


def test_nothing_is_said_of_who_reads() -> None:
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
    systems: list[str] = []
    reader = Reader(reactor, lambda: systems.append(context.get(log.ILogContext)["system"]))
    reactor.doIteration(0)
    poll_plainly(reactor)
    reactor.doIteration(0)
    assert systems == ["a reader", "-"]
    reader.close()
    reactor.removeAll()


def test_another_reactor_is_left_alone() -> None:
    other = SimpleNamespace()
    poll_plainly(other)
    assert vars(other) == {}


def test_a_reactor_that_calls_its_things_otherwise_is_left_alone(reactor: Any) -> None:
    poller = reactor._poller
    del reactor._poller
    iteration = reactor.doIteration
    poll_plainly(reactor)
    assert reactor.doIteration == iteration
    reactor._poller = poller
