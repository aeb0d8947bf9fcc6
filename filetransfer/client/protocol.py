"""One connection of the client: exchanges' requests out, responses in, matched in order.

    session --take_next--> requests, bodies --> transport
    transport --dataReceived--> connection (the decoder) --> the oldest unanswered exchange

First of all the two ends agree on a version (``wire/connection.py``); :attr:`ClientProtocol.opened` tells when. Then
requests are written as long as the session gives any and the transport has room, whether or not earlier ones have been
answered, and what the server sends is read all the while: a client that pipelines must, or both ends wait for each
other. Small bodies leave in one write with their heads, many at a time. A large one has the connection to itself until
its last octet is written.

Nothing here is repeated and nothing waits for a new connection: when this one is over, the session is told, and finds
in :attr:`ClientProtocol.unanswered` what nobody has answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, INegotiated, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.client.exchanges import Exchange, ListExchange
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.receiving import MAX_DISCARDED_OCTETS, BulkSource, FedBody
from filetransfer.client.sending import Batch, Outlet, Sending
from filetransfer.client.sources import CHANGED, MAX_SMALL_OCTETS, Body, StreamBody
from filetransfer.errors import (
    Cancelled,
    FileTransferError,
    RemoteProtocolError,
    SourceChanged,
    TransferInterrupted,
    TransferTimeout,
)
from filetransfer.tls.alerts import Truncated, explain_loss
from filetransfer.wire.connection import ClientEnd, Event, begin_client
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    Content,
    Done,
    EndOfMessages,
    Greeting,
    Listing,
    Response,
    Unavailable,
    VersionChosen,
    Working,
)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What is known of a server.

    Attributes:
        version: of the protocol, that is spoken with it.
        software: what it calls itself; empty when it does not say.
        features: what it can beyond the requests, by name.
        limits: by name: octets, seconds, or what the name says.
        mechanisms: by which a peer can say who it is.
    """

    version: int
    software: str = ""
    features: frozenset[str] = frozenset()
    limits: dict[str, int] = field(default_factory=dict)
    mechanisms: tuple[str, ...] = ()


class Owner(Interface):
    """Whoever has exchanges for a connection: the session."""

    def take_next(self, protocol: ClientProtocol) -> Exchange[Any] | None:
        """Give the exchange whose request is to be written next; None when there is none now."""

    def connection_over(self, protocol: ClientProtocol, error: FileTransferError) -> None:
        """Take note that the connection is lost, and why."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a coroutine run that does not raise, and that must have ended before the program may."""


