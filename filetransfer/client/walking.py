"""Trees of files, here and on a server: what is in them, as paths from their roots.

A tree that is walked here leaves out symbolic links, unless they are to be followed, and whatever is neither a file
nor a directory; both are told. A tree on the server has none of these. Directories come before what is in them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filetransfer.client.patterns import match_path

if TYPE_CHECKING:
    from filetransfer.client.session import Session


@dataclass(frozen=True, slots=True)
class Leaf:
    """A file or a directory of a tree.

    Attributes:
        path: from the root of the tree; nothing has been checked about it when it is of this machine.
        is_directory: whether it is one.
        size: octets of a file.
        modified: nanoseconds since 1970 UTC; None where a server does not say.
    """

    path: str
    is_directory: bool
    size: int = 0
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a tree is wanted.

    A pattern with a slash in it is about the path from the root of the tree, one without about the last component.

    Attributes:
        include: patterns of files; all are wanted when there is none.
        exclude: patterns of files, and of directories with all that is in them.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def has(self, leaf: Leaf) -> bool:
        """Tell whether a leaf is wanted; directories as long as they are not excluded."""
        if any(_matches(leaf.path, pattern) for pattern in self.exclude):
            return False
        if leaf.is_directory or not self.include:
            return True
        return any(_matches(leaf.path, pattern) for pattern in self.include)


EVERYTHING = Selection()


def _matches(path: str, pattern: str) -> bool:
    if "/" not in pattern:
        return match_path(path.rpartition("/")[2], pattern, has_dots=True)
    return match_path(path, pattern.lstrip("/"), has_dots=True)


def walk_local(
    root: str,
    selection: Selection = EVERYTHING,
    *,
    follow: bool = False,
    skip: Callable[[str, str | OSError], None] = lambda path, why: None,
) -> Iterator[Leaf]:
    """Walk a directory of this machine, in the order of names; blocks.

    Args:
        root: the directory.
        selection: what is wanted.
        follow: take what symbolic links point to; a link to a directory that is on the way to it is skipped.
        skip: told of what is left out although it is wanted: its path from the root, and why.

    Yields:
        Directories, before what is in them, and files.

    Raises:
        OSError: the root cannot be read.
    """
    yield from _Walk(root, selection, follow, skip).walk("", frozenset())


class _Walk:
    def __init__(
        self,
        root: str,
        selection: Selection,
        follow: bool,
        skip: Callable[[str, str | OSError], None],
    ) -> None:
        self._root = root
        self._selection = selection
        self._follow = follow
        self._skip = skip

    def walk(self, directory: str, above: frozenset[tuple[int, int]]) -> Iterator[Leaf]:
        """Walk a directory, given by its path from the root. ``above``: what it lies in, against circles of links."""
        try:
            status = os.stat(os.path.join(self._root, directory))
            with os.scandir(os.path.join(self._root, directory)) as entries:
                sorted_entries = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if not directory:
                raise
            self._skip(directory, error)
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self._skip(directory, "a symbolic link to what it lies in")
            return
        for entry in sorted_entries:
            path = f"{directory}/{entry.name}" if directory else entry.name
            leaf = self._look_at(entry, path)
            if leaf is None:
                continue
            yield leaf
            if leaf.is_directory:
                yield from self.walk(path, above | {identity})

    def _look_at(self, entry: os.DirEntry[str], path: str) -> Leaf | None:
        try:
            status = entry.stat(follow_symlinks=self._follow)
        except OSError as error:
            self._skip(path, error)
            return None
        is_directory = stat.S_ISDIR(status.st_mode)
        leaf = Leaf(path, is_directory, status.st_size, status.st_mtime_ns)
        if not self._selection.has(leaf):
            return None
        if stat.S_ISLNK(status.st_mode):
            self._skip(path, "a symbolic link")
        elif not is_directory and not stat.S_ISREG(status.st_mode):
            self._skip(path, "neither a file nor a directory")
        else:
            return leaf
        return None


async def list_tree(session: Session, root: str, selection: Selection = EVERYTHING) -> list[Leaf]:
    """Give what is in a directory on the server, in the order of its listing.

    Args:
        session: with the server.
        root: the directory; empty for the root of the server.
        selection: what is wanted.

    Raises:
        NotFound, NotDirectory: the directory is none.
        RequestRefused, TransferInterrupted, RemoteProtocolError: as for :meth:`Session.list`.
    """
    leaves = []
    excluded = "/"
    prefix = f"{root}/" if root else ""
    async for entry in session.list(root or None, recursive=True):
        path = entry.path.removeprefix(prefix)
        if entry.kind == "other" or f"{path}/".startswith(excluded):
            continue
        leaf = Leaf(path, entry.kind == "directory", entry.size or 0, entry.modified)
        if selection.has(leaf):
            leaves.append(leaf)
        elif leaf.is_directory:
            # Its contents come directly after it.
            excluded = f"{path}/"
    return leaves
