"""Listings as a person asks for them: of a directory, of a file, or of what a pattern stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from filetransfer.client.local_trees import order
from filetransfer.client.patterns import find_names, is_pattern
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.errors import NotDirectory, RemoteProtocolError
from filetransfer.wire.messages import Entry, Status

if TYPE_CHECKING:
    from filetransfer.client.session import Session


async def list_name(
    session: Session, name: str, *, recursive: bool = False
) -> AsyncIterator[tuple[Entry, str]]:
    """List what a name stands for.

    Args:
        session: with the server.
        name: of a directory, whose entries are listed; of a file, which is listed itself; empty for the root; or a
            pattern, and what it stands for is listed itself.
        recursive: list what is in directories, and so on.

    Yields:
        Each entry, and the directory that it is seen from: empty for the root.

    Raises:
        RequestRefused, TransferInterrupted, RemoteProtocolError: as for :meth:`Session.list`.
    """
    if not is_pattern(name):
        async for entry in _list_directory_or_file(session, name, recursive):
            yield entry
        return
    for found in await find_names(session, name, has_directories=True):
        status = await session.stat(found)
        yield make_entry(found, status), ""
        if recursive and status.kind == "directory":
            async for inner in session.list(found, recursive=True):
                yield inner, ""


async def _list_directory_or_file(
    session: Session, name: str, recursive: bool
) -> AsyncIterator[tuple[Entry, str]]:
    try:
        async for entry in session.list(name or None, recursive=recursive):
            yield entry, name
    except NotDirectory:
        yield make_entry(name, await session.stat(name)), ""


async def list_tree(
    session: Session, directory: str, selection: Selection = EVERYTHING
) -> AsyncIterator[Entry]:
    """List all that is meant of what is in a directory, however deep, for those who will write it down here.

    Args:
        session: with the server.
        directory: its path; empty for the root.
        selection: what is meant.

    Yields:
        Each entry, with its path in the directory; in the order of :func:`~filetransfer.client.local_trees.order`.

    Raises:
        RequestRefused, TransferInterrupted: as for :meth:`Session.list`.
        RemoteProtocolError: besides, something is listed twice, not in order, or in what is no directory.
    """
    start = len(directory) + 1 if directory else 0
    last = ""
    above: list[str] = []
    left_out = "/"
    async for entry in session.list(directory or None, recursive=True):
        path = entry.path[start:]
        if order(path) <= order(last):
            raise RemoteProtocolError("the server lists something twice, or not in order")
        last = path
        parent = path.rpartition("/")[0]
        while above and above[-1] != parent:
            above.pop()
        if parent and not above:
            raise RemoteProtocolError("the server lists something in what is no directory")
        if entry.kind == "directory":
            above.append(path)
        if path.startswith(left_out):
            continue
        is_meant = selection.has_directory if entry.kind == "directory" else selection.has_file
        if is_meant(path):
            yield replace(entry, path=path)
        elif entry.kind == "directory":
            left_out = f"{path}/"


def make_entry(path: str, status: Status) -> Entry:
    """Give what STAT says of a path as an entry of a listing."""
    kind = "other" if status.kind is None or status.kind == "published" else status.kind
    return Entry(path, kind, status.size, status.modified, status.mode, status.etag)
