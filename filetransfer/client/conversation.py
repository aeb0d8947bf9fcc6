"""What a session has to ask, and its connections, one after the other.

Exchanges wait here in the order they were asked for; the connection of the moment takes them
(``client/protocol.py``), at most :data:`MAX_UNANSWERED` at a time, so that ten thousand small files do not mean ten
thousand open ones. What a lost connection leaves unanswered is asked again on the next one, as far as that does no
harm:

    lost after responses had come     the server may close whenever it likes, some do after each response: go on at once
    lost without a response           up to ``tries`` times with waits in between, then the oldest exchange fails
    the server broke the rules        everything fails: more of it would not make sense either
    nothing moved for too long        the same: each exchange would have to wait as long again

A request that must not be repeated blindly, and that was sent and not answered, fails with
:class:`~filetransfer.errors.OutcomeUnknown`: a CHANGE that was done twice could rename another file. So that a server
that closes after each response does not leave one in doubt, it is not sent behind unanswered requests until the server
has answered twice on one connection, or has greeted: those that greet do not do such things.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.threads import deferToThread

from filetransfer.client.connecting import Connector, choose_wait
from filetransfer.client.exchanges import Ended, Exchange
from filetransfer.client.protocol import ClientProtocol, ServerInfo
from filetransfer.client.publishing import Publisher
from filetransfer.errors import (
    FileTransferError,
    LocalProtocolError,
    TransferInterrupted,
    TransferTimeout,
)
from filetransfer.wire.connection import ClientEnd

MAX_UNANSWERED = 1024
"""Requests without an answer at a time. A server works on 256 of them (protocol, section 5), the others wait on their
way: while the next small files are read here, it has something to do. In two sets of three runs, trees of 20,000 files
took 4.9 and 4.5 times as long as rsync, sent and fetched, for 5.3 and 4.6 with 256."""

MAX_UNDER_WAY = 2 * MAX_UNANSWERED
"""Exchanges at a time: those that are answered, and whose files are being written here, among them."""

_MAX_OPEN = 64
"""Large files that may wait to be published, with their descriptors open, before no more is asked for."""

# Responses on one connection, the second of which shows that the server does not close after each.
_PROVEN_RESPONSES = 2
# Connections in a row with one response each, after which the server is believed to close after each.
_PROVEN_CLOSES = 2

_Result = TypeVar("_Result")


class Conversation:
    """Exchanges with one server, over as many connections as it takes.

    Args:
        connector: makes the connections.
        clock: for waits and deadlines.
        timeout_seconds: how long nothing may move while something is unanswered, > 0.
        tries: to send again what a lost connection left unanswered, >= 1.

    Attributes:
        publisher: publishes what was fetched.
        server: what is known of the server; None before the first connection.
    """

    def __init__(
        self, connector: Connector, clock: IReactorTime, *, timeout_seconds: float, tries: int
    ) -> None:
        self.publisher = Publisher(deferToThread)
        self.server: ServerInfo | None = None
        self._codec: ClientEnd | None = None
        self._connector = connector
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._tries_left = tries
        self._waiting: deque[Exchange[Any]] = deque()
        self._pending: set[Exchange[Any]] = set()
        self._under_way: set[Exchange[Any]] = set()
        self._protocol: ClientProtocol | None = None
        self._openings: list[Deferred[None]] = []
        self._connecting: Deferred[None] | None = None
        self._is_connecting = False
        self._wake: IDelayedCall | None = None
        self._idle: Deferred[None] | None = None
        self._tidying: set[Deferred[None]] = set()
        self._single_responses = 0
        self._closes_after_response = False
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._is_closed

    def has_feature(self, name: str) -> bool:
        """Tell whether the server has said that it can something."""
        return self.server is not None and name in self.server.features

    def is_durable(self) -> bool:
        """Tell whether what the server calls done is on stable storage: unless it was told that it need not be."""
        return self.has_feature("durable")

    async def open(self) -> ClientEnd:
        """Connect, if there was no connection yet.

        Returns:
            What says what the version can that the server speaks.

        Raises:
            ConnectTimeout: nobody answered in time.
            ConnectFailed: every try was refused, or the host is not known.
            Busy, ShuttingDown: the server cannot serve now.
            RemoteProtocolError: it does not speak a version that will do.
            LocalProtocolError: this was closed.
        """
        if self._is_closed:
            raise LocalProtocolError("the session is closed")
        if self._codec is None:
            opened: Deferred[None] = Deferred(self._openings.remove)
            self._openings.append(opened)
            self._begin_connecting()
            await opened
        assert self._codec is not None  # noqa: S101 - that is what was waited for
        return self._codec

    async def close(self) -> None:
        """Wait for what is under way, then say bye. A second call does nothing."""
        while self._pending:
            self._idle = Deferred()
            await self._idle
        self._is_closed = True
        if self._protocol is not None:
            await self._protocol.close()
        await self._tidy_up()

    async def abort(self) -> None:
        """Give up what is under way, leaving no parts behind, and say bye. A second call does nothing."""
        self._is_closed = True
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._connecting is not None:
            self._connecting.cancel()
        given_up = TransferInterrupted("the session was given up")
        openings, self._openings = self._openings, []
        for opened in openings:
            opened.errback(given_up)
        for exchange in list(self._pending):
            exchange.fail(given_up)
        if self._protocol is not None:
            await self._protocol.abort()
        await self._tidy_up()

    async def _tidy_up(self) -> None:
        """Wait until nothing is left that would be left behind."""
        while self._tidying:
            done: Deferred[None] = Deferred()
            next(iter(self._tidying)).addCallback(done.callback)
            await done
        await self.publisher.close()

    # What the connection calls.

    def take_next(self, protocol: ClientProtocol) -> Exchange[Any] | None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        if (
            not self._has_waiting()
            or len(protocol.unanswered) >= MAX_UNANSWERED
            or len(self._under_way) >= MAX_UNDER_WAY
            or self.publisher.open_count >= _MAX_OPEN
            or self._is_spent(protocol)
            or (protocol.unanswered and not self._may_follow(self._waiting[0], protocol))
        ):
            return None
        exchange = self._waiting.popleft()
        self._under_way.add(exchange)
        return exchange

    def _has_waiting(self) -> bool:
        """Tell whether there is an exchange to begin; those whose callers gave them up are forgotten."""
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        return bool(waiting)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        started = Deferred.fromCoroutine(work)
        if not started.called:
            self._tidying.add(started)
            started.addCallback(lambda _: self._tidying.discard(started))

    def _may_follow(self, exchange: Exchange[Any], protocol: ClientProtocol) -> bool:
        """Tell whether its request may be sent while others are unanswered."""
        return not self._closes_after_response and (
            exchange.is_repeatable
            or protocol.answered >= _PROVEN_RESPONSES
            or protocol.connection.has_greeting
        )

    def _is_spent(self, protocol: ClientProtocol) -> bool:
        return self._closes_after_response and protocol.answered > 0

    def connection_over(self, protocol: ClientProtocol, error: FileTransferError) -> None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        if self._protocol is protocol:
            self._protocol = None
        unanswered = [exchange for exchange in protocol.unanswered if not exchange.is_over]
        self._under_way.difference_update(unanswered)
        if not isinstance(error, TransferInterrupted) or isinstance(error, TransferTimeout):
            self._fail([*unanswered, *self._waiting], error)
            return
        repeated = []
        for exchange in unanswered:
            if exchange.is_repeatable:
                repeated.append(exchange)
            else:
                exchange.fail(exchange.explain_loss(error))
        self._learn_from(
            protocol,
            has_more=bool(repeated or self._waiting),
            has_several=len(unanswered) > 1,
        )
        wait_seconds = self._count_loss(protocol, repeated, error)
        self._waiting.extendleft(reversed(repeated))
        self._wake_after(wait_seconds)

    def _learn_from(self, protocol: ClientProtocol, *, has_more: bool, has_several: bool) -> None:
        """Notice a server that closes after each response: two connections in a row that had one, and not by us."""
        if protocol.was_dropped:
            return
        if not protocol.answered and has_several and not protocol.connection.has_greeting:
            # It may have closed after a response, with requests unread: that destroys the response on its way.
            self._closes_after_response = True
        self._single_responses = self._single_responses + 1 if protocol.answered == 1 else 0
        if has_more and self._single_responses >= _PROVEN_CLOSES:
            self._closes_after_response = True

    def _count_loss(
        self, protocol: ClientProtocol, repeated: list[Exchange[Any]], error: TransferInterrupted
    ) -> float:
        """Give the seconds to wait before the next connection; after too many losses, fail the oldest exchange."""
        if protocol.answered or protocol.was_dropped or not repeated:
            self._tries_left = self._tries
            return 0.0
        self._tries_left = max(self._tries_left - 1, 0)
        if self._tries_left:
            return choose_wait(self._tries - self._tries_left)
        # It may be this very exchange that the server cannot bear: the others go on, with one try each until one of
        # them is answered.
        repeated.pop(0).fail(error)
        return 0.0

    # Exchanges.

    def submit(self, exchange: Exchange[_Result]) -> Deferred[_Result]:
        """Ask for something; gives what becomes of it. Raises LocalProtocolError: this was closed."""
        asked: Deferred[_Result] = Deferred(lambda _: exchange.fail(CancelledError()))

        def ended(result: _Result | None, error: BaseException | None) -> None:
            if error is None:
                asked.callback(cast(_Result, result))
            else:
                asked.errback(error)

        self.begin(exchange, ended)
        return asked

    def begin(self, exchange: Exchange[_Result], ended: Ended[_Result]) -> None:
        """Ask for something; ``ended`` is told what becomes of it. Raises LocalProtocolError: this was closed."""
        if self._is_closed:
            raise LocalProtocolError("the session is closed")
        exchange.begin(self._release, ended)
        self._pending.add(exchange)
        self._waiting.append(exchange)
        self._wake_after(0.0)

    def _release(self, exchange: Exchange[Any]) -> None:
        self._pending.discard(exchange)
        self._under_way.discard(exchange)
        if self._protocol is not None:
            self._protocol.forget(exchange)
        if self._waiting:
            self._wake_after(0.0)
        if not self._pending and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    @staticmethod
    def _fail(exchanges: list[Exchange[Any]], error: Exception) -> None:
        for exchange in exchanges:
            exchange.fail(error)

    def _wake_after(self, seconds: float) -> None:
        """Look for work in a later turn: what is asked for in this one goes out together."""
        if self._wake is None and not self._is_closed:
            self._wake = self._clock.callLater(seconds, self._work)

    def _work(self) -> None:
        self._wake = None
        if not self._has_waiting():
            return
        if self._protocol is None:
            self._begin_connecting()
        elif self._is_spent(self._protocol) and not self._protocol.unanswered:
            self._protocol.drop()
        else:
            self._protocol.write_requests()

    # Connections.

    def _begin_connecting(self) -> None:
        if not self._is_connecting:
            self._is_connecting = True
            self._connecting = Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> None:
        try:
            protocol = await self._connector.connect(self._make_protocol)
        except CancelledError:
            # By abort().
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            openings, self._openings = self._openings, []
            for opened in openings:
                opened.errback(error)
            self._fail(list(self._waiting), error)
        else:
            self._take_protocol(protocol)
        finally:
            self._is_connecting = False

    def _make_protocol(self, versions: Collection[int]) -> ClientProtocol:
        return ClientProtocol(self, self._clock, self._timeout_seconds, versions)

    def _take_protocol(self, protocol: ClientProtocol) -> None:
        self._protocol = protocol
        self._codec = protocol.connection
        self.server = protocol.server
        openings, self._openings = self._openings, []
        for opened in openings:
            opened.callback(None)
        protocol.write_requests()
