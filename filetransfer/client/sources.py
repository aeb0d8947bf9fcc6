"""What a PUT sends: a file by its path, an open file, or a stream.

Version 1 says the size before the body. A regular file has one; of a pipe, a terminal or an object that can only be
read it is known when all of it has been read, so it is copied to an unlinked temporary file first. Version 2 can do
without the size, and sends such a stream as it is read.

A file given by its path is opened when its turn to be sent has come, and each time it is sent: ten thousand files may
wait, few are open. A small one is read whole at once: its size is what was read, and nothing of it stays open.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import tempfile
import threading
from collections.abc import Callable
from typing import IO, ClassVar, Final, Protocol

from twisted.internet.threads import deferToThread

from filetransfer.digests import Digest
from filetransfer.errors import SourceChanged

MAX_SMALL_OCTETS = 64 * 1024
"""Bodies up to this size travel in one piece with their head. Source: protocol, section 1, rule 2."""

CHANGED = "the file changed while it was sent: send it again"

_BLOCK_OCTETS = 256 * 1024
# A receiver may fail a body of many small chunks.
_LEAST_OCTETS = 64 * 1024
# O_NONBLOCK: what was a file when it was looked at may be a FIFO when it is opened, and would wait for its other end.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

LocalSource = str | os.PathLike[str] | int | IO[bytes]
"""A path, a descriptor or an open binary file."""


class Body:
    """What one attempt sends: the octets themselves, or an open file with an offset and a size.

    Attributes:
        octets: all of them; None when they have to be read from ``descriptor``.
        descriptor: the open file; -1 when ``octets`` is all there is.
        origin: where in the open file begins what the receiver will have, >= 0.
        offset: of the first octet that is sent in the open file, >= ``origin``.
        size: octets that are sent, >= 0.
        modified: of the file, in nanoseconds since 1970 UTC.
        mode: its permission bits.
        prefix: digest of what the receiver has already, and which is not sent; None when it has nothing.
    """

    __slots__ = (
        "_owns_descriptor",
        "descriptor",
        "mode",
        "modified",
        "octets",
        "offset",
        "origin",
        "prefix",
        "size",
    )

    def __init__(
        self,
        descriptor: int,
        offset: int,
        *,
        owns_descriptor: bool,
        prefix: Digest | None = None,
    ) -> None:
        status = os.fstat(descriptor)
        self.prefix = prefix
        self.octets: bytes | None = None
        self.descriptor = descriptor
        self.origin = offset if prefix is None else 0
        self.offset = offset
        self.size = max(status.st_size - offset, 0)
        self.modified = status.st_mtime_ns
        self.mode = stat.S_IMODE(status.st_mode) & 0o777
        self._owns_descriptor = owns_descriptor
        if self.size <= MAX_SMALL_OCTETS:
            self.octets = _read_small(descriptor, offset, self.size)
            self.size = len(self.octets)

    def is_unchanged(self) -> bool:
        """Tell whether the open file is what it was."""
        status = os.fstat(self.descriptor)
        return status.st_size - self.offset == self.size and status.st_mtime_ns == self.modified

    def close(self) -> None:
        """Close what was opened for this attempt; a second call does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if self._owns_descriptor and descriptor >= 0:
            os.close(descriptor)


def _read_small(descriptor: int, offset: int, size: int) -> bytes:
    octets = os.pread(descriptor, MAX_SMALL_OCTETS + 1, offset)
    if len(octets) == size and size:
        return octets
    # Files under /proc say that they are empty, and give a page at a time.
    pieces = [octets]
    count = len(octets)
    while octets and count <= MAX_SMALL_OCTETS:
        octets = os.pread(descriptor, MAX_SMALL_OCTETS + 1 - count, offset + count)
        pieces.append(octets)
        count += len(octets)
    if count > MAX_SMALL_OCTETS:
        raise SourceChanged("the file changed while it was read: send it again")
    return b"".join(pieces)


class Source(Protocol):
    """Something that can be sent, most of the time more than once.

    Attributes:
        is_repeatable: whether it can be opened (once more).
    """

    @property
    def is_repeatable(self) -> bool: ...
    def open(self) -> Body | StreamBody:
        """Open it for one attempt. Raises OSError, SourceChanged."""

    def close(self) -> None:
        """Give up what is kept between attempts."""


class PathSource:
    """A regular file, given by its path."""

    __slots__ = ("_path",)

    is_repeatable: ClassVar[bool] = True

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._path

    def open(self) -> Body:
        """See :meth:`Source.open`."""
        return self.open_at(0, None)

    def open_at(self, offset: int, prefix: Digest | None) -> Body:
        """As :meth:`open`, of the file from ``offset`` on; ``prefix``: the running digest of what stands before it."""
        descriptor = os.open(self._path, _OPEN)
        try:
            body = Body(descriptor, offset, owns_descriptor=True, prefix=prefix)
        except BaseException:
            os.close(descriptor)
            raise
        if body.octets is not None:
            body.close()
        return body

    def close(self) -> None:
        """See :meth:`Source.close`."""


class DescriptorSource:
    """An open regular file, from a given offset to its end."""

    __slots__ = ("_descriptor", "_offset")

    is_repeatable: ClassVar[bool] = True

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._offset = offset

    def open(self) -> Body:
        """See :meth:`Source.open`."""
        return Body(self._descriptor, self._offset, owns_descriptor=False)

    def close(self) -> None:
        """See :meth:`Source.close`."""


