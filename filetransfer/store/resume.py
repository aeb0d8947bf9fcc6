"""Uploads that can be resumed: who has them, and for how long. What the disk holds of them: see ``kept.py``.

**Who has an upload.** The newest connection does. Whoever asks for an upload (``begin``, ``stat``, ``delete``) takes it
away from its owner: the owner's ``on_taken`` stops what moves octets, the rest is digested, and the owner's descriptor
is closed; then the new one is given. Everything that takes long is done while the key is *held*: one at a time for each
upload, none for all. An upload holds its key itself from the beginning of its commit to the end, so that whoever asks
meanwhile waits for the outcome. Only who wants to take waits; an owner that finds its key held is about to be stopped,
and gives up.

What was kept by this very run is not read again: its running digests are kept, too.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from filetransfer.digests import start_digest
from filetransfer.errors import (
    Busy,
    Cancelled,
    NotFound,
    NotPermitted,
    OffsetMismatch,
    RequestRefused,
    refusal_from_os_error,
)
from filetransfer.names import Path
from filetransfer.store.interface import (
    NO_DIGESTS,
    NO_TERMS,
    Digests,
    PublishedUpload,
    Resumption,
    Terms,
    UnfinishedUpload,
)
from filetransfer.store.kept import KeptFiles, Verified, list_names, make_key, name_part
from filetransfer.store.parts import Parts, StoreUpload
from filetransfer.store.sidecar import WINDOW, Outcome, Purpose, Sidecar, Window
from filetransfer.store.space import Claim
from filetransfer.store.upload import Progress

MAX_PARTS = 64
"""Parts that are kept for an identity; the oldest go first. Source: protocol, section 2."""
MAX_FREE_FRACTION = 0.1
"""Of the free space, that the parts of an identity may take. Source: as above."""
MAX_OUTCOMES = 4096
"""Outcomes that are remembered for an identity: an inode and some memory each, so there is a limit."""
KEEP_SECONDS = 24 * 3600.0
"""How long a part, or an outcome, is kept. Source: as above."""

_MAX_WAIT_SECONDS = 50.0
_TAKEN_OVER = "another connection has taken this upload over"

_logger = logging.getLogger("filetransfer.store")


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of an upload.

    Attributes:
        purpose: what it belongs to.
        last_used: seconds since 1970.
        octets: of its part, about; 0 when it was published.
        is_published: see there.
        owner: who is writing it.
        number: of the latest request for it.
        verified: how far it has come, when that is known.
    """

    purpose: Purpose
    last_used: float
    octets: int = 0
    is_published: bool = False
    owner: ResumableUpload | None = field(default=None, repr=False)
    verified: Verified | None = None
    number: int = 0

    def note_asked(self, number: int) -> None:
        """Take note of a request for it. Raises Busy: a later one came first."""
        if number < self.number:
            raise Busy("another connection has asked for the upload since")
        self.number = number


