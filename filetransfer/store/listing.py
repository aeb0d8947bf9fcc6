"""What is under a path, and what is in a directory, in order.

The order is that of the list of a path's components, each compared by its octets: a directory comes directly before
what is in it. So a listing is a walk, and where it stands is a path: whoever has the last path of a page goes on
behind it, and it need not be there any more.

Nobody may need memory for a directory of any size. A level of the walk takes the smallest names behind its cursor,
some ten thousand, and reads the directory again when they are used up. Measured, 200,000 entries on ext4:

    names taken at a time     4,096    8,192    32,768
    the whole                12.8 s    6.5 s     2.0 s

21 MB of memory, Python's own among them, and no other thread is kept waiting: names are sorted 4,096 at a time (2 ms)
and then merged (4 ms), everything else is small pieces of Python. Levels that the walk will come back to keep few
names between them, and few descriptors: they are opened beneath the root, and read, again when it does.
"""

from __future__ import annotations

import errno
import os
import stat

from filetransfer.errors import NameInvalid, NotDirectory, NotFound, refusal_from_os_error
from filetransfer.names import MAX_PATH_OCTETS, Path, check_path
from filetransfer.store.beneath import HeldDirectory, Root, close_quietly
from filetransfer.store.interface import Entry, Kind
from filetransfer.store.records import compute_etag, parse_record, read_attribute

MAX_ENTRIES = 100_000
"""Entries of a listing, when nobody says fewer. Source: protocol, section 2, "LIST"."""
MAX_NAMES = 32_768
"""Names that a level takes at a time; 3 MB of memory."""
MAX_KEPT_NAMES = 65_536
"""Names that all levels of a walk keep; each has up to :data:`MAX_NAMES`."""
MAX_OPEN = 16
"""Directories that a walk keeps open: a path has up to 2,048 components."""

_SORTED_AT_ONCE = 4096
_ENTRIES_AT_ONCE = 256
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
_CLOSED = (errno.EACCES, errno.EXDEV)


def stat_path(root: Root, path: str) -> Entry:
    """Tell what is under a path; empty: the root.

    Raises:
        NotFound: nothing, or a symbolic link.
        RequestRefused: another leaf, for a failed system call.
    """
    try:
        status = root.look_at(path)
    except OSError as error:
        raise refusal_from_os_error(error, about="path") from error
    if stat.S_ISLNK(status.st_mode):
        raise NotFound("not found: symbolic links are not followed", about="path")
    digest = _read_digest(root, path, status) if stat.S_ISREG(status.st_mode) else b""
    return _make_entry(Path(path), status, digest)


def _read_digest(root: Root, path: str, status: os.stat_result) -> bytes:
    """Give what is recorded of this very file, as it is now; empty when nothing is, or when it is damaged."""
    try:
        descriptor = root.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        record = parse_record(read_attribute(descriptor), status)
        is_same = os.path.samestat(os.fstat(descriptor), status)
    except OSError:
        return b""
    finally:
        close_quietly(descriptor)
    return record.digest if record is not None and is_same and not record.is_damaged else b""


def _make_entry(path: Path, status: os.stat_result, digest: bytes = b"") -> Entry:
    kind: Kind = "other"
    size = 0
    if stat.S_ISREG(status.st_mode):
        kind, size = "file", status.st_size
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    mode = status.st_mode & 0o777
    return Entry(path, kind, size, status.st_mtime_ns, mode, compute_etag(status), digest)


