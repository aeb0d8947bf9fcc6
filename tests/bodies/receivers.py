"""Who receives bodies in the tests of what goes past the decoder, and what is received."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from loopback import Peer, pause, start
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.digests import start_digest
from filetransfer.errors import RemoteProtocolError
from filetransfer.wire import v2
from filetransfer.wire.connection import ServerConnection
from filetransfer.wire.messages import BodyEnd, BodyRun, EndOfMessages, Put

BODY = os.urandom(20 * 1024 * 1024 + 7)
HEAD = b"\x04name" + len(BODY).to_bytes(4, "big")
HELP = b"\x80"


class Part:
    """An open file, as a store gives one for an upload."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.received = 0
        self.digested = 0
        self.times_digested = 0
        self.digest = start_digest()
        self.copied = 0

    @property
    def undigested(self) -> int:
        return self.received - self.digested

    def fileno(self) -> int:
        return self._descriptor

    def write(self, octets: bytes) -> None:
        self.copied += len(octets)
        self.received += os.pwrite(self._descriptor, octets, self.received)

    def advance(self, count: int) -> None:
        self.received += count

    def digest_behind(self) -> None:
        self.times_digested += 1
        while self.digested < self.received:
            octets = os.pread(self._descriptor, self.received - self.digested, self.digested)
            self.digest.update(octets)
            self.digested += len(octets)

    def read(self) -> bytes:
        return os.pread(self._descriptor, self.received + 1, 0)


class Receiver(Peer):
    """Receives the bodies of requests into parts, and keeps what else is asked in between."""

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts = list(parts)
        self.results: list[Deferred[None]] = []
        self.events: list[str] = []
        self.moved: list[int] = []
        self.body: IncomingBody | None = None
        self.connection: Any = ServerConnection()
        self.waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.connection.receive(data)
        self.pull()

    def pull(self) -> None:
        try:
            self.take_events()
        except RemoteProtocolError as error:
            if self.body is not None:
                self.body.fail(error)
        waiting, self.waiting = self.waiting, []
        for is_met, met in waiting:
            if is_met():
                met.callback(None)
            else:
                self.waiting.append((is_met, met))

    def take_events(self) -> None:
        while True:
            if self.body is not None and self.connection.run:
                self.body.octets_came()
            event = self.connection.next_event()
            if event is None or isinstance(event, EndOfMessages):
                break
            self.events.append(type(event).__name__)
            if isinstance(event, Put):
                self.begin_body()
            elif isinstance(event, BodyRun) and self.body is not None:
                self.body.run_began()
            elif isinstance(event, BodyEnd) and self.body is not None:
                body, self.body = self.body, None
                body.end()

    def begin_body(self) -> None:
        self.body = IncomingBody(
            self.connection, self.set_paused, self.moved.append, self.transport, self.pull
        )
        # The file is opened in a thread, say.
        self.set_paused(True)
        work = start(self.receive_body(self.body, self.parts.pop(0)))
        # Whoever waits for it may come later.
        work.addErrback(lambda failure: failure)
        self.results.append(work)

    async def receive_body(self, body: IncomingBody, part: Any) -> None:
        await pause()
        try:
            await body.receive_into(part)
        except BaseException:
            self.body = None
            self.set_paused(False)
            self.pull()
            raise

    def set_paused(self, is_paused: bool) -> None:
        if not self.transport.connected:
            return
        if is_paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    async def until(self, is_met: Callable[[], bool]) -> None:
        if not is_met():
            met: Deferred[None] = Deferred()
            self.waiting.append((is_met, met))
            await met

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008
        super().connectionLost(reason)
        self.connection.receive_eof()
        self.pull()


async def all_asked(near: Receiver, *events: type) -> None:
    names = [event.__name__ for event in events]
    await near.until(lambda: len(near.events) >= len(names))
    assert near.events == names


def say_in_chunks(*sizes: int) -> bytes:
    """Say PUT in version 2, with the body in chunks of these sizes and the rest."""
    client = v2.ClientCodec()
    octets = client.encode(Put("name", len(BODY)))
    rest = BODY
    for size in [*sizes, len(BODY) - sum(sizes)]:
        octets += client.encode_run(size) + rest[:size]
        rest = rest[size:]
    return octets + client.encode_body_end(BodyEnd())


def digest(octets: bytes) -> bytes:
    running = start_digest()
    running.update(octets)
    return running.digest()
