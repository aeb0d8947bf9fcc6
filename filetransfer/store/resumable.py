"""One upload that can be resumed, while it is written. Who has it, and what is kept of it later: see ``resume.py``.

It differs from other uploads in three ways: it records the digest of each window in its sidecar as the octets come;
it can be stopped at any moment by another thread, for another connection; and it ends by being kept, where another
would be aborted.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Protocol

from filetransfer.digests import start_digest
from filetransfer.errors import Cancelled, RequestRefused
from filetransfer.store.interface import NO_DIGESTS, Digests, Resumption
from filetransfer.store.kept import Verified, name_part
from filetransfer.store.parts import Parts, StoreUpload
from filetransfer.store.sidecar import WINDOW, Outcome, Sidecar, Window
from filetransfer.store.space import Claim
from filetransfer.store.terms import NO_TERMS, Terms
from filetransfer.store.upload import Progress

_TAKEN_OVER = "another connection has taken this upload over"

_logger = logging.getLogger("filetransfer.store")


class Keeper(Protocol):
    """Knows whose each upload is, and keeps what was cut off; :class:`~filetransfer.store.resume.Resumables`."""

    def try_hold(self, upload: ResumableUpload) -> bool:
        """Have an upload to its owner alone, unless somebody is about to take it away, or did."""

    def park(self, upload: ResumableUpload, verified: Verified | None) -> None:
        """Take an upload back from its owner, who holds it; None: there is nothing to resume."""

    def note_published(self, key: str) -> None:
        """Take note that a held upload was published and its outcome is on stable storage; let it go."""

    def forget(self, key: str) -> None:
        """Remove a held upload and let it go."""


class ResumableUpload(StoreUpload):
    """An upload that stays when it is cut off.

    One that was taken over refuses to write (Cancelled) and does nothing else any more.

    Args:
        parts: of the store.
        keeper: of the store's resumable uploads.
        key: of the upload.
        sidecar: the upload closes it, but not when this raises.
        claim: to the room for the rest.
        resumption: see there.
        verified: how far the part has come; None: it is new.
    """

    __slots__ = (
        *("_digesting", "_is_committing", "_keeper", "_on_taken", "_sidecar"),
        *("_window", "_writing", "key"),
    )

    is_remembered = True

    def __init__(
        self,
        parts: Parts,
        keeper: Keeper,
        key: str,
        sidecar: Sidecar,
        claim: Claim,
        resumption: Resumption,
        verified: Verified | None,
    ) -> None:
        self.key = key
        self._keeper = keeper
        self._sidecar = sidecar
        self._on_taken = resumption.on_taken
        self._is_committing = False
        # Whoever takes over waits for both; a writer and a digester may be at work at the same time.
        self._writing = threading.RLock()
        self._digesting = threading.RLock()
        self._window = start_digest() if verified is None else verified.window
        progress = None if verified is None else verified.progress
        super().__init__(parts, sidecar.purpose.path, claim, name_part(key), progress)
        if progress is not None:
            try:
                # What was not recorded before the cut must not be behind the new octets.
                os.ftruncate(self._descriptor, progress.offset)
            except OSError:
                self._close_files()
                raise

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """See :meth:`StoreUpload.write`. Raises Cancelled, too, when it was taken over."""
        with self._writing:
            self._check_owned()
            super().write(octets)

    def advance(self, count: int) -> None:
        """See :meth:`StoreUpload.advance`. Raises Cancelled, too, when it was taken over."""
        with self._writing:
            self._check_owned()
            super().advance(count)

    def digest_behind(self) -> None:
        """See :meth:`FileUpload.digest_behind`. Raises Cancelled, too, when it was taken over."""
        with self._digesting:
            self._check_owned()
            super().digest_behind()

    def _check_owned(self) -> None:
        if self._descriptor < 0:
            raise Cancelled(_TAKEN_OVER)

    def _take(self, octets: bytes | bytearray | memoryview) -> None:
        view = memoryview(octets)
        done = self._digested
        while view:
            piece = view[: WINDOW - done % WINDOW]
            self._window.update(piece)
            done += len(piece)
            view = view[len(piece) :]
            if done % WINDOW == 0:
                self._record_window(done)
                self._window = start_digest()
        super()._take(octets)

    def _record_window(self, end: int) -> None:
        """Record the window that ends, for now, at an offset > 0."""
        index = (end - 1) // WINDOW
        self._sidecar.write_window(index, Window(end - index * WINDOW, self._window.digest()))

    def describe(self, terms: Terms = NO_TERMS, digests: Digests = NO_DIGESTS) -> None:
        """See :meth:`StoreUpload.describe`. Raises Cancelled, too, when it was taken over."""
        if not self._hold():
            raise Cancelled(_TAKEN_OVER)
        self._is_committing = True
        super().describe(terms, digests)

    def remember(self, *, is_durable: bool) -> None:
        """See :meth:`StoreUpload.remember`. What cannot be remembered costs a peer that lost its answer a transfer."""
        is_recorded = is_durable
        try:
            if is_durable:
                self._sidecar.write_outcome(Outcome(self._digest.digest(), self.etag))
                self._parts.storage.sync(self._sidecar.fileno())
        except (OSError, RequestRefused) as error:
            _logger.warning("that an upload was published could not be remembered: %s", error)
            is_recorded = False
        self._sidecar.close()
        self._is_committing = False
        if is_recorded:
            self._keeper.note_published(self.key)
        else:
            self._keeper.forget(self.key)

    def stop(self) -> Verified | None:
        """End it for its owner; called by whoever takes it over and holds its key. Gives how far it has come."""
        self._on_taken()
        with self._writing, self._digesting:
            return self._suspend()

    def keep(self) -> None:
        """See :meth:`Upload.keep <filetransfer.store.interface.Upload.keep>`."""
        if self._descriptor < 0 or not self._hold():
            return
        with self._writing, self._digesting:
            verified = self._suspend(is_synced=True)
        self._is_committing = False
        self._keeper.park(self, verified)

    def _suspend(self, *, is_synced: bool = False) -> Verified | None:
        """Close it; give how far it has come, None when that is not known."""
        if self._descriptor < 0:
            return None
        try:
            super().digest_behind()
            if self._digested % WINDOW:
                self._record_window(self._digested)
            if is_synced:
                self._parts.storage.sync(self._descriptor)
                self._parts.storage.sync(self._sidecar.fileno())
                self._parts.storage.sync(self._directory.fileno())
            return Verified(Progress(self._digested, self._digest), self._window)
        except (OSError, RequestRefused) as error:
            _logger.warning("an upload that was cut off could not be kept: %s", error)
            return None
        finally:
            self._close_files()

    def abort(self) -> None:
        """See :meth:`Upload.abort <filetransfer.store.interface.Upload.abort>`."""
        if self.etag or (self._descriptor < 0 and not self._is_committing):
            return
        if self._hold():
            super().abort()
            self._sidecar.close()
            self._is_committing = False
            self._keeper.forget(self.key)
        else:
            self._close_files()

    def _hold(self) -> bool:
        """Have it to oneself, unless somebody is about to take it over."""
        return self._is_committing or self._keeper.try_hold(self)

    def _close_files(self) -> None:
        super().close()
        self._sidecar.close()
