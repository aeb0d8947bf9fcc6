"""What the server asks of a store: the doors of this room.

A store keeps files below one root. It knows nothing of the wire and nothing of Twisted; everything here may block,
and may be called from any thread, but for what says that it never blocks.

Whatever changes the store and must be durable goes through one queue as a :class:`Commit`. The store takes commits in
the order they were submitted, makes them durable in batches, and then tells of the whole batch at once: that is what
makes thousands of small durable files cheap (see ``store/commit.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from filetransfer.errors import RequestRefused
from filetransfer.names import Path
from filetransfer.store.terms import NO_TERMS, Terms


class Download(Protocol):
    """A file being read. It goes on reading what it opened, whatever is published under its path meanwhile.

    Attributes:
        size: octets in the file when it was opened, >= 0.
        etag: differs whenever the content may have changed; 1 to 64 octets of ASCII.
        modified: nanoseconds since 1970 UTC.
        mode: permission bits, 0 to 0o777.
    """

    size: int
    etag: str
    modified: int
    mode: int

    @property
    def digest(self) -> bytes:
        """The xxh3-128 recorded for the file as it was when it was opened; empty when it is not known. 3 µs."""

    def fileno(self) -> int:
        """Give the open descriptor. It must be read at explicit offsets: nobody relies on its position."""

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly ``count`` octets; may block. Raises Internal when the file shrank or the disk failed."""

    def read_cached(self, limit: int) -> bytes | None:
        """Read the whole file if it has at most ``limit`` octets and that cannot block; else None. Raises Internal."""

    def compute_digest(self, algorithm: str = ..., should_stop: Callable[[], bool] = ...) -> bytes:
        """Read the whole file and digest it; blocks, for seconds when it is large.

        Args:
            algorithm: ``xxh3-128``, the default, or ``sha256``.
            should_stop: asked about once a millisecond, in the thread that digests.

        Raises:
            Cancelled: told to stop. Busy: somebody outside the store changed the file meanwhile. Unsupported: the
            algorithm is unknown. Internal: the file shrank, or the disk failed.
        """

    def close(self) -> None:
        """Close it; a second call does nothing."""


