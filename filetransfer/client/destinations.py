"""Where a GET goes: a file that appears whole or not at all, or a stream that takes the octets as they come.

A file is written as a part beside its destination and published with one rename: see ``client/publishing.py``.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import IO, Any

from filetransfer.digests import start_digest
from filetransfer.errors import RequestRefused
from filetransfer.store.beneath import HeldDirectory, Root
from filetransfer.store.stable import Durability, choose_storage
from filetransfer.store.terms import check_replaceable
from filetransfer.store.upload import LocalUpload, Progress

LocalDestination = str | os.PathLike[str] | int | IO[bytes]
"""A path, a descriptor or a writable binary file."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# The fsyncs are ours: those of a whole batch at once.
_STORAGE = choose_storage("none")


class Stream:
    """A destination that keeps what it was given: standard output, a device, an open file.

    Args:
        write: appends octets and says how many it took; None for all.
        close: called at the end.

    Attributes:
        has_begun: whether octets are on their way into it, so that they cannot be sent once more.
    """

    __slots__ = ("_close", "_digest", "_is_closed", "_lock", "_write", "has_begun")

    def __init__(self, write: Callable[[Any], int | None], close: Callable[[], None]) -> None:
        self._write = write
        self._digest = start_digest()
        self._close = close
        # Whoever gives up closes it in one thread while the last octets are still being written in another.
        self._lock = threading.Lock()
        self._is_closed = False
        self.has_begun = False

    def write(self, octets: bytes | memoryview) -> None:
        """Append octets; blocks. Nothing happens when it is closed. Raises OSError."""
        with self._lock:
            self._digest.update(octets)
            rest = memoryview(octets)
            while rest and not self._is_closed:
                written = self._write(rest)
                rest = rest[len(rest) if written is None else written :]

    def digest(self) -> bytes:
        """Give the digest of all that it was given."""
        return self._digest.digest()

    def close(self) -> None:
        """Flush it, and close it if it was opened here; blocks. Raises OSError."""
        with self._lock:
            self._is_closed = True
            self._close()


class PathDestination:
    """A file that will be published under a path.

    Args:
        path: of the file, absolute; its directory exists, and its last component is no symbolic link.
        durability: ``none`` leaves the fsyncs out.
    """

    __slots__ = ("is_durable", "name", "parent", "path")

    def __init__(self, path: str, durability: Durability) -> None:
        self.path = path
        self.parent, self.name = os.path.split(path)
        self.is_durable = durability == "full"

    def open_parent(self) -> HeldDirectory:
        """Open its directory, for one who closes it; any thread. Raises OSError."""
        return HeldDirectory(os.open(self.parent, _OPEN_DIRECTORY))

    def begin(self, part: str | None = None, progress: Progress | None = None) -> LocalUpload:
        """Begin to write it, or go on with a part that was kept, as far as it has come. Raises OSError."""
        directory = self.open_parent()
        try:
            # The kernel would replace a FIFO or a device just as well.
            check_replaceable(self.name, directory.fileno())
        except RequestRefused as refusal:
            directory.close()
            raise explain_locally(refusal, self.path) from refusal
        try:
            return LocalUpload(directory, self.name, _STORAGE, part=part, progress=progress)
        except RequestRefused as refusal:
            raise explain_locally(refusal, self.path) from refusal


class _SharedDirectory(HeldDirectory):
    """An open directory that several have, and that the last of them closes."""

    __slots__ = ("_lock", "_users")

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._lock = threading.Lock()
        self._users = 1

    def share(self) -> HeldDirectory:
        """Give it to one more."""
        with self._lock:
            self._users += 1
        return self

    def close(self) -> None:
        """Take note that one of them has no use for it any more."""
        with self._lock:
            self._users -= 1
            if not self._users:
                super().close()


class Directories:
    """Opens the directories below a root; any thread.

    The last one is kept open: in the order of a listing, the next file goes into the same one.

    Args:
        root: see there.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._path = ""
        self._last: _SharedDirectory | None = None

    def open(self, path: str) -> HeldDirectory:
        """Open a directory, for one who closes it. No symbolic link is followed on the way. Raises OSError."""
        with self._lock:
            if self._last is None or path != self._path:
                self._close_last()
                self._last = _SharedDirectory(self._root.open(path, _OPEN_DIRECTORY))
                self._path = path
            return self._last.share()

    def forget(self) -> None:
        """Open the next one anew: what has its path may be another."""
        with self._lock:
            self._close_last()

    def _close_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.close()


class BeneathDestination(PathDestination):
    """A file that will be published below a directory, and never outside of it.

    Args:
        directories: those below it.
        root_path: its path, absolute, for messages.
        path: of the file in it, components joined by ``/``.
        durability: as for :class:`PathDestination`.
    """

    __slots__ = ("_directories", "_inner")

    def __init__(
        self, directories: Directories, root_path: str, path: str, durability: Durability
    ) -> None:
        self._directories = directories
        self._inner, _, self.name = path.rpartition("/")
        self.path = os.path.join(root_path, path)
        self.parent = self.path[: -len(self.name) - 1] or "/"
        self.is_durable = durability == "full"

    def open_parent(self) -> HeldDirectory:
        """See :meth:`PathDestination.open_parent`; no symbolic link is followed on the way."""
        return self._directories.open(self._inner)


def find_destination(
    local: LocalDestination | PathDestination, durability: Durability
) -> PathDestination | Stream | Callable[[], Stream]:
    """Look at where something is to be written.

    Returns:
        The file; or the stream, or a function that opens it, and may wait for its other end.

    Raises:
        OSError: it is a directory, its directory is missing or may not be written to.
    """
    if isinstance(local, PathDestination):
        return local
    if isinstance(local, int):
        return Stream(lambda octets: os.write(local, octets), lambda: None)
    if not isinstance(local, str | os.PathLike):
        return Stream(local.write, local.flush)
    # Absolute: the program may go to another directory before the file is published.
    path = os.path.abspath(local) if not os.path.isabs(local) else os.fspath(local)
    mode = _find_mode(path)
    if stat.S_ISLNK(mode):
        # The link stays, and what it points to is replaced.
        path = os.path.realpath(path)
        mode = _find_mode(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not stat.S_ISREG(mode):
        # A rename would replace /dev/null itself.
        return lambda: _open_special(path)
    destination = PathDestination(path, durability)
    _check_parent(destination.parent)
    return destination


def _find_mode(path: str) -> int:
    """Give the mode of what is there, or of what will be."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _open_special(path: str) -> Stream:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    return Stream(lambda octets: os.write(descriptor, octets), lambda: os.close(descriptor))


def _check_parent(parent: str) -> None:
    """Refuse before anything is transferred what could not be written at the end."""
    if os.access(parent, os.W_OK | os.X_OK):
        return
    number = errno.EACCES if os.path.isdir(parent) else errno.ENOENT
    raise OSError(number, os.strerror(number), parent)


def explain_locally(refusal: RequestRefused, path: str) -> OSError:
    """Give the error of this machine that a local file's refusal stands for; its text speaks of a server."""
    cause = refusal.__cause__
    number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EISDIR
    return OSError(number, os.strerror(number), path)