class _Level:
    """A directory on the way from where the walk began to where it stands.

    Attributes:
        prefix: octets of the path from the root to what is in it.
        directory: the open directory; None while it is closed.
        names: taken and not used yet, the next one last.
        cursor: the name that was used last.
    """

    __slots__ = ("_is_whole", "cursor", "directory", "names", "prefix")

    def __init__(self, prefix: bytes, directory: HeldDirectory) -> None:
        self.prefix = prefix
        self.directory: HeldDirectory | None = directory
        self.names: list[bytes] = []
        self.cursor = b""
        self._is_whole = False

    def take(self, directory: HeldDirectory) -> bytes | None:
        """Give the next name; None at the end. Raises OSError."""
        if not self.names and not self._is_whole:
            self._read(directory)
        if not self.names:
            return None
        self.cursor = self.names.pop()
        return self.cursor

    def drop_names(self) -> None:
        """Take the names again when they are wanted."""
        self.names = []
        self._is_whole = False

    def close(self) -> None:
        """Close the directory; a second call does nothing."""
        directory, self.directory = self.directory, None
        if directory is not None:
            directory.close()

    def _read(self, directory: HeldDirectory) -> None:
        """Take the smallest names behind the cursor, of a directory that may have any number."""
        names: list[bytes] = []
        fresh: list[bytes] = []
        last: bytes | None = None
        self._is_whole = True
        with os.scandir(directory.fileno()) as entries:
            for entry in entries:
                # As text it depends on the locale, and so does its order.
                name = os.fsencode(entry.name)
                if name <= self.cursor:
                    continue
                if last is not None and name >= last:
                    self._is_whole = False
                    continue
                fresh.append(name)
                if len(fresh) == _SORTED_AT_ONCE:
                    last = self._merge(names, fresh)
        self._merge(names, fresh)
        names.reverse()
        self.names = names

    def _merge(self, names: list[bytes], fresh: list[bytes]) -> bytes | None:
        """Sort what is fresh in; give the name that the others must be before, when there is one."""
        fresh.sort()
        names += fresh
        # Two sorted runs: that is a merge.
        names.sort()
        fresh.clear()
        if len(names) > MAX_NAMES:
            del names[MAX_NAMES:]
            self._is_whole = False
        return names[-1] if len(names) == MAX_NAMES else None