class Upload(Protocol):
    """A file being written. It is visible to nobody until its :class:`Publish` is committed.

    One thread at a time, but for :meth:`digest_behind`.

    Attributes:
        path: where it will be published.
        received: octets in it so far, >= 0.
        undigested: how many of them :meth:`digest_behind` has before it, >= 0.
    """

    path: Path
    received: int

    @property
    def undigested(self) -> int: ...
    def fileno(self) -> int:
        """Give the open descriptor, for a route that moves octets into it itself, at offset ``received``."""

    def write(self, octets: bytes | memoryview) -> None:
        """Append octets. Raises NoSpace, Internal and the other leaves of a failed write; it is aborted then."""

    def advance(self, count: int) -> None:
        """Take note that ``count`` octets were moved into :meth:`fileno` at offset ``received``.

        Raises:
            NoSpace: there is no room for what comes next; it is for the caller to abort or keep it.
        """

    def digest_behind(self) -> None:
        """Digest what :meth:`advance` left behind; may run in one other thread while octets are still coming.

        Whoever does not call it finds it done in the commit, where it takes a second for every 10 GB. It must have
        ended before the upload is aborted or submitted. Raises the leaf of a failed read: abort the upload.
        """

    def prepare(self, terms: Terms = ..., digests: Digests = ...) -> None:
        """Do everything of the commit that needs no other commit: digests, attribute, time, mode, fsync; blocks.

        For a thread that moved a large body: no small file then waits for this one's fsync. Without it the commit
        does the same.

        Args:
            terms: those that its :class:`Publish` will have; what they say of time and mode is done now.
            digests: the same; those compared now are not computed again.

        Raises:
            DigestMismatch: it has other digests. RequestRefused: the leaf of a failed call. It is aborted then.
        """

    def keep(self) -> None:
        """End it because the peer was lost, and keep what arrived if it can be resumed, else as :meth:`abort`; blocks.

        A second call, or one after it was published, or after another connection took it over, does nothing.
        """

    def abort(self) -> None:
        """Remove every trace of it; a second call, or one after it was published, does nothing.

        Of an upload that another connection has taken over nothing is removed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What makes an upload one that can be resumed. Source: protocol, section 2, "Resume of an upload".

    Attributes:
        token: 16 octets that the peer chose; never logged.
        identity: of the peer, empty for one that has none; the same token of another identity is another upload.
        offset: 0 to start afresh, else where the upload goes on, as :meth:`Store.stat_upload` told.
        number: of the request; later ones have higher numbers. An earlier one that is late takes nothing away.
        on_taken: called, in the thread of whoever takes the upload over, before he is given it. It must stop whatever
            moves octets into, or reads, :meth:`Upload.fileno`, and must not return before that has ended. It must not
            wait for the store.
    """

    token: bytes = field(repr=False)
    identity: str = ""
    offset: int = 0
    number: int = 0
    on_taken: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A resumable upload that was cut off.

    Attributes:
        path: where it will be published.
        size: octets, as claimed by its first request.
        offset: where it goes on: octets that are there and were found right.
        digest: xxh3-128 of the octets before the offset.
    """

    path: Path
    size: int
    offset: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PublishedUpload:
    """A resumable upload that was published.

    Attributes:
        path: where.
        size: octets.
        etag: that the file had then.
        digest: xxh3-128 of the file.
    """

    path: Path
    size: int
    etag: str
    digest: bytes


Digests = Mapping[str, bytes]
"""From the name of an algorithm, ``xxh3-128`` or ``sha256``, to the octets of a digest."""

NO_DIGESTS: Digests = {}


@dataclass(slots=True, kw_only=True, eq=False)
class Commit:
    """One change on its way into the store.

    Attributes:
        done: called by whoever is told of the batch (the server: in the reactor thread), once; the store never does.
        error: why it did not take effect; None when it did.
        etag: of the file now under its path, when it took effect.
    """

    done: Callable[[Any], None] = lambda commit: None
    error: RequestRefused | None = None
    etag: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Publication(Commit):
    """A change that puts a file under a path.

    Attributes:
        terms: see there.
        digests: that the file must have, of algorithms that the store knows; else it is
            :class:`~filetransfer.errors.DigestMismatch`, and nothing is published.
        size: octets of the file, when it took effect.
        digest: xxh3-128 of the file, when it took effect.
    """

    terms: Terms = NO_TERMS
    digests: Digests = field(default_factory=dict)
    size: int = 0
    digest: bytes = b""


@dataclass(slots=True, kw_only=True, eq=False)
class Publish(Publication):
    """Make an upload visible under its path. A failure aborts the upload."""

    upload: Upload


@dataclass(slots=True, kw_only=True, eq=False)
class PublishOctets(Publication):
    """Write a small file whose octets are all here, and make it visible."""

    path: Path
    octets: bytes | bytearray | memoryview = field(repr=False)


@dataclass(slots=True, kw_only=True, eq=False)
class Rename(Commit):
    """Give a file another path.

    Attributes:
        replaces: whether a file under ``to`` is replaced; if not, it is :class:`~filetransfer.errors.Exists`.
        if_match: the etag that the file under ``path`` must have; None for any.
    """

    path: Path
    to: Path
    replaces: bool = False
    if_match: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Delete(Commit):
    """Remove a file or a directory.

    Attributes:
        is_recursive: whether a directory goes with all that is in it, at once; if not, it must be empty, or it is
            :class:`~filetransfer.errors.NotEmpty`.
        if_match: the etag that what is under the path must have; None for any.
    """

    path: Path
    is_recursive: bool = False
    if_match: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class MakeDirectory(Commit):
    """Make a directory.

    Attributes:
        makes_parents: whether those that are missing on the way are made too, and one that is there already is no
            failure; if not, they are :class:`~filetransfer.errors.NotFound` and :class:`~filetransfer.errors.Exists`.
    """

    path: Path
    makes_parents: bool = False


Kind = Literal["file", "directory", "other"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is under a path.

    Attributes:
        path: from the root.
        size: octets; 0 of what is no file.
        modified: nanoseconds since 1970 UTC.
        mode: permission bits, 0 to 0o777.
        etag: see :class:`Download`; of a directory, it differs whenever its entries may have changed.
        digest: xxh3-128 of a file's content, where it is recorded and only one file was asked for; else empty.
    """

    path: Path
    kind: Kind
    size: int
    modified: int
    mode: int
    etag: str
    digest: bytes = b""


class Listing(Protocol):
    """A directory being listed, in the order of the list of a path's components, each compared by its octets.

    Attributes:
        hidden: how many entries were left out so far: symbolic links, names that the protocol refuses, the store's own
            files, and what lies on another file system.
        more: when :meth:`read` has given everything and the limit cut it short: the last path given; else None.
    """

    hidden: int
    more: Path | None

    def read(self) -> list[Entry]:
        """Give the next entries, at most some hundreds; none at the end. Blocks. Raises RequestRefused."""

    def close(self) -> None:
        """Give up; a second call does nothing. No thread may be in :meth:`read`."""


