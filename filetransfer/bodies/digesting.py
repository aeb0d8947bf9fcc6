"""The digest of a body on its way: read from the page cache again, behind the octets, in the movers' threads.

What the kernel moves never comes by Python. A window that was just sent is in the page cache, and most of it in the
processor's: xxh3-128 takes a twentieth of a core from a transfer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from filetransfer.bodies.movers import movers
from filetransfer.digests import DEFAULT_ALGORITHM, Digest, start_digest
from filetransfer.errors import TransferInterrupted

WINDOW_OCTETS = 4 * 1024 * 1024
"""What is less than this is digested with what comes next: a hop to a thread has its price, too."""

SLOW_DIGEST_OCTETS = 1024 * 1024
SLOW_DIGEST_SECONDS = 0.05
"""After so long, this is enough of what is received. What is not digested is not recorded, and is sent again after a
crash: when the daemon was killed, 2 to 3 MiB of a file that came at 6 MB/s, and with this 1 to 1.5 MiB."""

_BLOCK_OCTETS = 1024 * 1024


class DigestBehind:
    """Digests octets of an open file, in order, behind those that say they have moved.

    Args:
        reactor: whose thread it is used in.
        descriptor: the file; it must stay open until :meth:`finish` has ended.
        offset: of the first octet, >= 0.
        algorithm: see :func:`filetransfer.digests.start_digest`. Raises Unsupported.
        digest: of what stands before the offset, to go on with; None to start one.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        descriptor: int,
        offset: int,
        algorithm: str = DEFAULT_ALGORITHM,
        digest: Digest | None = None,
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._moved = self._digested = offset
        self._digest = start_digest(algorithm) if digest is None else digest
        self._digesting: Deferred[Any] | None = None
        self._error: BaseException | None = None

    def moved(self, count: int) -> None:
        """Take note that octets have moved; the last of them may be digested later."""
        self._moved += count
        if self._digesting is None and self._moved - self._digested >= WINDOW_OCTETS:
            self._digest_moved()

    async def finish(self) -> bytes:
        """Give the digest of all that has moved.

        Raises:
            TransferInterrupted: the file became shorter. OSError: it cannot be read.
        """
        await self.stop()
        if self._error is None and self._digested < self._moved:
            self._digest_moved()
            await self.stop()
        if self._error is not None:
            raise self._error
        return self._digest.digest()

    async def stop(self) -> None:
        """Return when no thread reads the file any more."""
        while self._digesting is not None:
            await self._digesting

    def _digest_moved(self) -> None:
        self._digesting = movers.run(self._reactor, self._digest_up_to, self._moved)
        self._digesting.addBoth(self._note_digested)

    def _note_digested(self, result: Any) -> None:
        self._digesting = None
        if result is not None:
            self._error = result.value

    # In a mover's thread:

    def _digest_up_to(self, end: int) -> None:
        buffer = memoryview(bytearray(min(_BLOCK_OCTETS, end - self._digested)))
        while self._digested < end:
            block = buffer[: end - self._digested]
            count = os.preadv(self._descriptor, [block], self._digested)
            if not count:
                raise TransferInterrupted("the file became shorter while it was sent")
            self._digest.update(block[:count])
            self._digested += count


class Sink(Protocol):
    """A file that digests what it receives; see ``store/interface.py``, Upload."""

    @property
    def undigested(self) -> int: ...
    def digest_behind(self) -> None: ...


class SinkDigesting:
    """Lets a sink digest what was moved into it while more is moved: one for all runs of a body.

    A run does not wait for the digest of the one before: that took a fifth of a body that came in runs of 16 MiB.

    Args:
        reactor: whose thread it is used in.
        sink: the file.
        failed: called once when it cannot be digested, so that no more is moved; :attr:`error` says why.

    Attributes:
        error: why it cannot be digested; None as long as it can.
    """

    def __init__(
        self, reactor: IReactorFromThreads, sink: Sink, failed: Callable[[], None]
    ) -> None:
        self.error: BaseException | None = None
        self._reactor = reactor
        self._sink = sink
        self._failed = failed
        self._digested_at = monotonic()
        self._digesting: Deferred[Any] | None = None

    def go_on(self) -> None:
        """Let a mover digest what came, if it is worth a hop; most of it is still in the processor's cache."""
        now = monotonic()
        is_slow = now - self._digested_at >= SLOW_DIGEST_SECONDS
        least = SLOW_DIGEST_OCTETS if is_slow else WINDOW_OCTETS
        if self._digesting is None and self.error is None and self._sink.undigested >= least:
            self._digested_at = now
            self._digesting = movers.run(self._reactor, self._sink.digest_behind)
            self._digesting.addBoth(self._note_digested)

    async def stop(self) -> None:
        """Return when no thread reads the file any more."""
        while self._digesting is not None:
            await self._digesting

    def _note_digested(self, result: Any) -> None:
        self._digesting = None
        if result is not None:
            self.error = result.value
            self._failed()
        else:
            # More may have come after its last look.
            self.go_on()
