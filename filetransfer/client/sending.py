"""Sending: requests with small bodies, many in one write, and large bodies one at a time.

A large body leaves in runs, along the kernel's route where there is one. Its last octets travel through Python, in one
write with what stands behind the body: by then the file is known to be still what it was, and its digest, worked out
behind the octets, is known as well. Between two runs a body can be given up: where something can be said behind it the
connection goes on, elsewhere only its end can say it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from filetransfer.bodies.copied import Gate, read_cached, send_copied
from filetransfer.bodies.digesting import DigestBehind
from filetransfer.bodies.framing import split_tail
from filetransfer.bodies.route import goes_by_kernel, send_body
from filetransfer.client.sources import CHANGED, Body, StreamBody
from filetransfer.digests import DEFAULT_ALGORITHM, Digest, digest_octets, start_digest
from filetransfer.errors import Cancelled, SourceChanged
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.messages import BodyEnd

_BATCH_OCTETS = 256 * 1024
"""Requests and small bodies are written in pieces of about this size: a write costs as much as a file."""

_MAX_RUN_OCTETS = 16 * 1024 * 1024
"""Octets of a run by the kernel's route, which costs nearly the same from 1 MiB on; at 1 GB/s 17 ms of sending."""

_MAX_COPIED_RUN_OCTETS = 1024 * 1024
"""Octets of a run that passes through Python, over TLS for instance: who does not want it need not take much more."""


class Batch:
    """Requests and small bodies, collected into few writes.

    Args:
        write: writes octets.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
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
            self._write(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0


def frame_small(connection: ClientEnd, octets: bytes, prefix: Digest | None = None) -> bytes:
    """Give a small body, with what stands before and behind it.

    Args:
        connection: frames it.
        octets: of the body.
        prefix: running digest of what the receiver has already; None when it has nothing.
    """
    run = connection.encode_run(len(octets)) + octets if octets else b""
    end = BodyEnd()
    if connection.has_trailers:
        if prefix is None:
            end.digest[DEFAULT_ALGORITHM] = digest_octets(octets)
        else:
            prefix.update(octets)
            end.digest[DEFAULT_ALGORITHM] = prefix.digest()
    return run + connection.encode_body_end(end)


@implementer(IPushProducer)
class Outlet:
    """The transport as those see it who write to it; it is the transport's producer for as long as there is one.

    It passes on to the producer of a large body what the transport says; when the body is written, it must know whether
    there is room for more.

    Args:
        transport: what to write to.
        room_came: told that there is room again.

    Attributes:
        has_room: whether the peer reads as fast as we write.
    """

    def __init__(self, transport: Any, room_came: Callable[[], None]) -> None:
        self.has_room = True
        self._transport = transport
        self._room_came = room_came
        self._producer: IPushProducer | None = None
        transport.registerProducer(self, True)

    @property
    def reactor(self) -> Any:
        """What the transport turns in."""
        from twisted.internet import reactor

        return getattr(self._transport, "reactor", reactor)

    def write(self, octets: bytes) -> None:
        """Write octets."""
        self._transport.write(octets)

    def goes_by_kernel(self, count: int) -> bool:
        """Tell whether so many octets of a file go by the kernel's route."""
        return goes_by_kernel(self._transport, count)

    async def send_file(
        self,
        descriptor: int,
        offset: int,
        count: int,
        moved: Callable[[int], None],
        framing: Framing,
    ) -> None:
        """Send octets of an open file. As :func:`filetransfer.bodies.route.send_body`."""
        if not self.goes_by_kernel(count):
            await send_copied(self, descriptor, offset, count, moved, framing)
            return
        # The kernel's route has a producer of its own, and is told of the room that we were waiting for.
        self._transport.unregisterProducer()
        await send_body(self._transport, descriptor, offset, count, moved, framing)
        self.has_room = True
        self._transport.registerProducer(self, True)

    def close(self) -> None:
        """Take note that the connection is over."""
        if self._producer is not None:
            self._producer.stopProducing()

    # What the sender of a large body calls.

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self._producer = producer
        if not self.has_room:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    # What the transport calls.

    def pauseProducing(self) -> None:
        self.has_room = False
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self.has_room = True
        if self._producer is not None:
            self._producer.resumeProducing()
        self._room_came()

    def stopProducing(self) -> None:
        """The transport is gone; the protocol tells by :meth:`close`."""


