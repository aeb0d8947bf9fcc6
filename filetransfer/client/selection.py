"""Which files of a tree are meant.

A pattern without a slash is compared with the last component of each path, one with a slash with the whole path, from
the top of the tree; see ``client/patterns.py`` for what stands in them, but that a leading dot needs not be in the
pattern. A directory that is left out is left out with all that is in it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class Selection:
    """Says which paths of a tree are meant.

    Args:
        include: patterns of files; only what one of them stands for is meant. None of them: all files are.
        exclude: patterns of files and directories that are not meant, even if they are included.

    Attributes:
        has_all_directories: whether directories are meant for their own sake, and not only for the files in them.
    """

    def __init__(self, include: Collection[str] = (), exclude: Collection[str] = ()) -> None:
        self.has_all_directories = not include
        self._include = _Patterns(include)
        self._exclude = _Patterns(exclude)

    def has_file(self, path: str) -> bool:
        """Tell whether a file is meant, of which all directories are."""
        return (not self._include or self._include.match(path)) and not self._exclude.match(path)

    def has_directory(self, path: str) -> bool:
        """Tell whether there may be something in a directory that is meant."""
        return not self._exclude.match(path)


class _Patterns:
    def __init__(self, patterns: Collection[str]) -> None:
        self._names = _compile([each for each in patterns if "/" not in each])
        self._paths = _compile([each.strip("/") for each in patterns if "/" in each])

    def __bool__(self) -> bool:
        return self._names is not None or self._paths is not None

    def match(self, path: str) -> bool:
        """Tell whether one of them stands for a path."""
        if self._names is not None and self._names.match(path.rpartition("/")[2]):
            return True
        return self._paths is not None and bool(self._paths.match(path))


def _compile(patterns: Collection[str]) -> Any:
    if not patterns:
        return None
    # Not for those who leave nothing out: it takes 30 ms to load.
    from wcmatch import glob

    flags = glob.GLOBSTAR | glob.FORCEUNIX | glob.CASE | glob.DOTGLOB
    return glob.compile(list(patterns), flags=flags)


EVERYTHING = Selection()
"""All there is."""
