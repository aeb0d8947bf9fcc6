"""The parts of a served directory: uploads that are not visible yet. Those that can be resumed: see ``resume.py``.

They lie in one place, ``.ft-store/parts`` below the root, so that a start finds what a crash left without walking the
tree. The directory is 0700 and its name begins with the reserved prefix: no request can name what is in it.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import time
from collections.abc import Set

from filetransfer.digests import DEFAULT_ALGORITHM, is_known_algorithm
from filetransfer.errors import DigestMismatch, RequestRefused, refusal_from_os_error
from filetransfer.names import Path
from filetransfer.store import calls
from filetransfer.store.beneath import HeldDirectory
from filetransfer.store.contents import compute_digest
from filetransfer.store.interface import NO_DIGESTS, Digests
from filetransfer.store.records import DigestRecords, compute_etag
from filetransfer.store.space import Claim, Space
from filetransfer.store.stable import Storage
from filetransfer.store.terms import NO_TERMS, Terms
from filetransfer.store.upload import FileUpload, Progress

_PRIVATE = 0o600

_logger = logging.getLogger("filetransfer.store")


class Parts:
    """The directory of parts, and what all uploads of a store share.

    Args:
        directory: where parts are made, on the file system of the root.
        storage: how uploads become durable.
        space: where they claim room.
        file_mode: permission bits of published files, whatever the umask.
    """

    __slots__ = ("_names", "directory", "file_mode", "records", "space", "storage")

    def __init__(
        self, directory: HeldDirectory, storage: Storage, space: Space, file_mode: int
    ) -> None:
        self.directory = directory
        self.storage = storage
        self.space = space
        self.file_mode = file_mode
        self.records = DigestRecords()
        # One random prefix a start and a count: an urandom call a part costs 1 µs of the 30 that a small file takes.
        self._names = map(f"{secrets.token_hex(8)}-{{:x}}".format, itertools.count())

    def create(self, path: Path, size: int) -> StoreUpload:
        """Begin an upload.

        Args:
            path: where it will be published.
            size: octets claimed, >= 0.

        Raises:
            NoSpace: there is no room for the claim.
            RequestRefused: another leaf, for a failed system call; nothing is left.
        """
        return StoreUpload(self, path, self.space.claim(size))

    def list_files(self) -> set[str]:
        """Give the names of what is in the directory. Raises OSError."""
        with os.scandir(self.directory.fileno()) as entries:
            return {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}

    def sweep(self, kept: Set[str] = frozenset()) -> None:
        """Remove what an earlier run left. Killed half-way, the next start goes on.

        Args:
            kept: the names of what is left alone.

        Raises:
            OSError: a failed system call.
        """
        names = self.list_files() - kept
        for name in names:
            os.unlink(name, dir_fd=self.directory.fileno())
        if names:
            _logger.info(
                "removed %d parts of uploads that an earlier run did not finish", len(names)
            )

    def choose_name(self) -> str:
        """Give a name that no other part has."""
        return next(self._names)


class StoreUpload(FileUpload):
    """An upload into a served directory.

    Args:
        parts: of the store.
        path: where it will be published.
        claim: to the room it needs.
        name: of the part; None: one that no other part has.
        progress: see :class:`FileUpload`.

    Attributes:
        content_digest: xxh3-128 of it, when it is described.
        etag: of the file, when it is published; empty before that.
        is_remembered: whether the store must be told, by :meth:`remember`, what became of it.
        path: where it will be published.
    """

    __slots__ = (
        *("_claim", "_compared", "_is_described", "_is_synced", "_parts"),
        *("content_digest", "etag", "path"),
    )

    is_remembered = False

    def __init__(
        self,
        parts: Parts,
        path: Path,
        claim: Claim,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._parts = parts
        self._claim = claim
        self._is_described = False
        self._is_synced = False
        self._compared: Digests = NO_DIGESTS
        self.content_digest = b""
        self.etag = ""
        self.path = path
        super().__init__(parts.directory, name or parts.choose_name(), _PRIVATE, progress)

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """See :meth:`FileUpload.write`. Raises NoSpace, too, when others took the room."""
        try:
            self._claim.move(len(octets))
        except RequestRefused:
            self.abort()
            raise
        super().write(octets)

    def advance(self, count: int) -> None:
        """See :meth:`FileUpload.advance`. Raises NoSpace when there is no room for what comes next."""
        super().advance(count)
        self._claim.move(count)

    def adopt_digest(self, digest: bytes) -> None:
        """Take note of the xxh3-128 that all of it ought to have: it is not read to find out."""
        self.content_digest = digest

    def prepare(self, terms: Terms = NO_TERMS, digests: Digests = NO_DIGESTS) -> None:
        """Do all that can be done before the rename: digests, attribute, time, mode, fsync; blocks.

        The commit queue does it for every upload. Whoever has a thread of his own for a large one calls this before
        he submits it, and no small file waits for its fsync.

        Args:
            terms: those of its :class:`~filetransfer.store.interface.Publish`.
            digests: the same.

        Raises:
            DigestMismatch: it has other digests; the upload is aborted.
            RequestRefused: the leaf for the failed system call; the upload is aborted.
        """
        self.describe(terms, digests)
        self.sync()

    def describe(self, terms: Terms = NO_TERMS, digests: Digests = NO_DIGESTS) -> None:
        """Do the first half of :meth:`prepare`, all but the fsync; what was done already is not done again."""
        try:
            if not self._is_described:
                self._describe(terms)
            if digests and digests != self._compared:
                self._compare(digests)
        except OSError as error:
            self.abort()
            raise refusal_from_os_error(error) from error
        except RequestRefused:
            self.abort()
            raise

    def _describe(self, terms: Terms) -> None:
        descriptor = self._descriptor
        self.content_digest = self.content_digest or self.digest()
        if terms.modified is not None:
            os.utime(descriptor, ns=(time.time_ns(), terms.modified))
        self._parts.records.write(descriptor, self.content_digest, os.fstat(descriptor))
        # After the attribute: a mode that keeps the owner from writing keeps him from setting it, too.
        os.fchmod(descriptor, self._parts.file_mode if terms.mode is None else terms.mode & 0o777)
        self._parts.storage.start(descriptor)
        self._is_described = True

    def _compare(self, digests: Digests) -> None:
        for algorithm, digest in digests.items():
            if is_known_algorithm(algorithm) and digest != self._compute(algorithm):
                raise DigestMismatch(
                    "what arrived is not what was sent: send the file again", about="path"
                )
        self._compared = digests

    def _compute(self, algorithm: str) -> bytes:
        if algorithm == DEFAULT_ALGORITHM:
            return self.content_digest
        return compute_digest(self._descriptor, self.received, algorithm)

    def sync(self) -> None:
        """Do the second half of :meth:`prepare`: bring it to stable storage; a second call does nothing."""
        if self._is_synced:
            return
        try:
            self._parts.storage.sync(self._descriptor)
        except RequestRefused:
            self.abort()
            raise
        self._is_synced = True

    def publish_if_free(self, name: bytes, directory: int) -> bool:
        """Make a prepared upload visible where the kernel says that nothing is there; it is over then.

        Args:
            name: the new name.
            directory: the descriptor of the directory it is to be in.

        Returns:
            Whether it is visible; if not, there is something, or the kernel cannot tell: :meth:`publish_as` is next.

        Raises:
            OSError: a failed system call; the caller aborts the upload.
        """
        parts = self._directory.fileno()
        is_free = calls.rename_if_free(
            self._name.encode(), name, src_dir_fd=parts, dst_dir_fd=directory
        )
        if is_free:
            self._note_published()
        return is_free

    def publish_as(self, name: bytes, directory: int, *, replaces: bool = True) -> None:
        """Make a prepared upload visible; it is over then.

        Args:
            name: the new name.
            directory: the descriptor of the directory it is to be in.
            replaces: whether a file that is there is replaced; if not, it is FileExistsError.

        Raises:
            OSError: a failed system call; the caller aborts the upload.
        """
        rename = os.rename if replaces else calls.rename_no_replace
        rename(self._name, name, src_dir_fd=self._directory.fileno(), dst_dir_fd=directory)
        self._note_published()

    def _note_published(self) -> None:
        try:
            self.etag = compute_etag(os.fstat(self._descriptor))
        finally:
            # It is visible now: aborting it would truncate what others may be reading.
            self.close()

    def remember(self, *, is_durable: bool) -> None:
        """Take note that it was published: its directory entry is on stable storage, or may not be. Never raises."""

    def keep(self) -> None:
        """See :meth:`Upload.keep <filetransfer.store.interface.Upload.keep>`: nobody can resume this one."""
        self.abort()

    def abort(self) -> None:
        """See :meth:`FileUpload.abort`."""
        self._claim.release()
        super().abort()

    def close(self) -> None:
        """See :meth:`FileUpload.close`."""
        self._claim.release()
        super().close()