class DirectoryListing:
    """See :class:`~filetransfer.store.interface.Listing`.

    Args:
        root: see there.
        path: of the directory; empty for the root.
        is_recursive: whether what is in directories is listed, too.
        after: only what comes behind this path; it need not be there.
        limit: entries, >= 1.

    Raises:
        NotFound: there is no such directory. NotDirectory: it is a file.
        RequestRefused: another leaf, for a failed system call.
    """

    def __init__(
        self, root: Root, path: str, *, is_recursive: bool, after: str | None, limit: int
    ) -> None:
        self._root = root
        self._is_recursive = is_recursive
        self._left = limit
        self._kept_names = 0
        self._levels: list[_Level] = []
        self._last: Path | None = None
        self._is_entering = False
        self._is_over = False
        self.hidden = 0
        self.more: Path | None = None
        try:
            self._device = os.fstat(root.fileno()).st_dev
            directory = root.open_directory(path)
        except NotADirectoryError as error:
            # The path itself, or something on the way to it?
            stat_path(root, path)
            raise NotDirectory("is not a directory", about="path") from error
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        try:
            self._begin(directory, path.encode(), after)
        except BaseException:
            self.close()
            raise

    def _begin(self, directory: HeldDirectory, path: bytes, after: str | None) -> None:
        """Stand where an earlier page ended."""
        prefix = path + b"/" if path else b""
        level = self._push(prefix, directory)
        if after is None:
            return
        mine = path.split(b"/") if path else []
        # It may be anything: it is only compared.
        cursor = after.encode(errors="surrogatepass").split(b"/")
        if cursor[: len(mine)] != mine:
            # All of it comes behind the cursor, or before.
            if cursor > mine:
                self.close()
            return
        for name in cursor[len(mine) :]:
            level.cursor = name
            inner = self._descend(level, name) if self._is_recursive else None
            if inner is None:
                break
            level = inner

    def read(self) -> list[Entry]:
        """See :meth:`Listing.read <filetransfer.store.interface.Listing.read>`."""
        entries: list[Entry] = []
        while len(entries) < _ENTRIES_AT_ONCE and not self._is_over:
            hidden = self.hidden
            entry = self._next()
            if entry is None:
                self.close()
            elif self._left == 0:
                # What was left out before this one is told of with the page that has it.
                self.hidden = hidden
                self.more = self._last
                self.close()
            else:
                self._left -= 1
                self._last = entry.path
                entries.append(entry)
        return entries

    def close(self) -> None:
        """See :meth:`Listing.close <filetransfer.store.interface.Listing.close>`."""
        self._is_over = True
        while self._levels:
            self._levels.pop().close()

    def _next(self) -> Entry | None:
        if self._is_entering:
            # Not when its entry was given: what cannot be entered is told of with the page that it is missing from.
            self._is_entering = False
            self._descend(self._levels[-1], self._levels[-1].cursor)
        while self._levels:
            level = self._levels[-1]
            directory = self._reopen(level)
            name = None if directory is None else self._take(level, directory)
            if directory is None or name is None:
                self._levels.pop().close()
                continue
            entry = self._look(level, directory, name)
            if entry is None:
                continue
            self._is_entering = self._is_recursive and entry.kind == "directory"
            return entry
        return None

    def _push(self, prefix: bytes, directory: HeldDirectory) -> _Level:
        level = _Level(prefix, directory)
        self._levels.append(level)
        if len(self._levels) > MAX_OPEN:
            self._levels[-1 - MAX_OPEN].close()
        return level

    def _descend(self, level: _Level, name: bytes) -> _Level | None:
        """Go into a directory; None when it is not there any more, or not to be gone into."""
        held = self._reopen(level)
        if held is None or _check_name(name, level.prefix) is None:
            return None
        try:
            directory = self._root.open_directory_in(held, name)
        except OSError as error:
            self._note_missing(error)
            return None
        return self._push(level.prefix + name + b"/", directory)

    def _reopen(self, level: _Level) -> HeldDirectory | None:
        if level.directory is None:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY
                descriptor = self._root.open_octets(level.prefix[:-1] or b".", flags)
            except OSError as error:
                self._note_missing(error)
                return None
            level.directory = HeldDirectory(descriptor)
        return level.directory

    def _take(self, level: _Level, directory: HeldDirectory) -> bytes | None:
        before = len(level.names)
        try:
            name = level.take(directory)
        except OSError as error:
            self._note_missing(error)
            return None
        self._kept_names += len(level.names) - before
        if self._kept_names > MAX_KEPT_NAMES:
            for outer in self._levels[:-1]:
                outer.drop_names()
            self._kept_names = len(level.names)
        return name

    def _look(self, level: _Level, directory: HeldDirectory, name: bytes) -> Entry | None:
        """Give an entry; None when it is not there any more, or hidden."""
        path = _check_name(name, level.prefix)
        if path is None:
            self.hidden += 1
            return None
        try:
            status = os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False)
        except OSError as error:
            self._note_missing(error)
            return None
        if stat.S_ISLNK(status.st_mode) or status.st_dev != self._device:
            self.hidden += 1
            return None
        return _make_entry(path, status)

    def _note_missing(self, error: OSError) -> None:
        """Go on without what is not there any more, and tell of what must not be looked at; raise anything else."""
        if error.errno in _CLOSED:
            self.hidden += 1
        elif error.errno not in _GONE:
            # Whoever mirrors a directory removes what is not in the listing: better none than half of one.
            raise refusal_from_os_error(error, about="path") from error


def _check_name(name: bytes, prefix: bytes) -> Path | None:
    """Give the path of what is called ``name``; None when it is no path that a peer may know."""
    if len(prefix) + len(name) > MAX_PATH_OCTETS:
        return None
    try:
        check_path(name.decode())
    except (UnicodeDecodeError, NameInvalid):
        return None
    return Path((prefix + name).decode())
