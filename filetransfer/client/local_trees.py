"""A tree of files on this machine: what is in it, and changing it without ever leaving it.

Nothing is opened by a path that somebody could bend: each opening starts at one descriptor of the tree's directory, and
follows no symbolic link (``store/beneath.py``). Whoever plants a link to a directory in a tree that files are fetched
into gets a refusal, and no file outside is touched. Only where links are to be followed when a tree is *sent*, which
is asked for by those who trust it, are its files opened by their paths.

The order of a listing is that of LIST: by the components of the paths, a directory directly before what is in it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from filetransfer.client.destinations import BeneathDestination, Directories
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.digests import DEFAULT_ALGORITHM, start_digest
from filetransfer.errors import NameInvalid
from filetransfer.names import check_path
from filetransfer.store.beneath import Root, close_quietly
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Digests, Entry

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BLOCK_OCTETS = 1024 * 1024
_PERMISSIONS = 0o777
_PART = re.compile(r"\.ft-[0-9a-f]{16}\.part")
"""What files are called that are being fetched: see ``store/upload.py``."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a tree that is not transferred, and all that is in it.

    Attributes:
        path: of it, in the tree.
        reason: why, for people.
        error: what went wrong; None where nothing did, and it is left out on purpose.
    """

    path: str
    reason: str
    error: Exception | None = None


Found = Entry | Skipped
"""What is found in a tree. The paths are those in the tree, without the tree's own."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory that is being looked into.

    Attributes:
        prefix: of the paths in it.
        status: of itself.
        looks: the names in it that come next, and what is known of each.
    """

    prefix: str
    status: os.stat_result
    looks: Iterator[tuple[str, os.stat_result | OSError]]


def order(path: str) -> str:
    """Give what paths are sorted by: as their components are, each of them by its octets.

    Valid UTF-8 is sorted by octets as by characters, and nothing in a name is less than NUL.
    """
    return path.replace("/", "\0")


class LocalTree:
    """A directory, and what is in it. Everything here blocks.

    Args:
        path: of the directory.
        follows_links: whether a symbolic link stands for what it points to, when the tree is read.
        durability: of what is changed in it.

    Attributes:
        path: absolute.

    Raises:
        OSError: there is no such directory, or it may not be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        follows_links: bool = False,
        durability: Durability = "full",
    ) -> None:
        self.path = os.path.abspath(path)
        self._prefix = os.path.join(self.path, "")
        self._follows_links = follows_links
        self._durability = durability
        self._root = Root(self.path)
        self._directories = Directories(self._root)
        self._changed: set[str] = set()

    def close(self) -> None:
        """Let go of the directory."""
        self._directories.forget()
        self._root.close()

    def locate(self, path: str) -> str:
        """Give the path of something in the tree on this machine, for reading it and for messages."""
        return self._prefix + path

    # Reading.

    def find_all(self, selection: Selection = EVERYTHING) -> Iterator[Found]:
        """Find what is meant, in order. Raises OSError: the tree's own directory cannot be read."""
        status = os.fstat(self._root.fileno())
        # A stack of our own: a path may have 2,048 components.
        levels = [_Level("", status, self._look_into(""))]
        while levels:
            level = levels[-1]
            name, look = next(level.looks, ("", None))
            if look is None:
                levels.pop()
                continue
            found = self._judge(level.prefix + name, look, selection)
            if isinstance(found, Entry) and found.kind == "directory":
                inner = self._enter(found.path, look, levels)
                if isinstance(inner, _Level):
                    levels.append(inner)
                else:
                    found = inner
            if found is not None:
                yield found

    def _enter(
        self, path: str, look: os.stat_result | OSError, levels: Sequence[_Level]
    ) -> _Level | Skipped:
        assert isinstance(look, os.stat_result)  # noqa: S101 - it is a directory
        if any(os.path.samestat(look, level.status) for level in levels):
            return Skipped(path, "a symbolic link to what it lies in")
        try:
            return _Level(f"{path}/", look, self._look_into(path))
        except OSError as error:
            return Skipped(path, "cannot be read", error)

    def _look_into(self, directory: str) -> Iterator[tuple[str, os.stat_result | OSError]]:
        """Give what is in a directory, in order, with what is known of each."""
        descriptor = self._open(directory, _OPEN_DIRECTORY)
        looks: list[tuple[str, os.stat_result | OSError]] = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    try:
                        looks.append((entry.name, self._look_at(entry)))
                    except FileNotFoundError:
                        # It was there a moment ago.
                        continue
                    except OSError as error:
                        looks.append((entry.name, error))
        finally:
            close_quietly(descriptor)
        looks.sort(key=lambda look: look[0])
        return iter(looks)

    def _look_at(self, entry: os.DirEntry[str]) -> os.stat_result:
        if self._follows_links and entry.is_symlink():
            try:
                return entry.stat()
            except OSError as error:
                # A link to nothing is a link.
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
        return entry.stat(follow_symlinks=False)

    def _judge(
        self, path: str, status: os.stat_result | OSError, selection: Selection
    ) -> Found | None:
        """Say what becomes of something that was found; None: it is not meant."""
        name = path.rpartition("/")[2]
        if _PART.fullmatch(name):
            # Of a transfer, this one's perhaps.
            return None
        is_directory = isinstance(status, os.stat_result) and stat.S_ISDIR(status.st_mode)
        is_meant = selection.has_directory if is_directory else selection.has_file
        if not is_meant(path):
            return None
        try:
            check_path(path)
        except NameInvalid as refusal:
            return Skipped(path, str(refusal), refusal)
        if isinstance(status, OSError):
            return Skipped(path, "cannot be looked at", status)
        kind: Literal["file", "directory"]
        if is_directory:
            kind = "directory"
        elif stat.S_ISREG(status.st_mode):
            kind = "file"
        elif stat.S_ISLNK(status.st_mode):
            return Skipped(path, "a symbolic link")
        else:
            return Skipped(path, "neither a file nor a directory")
        mode = stat.S_IMODE(status.st_mode) & _PERMISSIONS
        return Entry(path, kind, status.st_size, status.st_mtime_ns, mode)

    def _open(self, path: str, flags: int) -> int:
        if self._follows_links:
            return os.open(self.locate(path), flags)
        return self._root.open(path, flags)

    def digest(self, path: str) -> Digests:
        """Give the digest of a file. Raises OSError."""
        descriptor = self._open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        digest = start_digest()
        buffer = memoryview(bytearray(_BLOCK_OCTETS))
        try:
            while count := os.readv(descriptor, [buffer]):
                digest.update(buffer[:count])
        finally:
            close_quietly(descriptor)
        return {DEFAULT_ALGORITHM: digest.digest()}

    # Changing.

    def find_destination(self, path: str) -> BeneathDestination:
        """Give where a file goes."""
        return BeneathDestination(self._directories, self.path, path, self._durability)

    def make_directory(self, path: str) -> None:
        """Make a directory, whose parent is there. One that is there already will do. Raises OSError."""
        parent, name = self._open_parent(path)
        try:
            os.mkdir(name, dir_fd=parent)
            self._changed.add(path.rpartition("/")[0])
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise NotADirectoryError(
                    errno.ENOTDIR, "is in the way, and no directory", self.locate(path)
                ) from None
        finally:
            close_quietly(parent)

    def remove(self, path: str, *, is_directory: bool) -> None:
        """Remove a file, a link or an empty directory. Raises OSError."""
        parent, name = self._open_parent(path)
        try:
            if is_directory:
                self._directories.forget()
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
            self._changed.add(path.rpartition("/")[0])
        finally:
            close_quietly(parent)
        self._changed.discard(path)

    def has(self, path: str) -> bool:
        """Tell whether there is something, be it a symbolic link. Raises OSError."""
        try:
            self._root.look_at(path)
        except FileNotFoundError:
            return False
        return True

    def set_attributes(self, directory: Entry, *, has_mode: bool) -> None:
        """Give a directory the time of an entry, and its mode when ``has_mode``. Raises OSError."""
        descriptor = self._root.open(directory.path, _OPEN_DIRECTORY)
        try:
            if has_mode and directory.mode is not None:
                os.fchmod(descriptor, directory.mode & _PERMISSIONS)
            if directory.modified is not None:
                os.utime(descriptor, ns=(time.time_ns(), directory.modified))
        finally:
            close_quietly(descriptor)

    def sync(self) -> None:
        """Bring to stable storage that directories were made and things removed. Raises OSError."""
        changed, self._changed = self._changed, set()
        if self._durability != "full":
            return
        for path in changed:
            with suppress(FileNotFoundError):
                descriptor = self._root.open(path, _OPEN_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    close_quietly(descriptor)

    def _open_parent(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._root.open(parent, _OPEN_DIRECTORY), name
