"""The digest of a body that is being sent: read from the page cache again, behind the octets, in the movers' threads.

What the kernel moves never comes by Python. A window that was just sent is in the page cache, and most of it in the
processor's: xxh3-128 takes a twentieth of a core from a transfer.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from filetransfer.bodies.movers import movers
from filetransfer.digests import DEFAULT_ALGORITHM, Digest, start_digest
from filetransfer.errors import TransferInterrupted

WINDOW_OCTETS = 4 * 1024 * 1024
"""What is less than this is digested with what comes next: a hop to a thread has its price, too."""

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
