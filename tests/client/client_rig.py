"""A session without sockets: the test is the server, the clock and the threads.

rig = Rig(threads)
asked = rig.ask(rig.session.put(path, "a"))     begins to run; the reactor's next turn is rig.turn()
rig.link.sent()                                 what was written to the newest connection since the last look
rig.link.receive(octets)                        what the server says
rig.link.lose()                                 the connection ends
asked.result, asked.error                       what became of it
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from reactors import HeldThreads
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from filetransfer.client.connecting import Connector
from filetransfer.client.session import Session

CONNECT_TIMEOUT_SECONDS = 10
TIMEOUT_SECONDS = 60
TRIES = 3

DONE, NOT_FOUND, UNKNOWN, REFUSED = b"\x00", b"\x60", b"\x80", b"\xa0"


def put(name: str, body: bytes) -> bytes:
    """What a PUT looks like."""
    return put_head(name, len(body)) + body


def put_head(name: str, size: int) -> bytes:
    return bytes([len(name)]) + name.encode() + size.to_bytes(4, "big")


def get(name: str) -> bytes:
    return bytes([1 << 5 | len(name)]) + name.encode()


def change(old: str, new: str) -> bytes:
    return bytes([2 << 5 | len(old)]) + old.encode() + bytes([len(new)]) + new.encode()


def summary(name: str) -> bytes:
    return bytes([3 << 5 | len(name)]) + name.encode()


HELP = b"\x80"


def content(name: str, body: bytes) -> bytes:
    """The answer to a GET."""
    return content_head(name, len(body)) + body


def content_head(name: str, size: int) -> bytes:
    return bytes([1 << 5 | len(name)]) + name.encode() + size.to_bytes(4, "big")


class Transport(StringTransport):
    """Keeps what was written, and takes the protocol's orders."""

    link: Link

    def write(self, data: bytes) -> None:
        self.link.writes.append(data)

    def loseConnection(self) -> None:
        self.link.lose()

    def abortConnection(self) -> None:
        self.link.was_aborted = True
        self.link.lose(ConnectionLost())


class Link:
    """One connection, as the server sees it."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = Transport()
        self.transport.link = self
        self.writes: list[bytes] = []
        self.was_aborted = False
        self.is_lost = False
        protocol.makeConnection(self.transport)

    @property
    def is_read(self) -> bool:
        """Whether the client reads."""
        return self.transport.producerState == "producing"

    def sent(self) -> bytes:
        """Give what was written since the last call."""
        octets = b"".join(self.writes)
        self.writes.clear()
        return octets

    def receive(self, octets: bytes, *, at_a_time: int = 0) -> None:
        """Say something to the client, in pieces."""
        step = at_a_time or len(octets)
        for start in range(0, len(octets), step or 1):
            if not self.is_lost:
                self.protocol.dataReceived(octets[start : start + step])

    def pause(self) -> None:
        """There is no more room for what the client writes."""
        self.producer.pauseProducing()

    def resume(self) -> None:
        self.producer.resumeProducing()

    @property
    def producer(self) -> IPushProducer:
        producer = self.transport.producer
        assert producer is not None
        return producer

    def lose(self, reason: Exception | None = None) -> None:
        """End the connection."""
        if not self.is_lost:
            self.is_lost = True
            if self.transport.producer is not None:
                self.transport.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class Asked:
    """Something that was asked of the session, and what became of it."""

    def __init__(self, asking: Coroutine[Any, Any, Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self._deferred = Deferred.fromCoroutine(asking)
        self._deferred.addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, result: Any) -> None:
        self.is_over = True
        self.result = result

    def _failed(self, failure: Failure) -> None:
        self.is_over = True
        self.error = failure.value

    def cancel(self) -> None:
        self._deferred.cancel()


class Endpoint:
    """Makes a connection whenever it is asked, unless told to fail or to say nothing."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.failures: list[Exception] = []
        self.is_silent = False
        self.attempts = 0
        self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts += 1
        attempt: Deferred[Any] = Deferred(self._cancel)
        if self.is_silent:
            return attempt
        if self.failures:
            attempt.errback(self.failures.pop(0))
            return attempt
        protocol = factory.buildProtocol(None)
        self.links.append(Link(protocol))
        attempt.callback(protocol)
        return attempt

    def _cancel(self, attempt: Deferred[Any]) -> None:
        self.cancelled += 1
        # As Twisted's endpoints do.
        attempt.errback(ConnectingCancelledError(None))


class Rig:
    """A session with a server that the test plays."""

    def __init__(self, threads: HeldThreads, versions: tuple[int, ...] = (1,)) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        connector = Connector(
            self.endpoint,
            "server:9000",
            self.clock,
            timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            versions=versions,
            tries=TRIES,
        )
        self.session = Session(connector, self.clock, timeout_seconds=TIMEOUT_SECONDS, tries=TRIES)
        self._threads = threads

    @property
    def link(self) -> Link:
        """The newest connection."""
        return self.endpoint.links[-1]

    def ask(self, *asking: Coroutine[Any, Any, Any]) -> Any:
        """Ask for something, or for several things in one turn of the reactor, and let that turn end."""
        asked = [Asked(each) for each in asking]
        self.turn()
        return asked if len(asked) > 1 else asked[0]

    def turn(self) -> None:
        """Let the reactor and the threads do what is due."""
        self.clock.advance(0)
        self._threads.run()
        self.clock.advance(0)

    def end(self) -> None:
        """Give up what is under way."""
        ended = Asked(self.session.abort())
        self.turn()
        assert ended.is_over
        assert all(link.is_lost for link in self.endpoint.links)

    def answer(self, octets: bytes) -> None:
        """Let the server say something, and the client take it."""
        self.link.receive(octets)
        self.turn()