class Resumables:
    """The resumable uploads of a store.

    Args:
        parts: of the store.
        keep_seconds: how long what was cut off, and what was published, is kept.
    """

    def __init__(self, parts: Parts, keep_seconds: float = KEEP_SECONDS) -> None:
        self._parts = parts
        self._files = KeptFiles(parts.directory)
        self._keep_seconds = keep_seconds
        self._entries: dict[str, _Entry] = {}
        self._held: set[str] = set()
        self._changed = threading.Condition()

    def load(self) -> set[str]:
        """Find what an earlier run kept; give the names of the files that stay. Raises OSError."""
        names: set[str] = set()
        for key, found in self._files.find(self._parts.list_files()).items():
            entry = _Entry(found.purpose, found.last_used, found.octets, found.is_published)
            if not self._is_stale(entry):
                self._entries[key] = entry
                names |= list_names(key)
        return names

    def begin(self, path: Path, size: int, resumption: Resumption) -> ResumableUpload:
        """See :meth:`Store.open_upload <filetransfer.store.interface.Store.open_upload>`."""
        key = make_key(resumption.token, resumption.identity)
        purpose = Purpose(resumption.identity, path, size)
        self.remove_stale()
        with self._hold(key):
            entry = self._entries.get(key)
            if entry is not None:
                if entry.purpose != purpose:
                    raise NotPermitted("this upload belongs to another path or size")
                entry.note_asked(resumption.number)
                self._take_over(entry)
            try:
                if resumption.offset == 0:
                    return self._begin_afresh(key, purpose, resumption)
                return self._go_on(key, entry, resumption)
            except OSError as error:
                raise refusal_from_os_error(error) from error

    def stat(self, token: bytes, identity: str, number: int) -> UnfinishedUpload | PublishedUpload:
        """See :meth:`Store.stat_upload <filetransfer.store.interface.Store.stat_upload>`."""
        key = make_key(token, identity)
        with self._hold(key):
            entry = self._find(key, number)
            purpose = entry.purpose
            try:
                if entry.is_published:
                    outcome = self._files.read_outcome(key)
                    return PublishedUpload(purpose.path, purpose.size, outcome.etag, outcome.digest)
                progress = self._verify(key, entry).progress
            except OSError as error:
                raise refusal_from_os_error(error) from error
            return UnfinishedUpload(
                purpose.path, purpose.size, progress.offset, progress.digest.digest()
            )

    def delete(self, token: bytes, identity: str, number: int) -> None:
        """See :meth:`Store.delete_upload <filetransfer.store.interface.Store.delete_upload>`."""
        key = make_key(token, identity)
        with self._hold(key):
            self._find(key, number)
            try:
                self._remove(key)
            except OSError as error:
                raise refusal_from_os_error(error) from error

    def remove_stale(self) -> None:
        """Remove what nobody came back for."""
        with self._changed:
            stale = [key for key, entry in self._entries.items() if self._is_stale(entry)]
        self._evict(stale)

    def _find(self, key: str, number: int) -> _Entry:
        """Give a held entry, taken away from its owner."""
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry):
            raise NotFound("there is no such upload: it was removed, or never began")
        entry.note_asked(number)
        self._take_over(entry)
        return entry

    def _is_stale(self, entry: _Entry) -> bool:
        # Both ways: after a step of the clock nothing may stay for ever.
        age = abs(time.time() - entry.last_used)
        return entry.owner is None and age > self._keep_seconds

    @contextmanager
    def _hold(self, key: str) -> Iterator[None]:
        """Have an upload to oneself."""
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._held, _MAX_WAIT_SECONDS):
                raise Busy("the upload is being published: ask again later")
            self._held.add(key)
        try:
            yield
        finally:
            self.release(key)

    def release(self, key: str) -> None:
        """Let others have an upload."""
        with self._changed:
            self._held.discard(key)
            self._changed.notify_all()

    def try_hold(self, upload: ResumableUpload) -> bool:
        """Have an upload to its owner alone, unless somebody is about to take it away, or did."""
        with self._changed:
            entry = self._entries.get(upload.key)
            if upload.key in self._held or entry is None or entry.owner is not upload:
                return False
            self._held.add(upload.key)
            return True

    @staticmethod
    def _take_over(entry: _Entry) -> None:
        owner = entry.owner
        if owner is not None:
            entry.verified = owner.stop()
            entry.octets = owner.received
            entry.last_used = time.time()
            entry.owner = None

    def _begin_afresh(self, key: str, purpose: Purpose, resumption: Resumption) -> ResumableUpload:
        claim = self._parts.space.claim(purpose.size)
        self._remove(key)
        sidecar = self._files.create(key, purpose)
        try:
            upload = ResumableUpload(self._parts, self, key, sidecar, claim, resumption, None)
        except RequestRefused:
            sidecar.close()
            self._remove(key)
            raise
        with self._changed:
            self._entries[key] = _Entry(
                purpose, time.time(), owner=upload, number=resumption.number
            )
        return upload

    def _go_on(self, key: str, entry: _Entry | None, resumption: Resumption) -> ResumableUpload:
        if entry is None:
            raise NotFound("there is no such upload: start afresh")
        if entry.is_published:
            raise OffsetMismatch("the upload was published")
        verified = self._verify(key, entry)
        offset = verified.progress.offset
        if offset != resumption.offset:
            raise OffsetMismatch(f"the upload goes on at {offset}")
        claim = self._parts.space.claim(max(entry.purpose.size - offset, 0))
        sidecar = self._files.open(key)
        # From here on the running digests belong to the upload: what fails now is read again by the next one.
        entry.verified = None
        try:
            entry.owner = ResumableUpload(
                self._parts, self, key, sidecar, claim, resumption, verified
            )
        except BaseException:
            sidecar.close()
            raise
        return entry.owner

    def _verify(self, key: str, entry: _Entry) -> Verified:
        """Give how far a held part has come."""
        if entry.verified is None:
            entry.verified = self._files.verify(key)
            entry.octets = entry.verified.progress.offset
        return entry.verified

    def _remove(self, key: str) -> None:
        """Remove a held upload; does nothing when there is none."""
        with self._changed:
            entry = self._entries.get(key)
        if entry is not None:
            # Half of it may be gone when this fails: what was known of it is not told any more.
            entry.verified = None
        self._files.remove(key)
        with self._changed:
            self._entries.pop(key, None)

    def park(self, upload: ResumableUpload, verified: Verified | None) -> None:
        """Take an upload back from its owner, who holds it; None: there is nothing to resume."""
        key = upload.key
        entry = self._entries[key]
        entry.owner = None
        entry.verified = verified
        entry.octets = upload.received
        entry.last_used = time.time()
        if verified is None:
            self.forget(key)
            return
        self.release(key)
        self._enforce_limits(entry.purpose.identity)

    def forget(self, key: str) -> None:
        """Remove a held upload and let it go. What cannot be removed is left to the next start."""
        try:
            self._remove(key)
        except OSError as error:
            _logger.warning("a part could not be removed: %s", error.strerror)
        finally:
            self.release(key)

    def note_published(self, key: str) -> None:
        """Take note that a held upload was published and its outcome is on stable storage; let it go."""
        entry = self._entries[key]
        entry.owner = None
        entry.octets = 0
        entry.is_published = True
        entry.last_used = time.time()
        self.release(key)
        self._enforce_limits(entry.purpose.identity)

    def _enforce_limits(self, identity: str) -> None:
        """Remove the oldest of what is kept for an identity until it is within the limits."""
        with self._changed:
            idle = sorted(
                (
                    (key, entry)
                    for key, entry in self._entries.items()
                    if entry.purpose.identity == identity and entry.owner is None
                ),
                key=lambda item: item[1].last_used,
            )
        published = [key for key, entry in idle if entry.is_published]
        self._evict(published[: max(len(published) - MAX_OUTCOMES, 0)])
        parts = [(key, entry.octets) for key, entry in idle if not entry.is_published]
        octets = sum(size for _, size in parts)
        try:
            most = self._parts.space.measure_free() * MAX_FREE_FRACTION
        except RequestRefused:
            # Nothing is known of the space; whoever writes next learns what is wrong.
            most = octets
        evicted = 0
        for _, size in parts:
            if len(parts) - evicted <= MAX_PARTS and octets <= most:
                break
            evicted += 1
            octets -= size
        self._evict([key for key, _ in parts[:evicted]])

    def _evict(self, keys: list[str]) -> None:
        """Remove uploads that nobody has. Somebody may have come for one in between: it stays."""
        for key in keys:
            with self._changed:
                entry = self._entries.get(key)
                if key in self._held or entry is None or entry.owner is not None:
                    continue
                self._held.add(key)
            self.forget(key)


