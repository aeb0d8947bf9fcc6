"""One connection of the client: exchanges' requests out, responses in, matched in order.

    session --take_next--> requests, bodies --> transport
    transport --dataReceived--> connection (the decoder) --> the oldest unanswered exchange

Requests are written as long as the session gives any and the transport has room, whether or not earlier ones have been
answered, and what the server sends is read all the while: a client that pipelines must, or both ends wait for each
other. Small bodies leave in one write with their heads, many at a time. A large one has the connection to itself until
its last octet is written.

Nothing here is repeated and nothing waits for a new connection: when this one is over, the session is told, and finds
in :attr:`ClientProtocol.unanswered` what nobody has answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.bodies.copied import BLOCK_OCTETS, send_copied
from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.bodies.route import goes_by_kernel, send_body
from filetransfer.client.exchanges import Exchange, GetExchange
from filetransfer.client.sources import CHANGED, MAX_SMALL_OCTETS, Body
from filetransfer.errors import (
    FileTransferError,
    RemoteProtocolError,
    SourceChanged,
    TransferInterrupted,
    TransferTimeout,
)
from filetransfer.tls.alerts import explain_loss
from filetransfer.wire.connection import ClientConnection, Event
from filetransfer.wire.messages import BodyEnd, Content, Done, EndOfMessages, Response

_BATCH_OCTETS = 256 * 1024
"""Requests and small bodies are written in pieces of about this size: a write costs as much as a file."""

_MAX_DISCARDED_OCTETS = 1024 * 1024
"""The rest of a body that nobody wants any more is read up to this size; beyond, a new connection is cheaper."""

_SILENCE_SECONDS = 1.0
"""Source: protocol, section 1, rule 10."""


class Owner(Interface):
    """Whoever has exchanges for a connection: the session."""

    def take_next(self, protocol: ClientProtocol) -> Exchange[Any] | None:
        """Give the exchange whose request is to be written next; None when there is none now."""

    def connection_over(self, protocol: ClientProtocol, error: FileTransferError) -> None:
        """Take note that the connection is lost, and why."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run that does not raise, and that must have ended before the program may."""


