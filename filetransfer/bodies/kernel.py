"""The kernel route: sendfile from a file into a socket, splice from a socket into a file, past Python.

    sending      file --sendfile--> socket
    receiving    socket --splice--> pipe --splice--> file

Both go by turns of the movers' threads, as ``bodies/past.py`` tells of receiving; what is moved, and waited for, is the
transport's socket (``bodies/watch.py``).

Sending begins when everything that was written before has left the transport's buffer. A pull producer is told so, but
also once too early, when it is registered.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from filetransfer.bodies.digesting import SinkDigesting
from filetransfer.bodies.framing import UNFRAMED, FirstRunBegun, Framing
from filetransfer.bodies.movers import movers
from filetransfer.bodies.past import Next, Sink
from filetransfer.bodies.watch import TURN_SECONDS, Watch
from filetransfer.errors import TransferInterrupted, refusal_from_os_error

SPLICE_OCTETS = 1024 * 1024
"""Octets a splice: what a pipe may hold without privileges."""

SENDFILE_OCTETS = 4 * 1024 * 1024
"""Octets a sendfile: as many as a socket takes at once. GET, to the C loop in the same run: 0.89, at 1 MiB 0.87."""

# What a file system, a sandbox or an old kernel says that has no such call for this file.
_NO_ROUTE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@implementer(IPullProducer)
class _Drain:
    """Tells when everything that was written has left a transport, and, later, when the transport is gone."""

    def __init__(self, transport: Any, watch: Watch) -> None:
        self._watch = watch
        self._drained: Deferred[None] | None = None
        # Asked for octets at once, before the transport has sent what it has.
        transport.registerProducer(self, False)
        self._drained = Deferred()
        # A transport with nothing to send would never ask again.
        transport.reactor.addWriter(transport)

    async def wait_until_drained(self) -> None:
        if self._drained is not None:
            await self._drained

    def resumeProducing(self) -> None:
        self._wake()

    def stopProducing(self) -> None:
        self._watch.stop()
        self._wake()

    def _wake(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)


async def send_by_kernel(
    transport: Any,
    descriptor: int,
    offset: int,
    count: int,
    moved: Callable[[int], None],
    framing: Framing = UNFRAMED,
) -> Framing | None:
    """Send octets of an open file.

    Args:
        transport: a plain TCP or Unix one, where to; no producer may be registered with it, and nothing be written
            to it before this returns.
        descriptor: the open file.
        offset: of the first octet, >= 0.
        count: how many octets, > 0; exactly so many are sent.
        moved: told, in the reactor's thread, how many octets of the file went into the socket.
        framing: cuts it into runs.

    Returns:
        None; or, when the kernel cannot do it with this file, what all of it is to be framed with on another route.

    Raises:
        TransferInterrupted: the connection was lost, or the file ended early (it shrank): the peer has been promised
            more octets, so the connection must be failed.
        OSError: the file cannot be read; the same.
    """
    watch = Watch(transport)
    drain = _Drain(transport, watch)
    sending = _Sending(watch, descriptor, offset, count, framing)
    try:
        await drain.wait_until_drained()
        while sending.left:
            would_block = await _take_turn(watch, sending, moved)
            if would_block:
                await watch.wait_until_writable()
    except ConnectionError as error:
        raise TransferInterrupted(
            "the connection was lost in the middle of a body", sending.moved
        ) from error
    except OSError as error:
        if error.errno in _NO_ROUTE and not sending.moved:
            return sending.framing_left
        raise
    finally:
        transport.unregisterProducer()
        watch.close()
    return None


async def _take_turn(watch: Watch, sending: _Sending, moved: Callable[[int], None]) -> bool:
    before = sending.left
    try:
        return await movers.run(watch.reactor, sending.take_turn)
    finally:
        if before != sending.left:
            moved(before - sending.left)


class _Sending:
    """Octets on their way from a file into a socket.

    Attributes:
        left: octets of the file that are still to be moved.
    """

    def __init__(
        self, watch: Watch, descriptor: int, offset: int, count: int, framing: Framing
    ) -> None:
        self.left = count
        self._watch = watch
        self._descriptor = descriptor
        self._end = offset + count
        self._count = count
        self._framing = framing
        self._header = b""
        self._run = 0

    @property
    def moved(self) -> int:
        """Octets that are in the socket."""
        return self._count - self.left

    @property
    def framing_left(self) -> Framing:
        """What frames the octets from the first one on, when none of them was moved."""
        return FirstRunBegun(self._framing) if self._run else self._framing

    def take_turn(self) -> bool:
        """Move octets; gives whether the socket would block. In a mover's thread. Raises OSError."""
        deadline = monotonic() + TURN_SECONDS
        try:
            while self.left and monotonic() < deadline:
                if self._watch.is_over:
                    raise ConnectionAbortedError
                self._send_some()
        except BlockingIOError:
            return True
        return False

    def _send_some(self) -> None:
        if not self._run:
            self._run = min(self.left, self._framing.max_run)
            self._header = self._framing.encode_run(self._run)
        if self._header:
            sent = self._watch.send_more(self._header)
            self._header = self._header[sent:]
            return
        moved = os.sendfile(
            self._watch.fileno(),
            self._descriptor,
            self._end - self.left,
            min(SENDFILE_OCTETS, self._run),
        )
        if not moved:
            raise TransferInterrupted("the file became shorter while it was sent", self.moved)
        self.left -= moved
        self._run -= moved