class Store(Protocol):
    """A served root."""

    @property
    def durability(self) -> Literal["full", "none"]:
        """``full``: what was acknowledged survives a power cut. ``none``: it may be lost."""

    @property
    def is_read_only(self) -> bool:
        """Whether every change is refused: by the setting, or since the disk failed twice."""

    def open_download(self, path: Path) -> Download:
        """Open a regular file for reading.

        Raises:
            NotFound: there is none, or the path passes a symbolic link.
            IsDirectory: it is a directory or a special file (which is never opened: a FIFO cannot hang us).
            RequestRefused: another leaf, for another failed system call.
        """

    def open_cached_download(self, path: Path) -> Download | None:
        """As :meth:`open_download`, but never blocks: None when the kernel would have to ask a disk."""

    def stat(self, path: Path) -> Entry:
        """Tell what is under a path; empty: the root.

        Raises:
            NotFound: nothing, or a symbolic link. RequestRefused: another leaf, for a failed system call.
        """

    def list_directory(
        self, path: Path, *, is_recursive: bool, after: Path | None, limit: int
    ) -> Listing:
        """List what is in a directory. Somebody may change it meanwhile: each entry is what it was when it was read.

        Args:
            path: of the directory, which itself is left out; empty: the root.
            is_recursive: whether what is in its directories is listed, too.
            after: only what comes behind this path, which need not be there; None: all.
            limit: entries at most, >= 1.

        Raises:
            NotFound: there is nothing. NotDirectory: it is a file. RequestRefused: another leaf, as above.
        """

    def open_upload(
        self,
        path: Path,
        size: int,
        resumption: Resumption | None = None,
        terms: Terms = NO_TERMS,
    ) -> Upload:
        """Begin an upload of a claimed size, in octets, or go on with one; nothing is allocated for the claim.

        Args:
            path: where it will be published.
            size: octets claimed, of the whole file.
            resumption: makes it one that can be resumed. It is taken away from whoever has it. At offset 0 what there
                was of it is removed, and what is known of its publication is forgotten: ask :meth:`stat_upload` first.
            terms: looked at now, so that no body is sent in vain, and once more by its :class:`Publish`, which must
                have the same. They are not remembered with what is kept.

        Raises:
            OffsetMismatch: the upload goes on somewhere else, or was published. Cancelled: yet another connection was
                quicker. NotFound: there is no such upload to go on with. NotPermitted: it belongs to another path or
                size. Busy: it is being published, or it was asked for by a later request.
            NoSpace: less than ``size`` and the reserve are free.
            PreconditionFailed, Exists: the terms do not allow it.
            NotFound: its parent directory is missing, and may not be made. IsDirectory: the path is a directory or a
            special file.
            NotPermitted: the store is read-only.
        """

    def open_copy(
        self,
        path: Path,
        to: Path,
        *,
        if_match: str | None = None,
        terms: Terms = NO_TERMS,
        should_stop: Callable[[], bool] = ...,
    ) -> Upload:
        """Copy a file into a new upload, which the caller then prepares and publishes on the same terms; blocks.

        What is recorded of the source's digest holds for the copy. Time and mode are those of a new file, unless the
        terms say others.

        Args:
            path: of the source.
            to: where the copy will be published.
            if_match: the etag that the source must have; None for any.
            terms: for the copy.
            should_stop: asked about every few milliseconds, in this thread.

        Raises:
            NotFound, IsDirectory, PreconditionFailed, Internal: of the source, and about ``path``: see
                :meth:`open_download`.
            Exists, NotFound, IsDirectory, PreconditionFailed: of the copy, and about ``to``: see :meth:`open_upload`.
            Busy: somebody outside the store changes the source. Cancelled: told to stop.
            NoSpace: there is no room. NotPermitted: the store is read-only.
        """

    def check_writable(self) -> None:
        """Refuse now what every change would be refused for; never blocks. Raises NotPermitted: it is read-only."""

    def stat_upload(
        self, token: bytes, identity: str, number: int = 0
    ) -> UnfinishedUpload | PublishedUpload:
        """Tell how far a resumable upload has come, and take it away from whoever has it; reads what is there.

        Waits while it is being published.

        Args:
            token: see :class:`Resumption`.
            identity: as there.
            number: as there.

        Raises:
            NotFound: there is no such upload of this identity. Busy: it is being published, and that takes long; or it
                was asked for by a later request.
        """

    def delete_upload(self, token: bytes, identity: str, number: int = 0) -> None:
        """Remove what there is of a resumable upload, and what is known of it. Raises as :meth:`stat_upload`."""

    def remove_stale_uploads(self) -> None:
        """Remove what nobody came back for in time; to be called now and then."""

    def submit(self, commits: Sequence[Commit]) -> None:
        """Queue changes; never blocks. They take effect in the order given, across calls of one thread as well."""

    def close(self) -> None:
        """Finish what was submitted, tell of it, and give the root up."""
