"""The body that a connection is receiving at this moment, on its way into an open file or into memory.

A protocol has one :class:`IncomingBody` (or, for a small one, :class:`HeldBody`) for each body and calls its
``octets_came`` whenever it has fed octets to its decoder, and ``run_began`` when the body goes on with a further run;
whoever wants the body awaits :meth:`IncomingBody.receive_into`. Until somebody does, the peer is made to wait.

A body may change its way with each of its runs. A large run goes past the decoder (``bodies/past.py``): what was fed
already goes first, and then threads move octets from the socket, while the protocol does not read. Between two runs it
must read: what stands there is for the decoder. What the threads leave, be it the end of the connection, goes by the
copied route, and so does all that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred

from filetransfer.bodies.copied import CopiedReceiver
from filetransfer.bodies.decrypting import Decrypting
from filetransfer.bodies.digesting import SinkDigesting
from filetransfer.bodies.kernel import Splicing
from filetransfer.bodies.past import Moving, PastReceiver
from filetransfer.bodies.past import Sink as FileSink
from filetransfer.bodies.route import goes_by_kernel, is_decrypted_apart
from filetransfer.errors import RequestRefused, TransferInterrupted


class BodySource(Protocol):
    """What a decoder says about the body at hand; see ``wire/connection.py``."""

    @property
    def run(self) -> int: ...
    @property
    def available(self) -> int: ...
    def take_body(self, limit: int) -> bytes: ...
    def body_moved(self, count: int) -> None: ...
    def discard_body(self) -> None: ...


class Sink(Protocol):
    """Where a body goes. One that is an open file has more, see :class:`filetransfer.bodies.past.Sink`."""

    def write(self, octets: bytes | memoryview) -> None: ...


class IncomingBody:
    """One body, while it is received.

    Args:
        source: the decoder.
        set_paused: stops (True) and restarts (False) reading from the peer.
        moved: told of the octets of the body, as they are taken.
        transport: where the body comes from; None keeps it from going past the decoder.
        pull: asks the decoder for events, and takes them: octets of the body were taken out of it, or went past it.
    """

    def __init__(
        self,
        source: BodySource,
        set_paused: Callable[[bool], None],
        moved: Callable[[int], None],
        transport: Any = None,
        pull: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._set_paused = set_paused
        self._moved = moved
        self._transport = transport
        self._pull = pull
        self._receiver: CopiedReceiver | None = None
        self._past: PastReceiver | None = None
        self._sink: Sink | None = None
        self._digesting: SinkDigesting | None = None
        self._woken: Deferred[None] | None = None
        self._error: BaseException | None = None
        self._end: Any = None
        self._has_ended = False
        self._is_left = False

    @property
    def awaits_peer(self) -> bool:
        """Whether nothing moves because the peer sends nothing, although reading is paused (for others who read)."""
        return self._past is not None and self._past.awaits_peer

    @property
    def is_moved_past(self) -> bool:
        """Whether octets are being moved past the decoder, so that the transport must not be read."""
        return self._past is not None

    async def receive_into(self, sink: Sink) -> Any:
        """Write the whole body to ``sink``.

        Returns:
            What :meth:`end` was given.

        Raises:
            RequestRefused: ``sink`` could not be written to; the rest of the body is thrown away as it comes. Or what
                :meth:`fail` was given.
            TransferInterrupted: the connection ended first.
        """
        self._sink = sink
        try:
            while not self._is_over:
                if self._goes_past:
                    await self._receive_past(cast(FileSink, sink))
                await self._receive_copied(sink)
        finally:
            if self._digesting is not None:
                # The caller closes the file as soon as this returns.
                await self._digesting.stop()
        if self._digesting is not None and self._digesting.error is not None:
            raise self._digesting.error
        if isinstance(self._error, RequestRefused):
            raise self._error
        if self._error is not None:
            raise TransferInterrupted(
                "the connection was lost in the middle of a body"
            ) from self._error
        return self._end

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._error is not None

    @property
    def _goes_past(self) -> bool:
        """Whether the rest of the run at hand is to go past the decoder."""
        if self._is_left or not hasattr(self._sink, "advance"):
            return False
        left = self._source.run - self._source.available
        return goes_by_kernel(self._transport, left) or is_decrypted_apart(self._transport, left)

    async def _receive_past(self, sink: FileSink) -> None:
        """Have as much of a run moved as can be; the transport stays paused."""
        self._set_paused(True)
        fed = self._source.take_body(self._source.run)
        self._moved(len(fed))
        if self._error is not None:
            # Whoever was told gave the body up: nobody would stop the receiver any more.
            return
        receiver = self._past = PastReceiver(self._transport, self._note_moved)
        try:
            await receiver.receive(sink, fed, self._make_moving(receiver, sink))
            if self._digesting is not None and self._digesting.error is not None:
                raise self._digesting.error
        except BaseException:
            self._source.discard_body()
            raise
        finally:
            self._past = None
        self._is_left = self._source.run > 0

    def _make_moving(self, receiver: PastReceiver, sink: FileSink) -> Moving:
        count = self._source.run
        if is_decrypted_apart(self._transport, count):
            return Decrypting(receiver.watch, sink, count, self._transport)
        if self._digesting is None:
            self._digesting = SinkDigesting(self._transport.reactor, sink, self._stop_past)
        return Splicing(receiver.watch, sink, count, self._digesting)

    def _note_moved(self, count: int) -> None:
        self._source.body_moved(count)
        self._moved(count)

    async def _receive_copied(self, sink: Sink) -> None:
        """Let octets pass through Python, until the body is over or a run goes past it."""
        receiver = self._receiver = CopiedReceiver(sink.write, self._pause)
        if self._error is None:
            self._pause(False)
            self.octets_came()
            # All of the body may have come by now, and nothing more may come that would show its end.
            self._pull()
        try:
            if not self._is_over and not self._goes_past:
                self._woken = Deferred()
                await self._woken
        finally:
            self._receiver = None
            # Also after a lost connection: the caller closes the file as soon as this returns, and no thread may be
            # writing to it then.
            await receiver.finish()

    def run_began(self) -> None:
        """Take note that the body goes on with another run."""
        if self._receiver is not None and self._goes_past:
            self._wake()

    def octets_came(self) -> None:
        """Take what was fed to the decoder."""
        receiver = self._receiver
        if receiver is None:
            self._set_paused(True)
            return
        while self._source.run and self._source.available:
            octets = self._source.take_body(self._source.run)
            self._moved(len(octets))
            receiver.receive(octets)
        if receiver.error is not None:
            self._source.discard_body()

    def end(self, end: Any = None) -> None:
        """Take note that the body has ended, whole; and of what was said behind it."""
        self._pause(False)
        self._has_ended = True
        self._end = end
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not be whole: the connection is gone, or its sender gave it up."""
        self._error = error
        self._stop_past()
        self._wake()

    def _stop_past(self) -> None:
        if self._past is not None:
            self._past.stop()

    def _pause(self, is_paused: bool) -> None:
        # What is still to be written when the body has ended is no affair of the next one, which may be on its way past
        # the decoder.
        if not self._has_ended:
            self._set_paused(is_paused)

    def _wake(self) -> None:
        woken, self._woken = self._woken, None
        if woken is not None:
            woken.callback(None)


class HeldBody:
    """A small body, held in memory until it is whole.

    Args:
        source: the decoder; a run that is not whole yet waits in there.
        take: given the octets, and what was said behind them, once.
    """

    def __init__(self, source: BodySource, take: Callable[[bytes, Any], None]) -> None:
        self._source = source
        self._take = take
        self._octets = b""

    def run_began(self) -> None:
        """Take note that the body goes on with another run."""

    def octets_came(self) -> None:
        """Take a run out of the decoder once all of it is there."""
        if self._source.available >= self._source.run:
            octets = self._source.take_body(self._source.run)
            self._octets = self._octets + octets if self._octets else octets

    def end(self, end: Any = None) -> None:
        """Take note that the body has ended, whole; and of what was said behind it."""
        self._take(self._octets, end)

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not be whole."""
