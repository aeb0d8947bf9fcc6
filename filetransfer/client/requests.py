"""Requests on their way out: as long as there is one to write and the transport has room.

Small bodies leave in one write with their heads, many at a time. A large one has the connection to itself until its
last octet is written (``client/sending.py``). Where its end cannot be said early, only the end of the connection says
it: the exchange is *doomed* then, and the connection is dropped as soon as everything before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from filetransfer.client.exchanges import Exchange
from filetransfer.client.line import Line
from filetransfer.client.sending import Batch, Outlet, Sending
from filetransfer.client.sources import CHANGED, Body, StreamBody
from filetransfer.errors import Cancelled, FileTransferError, SourceChanged, TransferInterrupted


class RequestWriter:
    """Writes requests, and the bodies behind them.

    Args:
        line: the connection.
        take_next: gives the exchange whose request is to be written next; None when there is none now.
        start: lets a coroutine run that does not raise, and that must have ended before the program may.
    """

    def __init__(
        self,
        line: Line,
        take_next: Callable[[], Exchange[Any] | None],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._line = line
        self._take_next = take_next
        self._start = start
        self._outlet = Outlet(line.transport, self._room_came)
        self._is_writing = False
        self._sender: Exchange[Any] | None = None
        self._sending: Sending | None = None
        self._doomed: Exchange[Any] | None = None

    @property
    def awaits_source(self) -> bool:
        """Whether nothing moves because there is nothing yet to be sent."""
        return self._sending is not None and self._sending.awaits_source

    def is_sending(self, exchange: Exchange[Any]) -> bool:
        """Tell whether the large body of an exchange has not left whole."""
        return exchange is self._sender

    def write(self) -> None:
        """Write what there is, as long as there is room."""
        if self._is_writing:
            return
        self._is_writing = True
        batch = Batch(self._outlet.write)
        while self._may_write() and (exchange := self._take_next()) is not None:
            body = self._write_request(exchange, batch)
            if body is not None:
                batch.flush()
                self._sender = exchange
                self._send_bulk(exchange, body)
        batch.flush()
        self._is_writing = False

    def stop(self, exchange: Exchange[Any]) -> None:
        """Send no more than must be of a body that nobody wants."""
        if self._sending is not None and self._line.connection.has_trailers:
            self._sending.stop(Cancelled("nobody wants it any more"))
        else:
            self._doom(exchange)

    def drop_if_doomed(self) -> None:
        """Drop the connection if there is nothing more to come before the doomed exchange."""
        unanswered = self._line.unanswered
        if self._doomed is not None and (
            self._doomed not in unanswered or unanswered[0] is self._doomed
        ):
            self._line.drop()

    def close(self) -> None:
        """Take note that the connection is over."""
        self._outlet.close()

    def _room_came(self) -> None:
        self._line.note_move()
        self.write()

    def _may_write(self) -> bool:
        return self._outlet.has_room and self._sender is None and not self._line.is_over

    def _write_request(self, exchange: Exchange[Any], batch: Batch) -> Body | StreamBody | None:
        """Write a request, with its body if that is small; give the body if it is large."""
        line = self._line
        try:
            octets, body = exchange.open(line.connection)
        except (OSError, FileTransferError) as error:
            exchange.fail(error)
            return None
        is_first = not line.unanswered
        line.unanswered.append(exchange)
        if is_first:
            line.note_move()
            line.watch()
        batch.write(octets)
        return body

    # Large bodies.

    def _send_bulk(self, exchange: Exchange[Any], body: Body | StreamBody) -> None:
        def moved(count: int) -> None:
            self._line.note_move()
            exchange.body_moved(count)

        sending = self._sending = Sending(self._outlet, self._line.connection, body, moved)
        self._start(self._send(exchange, body, sending))

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
        self.write()

    def _end_early(self, exchange: Exchange[Any], sending: Sending, error: Exception) -> None:
        exchange.fail(error)
        if self._line.is_over:
            return
        if sending.can_go_on:
            sending.end_early()
            self._end_sending()
        else:
            self._doom(exchange)

    def _doom(self, exchange: Exchange[Any]) -> None:
        self._doomed = exchange
        self.drop_if_doomed()
