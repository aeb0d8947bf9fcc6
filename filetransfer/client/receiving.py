"""Receiving: what a connection does with the bodies of responses, on their way to whoever asked for them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.client.exchanges import Exchange, ListExchange
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.line import Line
from filetransfer.client.sources import MAX_SMALL_OCTETS
from filetransfer.errors import TransferInterrupted
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.messages import BodyEnd, Content, Listing

_MAX_DISCARDED_OCTETS = 1024 * 1024
"""The rest of a body that nobody wants any more is read up to this size; beyond, a new connection is cheaper."""


class FedBody:
    """A body whose octets are looked at as they come: a list.

    Args:
        source: the decoder.
        feed: given octets. Raises RemoteProtocolError.
        finish: told that the body has ended, and what was said behind it. Raises RemoteProtocolError.
    """

    def __init__(
        self, source: ClientEnd, feed: Callable[[bytes], None], finish: Callable[[Any], None]
    ) -> None:
        self._source = source
        self._feed = feed
        self._finish = finish

    def run_began(self) -> None:
        """Take note that the body goes on with another run."""

    def octets_came(self) -> None:
        """Take what was fed to the decoder."""
        if self._source.available:
            self._feed(self._source.take_body(self._source.run))

    def end(self, end: Any) -> None:
        """Take note that the body has ended, whole; and of what was said behind it."""
        self._finish(end)

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not be whole."""


class BulkSource:
    """The decoder, but for one thing: what becomes of a body that cannot be written is decided by the protocol."""

    def __init__(self, connection: ClientEnd, give_up: Callable[[], None]) -> None:
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


class Receiver:
    """Receives the body of the oldest unanswered exchange, when there is one.

    Args:
        line: the connection.
        start: lets a coroutine run that does not raise, and that must have ended before the program may.
    """

    def __init__(self, line: Line, start: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._line = line
        self._start = start
        self._body: HeldBody | IncomingBody | FedBody | None = None
        self._is_held_back = False

    @property
    def is_receiving(self) -> bool:
        """Whether there is a body."""
        return self._body is not None

    @property
    def awaits_us(self) -> bool:
        """Whether it is for want of our disk that nothing comes."""
        # A body may move past Python while reading is paused, and nothing come.
        awaits_peer = isinstance(self._body, IncomingBody) and self._body.awaits_peer
        return self._is_held_back and not awaits_peer

    def begin(self, exchange: Exchange[Any], response: Content | Listing) -> None:
        """Begin to receive what follows a response."""
        connection = self._line.connection
        if isinstance(exchange, ListExchange):
            self._body = FedBody(connection, exchange.feed, exchange.finish)
            return
        assert isinstance(exchange, GetExchange)  # noqa: S101 - the decoder matches them
        assert isinstance(response, Content)  # noqa: S101
        exchange.take_content(response)
        if exchange.is_over:
            self.give_up()
        elif exchange.is_held and exchange.size <= MAX_SMALL_OCTETS:
            self._body = HeldBody(connection, exchange.take)
        else:
            self._begin_bulk(exchange)

    def _begin_bulk(self, exchange: GetExchange) -> None:
        source = BulkSource(self._line.connection, self.give_up)

        def moved(count: int) -> None:
            self._line.note_move()
            exchange.body_moved(count)

        body = self._body = IncomingBody(
            source, self._hold_back, moved, self._line.transport, self._line.go_on
        )
        # It begins to receive, or has failed, before this returns.
        if exchange.is_file:
            self._start(exchange.receive(body))
        else:
            # It leaves nothing behind, and its thread may be sitting in write(), with nobody reading at the other end.
            Deferred.fromCoroutine(exchange.receive(body))
        if exchange.is_over and self._body is not None:
            self.give_up()

    def run_began(self) -> None:
        """Take note that the body goes on with another run."""
        if self._body is not None:
            self._body.run_began()

    def octets_came(self) -> None:
        """Take what was fed to the decoder, if it is of the body. Raises RemoteProtocolError: it may not be there."""
        if self._body is not None and self._line.connection.run:
            self._body.octets_came()

    def end(self, exchange: Exchange[Any], end: BodyEnd) -> None:
        """Take note that the body of an exchange has ended. Raises RemoteProtocolError: it is not whole."""
        body, self._body = self._body, None
        if end.refusal is not None:
            exchange.fail(end.refusal)
        if body is not None and end.refusal is not None:
            self._hold_back(False)
            body.fail(end.refusal)
        elif body is not None:
            body.end(end)

    def give_up(self) -> None:
        """Have nothing more of a body that nobody wants; if need be, drop the connection."""
        body, self._body = self._body, None
        is_moved_past = isinstance(body, IncomingBody) and body.is_moved_past
        if body is not None:
            body.fail(TransferInterrupted("nobody wants it any more"))
        if is_moved_past or self._line.unanswered[0].left > _MAX_DISCARDED_OCTETS:
            self._line.drop()
        else:
            self._line.connection.discard_body()
            self._hold_back(False)

    def fail(self, error: BaseException) -> None:
        """Take note that the connection is over."""
        if self._body is not None:
            self._body.fail(error)

    def _hold_back(self, is_paused: bool) -> None:
        """Stop or go on reading a body, at the pace of the disk."""
        if self._line.is_over:
            return
        self._line.note_move()
        self._is_held_back = is_paused
        if is_paused:
            self._line.transport.pauseProducing()
        else:
            self._line.transport.resumeProducing()