class Splicing:
    """Octets on their way from a socket through a pipe into a file; see :class:`~filetransfer.bodies.past.Moving`.

    Args:
        watch: of the socket.
        sink: the file.
        count: how many octets, > 0.
        digesting: of the sink; told when there is more. It goes on when they have all been moved.
    """

    def __init__(self, watch: Watch, sink: Sink, count: int, digesting: SinkDigesting) -> None:
        self.left = count
        self.movers = movers
        self._watch = watch
        self._sink = sink
        self._digesting = digesting

    @property
    def expected(self) -> int:
        """See :attr:`Moving.expected`."""
        return self.left

    def turn_ended(self) -> None:
        """See :meth:`Moving.turn_ended`."""
        self._digesting.go_on()

    def take_turn(self) -> Next:
        """See :meth:`Moving.take_turn`."""
        deadline = monotonic() + TURN_SECONDS
        try:
            pipe = _take_pipe()
            while self.left and not self._watch.is_over and monotonic() < deadline:
                count = os.splice(
                    self._watch.fileno(),
                    pipe.writer,
                    min(SPLICE_OCTETS, self.left),
                    flags=_SPLICE_FLAGS,
                )
                if not count:
                    return Next.LEAVE
                self.left -= count
                if not self._empty_into_file(pipe, count):
                    return Next.LEAVE
        except BlockingIOError:
            return Next.WAIT
        except OSError:
            # The socket's error, which the transport will find as well; or there is no such call, or no pipe left.
            return Next.LEAVE
        return Next.TURN

    def _empty_into_file(self, pipe: _Pipe, count: int) -> bool:
        """Move what is in the pipe; gives False when the kernel cannot, and it was copied. Raises RequestRefused."""
        try:
            while count:
                moved = os.splice(
                    pipe.reader, self._sink.fileno(), count, offset_dst=self._sink.received
                )
                self._sink.advance(moved)
                count -= moved
        except OSError as error:
            if error.errno not in _NO_ROUTE:
                raise refusal_from_os_error(error) from error
            while count:
                octets = os.read(pipe.reader, count)
                self._sink.write(octets)
                count -= len(octets)
            return False
        finally:
            if count:
                # Octets that could not be written are in it, and must not get into the next file.
                pipe.close()
                del _of_thread.pipe
        return True


_SPLICE_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class _Pipe:
    """What splice needs between two descriptors neither of which is a pipe; empty between turns."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        with suppress(OSError):
            # Users without privileges have a limit for all their pipes together. A small one works, too.
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, SPLICE_OCTETS)

    def close(self) -> None:
        """Give it up, with what is in it."""
        os.close(self.reader)
        os.close(self.writer)


_of_thread = threading.local()


def _take_pipe() -> _Pipe:
    pipe: _Pipe | None = getattr(_of_thread, "pipe", None)
    if pipe is None:
        pipe = _of_thread.pipe = _Pipe()
    return pipe
