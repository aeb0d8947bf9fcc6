"""A client that speaks version 2 with a daemon on real sockets, message by message.

speaker = await call_in_version_2(serving)
answer = await speaker.ask(Get("a"))          answer.response, answer.body, answer.end
answer = await speaker.put("a", b"octets")

@spoken                                       runs a test with a daemon and a connection to it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reactors import run
from serving import Serving, reactor, serve
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from filetransfer.digests import start_digest
from filetransfer.errors import RemoteProtocolError
from filetransfer.wire.connection import begin_client
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    EndOfMessages,
    Greeting,
    Put,
    Request,
    VersionChosen,
)


@dataclass
class Answer:
    """A response, with its body if it has one."""

    response: Any
    body: bytes = b""
    end: BodyEnd | None = None
    is_whole: bool = False
    runs: list[int] = field(default_factory=list)

    @property
    def error(self) -> str:
        """The word of a refusal."""
        return self.response.error.word  # type: ignore[no-any-return]


class Speaker(Protocol):
    """One connection.

    Attributes:
        greeting: what the daemon said first.
        is_closed: whether the connection is over.
    """

    transport: Any

    def __init__(self) -> None:
        self.greeting: Greeting | None = None
        self.is_closed = False
        self.connection: Any = None
        self.answers: deque[Answer] = deque()
        self._waiting: deque[Deferred[Answer | None]] = deque()
        self._greeted: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.connection, octets = begin_client((2,))
        self.transport.write(octets)

    async def until_greeted(self) -> None:
        await self._greeted

    def dataReceived(self, data: bytes) -> None:
        self.connection.receive(data)
        while True:
            if self.connection.run and self.connection.available:
                self.answers[-1].body += self.connection.take_body(self.connection.run)
            event = self.connection.next_event()
            if event is None or isinstance(event, EndOfMessages):
                break
            self._take(event)
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_closed = True
        self.connection.receive_eof()
        self._tell()

    def _take(self, event: Any) -> None:
        if isinstance(event, VersionChosen):
            self.connection = event.connection
        elif isinstance(event, Greeting):
            self.greeting = event
            self._greeted.callback(None)
        elif isinstance(event, BodyRun):
            self.answers[-1].runs.append(self.connection.run)
        elif isinstance(event, BodyEnd):
            self.answers[-1].end = event
            self.answers[-1].is_whole = True
        else:
            self.answers.append(Answer(event, is_whole=not self.connection.has_body))

    def _tell(self) -> None:
        while self._waiting and self.answers and self.answers[0].is_whole:
            self._waiting.popleft().callback(self.answers.popleft())
        while self._waiting and self.is_closed:
            self._waiting.popleft().callback(None)

    def say(self, request: Request) -> None:
        """Send a request without its body."""
        self.transport.write(self.connection.encode(request))

    def say_body(self, octets: bytes, *, chunk: int = 1 << 20, digest: Any = None) -> None:
        """Send a body and its trailer: with its digest, unless another is given."""
        pieces = []
        for start in range(0, len(octets), chunk):
            piece = octets[start : start + chunk]
            pieces += [self.connection.encode_run(len(piece)), piece]
        end = BodyEnd(xxh3(octets) if digest is None else digest)
        self.transport.write(b"".join(pieces) + self.connection.encode_body_end(end))

    async def next_answer(self) -> Answer:
        """Wait for the answer to the oldest request that has none. Fails when the connection is over."""
        self._waiting.append(waiting := Deferred())
        self._tell()
        answer = await waiting
        if answer is None:
            raise RemoteProtocolError("the daemon has closed the connection")
        return answer

    async def ask(self, request: Request) -> Answer:
        """Send a request, and wait for its answer."""
        self.say(request)
        return await self.next_answer()

    async def put(self, path: str, octets: bytes, *, digest: Any = None, **more: Any) -> Answer:
        """Send a file, and wait for the answer."""
        self.say(Put(path, more.pop("size", len(octets)), **more))
        self.say_body(octets, digest=digest)
        return await self.next_answer()

    def lose(self) -> None:
        """Break the connection off."""
        self.transport.abortConnection()


async def call_in_version_2(serving: Serving) -> Speaker:
    """Give a new connection that speaks version 2."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", serving.port)
    speaker: Speaker = await connectProtocol(endpoint, Speaker())
    await speaker.until_greeted()
    return speaker


def xxh3(octets: bytes) -> dict[str, bytes]:
    """Give the digest that a body is sent with."""
    running = start_digest()
    running.update(octets)
    return {"xxh3-128": running.digest()}


def spoken(test: Callable[[Serving, Speaker], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test with a daemon and a connection to it."""

    def run_test(tmp_path: Path) -> None:
        async def work() -> None:
            async with serve(tmp_path / "root", durability="full") as serving:
                speaker = await call_in_version_2(serving)
                await test(serving, speaker)
                assert not serving.log.failures
                speaker.lose()

        run(work())

    return run_test
