"""The directories that the commits of one batch work in.

Each is opened once a batch, made where a commit says so, and synced once when the batch's last change is made (or when
too many are open).

A directory that was made in this very batch is as durable as its entry in the one above, so whoever touches it touches
that one, too: a commit that finds its parents made is not acknowledged before they are on stable storage.

Nothing is done by a path but opening beneath the root: what is made is made by a single name in a directory that is
held open, and opened beneath the root again before it is used. A symbolic link that somebody outside puts in its place
meanwhile is refused, and never followed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from filetransfer.errors import RequestRefused, refusal_from_os_error
from filetransfer.names import Path, split_path
from filetransfer.store.beneath import HeldDirectory, Root
from filetransfer.store.interface import Commit

MAX_OPEN = 1024
"""Directories that are open at a time, but for those of one commit: 256 paths of 2,048 components would take all the
descriptors that the daemon has."""

_PERMISSIONS = 0o777


class Tree:
    """What lies below a root, as one batch of commits changes it. One thread.

    Args:
        root: see there; it stays open.
        directory_mode: permission bits of the directories that are made, whatever the umask.
    """

    def __init__(self, root: Root, directory_mode: int) -> None:
        self._root = root
        self._directory_mode = directory_mode
        self._known: dict[str, HeldDirectory] = {}
        self._opened: list[HeldDirectory] = []
        self._above: dict[HeldDirectory, HeldDirectory] = {}
        self._made: list[tuple[HeldDirectory, str]] = []
        self._touched: dict[HeldDirectory, list[Commit]] = {}

    def find(self, path: Path, about: str = "path") -> tuple[HeldDirectory, bytes]:
        """Give the directory that a path is in, and the path's name in it. Raises RequestRefused."""
        parent, name = split_path(path)
        try:
            return self._open(parent), name.encode()
        except OSError as error:
            raise refusal_from_os_error(error, about=about) from error

    def make_parents(self, path: Path) -> tuple[HeldDirectory, bytes]:
        """As :meth:`find`, but directories that are missing are made; see :meth:`unmake`.

        Raises:
            RequestRefused: the leaf for the failed system call; NotFound when something in the way is no directory.
        """
        self._made = []
        parent, name = split_path(path)
        try:
            return self._make(parent), name.encode()
        except OSError as error:
            self.unmake()
            raise refusal_from_os_error(error, about="path") from error

    def make_directory(self, path: Path, *, makes_parents: bool) -> HeldDirectory:
        """Make a directory.

        Args:
            path: of the directory.
            makes_parents: whether those that are missing are made, too; then it may be there already.

        Raises:
            Exists: there is something under the path.
            RequestRefused: as :meth:`make_parents`, or :meth:`find`.
        """
        self._made = []
        above, octets = self.make_parents(path) if makes_parents else self.find(path)
        name = octets.decode()
        try:
            return self._create(above, path, name)
        except FileExistsError as error:
            if makes_parents:
                with suppress(NotADirectoryError):
                    return self._open_in(above, path, name)
            raise refusal_from_os_error(error, about="path") from error

    def unmake(self) -> None:
        """Take away what was made for a commit that failed, unless somebody uses it already."""
        made, self._made = self._made, []
        for above, name in reversed(made):
            with suppress(OSError):
                os.rmdir(name, dir_fd=above.fileno())
                self.forget()

    def _open(self, path: str) -> HeldDirectory:
        if not path:
            return self._root
        directory = self._known.get(path)
        if directory is None:
            directory = self._known[path] = self._root.open_directory(path)
            self._opened.append(directory)
        return directory

    def _make(self, path: str) -> HeldDirectory:
        """Open a directory, and make what is missing of it."""
        held: HeldDirectory = self._root
        inner = ""
        for name in path.split("/") if path else ():
            inner = f"{inner}/{name}" if inner else name
            held = self._known.get(inner) or self._open_or_make(held, inner, name)
        return held

    def _open_or_make(self, above: HeldDirectory, path: str, name: str) -> HeldDirectory:
        try:
            return self._open_in(above, path, name)
        except FileNotFoundError:
            return self._make_one(above, path, name)

    def _make_one(self, above: HeldDirectory, path: str, name: str) -> HeldDirectory:
        try:
            return self._create(above, path, name)
        except FileExistsError:
            # Somebody outside was quicker. Is it a directory, it will do.
            return self._open_in(above, path, name)

    def _create(self, above: HeldDirectory, path: str, name: str) -> HeldDirectory:
        os.mkdir(name, self._directory_mode, dir_fd=above.fileno())
        self._made.append((above, name))
        directory = self._open_in(above, path, name)
        self._above[directory] = above
        mode = stat.S_IMODE(os.fstat(directory.fileno()).st_mode)
        # What is beyond the permissions, as the group that is handed down, stays as the kernel made it.
        wanted = mode & ~_PERMISSIONS | self._directory_mode
        if mode != wanted:
            os.fchmod(directory.fileno(), wanted)
        return directory

    def _open_in(self, above: HeldDirectory, path: str, name: str) -> HeldDirectory:
        directory = self._known[path] = self._root.open_directory_in(above, name.encode())
        self._opened.append(directory)
        return directory

    def forget(self) -> None:
        """Look anew for every directory: one is not there any more.

        All of them, because on a file system that ignores case it may be known by another path.
        """
        self._known.clear()

    def touch(self, directory: HeldDirectory, commit: Commit) -> None:
        """Take note that a commit changed a directory; what was made for it stays."""
        commits = self._touched.get(directory)
        if commits is None:
            commits = self._touched[directory] = []
        commits.append(commit)
        if self._above:
            self._made = []
            above = self._above.get(directory)
            while above is not None:
                self._touched.setdefault(above, []).append(commit)
                above = self._above.get(above)

    def list_touched(self) -> list[HeldDirectory]:
        """Give the directories that were changed in this batch."""
        return list(self._touched)

    def refuse_all(self, directory: HeldDirectory, refusal: RequestRefused) -> None:
        """Refuse every commit that changed a directory."""
        for commit in self._touched[directory]:
            commit.error = refusal

    @property
    def is_full(self) -> bool:
        """Whether so many directories are open that it is time to sync and :meth:`release` them."""
        return len(self._opened) > MAX_OPEN

    def release(self) -> None:
        """Close everything, and forget what was touched."""
        for directory in self._opened:
            directory.close()
        self._known.clear()
        self._opened.clear()
        self._above.clear()
        self._touched.clear()