class ResumableUpload(StoreUpload):
    """An upload that stays when it is cut off.

    One that was taken over refuses to write (Cancelled) and does nothing else any more.

    Args:
        parts: of the store.
        resumables: of the store; this one is its owner's in there.
        key: of the upload.
        sidecar: the upload closes it, but not when this raises.
        claim: to the room for the rest.
        resumption: see there.
        verified: how far the part has come; None: it is new.
    """

    __slots__ = (
        *("_digesting", "_etag", "_is_committing", "_on_taken", "_resumables", "_sidecar"),
        *("_window", "_writing", "key"),
    )

    is_remembered = True

    def __init__(
        self,
        parts: Parts,
        resumables: Resumables,
        key: str,
        sidecar: Sidecar,
        claim: Claim,
        resumption: Resumption,
        verified: Verified | None,
    ) -> None:
        self.key = key
        self._resumables = resumables
        self._sidecar = sidecar
        self._on_taken = resumption.on_taken
        self._is_committing = False
        self._etag = ""
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

    def publish_as(self, name: bytes, directory: int, *, replaces: bool = True) -> str:
        """See :meth:`StoreUpload.publish_as`; it is over when it is remembered."""
        self._etag = super().publish_as(name, directory, replaces=replaces)
        return self._etag

    def remember(self, *, is_durable: bool) -> None:
        """See :meth:`StoreUpload.remember`. What cannot be remembered costs a peer that lost its answer a transfer."""
        is_recorded = is_durable
        try:
            if is_durable:
                self._sidecar.write_outcome(Outcome(self._digest.digest(), self._etag))
                self._parts.storage.sync(self._sidecar.fileno())
        except (OSError, RequestRefused) as error:
            _logger.warning("that an upload was published could not be remembered: %s", error)
            is_recorded = False
        self._sidecar.close()
        self._is_committing = False
        if is_recorded:
            self._resumables.note_published(self.key)
        else:
            self._resumables.forget(self.key)

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
        self._resumables.park(self, verified)

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
        if self._etag or (self._descriptor < 0 and not self._is_committing):
            return
        if self._hold():
            super().abort()
            self._sidecar.close()
            self._is_committing = False
            self._resumables.forget(self.key)
        else:
            self._close_files()

    def _hold(self) -> bool:
        """Have it to oneself, unless somebody is about to take it over."""
        return self._is_committing or self._resumables.try_hold(self)

    def _close_files(self) -> None:
        super().close()
        self._sidecar.close()
