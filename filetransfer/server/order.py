"""Which requests of one connection may be under way together.

Requests may be pipelined, and run concurrently where nobody can tell: two of them conflict when a path of one equals,
contains or lies inside a path of the other and at least one of them writes. The later one then waits.

Source: protocol, section 2, "Order".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from filetransfer.wire.messages import (
    Change,
    Copy,
    Delete,
    Digest,
    Get,
    List,
    MakeDirectory,
    Put,
    Request,
    Stat,
    Summary,
)


def list_paths(request: Request) -> tuple[str, ...]:
    """Give the paths that a request names; an upload stands for itself, as a path that no name can be."""
    list_ = _LISTS.get(type(request))
    return () if list_ is None else list_(request)


def list_written_paths(request: Request) -> tuple[str, ...]:
    """Give the paths that a request writes."""
    return list_paths(request) if isinstance(request, _WRITERS) else ()


def _name_upload(token: bytes) -> str:
    return f"\0{token.hex()}"


def _list_path(request: Get | Summary | MakeDirectory | Digest) -> tuple[str, ...]:
    return (request.path,)


def _list_both(request: Change | Copy) -> tuple[str, ...]:
    return (request.path, request.to)


def _list_put(request: Put) -> tuple[str, ...]:
    if request.upload is None:
        return (request.path,)
    return (request.path, _name_upload(request.upload))


def _list_either(request: Stat | Delete) -> tuple[str, ...]:
    if request.upload is None:
        return (request.path or "",)
    return (_name_upload(request.upload),)


def _list_root(request: List) -> tuple[str, ...]:
    return (request.path or ROOT,)


# By type: a match statement that says the same took 0.4 µs of each request.
_LISTS: dict[type[Request], Callable[[Any], tuple[str, ...]]] = {
    Put: _list_put,
    Get: _list_path,
    Summary: _list_path,
    MakeDirectory: _list_path,
    Digest: _list_path,
    Change: _list_both,
    Copy: _list_both,
    List: _list_root,
    Stat: _list_either,
    Delete: _list_either,
}
_WRITERS = (Put, Change, Delete, MakeDirectory, Copy)

ROOT = "/"
"""Stands for the root, which contains every path; no name can be it."""


class PathsInProgress:
    """The paths that the unfinished requests of a connection write, and how many requests write each.

    Plain dicts: every connection has two, and a Counter takes a Python function for each of its items.
    """

    __slots__ = ("_ancestors", "_paths")

    def __init__(self) -> None:
        self._paths: dict[str, int] = {}
        self._ancestors: dict[str, int] = {}

    def add(self, paths: Iterable[str]) -> None:
        """Take note that a request which writes these paths has begun."""
        for path in paths:
            _count_up(self._paths, path)
            for ancestor in _list_ancestors(path):
                _count_up(self._ancestors, ancestor)

    def remove(self, paths: Iterable[str]) -> None:
        """Take note that it has ended."""
        for path in paths:
            _count_down(self._paths, path)
            for ancestor in _list_ancestors(path):
                _count_down(self._ancestors, ancestor)

    def conflicts_with(self, paths: Iterable[str]) -> bool:
        """Whether a request that names these paths must wait for one that has begun."""
        if not self._paths:
            return False
        for path in paths:
            if path in self._paths or path in self._ancestors or path == ROOT:
                return True
            for ancestor in _list_ancestors(path):
                if ancestor in self._paths:
                    return True
        return False


NOTHING_IN_PROGRESS = PathsInProgress()
"""What a connection has that has written nothing yet; nothing is ever added to it."""


def _list_ancestors(path: str) -> Iterable[str]:
    return _cut_ancestors(path) if "/" in path else ()


def _cut_ancestors(path: str) -> Iterator[str]:
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _count_up(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _count_down(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
