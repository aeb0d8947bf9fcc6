"""Uploads that can be resumed: who has them, and for how long.

One of them while it is written: see ``resumable.py``. What the disk holds of them: see ``kept.py``.

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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from filetransfer.errors import (
    Busy,
    NotFound,
    NotPermitted,
    OffsetMismatch,
    RequestRefused,
    refusal_from_os_error,
)
from filetransfer.names import Path
from filetransfer.store.interface import (
    PublishedUpload,
    Resumption,
    UnfinishedUpload,
)
from filetransfer.store.kept import KeptFiles, Verified, list_names, make_key
from filetransfer.store.parts import Parts
from filetransfer.store.resumable import ResumableUpload
from filetransfer.store.sidecar import Purpose

MAX_PARTS = 64
"""Parts that are kept for an identity; the oldest go first. Source: protocol, section 2."""
MAX_FREE_FRACTION = 0.1
"""Of the free space, that the parts of an identity may take. Source: as above."""
MAX_OUTCOMES = 4096
"""Outcomes that are remembered for an identity: an inode and some memory each, so there is a limit."""
KEEP_SECONDS = 24 * 3600.0
"""How long a part, or an outcome, is kept. Source: as above."""

_MAX_WAIT_SECONDS = 50.0

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
