"""The body that a connection is receiving at this moment, on its way into an open file or into memory.

A protocol has one :class:`IncomingBody` (or, for a small one, :class:`HeldBody`) for each body and calls its
``octets_came`` whenever it has fed octets to its decoder; whoever wants the body awaits
:meth:`IncomingBody.receive_into`. Until somebody does, the peer is made to wait.

By the kernel route, what was fed already goes first, and then octets go past the decoder, while the protocol does not
read. What the kernel leaves, be it the end of the connection, goes through Python again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred

from filetransfer.bodies import kernel
from filetransfer.bodies.copied import CopiedReceiver
from filetransfer.bodies.route import goes_by_kernel
from filetransfer.errors import TransferInterrupted


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
    """Where a body goes. One that is an open file has more, see :class:`filetransfer.bodies.kernel.Sink`."""

    def write(self, octets: bytes) -> None: ...


class IncomingBody:
    """One body, while it is received.

    Args:
        source: the decoder.
        set_paused: stops (True) and restarts (False) reading from the peer.
        moved: told of the octets of the body, as they are taken.
        transport: where the body comes from; None keeps it from going by the kernel route.
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
        self._kernel: kernel.KernelReceiver | None = None
        self._ended: Deferred[None] | None = None
        self._error: BaseException | None = None
        self._has_ended = False

    @property
    def awaits_peer(self) -> bool:
        """Whether nothing moves because the peer sends nothing, although reading is paused (for the kernel's sake)."""
        return self._kernel is not None and self._kernel.awaits_peer

    @property
    def is_by_kernel(self) -> bool:
        """Whether octets are being moved past the decoder, so that the transport must not be read."""
        return self._kernel is not None

    async def receive_into(self, sink: Sink) -> None:
        """Write the whole body to ``sink``.

        Raises:
            RequestRefused: ``sink`` could not be written to; the rest of the body is thrown away as it comes.
            TransferInterrupted: the connection ended first.
        """
        count = self._source.run - self._source.available
        if hasattr(sink, "advance") and goes_by_kernel(self._transport, count):
            await self._receive_by_kernel(cast(kernel.Sink, sink))
        await self._receive_copied(sink)

    async def _receive_by_kernel(self, sink: kernel.Sink) -> None:
        """Move as much of the body as the kernel will; the transport stays paused."""
        self._set_paused(True)
        fed = self._source.take_body(self._source.run)
        self._moved(len(fed))
        if self._error is not None:
            # Whoever was told gave the body up: nobody would stop the receiver any more.
            return
        receiver = self._kernel = kernel.KernelReceiver(self._transport, sink, self._note_moved)
        try:
            await receiver.receive(fed, self._source.run)
        except BaseException:
            self._source.discard_body()
            raise
        finally:
            self._kernel = None

    def _note_moved(self, count: int) -> None:
        self._source.body_moved(count)
        self._moved(count)

    async def _receive_copied(self, sink: Sink) -> None:
        receiver = self._receiver = CopiedReceiver(sink.write, self._pause)
        if self._error is None:
            self._pause(False)
            self.octets_came()
            # All of the body may have come by now, and nothing more may come that would show its end.
            self._pull()
        try:
            await self._until_ended()
        finally:
            # Also after a lost connection: the caller closes the file as soon as this returns, and no thread may be
            # writing to it then.
            await receiver.finish()

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

    def end(self) -> None:
        """Take note that the body has ended, whole."""
        self._pause(False)
        self._has_ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not end: the connection is gone."""
        self._error = error
        if self._kernel is not None:
            self._kernel.stop()
        self._wake()

    def _pause(self, is_paused: bool) -> None:
        # What is still to be written when the body has ended is no affair of the next one, which may be on its way by
        # the kernel route.
        if not self._has_ended:
            self._set_paused(is_paused)

    async def _until_ended(self) -> None:
        if not self._has_ended and self._error is None:
            self._ended = Deferred()
            await self._ended
        if self._error is not None:
            raise TransferInterrupted(
                "the connection was lost in the middle of a body"
            ) from self._error

    def _wake(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.callback(None)


class HeldBody:
    """A small body, held in memory until it is whole.

    Args:
        source: the decoder; what is not whole yet waits in there.
        take: given the octets, once.
    """

    def __init__(self, source: BodySource, take: Callable[[bytes], None]) -> None:
        self._source = source
        self._take = take
        self._octets = b""

    def octets_came(self) -> None:
        """Take the body out of the decoder once all of it is there."""
        if self._source.available >= self._source.run:
            self._octets = self._source.take_body(self._source.run)

    def end(self) -> None:
        """Take note that the body has ended, whole."""
        self._take(self._octets)

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not end."""