class SpooledSource:
    """A stream, copied to an unlinked temporary file."""

    __slots__ = ("_file",)

    is_repeatable: ClassVar[bool] = True

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def open(self) -> Body:
        """See :meth:`Source.open`."""
        return Body(self._file.fileno(), 0, owns_descriptor=False)

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._file.close()


class Pipe:
    """A stream that can be read once, from where it is to its end.

    Args:
        read: gives the next octets, at most as many as asked for; none at the end.
        descriptor: to be waited for before each ``read``; -1 when ``read`` never waits.
        owns_descriptor: close it at the end.
    """

    def __init__(
        self, read: Callable[[int], bytes], descriptor: int = -1, *, owns_descriptor: bool = False
    ) -> None:
        self._read = read
        self._descriptor = descriptor
        self._owns_descriptor = owns_descriptor
        self._is_cancelled = False
        self._is_reading = False
        self._is_closed = False
        self._lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe()

    def spool(self) -> Source:
        """Copy it to a temporary file; blocks, and is meant for a thread of its own. Raises as :meth:`read_some`."""
        file = tempfile.TemporaryFile(prefix="ft-client-")  # noqa: SIM115 - the source closes it
        try:
            while octets := self.read_some():
                file.write(octets)
            file.flush()
        except BaseException:
            file.close()
            raise
        finally:
            self.close()
        return SpooledSource(file)

    def read_some(self, least: int = 1) -> bytes:
        """Give the next octets; blocks.

        Args:
            least: so many, >= 1, but at the end.

        Raises:
            OSError: it cannot be read. InterruptedError: it was cancelled.
        """
        with self._lock:
            self._is_reading = True
        pieces = []
        count = 0
        try:
            while count < least and (octets := self._read_next()):
                pieces.append(octets)
                count += len(octets)
        finally:
            with self._lock:
                self._is_reading = False
                self._release_if_closed()
        return b"".join(pieces)

    def cancel(self) -> None:
        """Let whoever reads end soon; any thread."""
        with self._lock:
            self._cancel()

    def close(self) -> None:
        """Give it up, as soon as nobody reads it any more; any thread. A second call does nothing."""
        with self._lock:
            self._cancel()
            self._is_closed = True
            if not self._is_reading:
                self._release_if_closed()

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._wake_writer >= 0:
            os.write(self._wake_writer, b"\0")

    def _release_if_closed(self) -> None:
        if not self._is_closed or self._wake_writer < 0:
            return
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._wake_writer = -1
        if self._owns_descriptor:
            os.close(self._descriptor)

    def _read_next(self) -> bytes:
        if self._descriptor >= 0 and not self._is_cancelled:
            # A thread that sat in read() on a silent terminal could not be told to stop.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            poll.register(self._wake_reader, select.POLLIN)
            poll.poll()
        if self._is_cancelled:
            raise InterruptedError("the stream was not read to its end")
        return self._read(_BLOCK_OCTETS)


class StreamBody:
    """What is sent as it is read, and only once.

    Attributes:
        is_reading: whether it is being waited for.
    """

    octets: Final = None

    def __init__(self, pipe: Pipe) -> None:
        self.is_reading = False
        self._pipe = pipe

    async def read(self) -> bytes:
        """Give the next octets, few only at the end; none when it has ended. Raises as :meth:`Pipe.read_some`."""
        self.is_reading = True
        try:
            return await deferToThread(self._pipe.read_some, _LEAST_OCTETS)
        finally:
            self.is_reading = False

    def is_unchanged(self) -> bool:
        """See :meth:`Body.is_unchanged`: who can tell?"""
        return True

    def cancel(self) -> None:
        """Let :meth:`read` end soon."""
        self._pipe.cancel()

    def close(self) -> None:
        """See :meth:`Body.close`: the source closes it."""


class PipeSource:
    """A stream, sent as it is read."""

    __slots__ = ("_pipe", "_was_opened")

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._was_opened = False

    @property
    def is_repeatable(self) -> bool:
        """See :class:`Source`."""
        return not self._was_opened

    def open(self) -> StreamBody:
        """See :meth:`Source.open`."""
        if self._was_opened:
            raise SourceChanged("a stream cannot be sent twice")
        self._was_opened = True
        return StreamBody(self._pipe)

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._pipe.close()


def find_source(local: LocalSource) -> Source | Pipe:
    """Look at what is to be sent.

    Args:
        local: a path; or a descriptor or open binary file, sent from its position to its end.

    Returns:
        The source; or what has no size, and can be made one.

    Raises:
        OSError: there is no such file, it is a directory, it may not be read.
    """
    if isinstance(local, int):
        return _find_descriptor_source(local)
    if isinstance(local, str | os.PathLike):
        return _find_path_source(os.fspath(local))
    descriptor = _find_descriptor(local)
    if descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        # Its own idea of the position: what it has buffered was not read yet as far as the caller is concerned.
        return DescriptorSource(descriptor, local.tell())
    return Pipe(local.read)


def _find_path_source(path: str) -> Source | Pipe:
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return PathSource(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    descriptor = os.open(path, _OPEN)
    os.set_blocking(descriptor, True)
    return _spool(descriptor, owns_descriptor=True)


def _find_descriptor_source(descriptor: int) -> Source | Pipe:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return DescriptorSource(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    return _spool(descriptor)


def _find_descriptor(file: IO[bytes]) -> int:
    try:
        return file.fileno()
    except (AttributeError, OSError):
        # io.UnsupportedOperation is an OSError: BytesIO, a member of an archive.
        return -1


def _spool(descriptor: int, *, owns_descriptor: bool = False) -> Pipe:
    return Pipe(
        lambda count: os.read(descriptor, count), descriptor, owns_descriptor=owns_descriptor
    )
