"""The kernel route: sendfile from a file into a socket, splice from a socket into a file, past Python.

    sending      file --sendfile--> socket
    receiving    socket --splice--> pipe --splice--> file

Both alternate between two places until the body is through::

    a mover thread moves octets until ...  the socket would block  -> the reactor waits until it is ready, then again
                                           its turn is over        -> back into the queue of the movers
                                           the body is through, or something is wrong -> the end

So no thread ever waits for a peer, and the reactor never for a disk; and to the reactor a large body is one event in
several milliseconds.

The socket belongs to the transport, which must neither read nor write it meanwhile. What is moved, and waited for, is a
duplicate of its descriptor: the transport may be lost, and close its own, at any moment, and a thread in the middle of
a call must not find that the number has become somebody else's. The duplicate is closed by the coroutine that made it,
when no thread has a turn any more.

Sending begins when everything that was written before has left the transport's buffer. A pull producer is told so, but
also once too early, when it is registered.

Receiving ends with the last octet of the body: the next message stays in the socket. The end of the connection in the
middle of a body is left in the socket as well, for the transport to find and tell everybody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.bodies.digesting import SinkDigesting
from filetransfer.bodies.framing import UNFRAMED, FirstRunBegun, Framing
from filetransfer.bodies.movers import movers
from filetransfer.errors import TransferInterrupted, refusal_from_os_error

SPLICE_OCTETS = 1024 * 1024
"""Octets a splice: what a pipe may hold without privileges."""

SENDFILE_OCTETS = 4 * 1024 * 1024
"""Octets a sendfile: as many as a socket takes at once. GET, to the C loop in the same run: 0.89, at 1 MiB 0.87."""

TURN_SECONDS = 0.02
"""How long one body has a thread while others wait for one; no call begins after that. On a loopback a PUT moves 40 MiB
in it. PUT, to the C loop in the same run: 0.92 to 0.95; with turns of 8 MiB 0.86 to 0.94, of 2 MiB 0.84. The GET of one
octet on another connection takes as long as with short turns: 114 to 149 µs, 140 to 167 when nothing else moves."""

LOW_WATER_OCTETS = 512 * 1024
"""While a peer is fast, its socket is not called readable below this: waking up for every segment of a PUT at 500 MB/s
costs 2.5 s of processor time a gigabyte, this 1.25 (the C loop 0.54)."""

LOW_WATER_SECONDS = 0.1
"""A peer is fast that sends LOW_WATER_OCTETS in this time; nothing is left lying for longer."""

# What a file system, a sandbox or an old kernel says that has no such call for this file.
_NO_ROUTE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Sink(Protocol):
    """An open file that a body is moved into; see ``store/interface.py``, Upload."""

    received: int

    @property
    def undigested(self) -> int: ...
    def fileno(self) -> int: ...
    def write(self, octets: bytes) -> None: ...
    def advance(self, count: int) -> None: ...
    def digest_behind(self) -> None: ...


@implementer(IReadDescriptor, IWriteDescriptor)
class _Watch:
    """The duplicate of a transport's socket, and the reactor's word on when it is ready.

    Attributes:
        is_over: whether no more octets are to be moved; threads look at it between their calls.
    """

    def __init__(self, transport: Any) -> None:
        self.is_over = False
        self.reactor = transport.reactor
        self._socket: socket.socket = transport.getHandle().dup()
        self._ready: Deferred[None] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "filetransfer"

    async def wait_until_readable(self, low_water: int) -> None:
        """Wait for at least so many octets, the end of the connection, :meth:`stop` or LOW_WATER_SECONDS."""
        timer = None
        if low_water > 1:
            self._set_low_water(low_water)
            timer = self.reactor.callLater(LOW_WATER_SECONDS, self._wake)
        self.reactor.addReader(self)
        try:
            await self._wait()
        finally:
            self.reactor.removeReader(self)
            if timer is not None:
                if timer.active():
                    timer.cancel()
                # It belongs to the socket, and so to the transport as well.
                self._set_low_water(1)

    async def wait_until_writable(self) -> None:
        """Wait for room, the end of the connection or :meth:`stop`."""
        self.reactor.addWriter(self)
        try:
            await self._wait()
        finally:
            self.reactor.removeWriter(self)

    def send_more(self, octets: bytes) -> int:
        """Send octets that others follow at once; gives how many went. Raises OSError."""
        return self._socket.send(octets, socket.MSG_MORE)

    def stop(self) -> None:
        """Let no more octets be moved."""
        self.is_over = True
        self._wake()

    def close(self) -> None:
        """Give the duplicate up; no thread may have a turn."""
        self._socket.close()

    def doRead(self) -> None:
        self._wake()

    def doWrite(self) -> None:
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        # The next call finds out.
        self._wake()

    def _set_low_water(self, octets: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)

    async def _wait(self) -> None:
        if not self.is_over:
            self._ready = Deferred()
            await self._ready

    def _wake(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.callback(None)


@implementer(IPullProducer)
class _Drain:
    """Tells when everything that was written has left a transport, and, later, when the transport is gone."""

    def __init__(self, transport: Any, watch: _Watch) -> None:
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
    watch = _Watch(transport)
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


async def _take_turn(watch: _Watch, sending: _Sending, moved: Callable[[int], None]) -> bool:
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
        self, watch: _Watch, descriptor: int, offset: int, count: int, framing: Framing
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


class _Next(Enum):
    """What is to be done when a turn of receiving has ended."""

    TURN = "another turn"
    WAIT = "wait for the peer, then another turn"
    LEAVE = "leave the rest to the transport: the end of the connection, or a body that the kernel cannot move"


class KernelReceiver:
    """Moves the rest of one body from a socket into a file.

    Args:
        transport: a plain TCP or Unix one; its reading is paused, and stays so until :meth:`receive` has ended.
        sink: the file.
        moved: told, in the reactor's thread, how many octets left the socket.
        digesting: of the sink; told when there is more. It goes on when :meth:`receive` has ended.

    Attributes:
        awaits_peer: whether nothing moves because the peer sends nothing.
    """

    def __init__(
        self,
        transport: Any,
        sink: Sink,
        moved: Callable[[int], None],
        digesting: SinkDigesting,
    ) -> None:
        self.awaits_peer = False
        self._watch = _Watch(transport)
        self._sink = sink
        self._moved = moved
        self._left = 0
        self._since_wait = 0
        self._waited_at = monotonic()
        self._digesting = digesting

    async def receive(self, fed: bytes, count: int) -> None:
        """Move octets; ends early when the transport must see to the rest.

        Args:
            fed: the octets of the body that come before those in the socket.
            count: how many are in the socket, or still to come, > 0.

        Raises:
            RequestRefused: the file cannot be written.
        """
        self._left = count
        try:
            await movers.run(self._watch.reactor, self._sink.write, fed)
            while self._left and not self._watch.is_over:
                next_step = await self._take_turn()
                if next_step is _Next.LEAVE:
                    break
                self._digesting.go_on()
                if next_step is _Next.WAIT:
                    await self._wait()
        finally:
            self._watch.close()

    def stop(self) -> None:
        """Let :meth:`receive` end soon."""
        self._watch.stop()

    async def _take_turn(self) -> _Next:
        before = self._left
        try:
            return await movers.run(self._watch.reactor, self._move)
        finally:
            moved = before - self._left
            self._since_wait += moved
            if moved:
                self._moved(moved)

    async def _wait(self) -> None:
        now = monotonic()
        is_fast = self._since_wait * LOW_WATER_SECONDS >= LOW_WATER_OCTETS * (now - self._waited_at)
        self._waited_at = now
        self._since_wait = 0
        self.awaits_peer = True
        await self._watch.wait_until_readable(min(LOW_WATER_OCTETS, self._left) if is_fast else 1)
        self.awaits_peer = False

    # In a mover's thread:

    def _move(self) -> _Next:
        deadline = monotonic() + TURN_SECONDS
        try:
            pipe = _take_pipe()
            while self._left and not self._watch.is_over and monotonic() < deadline:
                count = os.splice(
                    self._watch.fileno(),
                    pipe.writer,
                    min(SPLICE_OCTETS, self._left),
                    flags=_SPLICE_FLAGS,
                )
                if not count:
                    return _Next.LEAVE
                self._left -= count
                if not self._empty_into_file(pipe, count):
                    return _Next.LEAVE
        except BlockingIOError:
            return _Next.WAIT
        except OSError:
            # The socket's error, which the transport will find as well; or there is no such call, or no pipe left.
            return _Next.LEAVE
        return _Next.TURN

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