class ClientProtocol(Protocol):
    """Speaks with one server.

    Args:
        owner: gives exchanges, and is told when the connection is over.
        clock: for deadlines.
        timeout_seconds: how long nothing may move while something is unanswered, > 0.
        versions: those that will do, 1 and 2.

    Attributes:
        opened: fires when requests can be given; fails when that will never be. Cancelling it ends the connection.
        server: what is known of the server, once it has opened.
        unanswered: exchanges whose requests were written, at least in part, oldest first.
        answered: how many responses have come.
        was_dropped: whether it was given up by this side, with nothing wrong at the other.
    """

    transport: Any

    def __init__(
        self,
        owner: Owner,
        clock: IReactorTime,
        timeout_seconds: float,
        versions: Collection[int],
    ) -> None:
        self.opened: Deferred[None] = Deferred(self._cancel_opening)
        self.server: ServerInfo | None = None
        self.unanswered: deque[Exchange[Any]] = deque()
        self.answered = 0
        self.was_dropped = False
        self._owner = owner
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._versions = versions
        self._connection: ClientEnd = begin_client((1,))[0]
        self._body: HeldBody | IncomingBody | FedBody | None = None
        self._sender: Exchange[Any] | None = None
        self._sending: Sending | None = None
        self._is_writing = False
        self._doomed: Exchange[Any] | None = None
        self._error: FileTransferError | None = None
        self._is_over = False
        self._is_held_back = False
        self._moved_at = 0.0
        self._has_last_turn = True
        self._deadline: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._lost: Deferred[None] = Deferred()

    # What the session calls.

    @property
    def connection(self) -> ClientEnd:
        """The codec of the version that is spoken, once it has opened: says what that version can."""
        return self._connection

    def write_requests(self) -> None:
        """Write what the session gives, as long as there is room."""
        if self._is_writing:
            return
        self._is_writing = True
        batch = Batch(self._outlet.write)
        while self._may_write() and (exchange := self._owner.take_next(self)) is not None:
            body = self._write_request(exchange, batch)
            if body is not None:
                batch.flush()
                self._sender = exchange
                self._send_bulk(exchange, body)
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
        if exchange is self._sender:
            self._stop_sending(exchange)
        elif self.unanswered and exchange is self.unanswered[0] and self._body is not None:
            self._give_up_body()

    # What Twisted calls.

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._outlet = Outlet(self.transport, self._room_came)
        # Over TLS, what is spoken inside it is agreed on already: see client/trust.py.
        self._begin(getattr(self.transport, "negotiatedProtocol", None))

    def dataReceived(self, data: bytes) -> None:
        self._note_move()
        if self._is_over:
            return
        self._connection.receive(data)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop(self._silence)
        self._stop(self._deadline)
        # Over TLS only close_notify is an end: a summary that is bare text may have been cut.
        if not self._is_over and not reason.check(Truncated):
            self._end_messages()
        self._is_over = True
        error = self._error or explain_loss(reason.value)
        if self._body is not None:
            self._body.fail(error)
        self._outlet.close()
        if not self.opened.called:
            self.opened.errback(error)
        else:
            self._owner.connection_over(self, error)
        self._lost.callback(None)

    # The version.

    def _begin(self, alpn: bytes | None) -> None:
        self._connection, octets = begin_client(self._versions, alpn=alpn)
        if octets:
            self._outlet.write(octets)
        self._await_silence()
        self._open_if_ready()

    def _choose_version(self, chosen: VersionChosen) -> None:
        self._connection = chosen.connection
        if chosen.octets:
            self._outlet.write(chosen.octets)
        self._open_if_ready()

    def _open_if_ready(self) -> None:
        # What the server says of itself is waited for: there may be nothing more that it says.
        if self._connection.is_ready and not self._connection.has_greeting:
            self._open(ServerInfo(1))

    def _take_greeting(self, greeting: Greeting) -> None:
        self._open(
            ServerInfo(
                greeting.version,
                greeting.software,
                frozenset(greeting.features),
                greeting.limits,
                tuple(greeting.mechanisms),
            )
        )

    def _open(self, server: ServerInfo) -> None:
        self.server = server
        if not self.opened.called:
            self.opened.callback(None)

    def _cancel_opening(self, opened: Deferred[None]) -> None:
        opened.errback(CancelledError())
        self.drop()

    # Requests.

    def _room_came(self) -> None:
        self._note_move()
        self.write_requests()

    def _may_write(self) -> bool:
        return self._outlet.has_room and self._sender is None and not self._is_over

    def _write_request(self, exchange: Exchange[Any], batch: Batch) -> Body | StreamBody | None:
        """Write a request, with its body if that is small; give the body if it is large."""
        try:
            octets, body = exchange.open(self._connection)
        except (OSError, FileTransferError) as error:
            exchange.fail(error)
            return None
        if not self.unanswered:
            self._note_move()
            self.unanswered.append(exchange)
            self._watch()
        else:
            self.unanswered.append(exchange)
        batch.write(octets)
        return body

    def _send_bulk(self, exchange: Exchange[Any], body: Body | StreamBody) -> None:
        def moved(count: int) -> None:
            self._note_move()
            exchange.body_moved(count)

        sending = self._sending = Sending(self._outlet, self._connection, body, moved)
        self._owner.start(self._send(exchange, body, sending))

    async def _send(
        self, exchange: Exchange[Any], body: Body | StreamBody, sending: Sending
    ) -> None:
        try:
            await sending.run()
        except TransferInterrupted:
            # Of a lost connection connectionLost tells; or else the file ended early.
            if not body.is_unchanged():
                self._end_early(exchange, sending, SourceChanged(CHANGED))
        except Exception as error:  # noqa: BLE001 - whatever it is, the body cannot be finished
            self._end_early(exchange, sending, error)
        else:
            self._end_sending()
        finally:
            body.close()

    def _end_sending(self) -> None:
        self._sender = self._sending = None
        self.write_requests()

    def _end_early(self, exchange: Exchange[Any], sending: Sending, error: Exception) -> None:
        exchange.fail(error)
        if self._is_over:
            return
        if sending.can_go_on:
            sending.end_early()
            self._end_sending()
        else:
            self._doom(exchange)

    def _stop_sending(self, exchange: Exchange[Any]) -> None:
        """Send no more than must be of a body that nobody wants."""
        if self._sending is not None and self._connection.has_trailers:
            self._sending.stop(Cancelled("nobody wants it any more"))
        else:
            self._doom(exchange)

    def _doom(self, exchange: Exchange[Any]) -> None:
        """Drop the connection as soon as everything before this exchange, whose body is cut short, is answered."""
        self._doomed = exchange
        self._drop_if_doomed()

    def _drop_if_doomed(self) -> None:
        if self._doomed is not None and (
            self._doomed not in self.unanswered or self.unanswered[0] is self._doomed
        ):
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
        take = _TAKEN_BY.get(type(event), ClientProtocol._take_response)
        take(self, event)

    def _begin_run(self, _: BodyRun) -> None:
        if self._body is not None:
            self._body.run_began()

    def _take_working(self, _: Working) -> None:
        """That it came is all there is to it: the peer is alive."""

    def _take_end(self, _: EndOfMessages) -> None:
        self._is_over = True

    def _take_unavailable(self, unavailable: Unavailable) -> None:
        self._abort(unavailable.error)

    def _take_response(self, response: Response) -> None:
        exchange = self.unanswered[0]
        if exchange is self._sender:
            if isinstance(response, Done):
                raise RemoteProtocolError("the server said done before it had the whole body")
            # Nothing was written behind this request, and everything before it is answered.
            self._end_exchange()
            self._stop_sending(exchange)
            exchange.respond(response)
            return
        self._end_exchange()
        exchange.respond(response)
        self._drop_if_doomed()

    def _begin_body(self, response: Content | Listing) -> None:
        exchange = self.unanswered[0]
        if isinstance(exchange, ListExchange):
            self._body = FedBody(self._connection, exchange.feed, exchange.finish)
            return
        assert isinstance(exchange, GetExchange)  # noqa: S101 - the decoder matches them
        assert isinstance(response, Content)  # noqa: S101
        exchange.take_content(response)
        if exchange.is_over:
            self._give_up_body()
        elif exchange.is_held and exchange.size <= MAX_SMALL_OCTETS:
            self._body = HeldBody(self._connection, exchange.take)
        else:
            self._receive_bulk(exchange)

    def _receive_bulk(self, exchange: GetExchange) -> None:
        source = BulkSource(self._connection, self._give_up_body)

        def moved(count: int) -> None:
            self._note_move()
            exchange.body_moved(count)

        body = self._body = IncomingBody(
            source, self._hold_back, moved, self.transport, self._go_on
        )
        # It begins to receive, or has failed, before this returns.
        if exchange.is_file:
            self._owner.start(exchange.receive(body))
        else:
            # It leaves nothing behind, and its thread may be sitting in write(), with nobody reading at the other end.
            Deferred.fromCoroutine(exchange.receive(body))
        if exchange.is_over and self._body is not None:
            self._give_up_body()

    def _give_up_body(self) -> None:
        body, self._body = self._body, None
        is_moved_past = isinstance(body, IncomingBody) and body.is_moved_past
        if body is not None:
            body.fail(TransferInterrupted("nobody wants it any more"))
        if is_moved_past or self.unanswered[0].left > MAX_DISCARDED_OCTETS:
            self.drop()
        else:
            self._connection.discard_body()
            self._hold_back(False)

    def _end_body(self, end: BodyEnd) -> None:
        body, self._body = self._body, None
        exchange = self.unanswered[0]
        self._end_exchange()
        if end.refusal is not None:
            exchange.fail(end.refusal)
        if body is not None and end.refusal is not None:
            self._hold_back(False)
            body.fail(end.refusal)
        elif body is not None:
            body.end(end)
        self._drop_if_doomed()

    def _end_exchange(self) -> None:
        self.unanswered.popleft()
        self.answered += 1

    def _end_messages(self) -> None:
        """Take what the end of the connection completes: a summary in bare text."""
        self._connection.receive_eof()
        try:
            self._pull()
        except RemoteProtocolError as error:
            # It ended inside a message: that is no fault of what the server said, it is a lost connection. But where
            # there was no answer yet, that is an answer, too.
            self._is_over = True
            if not self._connection.is_ready:
                self._error = error

    def _await_silence(self) -> None:
        self._stop(self._silence)
        self._silence = None
        seconds = self._connection.silence_seconds
        # Whoever is in between could make a silence, too.
        is_end = not (self._connection.is_ready and INegotiated.providedBy(self.transport))
        if seconds is not None and is_end and not self._is_over:
            self._silence = self._clock.callLater(seconds, self._end_with_silence)

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
        if self._awaits_us():
            self._note_move()
        left = self._moved_at + self._timeout_seconds - self._clock.seconds()
        if left > 0:
            self._has_last_turn = True
            self._deadline = self._clock.callLater(left, self._check_deadline)
        elif self._has_last_turn:
            # It may be this thread that waited, for a disk: what has come meanwhile is looked at first.
            self._has_last_turn = False
            self._deadline = self._clock.callLater(0, self._check_deadline)
        else:
            self._abort(TransferTimeout(f"nothing moved for {self._timeout_seconds:g} seconds"))

    def _awaits_us(self) -> bool:
        """Tell whether it is for want of our disk, or of what we read, that nothing moves."""
        if self._sending is not None and self._sending.awaits_source:
            return True
        # A body may move past Python while reading is paused, and nothing come.
        awaits_peer = isinstance(self._body, IncomingBody) and self._body.awaits_peer
        return self._is_held_back and not awaits_peer

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


_TAKEN_BY: dict[type, Callable[[ClientProtocol, Any], None]] = {
    BodyEnd: ClientProtocol._end_body,
    BodyRun: ClientProtocol._begin_run,
    Content: ClientProtocol._begin_body,
    Listing: ClientProtocol._begin_body,
    Working: ClientProtocol._take_working,
    EndOfMessages: ClientProtocol._take_end,
    VersionChosen: ClientProtocol._choose_version,
    Greeting: ClientProtocol._take_greeting,
    Unavailable: ClientProtocol._take_unavailable,
}
"""What takes an event; whatever is not here is a response without a body."""
