"""One connection of the client: exchanges' requests out, responses in, matched in order.

    session --take_next--> RequestWriter (client/requests.py) --> transport
    transport --dataReceived--> connection (the decoder) --> the oldest unanswered exchange
                                                         --> its body: Receiver (client/receiving.py)

First of all the two ends agree on a version (``wire/connection.py``); :attr:`ClientProtocol.opened` tells when. Then
requests are written as long as the session gives any and the transport has room, whether or not earlier ones have been
answered, and what the server sends is read all the while: a client that pipelines must, or both ends wait for each
other.

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

from filetransfer.client.deadline import Deadline
from filetransfer.client.exchanges import Exchange
from filetransfer.client.receiving import Receiver
from filetransfer.client.requests import RequestWriter
from filetransfer.errors import (
    FileTransferError,
    RemoteProtocolError,
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
        connection: the codec of the version that is spoken, once it has opened: says what that version can.
        unanswered: exchanges whose requests were written, at least in part, oldest first.
        answered: how many responses have come.
        is_over: whether nothing can be written or received any more.
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
        self.connection: ClientEnd = begin_client((1,))[0]
        self.unanswered: deque[Exchange[Any]] = deque()
        self.answered = 0
        self.is_over = False
        self.was_dropped = False
        self._owner = owner
        self._clock = clock
        self._versions = versions
        self._error: FileTransferError | None = None
        self._silence: IDelayedCall | None = None
        self._timeout_seconds = timeout_seconds
        self._deadline = Deadline(
            clock,
            timeout_seconds,
            is_awaited=lambda: bool(self.unanswered),
            awaits_us=self._awaits_us,
            miss=self._miss_deadline,
        )
        self.note_move = self._deadline.note_move
        self._lost: Deferred[None] = Deferred()

    # What the session calls.

    def write_requests(self) -> None:
        """Write what the session gives, as long as there is room."""
        self._writer.write()

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
        if self._writer.is_sending(exchange):
            self._writer.stop(exchange)
        elif self.unanswered and exchange is self.unanswered[0] and self._receiver.is_receiving:
            self._receiver.give_up()

    # What Twisted calls.

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._writer = RequestWriter(self, lambda: self._owner.take_next(self), self._owner.start)
        self._receiver = Receiver(self, self._owner.start)
        # Over TLS, what is spoken inside it is agreed on already: see client/trust.py.
        self._begin(getattr(self.transport, "negotiatedProtocol", None))

    def dataReceived(self, data: bytes) -> None:
        self.note_move()
        if self.is_over:
            return
        self.connection.receive(data)
        self.go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_silence()
        self._deadline.stop()
        # Over TLS only close_notify is an end: a summary that is bare text may have been cut.
        if not self.is_over and not reason.check(Truncated):
            self._end_messages()
        self.is_over = True
        error = self._error or explain_loss(reason.value)
        self._receiver.fail(error)
        self._writer.close()
        if not self.opened.called:
            self.opened.errback(error)
        else:
            self._owner.connection_over(self, error)
        self._lost.callback(None)

    # The version.

    def _begin(self, alpn: bytes | None) -> None:
        self.connection, octets = begin_client(self._versions, alpn=alpn)
        if octets:
            self.transport.write(octets)
        self._await_silence()
        self._open_if_ready()

    def _choose_version(self, chosen: VersionChosen) -> None:
        self.connection = chosen.connection
        if chosen.octets:
            self.transport.write(chosen.octets)
        self._open_if_ready()

    def _open_if_ready(self) -> None:
        # What the server says of itself is waited for: there may be nothing more that it says.
        if self.connection.is_ready and not self.connection.has_greeting:
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

    # Responses.

    def go_on(self) -> None:
        """Take what the decoder has."""
        try:
            self._pull()
        except RemoteProtocolError as error:
            self._abort(error)
        self.watch()

    def _pull(self) -> None:
        while not self.is_over:
            self._receiver.octets_came()
            event = self.connection.next_event()
            if event is None:
                break
            self._take_event(event)
        self._await_silence()

    def _take_event(self, event: Event) -> None:
        take = _TAKEN_BY.get(type(event), ClientProtocol._take_response)
        take(self, event)

    def _begin_run(self, _: BodyRun) -> None:
        self._receiver.run_began()

    def _take_working(self, _: Working) -> None:
        """That it came is all there is to it: the peer is alive."""

    def _take_end(self, _: EndOfMessages) -> None:
        self.is_over = True

    def _take_unavailable(self, unavailable: Unavailable) -> None:
        self._abort(unavailable.error)

    def _take_response(self, response: Response) -> None:
        exchange = self.unanswered[0]
        is_early = self._writer.is_sending(exchange)
        if is_early and isinstance(response, Done):
            raise RemoteProtocolError("the server said done before it had the whole body")
        self._end_exchange()
        if is_early:
            self._writer.stop(exchange)
        exchange.respond(response)
        self._writer.drop_if_doomed()

    def _begin_body(self, response: Content | Listing) -> None:
        self._receiver.begin(self.unanswered[0], response)

    def _end_body(self, end: BodyEnd) -> None:
        self._receiver.end(self._end_exchange(), end)
        self._writer.drop_if_doomed()

    def _end_exchange(self) -> Exchange[Any]:
        self.answered += 1
        return self.unanswered.popleft()

    def _end_messages(self) -> None:
        """Take what the end of the connection completes: a summary in bare text."""
        self.connection.receive_eof()
        try:
            self._pull()
        except RemoteProtocolError as error:
            # It ended inside a message: that is no fault of what the server said, it is a lost connection. But where
            # there was no answer yet, that is an answer, too.
            self.is_over = True
            if not self.connection.is_ready:
                self._error = error

    def _await_silence(self) -> None:
        self._stop_silence()
        seconds = self.connection.silence_seconds
        # Whoever is in between could make a silence, too.
        is_end = not (self.connection.is_ready and INegotiated.providedBy(self.transport))
        if seconds is not None and is_end and not self.is_over:
            self._silence = self._clock.callLater(seconds, self._end_with_silence)

    def _end_with_silence(self) -> None:
        self._silence = None
        self.connection.receive_silence()
        self.go_on()

    def _stop_silence(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
        self._silence = None

    # The deadline.

    def watch(self) -> None:
        """See to it that something moves until all is answered."""
        if self.unanswered and not self.is_over:
            self._deadline.watch()

    def _awaits_us(self) -> bool:
        return self._writer.awaits_source or self._receiver.awaits_us

    def _miss_deadline(self) -> None:
        self._abort(TransferTimeout(f"nothing moved for {self._timeout_seconds:g} seconds"))

    # The end.

    def _abort(self, error: FileTransferError) -> None:
        if not self.is_over:
            self.is_over = True
            self._error = error
            self.transport.abortConnection()

    async def _until_over(self) -> None:
        if not self._lost.called:
            over: Deferred[None] = Deferred()
            self._lost.addCallback(over.callback)
            await over


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
