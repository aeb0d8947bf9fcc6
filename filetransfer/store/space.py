"""Whose octets may still come: claims, compared with the room there is.

A claim is a promise of a peer, and costs it nothing: fifty claims of 4 GiB that stay silent must not keep anybody
from uploading. So a claim is compared once with what is free less the reserve, and then only the next 64 MiB of each
upload that moves are set aside: what is set aside is no longer free for others.

A ``statvfs`` for every small file is what we avoid: after a look, claims of up to 64 KiB each and 64 MiB in all are
let through before the next look. The kernel has the last word in any case (ENOSPC).
"""

from __future__ import annotations

import os
import threading

from filetransfer.errors import NoSpace, refusal_from_os_error
from filetransfer.store.beneath import HeldDirectory

SET_ASIDE = 64 * 1024 * 1024
"""Octets set aside for an upload that moves."""

_MAX_SMALL = 64 * 1024

# What a file takes besides its octets: a block that is not full, its inode, its name.
_FILE_COST = 8192


class Claim:
    """What one upload has been told it may send.

    Args:
        space: where it was claimed.
        size: octets claimed, >= 0.
    """

    __slots__ = ("_moved", "_size", "_space", "_until")

    def __init__(self, space: Space, size: int) -> None:
        self._space = space
        self._size = size
        self._moved = 0
        self._until = 0

    def move(self, count: int) -> None:
        """Take note that ``count`` octets come. Raises NoSpace when there is no room for what comes after them."""
        self._moved += count
        # Of what came in one piece, as small files do, nothing is to be set aside.
        if self._moved > self._until and (self._until or self._moved < self._size):
            self._space.set_aside(self)

    def release(self) -> None:
        """Give back what was set aside; a second call does nothing."""
        if self._until:
            self._space.forget(self)

    def count_next(self) -> int:
        """Give the octets to be set aside next."""
        return min(SET_ASIDE, max(self._size - self._moved, 0))

    def extend(self, count: int) -> None:
        """Take note that the next ``count`` octets are set aside."""
        self._until = self._moved + count

    def count_pending(self) -> int:
        """Give the octets set aside that have not come yet."""
        return max(self._until - self._moved, 0)


class Space:
    """The room of one file system. Safe to use from any thread.

    Args:
        directory: any directory on it.
        reserve_fraction: of the file system's size, never given away; 0 <= reserve_fraction < 1.
    """

    __slots__ = ("_credit", "_directory", "_lock", "_moving", "_reserve_fraction")

    def __init__(self, directory: HeldDirectory, reserve_fraction: float) -> None:
        self._directory = directory
        self._reserve_fraction = reserve_fraction
        self._lock = threading.Lock()
        self._moving: set[Claim] = set()
        self._credit = 0

    def claim(self, size: int) -> Claim:
        """Give the claim to a size, in octets; may block.

        Raises:
            NoSpace: there is no room for it.
            Internal: from ``statvfs``.
        """
        with self._lock:
            self._take(size)
        return Claim(self, size)

    def measure_free(self) -> int:
        """Give the octets that are free, the reserve among them. Raises Internal from ``statvfs``."""
        status = self._look()
        return status.f_bavail * status.f_frsize

    def set_aside(self, claim: Claim) -> None:
        """Set the next octets of an upload aside. Raises as :meth:`claim`."""
        with self._lock:
            # While it is weighed anew, what it already has must not count against it.
            self._moving.discard(claim)
            count = claim.count_next()
            if count:
                self._take(count)
                self._moving.add(claim)
            claim.extend(count)

    def forget(self, claim: Claim) -> None:
        """Set nothing aside for this claim any more."""
        with self._lock:
            self._moving.discard(claim)

    def _take(self, size: int) -> None:
        if size <= _MAX_SMALL and size + _FILE_COST <= self._credit:
            self._credit -= size + _FILE_COST
            return
        room = self._measure_room()
        if size > room:
            raise NoSpace("no space left on the server for a file of this size")
        self._credit = min(room - size, SET_ASIDE)

    def _look(self) -> os.statvfs_result:
        try:
            return os.statvfs(self._directory.fileno())
        except OSError as error:
            raise refusal_from_os_error(error) from error

    def _measure_room(self) -> int:
        status = self._look()
        reserve = int(status.f_blocks * status.f_frsize * self._reserve_fraction)
        pending = sum(claim.count_pending() for claim in self._moving)
        return status.f_bavail * status.f_frsize - reserve - pending