class Framing:
    """Cuts a large body into runs, and lets it be given up between two of them.

    Args:
        connection: what frames a run.
        body: what is sent.
        max_run: octets of a run, at most.

    Attributes:
        was_left: whether the body was given up between two runs, and not in the middle of one.
    """

    def __init__(self, connection: ClientEnd, body: Body | StreamBody, max_run: int) -> None:
        self.max_run = min(max_run, connection.max_run)
        self.was_left = False
        self._connection = connection
        self._body = body
        self._error: Exception | None = None

    def stop(self, error: Exception) -> None:
        """Let the body end before its next run, with an error; any thread."""
        self._error = error

    def encode_run(self, count: int) -> bytes:
        """See :class:`filetransfer.bodies.framing.Framing`. Raises as :meth:`check`."""
        self.check()
        return self._connection.encode_run(count)

    def check(self) -> None:
        """Between two runs, look whether the body is to go on.

        Raises:
            SourceChanged: the file is not what it was.
            Exception: what :meth:`stop` was given.
        """
        if self._error is None and not self._body.is_unchanged():
            self._error = SourceChanged(CHANGED)
        if self._error is not None:
            self.was_left = True
            raise self._error


class Sending:
    """One large body on its way.

    Args:
        outlet: where to.
        connection: frames it.
        body: what is sent.
        moved: told of octets as they go.
    """

    def __init__(
        self,
        outlet: Outlet,
        connection: ClientEnd,
        body: Body | StreamBody,
        moved: Callable[[int], None],
    ) -> None:
        self._outlet = outlet
        self._connection = connection
        self._body = body
        self._moved = moved
        is_by_kernel = isinstance(body, Body) and outlet.goes_by_kernel(body.size)
        self._framing = Framing(
            connection, body, _MAX_RUN_OCTETS if is_by_kernel else _MAX_COPIED_RUN_OCTETS
        )

    @property
    def awaits_source(self) -> bool:
        """Whether nothing moves because there is nothing yet to be sent."""
        return isinstance(self._body, StreamBody) and self._body.is_reading

    @property
    def can_go_on(self) -> bool:
        """Whether the connection can be used further after the body was given up."""
        return self._framing.was_left and self._connection.has_trailers

    def stop(self, error: Exception) -> None:
        """Let the body end early."""
        self._framing.stop(error)
        if isinstance(self._body, StreamBody):
            self._body.cancel()

    async def run(self) -> None:
        """Send the body.

        Raises:
            SourceChanged: the file is not what it was.
            TransferInterrupted: the connection was lost, or the file ended early in the middle of a run.
            OSError: it cannot be read.
            Exception: what :meth:`stop` was given.
        """
        if isinstance(self._body, StreamBody):
            await self._send_stream(self._body)
        else:
            await self._send_file(self._body)

    def end_early(self) -> None:
        """Say behind the body that it was given up; only where the connection :attr:`can_go_on`."""
        end = BodyEnd(refusal=Cancelled("the sender gave the body up"))
        self._outlet.write(self._connection.encode_body_end(end))

    async def _send_file(self, body: Body) -> None:
        tail = split_tail(body.size, self._framing.max_run)
        digest = None
        if self._connection.has_trailers:
            digest = DigestBehind(
                self._outlet.reactor, body.descriptor, body.offset, digest=body.prefix
            )

        def moved(count: int) -> None:
            if digest is not None:
                digest.moved(count)
            self._moved(count)

        try:
            await self._outlet.send_file(
                body.descriptor, body.offset, body.size - tail, moved, self._framing
            )
            if digest is not None:
                digest.moved(tail)
                end = BodyEnd({DEFAULT_ALGORITHM: await digest.finish()})
            else:
                end = BodyEnd()
            await self._send_tail(body, tail, end)
        finally:
            if digest is not None:
                await digest.stop()

    async def _send_tail(self, body: Body, tail: int, end: BodyEnd) -> None:
        offset = body.offset + body.size - tail
        octets = read_cached(body.descriptor, tail, offset)
        if octets is None or len(octets) < tail:
            octets = await deferToThread(os.pread, body.descriptor, tail, offset)
        if len(octets) < tail:
            self._framing.stop(SourceChanged(CHANGED))
        run = self._framing.encode_run(tail) + octets if tail else b""
        self._framing.check()
        async with Gate(self._outlet) as gate:
            await gate.wait_until_open()
            self._outlet.write(run + self._connection.encode_body_end(end))
            self._moved(tail)
            # Else who sends many bodies that are hardly larger would never be asked to wait.
            await gate.wait_until_open()

    async def _send_stream(self, body: StreamBody) -> None:
        digest = start_digest()
        async with Gate(self._outlet) as gate:
            while True:
                try:
                    octets = await body.read()
                except OSError as error:
                    # Nothing was begun that cannot be ended.
                    self._framing.stop(error)
                    octets = b""
                self._framing.check()
                await gate.wait_until_open()
                if not octets:
                    break
                digest.update(octets)
                self._outlet.write(self._framing.encode_run(len(octets)) + octets)
                self._moved(len(octets))
            end = BodyEnd({DEFAULT_ALGORITHM: digest.digest()})
            self._outlet.write(self._connection.encode_body_end(end))
