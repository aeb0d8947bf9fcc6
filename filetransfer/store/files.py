"""One file being read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import Busy, Internal, IsDirectory, RequestRefused, refusal_from_os_error
from filetransfer.store.beneath import close_quietly
from filetransfer.store.contents import compute_digest, go_on
from filetransfer.store.records import compute_etag, is_marked, parse_record, read_attribute

DAMAGED = "the file is damaged on the server's disk: it must be sent again, or restored there"
_WOULD_BLOCK = (errno.EAGAIN, errno.EOPNOTSUPP)


class FileDownload:
    """An open regular file. See :class:`~filetransfer.store.interface.Download`.

    Args:
        descriptor: the open file; it is closed when this raises.
        is_in_memory: whether its file system lives in memory, so that no read waits for a disk.

    Raises:
        IsDirectory: it is not a regular file.
        Internal: the scrub found it damaged.
        RequestRefused: another leaf, for a failed system call.
    """

    __slots__ = (
        *("_attribute", "_descriptor", "_is_in_memory", "_status"),
        *("etag", "mode", "modified", "size"),
    )

    def __init__(self, descriptor: int, *, is_in_memory: bool) -> None:
        self._descriptor = descriptor
        self._is_in_memory = is_in_memory
        try:
            self._status = status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IsDirectory("is a directory or a special file", about="path")
            self._attribute = _read_attribute(descriptor)
            if is_marked(self._attribute, status):
                raise Internal(DAMAGED, about="path")
        except OSError as error:
            self.close()
            raise refusal_from_os_error(error, about="path") from error
        except RequestRefused:
            self.close()
            raise
        self.size = status.st_size
        self.etag = compute_etag(status)
        self.modified = status.st_mtime_ns
        self.mode = status.st_mode & 0o777

    def fileno(self) -> int:
        """Give the open descriptor, to be read at explicit offsets; -1 when it is closed."""
        return self._descriptor

    def read(self, offset: int, count: int) -> bytes:
        """Read octets; may block.

        Args:
            offset: of the first one, >= 0.
            count: how many, offset + count <= size.

        Returns:
            Exactly ``count`` octets.

        Raises:
            Internal: the file shrank since it was opened, or the disk failed.
        """
        pieces = []
        try:
            while count:
                piece = os.pread(self._descriptor, count, offset)
                if not piece:
                    raise Internal("the file shrank while it was read", about="path")
                pieces.append(piece)
                offset += len(piece)
                count -= len(piece)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_cached(self, limit: int) -> bytes | None:
        """Read the whole file if that cannot block.

        Args:
            limit: octets; a larger file is not read.

        Returns:
            ``size`` octets; None when the file is larger than the limit, not wholly in memory, or shrank.

        Raises:
            Internal: the disk failed.
        """
        if self.size > limit:
            return None
        try:
            octets = self._read_now()
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise refusal_from_os_error(error, about="path") from error
        return octets if len(octets) == self.size else None

    def _read_now(self) -> bytes:
        if self._is_in_memory:
            return os.pread(self._descriptor, self.size, 0)
        buffer = bytearray(self.size)
        return bytes(buffer[: os.preadv(self._descriptor, [buffer], 0, os.RWF_NOWAIT)])

    @property
    def digest(self) -> bytes:
        """The xxh3-128 that was recorded for the file as it was when it was opened; empty when it is not known."""
        record = parse_record(self._attribute, self._status)
        return b"" if record is None else record.digest

    def compute_digest(
        self, algorithm: str = DEFAULT_ALGORITHM, should_stop: Callable[[], bool] = go_on
    ) -> bytes:
        """Read all of it, and digest it; blocks.

        Nothing is recorded: to set the attribute would give the file another etag, and whoever resumes a download
        would have to start afresh.

        Args:
            algorithm: a name of section 2 of the protocol.
            should_stop: asked about once a millisecond, in this thread.

        Raises:
            Busy: somebody outside the store changed the file meanwhile.
            Unsupported, Cancelled, Internal, RequestRefused: see :func:`~filetransfer.store.contents.compute_digest`.
        """
        digest = compute_digest(self._descriptor, self.size, algorithm, should_stop)
        self.check_unchanged()
        return digest

    def check_unchanged(self) -> None:
        """Refuse what was read of it if somebody outside the store may have changed it since it was opened.

        Raises:
            Busy: its size or its time of modification is another.
            RequestRefused: the leaf for a failed system call.
        """
        try:
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        # Not the etag: another name changes that, too.
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            raise Busy("the file was changed while it was read: try again later", about="path")

    def close(self) -> None:
        """Close it; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_quietly(descriptor)


def _read_attribute(descriptor: int) -> bytes:
    """Give what is recorded of the file; costs a GET 1.1 µs where there is a record, 2.1 where there is none."""
    try:
        return read_attribute(descriptor)
    except OSError:
        # Whatever the reason: the digest is not known, and reading will tell what is wrong with the disk.
        return b""
