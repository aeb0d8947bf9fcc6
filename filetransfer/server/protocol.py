"""One connection of the server: octets in, exchanges at work, octets out in order.

    transport --dataReceived--> connection (the decoder) --next_event--> exchanges --reply--> transport

The decoder is *asked* for events, as long as more requests may be under way (:meth:`FileTransferProtocol._may_pull`).
While it is not asked, what the peer sends waits in the decoder, then in the kernel: all back-pressure comes from there.
It is not asked while

* a request is at work that is neither a commit nor a body being received (a GET from a cold disk, a SUMMARY), or a
  download is being sent;
* the next request conflicts with one that is not finished (``server/order.py``);
* the peer does not read its answers, or 256 of them or a mebibyte wait for an earlier one.

Commits run concurrently: a hundred pipelined PUTs reach the disk together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.errors import Busy, RemoteProtocolError, TransferInterrupted
from filetransfer.server.addresses import NOWHERE, describe_address, group_address
from filetransfer.server.exchange import Exchange
from filetransfer.server.exchanges import EXCHANGES
from filetransfer.server.limits import Phase, Watch, limit_unsent
from filetransfer.server.order import NOTHING_IN_PROGRESS, PathsInProgress, list_paths
from filetransfer.server.sending import OutgoingBody
from filetransfer.server.tls import identify, log_tls_failure
from filetransfer.store.interface import Commit
from filetransfer.wire.connection import MAX_UNPARSED_OCTETS, Event, begin_server
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    EndOfMessages,
    Put,
    Request,
    VersionChosen,
    Working,
)

if TYPE_CHECKING:
    from filetransfer.server.factory import FileTransferFactory

WORKING_SECONDS = 10.0
"""How long a request is at work until its peer is told so, again and again. Source: protocol, section 2."""
MAX_EVENTS_A_TURN = 256
"""A read may hold twenty thousand tiny requests; so many at once would be felt by every other peer."""

_NO_REQUESTS = (BodyRun, EndOfMessages, VersionChosen)

_log = Logger()


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class FileTransferProtocol(Protocol):
    """Serves one peer.

    Attributes:
        connection: decodes and encodes.
        number: of the connection, by which the log tells it from others of the same peer; from 1.
        peer: where the other end is.
        identity: who it is; empty when nobody knows.
        group: whom it is counted with, by its address.
        held_octets: of bodies and replies in memory.
        requests: how many have come so far.
        received_octets: of all that was sent to us.
        sent_octets: of bodies.
        is_lost: whether the peer is gone.
    """

    factory: FileTransferFactory
    transport: Any

    # Else each would have a dict of its own: more than a class shares the keys of. An idle connection has 1.2 KiB less.
    __slots__ = (
        "_commits",
        "_exchanges",
        "_failure",
        "_in_progress",
        "_is_body_paused",
        "_is_closing",
        "_is_ending",
        "_is_peer_slow",
        "_is_pull_scheduled",
        "_is_pulling",
        "_is_read_closed",
        "_is_sending",
        "_is_shaking_hands",
        "_is_undecided",
        "_is_waiting",
        "_receiving",
        "_waiting",
        "_working",
        "connection",
        "group",
        "held_octets",
        "identity",
        "is_lost",
        "number",
        "peer",
        "received_octets",
        "requests",
        "sent_octets",
        "watch",
    )

    def __init__(self) -> None:
        self.held_octets = 0
        self.is_lost = False
        self.number = 0
        self.peer = ""
        self.identity = ""
        self.group = NOWHERE
        self.requests = 0
        self.received_octets = 0
        self.sent_octets = 0
        self.watch: Watch | None = None
        # A list, which is at most max_requests long: an empty deque is 760 bytes, and most connections are idle.
        self._exchanges: list[Exchange] = []
        # Shared, until something is written.
        self._in_progress = NOTHING_IN_PROGRESS
        self._commits: list[Commit] = []
        # The exchange whose body is being received; the one that must be done before another may begin; the request
        # that conflicts with one in progress.
        self._receiving: Exchange | None = None
        self._working: Exchange | None = None
        self._waiting: Request | None = None
        self._failure: RemoteProtocolError | None = None
        self._is_ending = False
        self._is_pulling = False
        self._is_pull_scheduled = False
        self._is_shaking_hands = False
        # Nobody knows yet which version the peer speaks.
        self._is_undecided = True
        self._is_sending = False
        self._is_closing = False
        self._is_body_paused = False
        self._is_peer_slow = False
        self._is_read_closed = False
        self._is_waiting = False

    # What Twisted calls.

    def connectionMade(self) -> None:
        address = self.transport.getPeer()
        self.peer = describe_address(address)
        self.group = group_address(address)
        self.factory.admit(self)
        self._is_shaking_hands = INegotiated.providedBy(self.transport)
        if self._is_shaking_hands and not self.factory.may_shake_hands(self):
            self.transport.abortConnection()
        if hasattr(self.transport, "setTcpNoDelay"):
            # A response leaves when it is written. Nagle's algorithm made 44 ms of each answer in two pieces.
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            limit_unsent(self.transport)
        self.transport.registerProducer(self, True)
        self._begin()

    def handshakeCompleted(self) -> None:
        """Begin again, before anything was said: now it is known what TLS has agreed on, and who the peer is."""
        self._is_shaking_hands = False
        self.identity = identify(self.transport)
        if self.identity:
            _log.info("{peer} is {identity!r}", peer=self.peer, identity=self.identity)
        self._begin(self.transport.negotiatedProtocol)
        if self.factory.is_draining:
            self.go_on()

    def _begin(self, alpn: bytes | None = None) -> None:
        """Begin to speak; over TLS when its handshake is done, and has agreed on ``alpn``."""
        self.connection, octets = begin_server(
            self.factory.opening, alpn=alpn, has_bare_summary=self.factory.has_bare_summary
        )
        if octets:
            self._is_undecided = False
            self.transport.write(octets)

    def dataReceived(self, data: bytes) -> None:
        self.received_octets += len(data)
        self.connection.receive(data)
        self._pull()

    def readConnectionLost(self) -> None:
        self._is_read_closed = True
        self.connection.receive_eof()
        self._pull()

    def writeConnectionLost(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        if not reason.check(ConnectionDone) and self.factory.may_log(self):
            log_tls_failure(self.peer, reason.value)
        self.factory.dismiss(self)
        for exchange in list(self._exchanges):
            exchange.log("lost")
            exchange.cancel()

    def pauseProducing(self) -> None:
        """The peer does not read as fast as we write."""
        self._is_peer_slow = True

    def resumeProducing(self) -> None:
        """What we wrote has left."""
        self._is_peer_slow = False
        self._pull()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`connectionLost` tells."""

    # What exchanges call.

    def submit(self, commit: Commit) -> None:
        """Hand a change to the store, together with the others of this turn."""
        self._commits.append(commit)
        if not self._is_pulling:
            self._submit_commits()

    def exchange_answered(self, exchange: Exchange) -> None:
        """Send what can be sent now that this exchange has its reply."""
        self._finish(exchange)
        if exchange.outgoing is not None:
            self._working = exchange
        if exchange is self._receiving:
            exchange.body = None
            self.connection.discard_body()
            self._is_body_paused = False
        self._go_on()

    def exchange_abandoned(self, exchange: Exchange) -> None:
        """Forget an exchange that will not be answered: its peer is gone, or broke off inside its body."""
        self._finish(exchange)
        exchange.release()
        if exchange is self._receiving:
            self._receiving = None
        self._exchanges.remove(exchange)
        if not self.is_lost:
            exchange.log("lost")
        self._go_on()

    def set_body_paused(self, is_paused: bool) -> None:
        """Stop or go on reading a body from the peer, at the pace of the disk."""
        self._is_body_paused = is_paused
        self._read_or_wait()

    def body_moved(self, count: int) -> None:
        """Take note that octets of a body were taken, and read on if too many of them kept us from it."""
        if self._is_waiting:
            # By the kernel route: dataReceived did not see them.
            self.received_octets += count
        self._read_or_wait()

    def body_passed(self) -> None:
        """Go on behind a body whose octets did not come this way."""
        self._go_on()

    # What the factory calls.

    def go_on(self) -> None:
        """Send the replies that are ready, and begin more requests."""
        self._send_replies()
        self._pull()

    def drain(self, *, hears_openings: bool) -> None:
        """Begin no more requests, and close when those under way are answered (``factory.is_draining`` is set).

        Args:
            hears_openings: whether a peer that has said nothing yet may say which version it speaks, and be told.
        """
        if not self._is_undecided:
            self.go_on()
        elif not hears_openings:
            self._is_undecided = False
            self.go_on()
        elif not self._is_shaking_hands:
            self._begin()

    @property
    def phase(self) -> Phase:
        """What the connection waits for."""
        if self._is_shaking_hands:
            return Phase.HANDSHAKE
        if self._is_sending or self._is_peer_slow or self._is_closing:
            return Phase.SENDING
        if self._receiving is not None:
            return Phase.RECEIVING
        if self._exchanges:
            return Phase.BUSY
        if self.connection.available and not self._may_pull():
            # It has asked, and waits for memory or descriptors that others have.
            return Phase.BUSY
        if not self.connection.is_between_messages:
            return Phase.HEAD
        return Phase.IDLE if self.requests else Phase.FIRST

    @property
    def is_ready(self) -> bool:
        """Whether, while a body is received, octets would be taken if there were some."""
        body = None if self._receiving is None else self._receiving.body
        return not self._is_waiting or (isinstance(body, IncomingBody) and body.awaits_peer)

    def go_on_if_stuck(self) -> None:
        """Begin requests that had to wait for memory which others held: nothing of our own tells that it is free."""
        if not self._exchanges and self.connection.available:
            self._pull()

    def fail_late(self, fault: str) -> None:
        """End the connection of a peer that has not done in time what it must do."""
        self.factory.log_peer(self, "{peer}: failed: {reason}", reason=fault)
        self.transport.abortConnection()

    def say_working(self, now: float) -> None:
        """Tell a peer that waits for long that it does not wait in vain. To be called about once a second.

        Args:
            now: seconds, on the clock of all calls.
        """
        if not self._exchanges or not self.connection.says_why or self._is_sending:
            return
        exchange = self._exchanges[0]
        if exchange.reply is not None or exchange is self._receiving:
            return
        if exchange.waits_since is None:
            exchange.waits_since = now
        elif now - exchange.waits_since >= WORKING_SECONDS:
            exchange.waits_since = now
            self.transport.write(self.connection.encode(Working(), exchange.request))

    # The loop.

    def _go_on(self) -> None:
        if not self._is_pulling and not self.factory.puts_off(self):
            self.go_on()

    def _pull(self) -> None:
        """Begin as many requests as may be under way, but only so many in one turn of the reactor."""
        events = 0
        self._is_pulling = True
        try:
            # What was answered at once may leave, and make room for more.
            while self._may_pull() or (self._send_replies() and self._may_pull()):
                if events == MAX_EVENTS_A_TURN:
                    self._pull_later()
                    break
                event = self._next_event()
                if event is None:
                    break
                self._take_event(event)
                events += 1
        except RemoteProtocolError as failure:
            self._fail(failure)
        finally:
            self._is_pulling = False
        self._submit_commits()
        self._send_replies()
        self._read_or_wait()

    def _pull_later(self) -> None:
        """Go on in the next turn of the reactor, when the others have had theirs."""
        if not self._is_pull_scheduled:
            self._is_pull_scheduled = True
            self.factory.reactor.callLater(0, self._pull_scheduled)

    def _pull_scheduled(self) -> None:
        self._is_pull_scheduled = False
        self._pull()

    def _may_pull(self) -> bool:
        if self._failure is not None or self._is_ending or self.is_lost:
            return False
        if self._receiving is not None:
            return True
        factory = self.factory
        limits = factory.limits
        return (
            self._working is None
            and (self._is_undecided or not factory.is_draining)
            and not self._is_peer_slow
            and len(self._exchanges) < limits.max_requests
            and self.held_octets < limits.max_held_octets
            and factory.held_octets < limits.max_held_octets_in_all
            and factory.has_descriptors
            and not (self._waiting is not None and self._conflicts(self._waiting))
        )

    def _next_event(self) -> Event | None:
        if self._waiting is not None:
            request, self._waiting = self._waiting, None
            return request
        if self._receiving is not None and self._receiving.body is not None and self.connection.run:
            self._receiving.body.octets_came()
        return self.connection.next_event()

    def _take_event(self, event: Event) -> None:
        if isinstance(event, BodyEnd):
            self._end_body(event)
        elif not isinstance(event, _NO_REQUESTS):
            self._take_request(cast(Request, event))
        elif isinstance(event, BodyRun):
            if self._receiving is not None and self._receiving.body is not None:
                self._receiving.body.run_began()
        elif isinstance(event, EndOfMessages):
            self._is_ending = True
        else:
            self.connection = event.connection
            self._is_undecided = False
            if event.octets:
                self.transport.write(event.octets)

    def _take_request(self, request: Request) -> None:
        is_busy = isinstance(request, Put) and self._is_uploading(request.upload)
        if not is_busy and self._conflicts(request):
            self._waiting = request
            return
        self.requests += 1
        exchange = Exchange(self, request)
        exchange.began_at = self.factory.reactor.seconds()
        self._exchanges.append(exchange)
        if exchange.paths:
            self._note_begun(exchange.paths)
        if isinstance(request, Put):
            self._receiving = exchange
        exchange.start(_refuse_busy if is_busy else EXCHANGES[type(request)])
        if exchange.is_working and exchange is not self._receiving:
            self._working = exchange

    def _is_uploading(self, token: bytes | None) -> bool:
        """Whether an upload is on its way on this very connection, from which nobody could take it over."""
        return token is not None and any(
            isinstance(exchange.request, Put)
            and exchange.request.upload == token
            and exchange.reply is None
            for exchange in self._exchanges
        )

    def _conflicts(self, request: Request) -> bool:
        return self._in_progress is not NOTHING_IN_PROGRESS and self._in_progress.conflicts_with(
            list_paths(request)
        )

    def _end_body(self, end: BodyEnd) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.end_body(end)

    def _note_begun(self, paths: tuple[str, ...]) -> None:
        if self._in_progress is NOTHING_IN_PROGRESS:
            self._in_progress = PathsInProgress()
        self._in_progress.add(paths)

    def _finish(self, exchange: Exchange) -> None:
        if exchange.paths:
            self._in_progress.remove(exchange.paths)
            exchange.paths = ()
        if exchange is self._working:
            self._working = None

    def _fail(self, failure: RemoteProtocolError) -> None:
        """Stop listening to a peer that breaks the rules; what it asked before that is still answered."""
        self._failure = failure
        self.factory.log_peer(self, "{peer}: failed: {reason}", reason=str(failure))
        receiving, is_answered = self._receiving, self._receiving not in self._exchanges
        if receiving is None or is_answered:
            # It was refused before its body had ended, and nobody waits for the rest.
            self._receiving = None
        else:
            receiving.interrupt()

    def _submit_commits(self) -> None:
        if self._commits:
            commits, self._commits = self._commits, []
            self.factory.store.submit(commits)

    def _may_send(self, exchange: Exchange) -> bool:
        """Whether an exchange has a reply, and its body has gone by where it must have (rule 4 of version 1)."""
        return exchange.reply is not None and (
            exchange is not self._receiving or self.connection.answers_early
        )

    def _send_replies(self) -> bool:
        """Send the replies that are ready, in order, in one write; gives whether there were any."""
        replies: list[bytes] = []
        while self._exchanges and not self._is_sending and self._may_send(self._exchanges[0]):
            exchange = self._exchanges.pop(0)
            exchange.release()
            replies.append(cast(bytes, exchange.reply))
            if exchange.outgoing is None:
                exchange.log()
            else:
                self._is_sending = True
                work = self._send_body(b"".join(replies), exchange, exchange.outgoing)
                self._note_work(Deferred.fromCoroutine(work))
                return True
        if replies:
            self.transport.write(b"".join(replies))
        is_over = self.factory.is_draining and not self._is_undecided
        if (
            not self._exchanges
            and not self._is_sending
            and (self._is_ending or self._failure is not None or is_over)
        ):
            self._is_closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        return bool(replies)

    def _note_work(self, work: Deferred[None]) -> None:
        works = self.factory.works
        works.add(work)
        work.addErrback(self._log_bug).addBoth(lambda _: works.discard(work))

    async def _send_body(self, replies: bytes, exchange: Exchange, outgoing: OutgoingBody) -> None:
        def note_sent(count: int) -> None:
            self.sent_octets += count
            exchange.octets += count
            self._read_or_wait()

        self.transport.unregisterProducer()
        self.transport.write(replies)
        try:
            await outgoing.send(self.transport, self.connection, note_sent)
        except (TransferInterrupted, OSError) as error:
            self.factory.log_peer(
                self,
                "{peer}: {request} broke off: {reason}",
                request=exchange.request,
                reason=error,
            )
            exchange.log("lost")
            self.transport.abortConnection()
            return
        finally:
            outgoing.close()
        exchange.log()
        # It had room for the body's end. What it said to us before the body began is past.
        self._is_peer_slow = False
        self.transport.registerProducer(self, True)
        self._is_sending = False
        self._finish(exchange)
        self._go_on()

    def _read_or_wait(self) -> None:
        """Read from the peer, or let what it sends wait in the kernel.

        A peer whose requests cannot begin yet is read from all the same, up to a point: its end shows only so.
        """
        if self.is_lost or self._is_read_closed:
            return
        must_wait = (
            self._failure is not None
            or self._is_body_paused
            or self.connection.available > MAX_UNPARSED_OCTETS
        )
        if must_wait is not self._is_waiting:
            self._is_waiting = must_wait
            if must_wait:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _log_bug(self, failure: Failure) -> None:
        _log.failure("{peer}: a bug; the connection is failed", failure, peer=self.peer)
        self.transport.abortConnection()


def _refuse_busy(exchange: Exchange, request: Request) -> NoReturn:
    raise Busy("this very connection is sending the upload already")
