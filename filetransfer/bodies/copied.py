"""The copied route: octets pass through Python. For TLS, for small bodies, and wherever there is no kernel route.

Files are read and written in blocks of :data:`BLOCK_OCTETS`, in threads where that may block: reading what is in the
page cache does not (the kernel is asked), everything else does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from filetransfer.bodies.framing import UNFRAMED, Framing
from filetransfer.errors import TransferInterrupted

BLOCK_OCTETS = 256 * 1024
"""Large enough that a thread hop for it does not count, small enough that a hundred peers that do not read are cheap:
each of them costs about one block."""

MAX_PENDING_OCTETS = 1024 * 1024
"""Octets of one body that may wait for the disk before the peer is asked to wait."""


@implementer(IPushProducer)
class Gate:
    """Lets a coroutine that writes to a transport wait until it has room again; registered with it while entered.

    Args:
        transport: no producer may be registered with it.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting: Deferred[None] | None = None
        self._is_open = True
        self._is_lost = False

    async def __aenter__(self) -> Self:
        self._transport.registerProducer(self, True)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.unregisterProducer()

    async def wait_until_open(self) -> None:
        """Return when there is room; raises TransferInterrupted when the connection is gone."""
        if not self._is_open and not self._is_lost:
            self._waiting = Deferred()
            await self._waiting
        if self._is_lost:
            raise TransferInterrupted("the connection was lost in the middle of a body")

    def pauseProducing(self) -> None:
        self._is_open = False

    def resumeProducing(self) -> None:
        self._is_open = True
        self._wake()

    def stopProducing(self) -> None:
        self._is_lost = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def send_copied(
    transport: Any,
    descriptor: int,
    offset: int,
    count: int,
    moved: Callable[[int], None],
    framing: Framing = UNFRAMED,
) -> None:
    """Send octets of an open file; returns when the transport has room again.

    Args:
        transport: where to; no producer may be registered with it.
        descriptor: the open file.
        offset: of the first octet, >= 0.
        count: how many octets, >= 0; exactly so many are sent.
        moved: told of each block, in octets, as it is handed to the transport.
        framing: cuts it into runs.

    Raises:
        TransferInterrupted: the connection was lost, or the file ended early (it shrank): the peer has been promised
            more octets, so the connection must be failed.
        OSError: the file cannot be read; the same.
    """
    end = offset + count
    run = 0
    async with Gate(transport) as gate:
        while offset < end:
            await gate.wait_until_open()
            header = b""
            if not run:
                run = min(end - offset, framing.max_run)
                header = framing.encode_run(run)
            octets = await _read_block(descriptor, min(BLOCK_OCTETS, run), offset)
            if not octets:
                raise TransferInterrupted(
                    "the file became shorter while it was sent", count - (end - offset)
                )
            transport.write(header + octets if header else octets)
            run -= len(octets)
            offset += len(octets)
            moved(len(octets))
        # Else who sends many bodies of one block would never be asked to wait.
        await gate.wait_until_open()


async def read_exactly(descriptor: int, count: int, offset: int) -> bytes:
    """Read a few octets of an open file without waiting for a disk in the reactor's thread.

    Raises:
        TransferInterrupted: the file has become shorter.
        OSError: it cannot be read.
    """
    pieces = []
    while count:
        piece = await _read_block(descriptor, count, offset)
        if not piece:
            raise TransferInterrupted("the file became shorter while it was sent")
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _read_block(descriptor: int, count: int, offset: int) -> bytes:
    octets = read_cached(descriptor, count, offset)
    if octets is None:
        octets = await deferToThread(os.pread, descriptor, count, offset)
    return octets


def read_cached(descriptor: int, count: int, offset: int) -> bytes | None:
    """Read what the page cache holds, without waiting for a disk.

    Returns:
        As :func:`os.pread`; None when the first octet would have to come from a disk, or when that cannot be known.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(count)
    try:
        got = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            # tmpfs, whose files are nowhere but in memory.
            return os.pread(descriptor, count, offset)
        if error.errno == errno.EAGAIN:
            return None
        raise
    return bytes(memoryview(buffer)[:got])


class CopiedReceiver:
    """Writes the octets of one body to a file, in threads, in the order they came.

    Args:
        write: appends octets to the file; blocks; called from one thread at a time.
        set_paused: tells the transport to stop (True) or go on (False) reading from the peer.

    Attributes:
        error: the first failure of ``write``; what comes after it is thrown away.
    """

    def __init__(self, write: Callable[[bytes], None], set_paused: Callable[[bool], None]) -> None:
        self.error: BaseException | None = None
        self._write = write
        self._set_paused = set_paused
        self._pending: list[bytes] = []
        self._pending_octets = 0
        self._is_writing = False
        self._finished: Deferred[None] | None = None

    def receive(self, octets: bytes) -> None:
        """Take the next octets of the body; never blocks."""
        if self.error is not None:
            return
        self._pending.append(octets)
        self._pending_octets += len(octets)
        if self._pending_octets >= BLOCK_OCTETS:
            self._write_pending()
        if self._pending_octets >= MAX_PENDING_OCTETS:
            self._set_paused(True)

    def finish(self) -> Deferred[None]:
        """Wait until everything that was received is written; fails with :attr:`error`. Nothing is received after."""
        finished = self._finished = Deferred()
        self._write_pending()
        return finished

    def _write_pending(self) -> None:
        if self._is_writing:
            return
        if self._pending and self.error is None:
            octets = b"".join(self._pending)
            self._pending.clear()
            self._pending_octets = 0
            self._is_writing = True
            deferToThread(self._write, octets).addBoth(self._written)
        elif self._finished is not None:
            finished, self._finished = self._finished, None
            if self.error is None:
                finished.callback(None)
            else:
                finished.errback(self.error)

    def _written(self, result: Any) -> None:
        self._is_writing = False
        if result is not None:
            self.error = result.value
            self._pending.clear()
        self._set_paused(False)
        if self._finished is not None or self._pending_octets >= BLOCK_OCTETS:
            self._write_pending()
