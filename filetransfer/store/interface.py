"""What the server asks of a store: the doors of this room.

A store keeps files below one root. It knows nothing of the wire and nothing of Twisted; everything here may block,
and may be called from any thread, but for what says that it never blocks.

Whatever changes the store and must be durable goes through one queue as a :class:`Commit`. The store takes commits in
the order they were submitted, makes them durable in batches, and then tells of the whole batch at once: that is what
makes thousands of small durable files cheap (see ``store/commit.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from filetransfer.errors import RequestRefused
from filetransfer.names import Path


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

    def fileno(self) -> int:
        """Give the open descriptor. It must be read at explicit offsets: nobody relies on its position."""

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly ``count`` octets; may block. Raises Internal when the file shrank or the disk failed."""

    def read_cached(self, limit: int) -> bytes | None:
        """Read the whole file if it has at most ``limit`` octets and that cannot block; else None. Raises Internal."""

    def close(self) -> None:
        """Close it; a second call does nothing."""


class Upload(Protocol):
    """A file being written. It is visible to nobody until its :class:`Publish` is committed.

    One thread at a time, but for :meth:`digest_behind`.

    Attributes:
        path: where it will be published.
        received: octets in it so far, >= 0.
    """

    path: Path
    received: int

    def fileno(self) -> int:
        """Give the open descriptor, for a route that moves octets into it itself, at offset ``received``."""

    def write(self, octets: bytes | memoryview) -> None:
        """Append octets. Raises NoSpace, Internal and the other leaves of a failed write; it is aborted then."""

    def advance(self, count: int) -> None:
        """Take note that ``count`` octets were moved into :meth:`fileno` at offset ``received``.

        Raises:
            NoSpace: there is no room for what comes next; it is aborted then.
        """

    def digest_behind(self) -> None:
        """Digest what :meth:`advance` left behind; may run in one other thread while octets are still coming.

        Whoever does not call it finds it done in the commit, where it takes a second for every 10 GB. It must have
        ended before the upload is aborted or submitted. Raises the leaf of a failed read: abort the upload.
        """

    def prepare(self) -> None:
        """Do everything of the commit that needs no other commit: digest, attribute, mode, fsync; blocks.

        For a thread that moved a large body: no small file then waits for this one's fsync. Without it the commit
        does the same. Raises the leaf of a failed call; it is aborted then.
        """

    def abort(self) -> None:
        """Remove every trace of it; a second call, or one after it was published, does nothing."""


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
class Publish(Commit):
    """Make an upload visible under its path, replacing the file that may be there. A failure aborts the upload."""

    upload: Upload


@dataclass(slots=True, kw_only=True, eq=False)
class PublishOctets(Commit):
    """Write a small file whose octets are all here, and make it visible."""

    path: Path
    octets: bytes | bytearray | memoryview = field(repr=False)


@dataclass(slots=True, kw_only=True, eq=False)
class Rename(Commit):
    """Give a file another path. Never replaces: :class:`~filetransfer.errors.Exists`."""

    path: Path
    to: Path


class Store(Protocol):
    """A served root."""

    def open_download(self, path: Path) -> Download:
        """Open a regular file for reading.

        Raises:
            NotFound: there is none, or the path passes a symbolic link.
            IsDirectory: it is a directory or a special file (which is never opened: a FIFO cannot hang us).
            RequestRefused: another leaf, for another failed system call.
        """

    def open_cached_download(self, path: Path) -> Download | None:
        """As :meth:`open_download`, but never blocks: None when the kernel would have to ask a disk."""

    def open_upload(self, path: Path, size: int) -> Upload:
        """Begin an upload of a claimed size, in octets; nothing is allocated for the claim.

        Raises:
            NoSpace: less than ``size`` and the reserve are free.
            NotFound: its parent directory is missing. IsDirectory: the path is a directory or a special file.
            NotPermitted: the store is read-only.
        """

    def check_upload(self, path: Path, size: int) -> None:
        """Refuse now, as :meth:`open_upload` would, what can be known without blocking (read-only, a hopeless size)."""

    def submit(self, commits: Sequence[Commit]) -> None:
        """Queue changes; never blocks. They take effect in the order given, across calls of one thread as well."""

    def close(self) -> None:
        """Finish what was submitted, tell of it, and give the root up."""
