"""Stable storage: what a power cut does not take away, and what to do when it cannot be had.

A failed ``fsync`` is never retried. The kernel marks the pages that it could not write as clean: the next ``fsync`` of
the same file says that all is well while the octets are gone. So the upload is refused, and as a disk that failed
twice will fail again, the store then becomes read-only.

Source: "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Literal, Protocol

from filetransfer.errors import Internal, NotPermitted, RequestRefused, refusal_from_os_error
from filetransfer.store import calls

Durability = Literal["full", "none"]
"""``full``: an acknowledged upload survives a power cut. ``none``: it is atomic, but may be lost by one."""

_MAX_FAILURES = 2

_logger = logging.getLogger("filetransfer.store")


class Storage(Protocol):
    """How octets become durable, and whether more may be written.

    Attributes:
        waits: whether :meth:`sync` waits for a disk, so that several at once pay.
        is_read_only: whether nothing may be written any more.
    """

    waits: bool
    is_read_only: bool

    def start(self, descriptor: int) -> None:
        """Begin to write a file out; does not wait."""

    def sync(self, descriptor: int) -> None:
        """Return when a file or directory is on stable storage. Raises Internal, NoSpace ...: it may not be."""


class StableStorage:
    """A disk that is trusted until its second failure."""

    __slots__ = ("_failures", "_lock", "is_read_only")

    waits = True

    def __init__(self, *, read_only: bool = False) -> None:
        self.is_read_only = read_only
        self._failures = 0
        self._lock = threading.Lock()

    def start(self, descriptor: int) -> None:
        """See :meth:`Storage.start`."""
        calls.start_writeback(descriptor)

    def sync(self, descriptor: int) -> None:
        """See :meth:`Storage.sync`."""
        try:
            os.fsync(descriptor)
        except OSError as error:
            refusal = refusal_from_os_error(error)
            self._note_failure(refusal, error)
            raise refusal from error

    def _note_failure(self, refusal: RequestRefused, error: OSError) -> None:
        # NFS and quotas tell of a full disk only here: that is no broken one.
        if not isinstance(refusal, Internal):
            return
        with self._lock:
            self._failures += 1
            is_last = self._failures == _MAX_FAILURES
        _logger.error("fsync failed (%s): the upload is refused", error.strerror)
        if is_last:
            self.is_read_only = True
            _logger.critical(
                "fsync failed %d times: the store is read-only until the daemon is started again;"
                " look at the disk first",
                _MAX_FAILURES,
            )


class VolatileStorage:
    """Nothing is waited for: a power cut may lose what was acknowledged."""

    __slots__ = ("is_read_only",)

    waits = False

    def __init__(self, *, read_only: bool = False) -> None:
        self.is_read_only = read_only

    def start(self, descriptor: int) -> None:
        """See :meth:`Storage.start`: does nothing."""

    def sync(self, descriptor: int) -> None:
        """See :meth:`Storage.sync`: does nothing."""


def choose_storage(durability: Durability, *, read_only: bool = False) -> Storage:
    """Give the storage for a setting."""
    kind = StableStorage if durability == "full" else VolatileStorage
    return kind(read_only=read_only)


def check_writable(storage: Storage) -> None:
    """Refuse what would write. Raises NotPermitted."""
    if storage.is_read_only:
        raise NotPermitted("the server is read-only")