@implementer(IPushProducer)
class ClientProtocol(Protocol):
    """Speaks with one server.

    Args:
        owner: gives exchanges, and is told when the connection is over.
        clock: for deadlines.
        timeout_seconds: how long nothing may move while something is unanswered, > 0.

    Attributes:
        unanswered: exchanges whose requests were written, at least in part, oldest first.
        answered: how many responses have come.
        was_dropped: whether it was given up by this side, with nothing wrong at the other.
    """

    transport: Any

    def __init__(self, owner: Owner, clock: IReactorTime, timeout_seconds: float) -> None:
        self.unanswered: deque[Exchange[Any]] = deque()
        self.answered = 0
        self.was_dropped = False
        self._owner = owner
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._connection = ClientConnection()
        self._outlet = _Outlet(self)
        self._body: HeldBody | IncomingBody | None = None
        self._sending: Exchange[Any] | None = None
        self._is_writing = False
        self._doomed: Exchange[Any] | None = None
        self._error: FileTransferError | None = None
        self._is_over = False
        self._is_writable = True
        self._is_held_back = False
        self._moved_at = 0.0
        self._deadline: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._lost: Deferred[None] = Deferred()

    # What the session calls.

    def write_requests(self) -> None:
        """Write what the session gives, as long as there is room."""
        if self._is_writing:
            return
        self._is_writing = True
        batch = _Batch(self.transport)
        while self._may_write() and (exchange := self._owner.take_next(self)) is not None:
            body = self._write_head(exchange, batch)
            if body is not None:
                batch.flush()
                self._sending = exchange
                Deferred.fromCoroutine(self._send_bulk(exchange, body))
        batch.flush()
        self._is_writing = False

    def drop(self) -> None:
        """Give the connection up, at once, with nothing wrong at the other end."""
        self.was_dropped = True
        self._abort(TransferInterrupted("the connection was given up"))

    async def close(self) -> None:
        """Say bye, once everything has been answered; return when the connection is over."""
        # A connection over TLS waits for its producer.
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        await self._until_over()

    async def abort(self) -> None:
        """As :meth:`drop`; return when the connection is over."""
        self.drop()
        await self._until_over()

    def forget(self, exchange: Exchange[Any]) -> None:
        """Take note that an exchange was given up by its caller: its large body need not move any more."""
        if exchange is self._sending:
            self._doom(exchange)
        elif self.unanswered and exchange is self.unanswered[0] and self._body is not None:
            self._give_up_body()

    # What Twisted calls.

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._note_move()
        if self._is_over:
            return
        self._connection.receive(data)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop(self._silence)
        self._stop(self._deadline)
        if not self._is_over:
            self._end_messages()
        self._is_over = True
        error = self._error or explain_loss(reason.value)
        if self._body is not None:
            self._body.fail(error)
        self._outlet.close()
        self._owner.connection_over(self, error)
        self._lost.callback(None)

    def pauseProducing(self) -> None:
        """The server does not read as fast as we write."""
        self._set_writable(False)

    def resumeProducing(self) -> None:
        """What we wrote has left."""
        self._note_move()
        self._set_writable(True)
        self.write_requests()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`connectionLost` tells."""

    # Requests.

    def _set_writable(self, is_writable: bool) -> None:
        self._is_writable = is_writable
        self._outlet.set_paused(not is_writable)

    def _may_write(self) -> bool:
        return self._is_writable and self._sending is None and not self._is_over

    def _write_head(self, exchange: Exchange[Any], batch: _Batch) -> Body | None:
        """Write a request, with its body if that is small; give the body if it is large."""
        body = None
        try:
            request, body = exchange.open()
            head = self._connection.encode(request)
        except (OSError, FileTransferError) as error:
            if body is not None:
                body.close()
            exchange.fail(error)
            return None
        if not self.unanswered:
            self._note_move()
        self.unanswered.append(exchange)
        self._watch()
        batch.write(head)
        if body is None or body.octets is None:
            return body
        batch.write(body.octets)
        exchange.body_moved(body.size)
        return None

    async def _send_bulk(self, exchange: Exchange[Any], body: Body) -> None:
        def moved(count: int) -> None:
            self._note_move()
            exchange.body_moved(count)

        try:
            await self._send_body(body, moved)
        except TransferInterrupted:
            # Of a lost connection connectionLost tells; or else the file ended early.
            if not body.is_unchanged():
                self._fail_bulk(exchange, SourceChanged(CHANGED))
        except Exception as error:  # noqa: BLE001 - whatever it is, the body cannot be finished
            self._fail_bulk(exchange, error)
        else:
            self._sending = None
            self.write_requests()
        finally:
            body.close()

    async def _send_body(self, body: Body, moved: Callable[[int], None]) -> None:
        # The last block is held back until the file is known to be still what it was: a body that was begun can only
        # be spoilt by not being finished.
        held = min(body.size, BLOCK_OCTETS)
        first = body.size - held
        await self._send_run(body.descriptor, body.offset, first, moved)
        if not body.is_unchanged():
            raise SourceChanged(CHANGED)
        await send_copied(self._outlet, body.descriptor, body.offset + first, held, moved)

    async def _send_run(
        self, descriptor: int, offset: int, count: int, moved: Callable[[int], None]
    ) -> None:
        if not goes_by_kernel(self.transport, count):
            await send_copied(self._outlet, descriptor, offset, count, moved)
            return
        # The kernel's route has a producer of its own, and is told of the room that we were waiting for.
        self.transport.unregisterProducer()
        await send_body(self.transport, descriptor, offset, count, moved)
        self._set_writable(True)
        self.transport.registerProducer(self, True)

    def _fail_bulk(self, exchange: Exchange[Any], error: Exception) -> None:
        exchange.fail(error)
        self._doom(exchange)

    def _doom(self, exchange: Exchange[Any]) -> None:
        """Drop the connection as soon as everything before this exchange, whose body is cut short, is answered."""
        self._doomed = exchange
        self._drop_if_doomed()

    def _drop_if_doomed(self) -> None:
        if self._doomed is not None and (not self.unanswered or self.unanswered[0] is self._doomed):
            self.drop()

    # Responses.

    def _go_on(self) -> None:
        """Take what the decoder has."""
        try:
            self._pull()
        except RemoteProtocolError as error:
            self._abort(error)
        self._watch()

    def _pull(self) -> None:
        while not self._is_over:
            if self._body is not None and self._connection.run:
                self._body.octets_came()
            event = self._connection.next_event()
            if event is None:
                break
            self._take_event(event)
        self._await_silence()

    def _take_event(self, event: Event) -> None:
        if isinstance(event, BodyEnd):
            self._end_body()
        elif isinstance(event, EndOfMessages):
            self._is_over = True
        elif isinstance(event, Content):
            self._begin_body(event)
        else:
            self._take_response(event)  # type: ignore[arg-type] # the client's decoder gives no requests

    def _take_response(self, response: Response) -> None:
        exchange = self.unanswered[0]
        if exchange is self._sending:
            if isinstance(response, Done):
                raise RemoteProtocolError("the server said done before it had the whole body")
            # Nothing was written behind this request, and everything before it is answered: a new connection costs
            # less than sending a body that is not wanted.
            exchange.respond(response)
            self._end_exchange()
            self.drop()
            return
        self._end_exchange()
        exchange.respond(response)
        self._drop_if_doomed()

    def _begin_body(self, content: Content) -> None:
        exchange = self.unanswered[0]
        assert isinstance(exchange, GetExchange)  # noqa: S101 - the decoder matches them
        exchange.begin_body(content.size)
        if exchange.is_over:
            self._give_up_body()
        elif exchange.is_held and content.size <= MAX_SMALL_OCTETS:
            self._body = HeldBody(self._connection, exchange.take)
        else:
            self._receive_bulk(exchange)

    def _receive_bulk(self, exchange: GetExchange) -> None:
        source = _BulkSource(self._connection, self._give_up_body)

        def moved(count: int) -> None:
            self._note_move()
            exchange.body_moved(count)

        body = self._body = IncomingBody(
            source, self._hold_back, moved, self.transport, self._go_on
        )
        # It begins to receive, or has failed, before this returns.
        if exchange.is_held:
            self._owner.start(exchange.receive(body))
        else:
            # It leaves nothing behind, and its thread may be sitting in write(), with nobody reading at the other end.
            Deferred.fromCoroutine(exchange.receive(body))
        if exchange.is_over:
            self._give_up_body()

    def _give_up_body(self) -> None:
        body, self._body = self._body, None
        is_by_kernel = isinstance(body, IncomingBody) and body.is_by_kernel
        if body is not None:
            body.fail(TransferInterrupted("nobody wants it any more"))
        if is_by_kernel or self._connection.run > _MAX_DISCARDED_OCTETS:
            self.drop()
        else:
            self._connection.discard_body()
            self._hold_back(False)

    def _end_body(self) -> None:
        body, self._body = self._body, None
        self._end_exchange()
        if body is not None:
            body.end()
        self._drop_if_doomed()

    def _end_exchange(self) -> None:
        self.unanswered.popleft()
        self.answered += 1

    def _end_messages(self) -> None:
        """Take what the end of the connection completes: a summary in bare text."""
        self._connection.receive_eof()
        try:
            self._pull()
        except RemoteProtocolError:
            # It ended inside a message: that is no fault of what the server said, it is a lost connection.
            self._is_over = True

    def _await_silence(self) -> None:
        self._stop(self._silence)
        self._silence = None
        if self._connection.may_end_with_silence and not self._is_over:
            self._silence = self._clock.callLater(_SILENCE_SECONDS, self._end_with_silence)

    def _end_with_silence(self) -> None:
        self._silence = None
        self._connection.receive_silence()
        self._go_on()

    # Deadlines.

    def _hold_back(self, is_paused: bool) -> None:
        """Stop or go on reading a body, at the pace of the disk."""
        if self._is_over:
            return
        self._note_move()
        self._is_held_back = is_paused
        if is_paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _note_move(self) -> None:
        self._moved_at = self._clock.seconds()

    def _watch(self) -> None:
        if self.unanswered and self._deadline is None and not self._is_over:
            self._deadline = self._clock.callLater(self._timeout_seconds, self._check_deadline)

    def _check_deadline(self) -> None:
        self._deadline = None
        if not self.unanswered:
            return
        if self._is_held_back and not self._awaits_peer():
            self._note_move()
        left = self._moved_at + self._timeout_seconds - self._clock.seconds()
        if left > 0:
            self._deadline = self._clock.callLater(left, self._check_deadline)
        else:
            self._abort(TransferTimeout(f"nothing moved for {self._timeout_seconds:g} seconds"))

    def _awaits_peer(self) -> bool:
        """Tell whether a body moves past Python, and nothing comes."""
        return isinstance(self._body, IncomingBody) and self._body.awaits_peer

    # The end.

    def _abort(self, error: FileTransferError) -> None:
        if not self._is_over:
            self._is_over = True
            self._error = error
            self.transport.abortConnection()

    async def _until_over(self) -> None:
        if not self._lost.called:
            over: Deferred[None] = Deferred()
            self._lost.addCallback(over.callback)
            await over

    @staticmethod
    def _stop(call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()


class _Batch:
    """Requests and small bodies, collected into few writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, octets: bytes) -> None:
        """Add octets, and write what there is when it is enough."""
        self._pieces.append(octets)
        self._size += len(octets)
        if self._size >= _BATCH_OCTETS:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._pieces:
            self._transport.write(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0


class _Outlet:
    """The transport as a large body sees it.

    The protocol stays the transport's producer all the time, and passes on what it is told: when the body is written,
    it must know whether the transport has room for more.
    """

    def __init__(self, protocol: ClientProtocol) -> None:
        self._protocol = protocol
        self._producer: IPushProducer | None = None
        self._is_paused = False

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self._producer = producer
        if self._is_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, octets: bytes) -> None:
        self._protocol.transport.write(octets)

    def set_paused(self, is_paused: bool) -> None:
        """Pass on what the transport says."""
        self._is_paused = is_paused
        if self._producer is not None and is_paused:
            self._producer.pauseProducing()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def close(self) -> None:
        """Pass on that the connection is over."""
        if self._producer is not None:
            self._producer.stopProducing()


class _BulkSource:
    """The decoder, but for one thing: what becomes of a body that cannot be written is decided by the protocol."""

    def __init__(self, connection: ClientConnection, give_up: Callable[[], None]) -> None:
        self._connection = connection
        self.discard_body = give_up
        self.take_body = connection.take_body
        self.body_moved = connection.body_moved

    @property
    def run(self) -> int:
        return self._connection.run

    @property
    def available(self) -> int:
        return self._connection.available
