"""Trees of files, sent and fetched: ten thousand small ones over one connection, large ones over several.

    await put_tree(session, "notes", "2024/notes", watcher=watcher)
    await get_tree(session, "2024/notes", "notes")

What is to be done is found out step by step (``client/sync.py`` has steps of its own), and each step is begun when few
enough are under way: a tree of any size needs no more memory than a small one. One file that fails does not stop the
others. What stops them all is what the others would fail of as well: a server that cannot be reached any more, that
breaks the rules, or that does not speak a version that knows of directories.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.threads import deferToThread

from filetransfer.client.crew import Crew, Outcome, Step, Totals, Watcher, skip
from filetransfer.client.exchanges import Preserve
from filetransfer.client.listings import list_tree
from filetransfer.client.local_trees import Found, LocalTree, Skipped
from filetransfer.client.movers import Downloads, Uploads
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.names import check_path
from filetransfer.store.stable import Durability

if TYPE_CHECKING:
    from filetransfer.client.session import Session

__all__ = ["Outcome", "Step", "Totals", "Watcher", "get_tree", "put_tree"]

_FOUND_AT_ONCE = 512


async def put_tree(
    session: Session,
    directory: str | os.PathLike[str],
    path: str = "",
    *,
    preserve: Preserve = False,
    follows_links: bool = False,
    selection: Selection = EVERYTHING,
    no_clobber: bool = False,
    resume: bool = True,
    connections: int = 1,
    watcher: Watcher | None = None,
) -> Totals:
    """Store what is in a directory on the server.

    Args:
        session: with the server.
        directory: here.
        path: of the directory on the server that it gets into, made when it is missing; empty for the root.
        preserve: keep the files' times of modification and modes, or only times; see :data:`Preserve`. (A server
            makes directories as it likes.)
        follows_links: send what symbolic links point to; otherwise they are left out.
        selection: what is meant.
        no_clobber: replace nothing.
        resume: as for :meth:`Session.put`.
        connections: how many there may be, >= 1.
        watcher: told of each thing in the tree.

    Returns:
        How many of them there were of each kind; look at ``failed``.

    Raises:
        OSError: the directory cannot be read.
        NameInvalid: ``path`` may not be.
        LocalProtocolError: the version that the server speaks knows no directories.
        RequestRefused: the directory on the server cannot be made.
        TransferInterrupted, RemoteProtocolError, Untrusted: as for :class:`Session`; the rest was not sent.
    """
    if path:
        check_path(path)
        await session.make_directory(path, parents=True)
    tree = await deferToThread(LocalTree, directory, follows_links=follows_links)
    async with Crew(session, connections, tree, watcher) as crew:
        mover = Uploads(crew, path, preserve=preserve, no_clobber=no_clobber, resume=resume)
        await crew.take(plan_all(find_local(tree, selection), selection), mover)
        await mover.finish()
    return crew.totals


async def get_tree(
    session: Session,
    path: str,
    directory: str | os.PathLike[str],
    *,
    preserve: Preserve = False,
    selection: Selection = EVERYTHING,
    no_clobber: bool = False,
    durability: Durability = "full",
    resume: bool = True,
    connections: int = 1,
    watcher: Watcher | None = None,
) -> Totals:
    """Fetch what is in a directory on the server.

    Whatever the server says, nothing outside of ``directory`` is touched, nor through a symbolic link in it.

    Args:
        session: with the server.
        path: of the directory on the server; empty for the root.
        directory: here; made when it is missing.
        preserve: keep times of modification and modes, or only times; see :data:`Preserve`.
        selection: what is meant.
        no_clobber: replace nothing.
        durability: as for :meth:`Session.get`.
        resume: as for :meth:`Session.get`.
        connections: how many there may be, >= 1.
        watcher: told of each thing in the tree.

    Returns:
        How many of them there were of each kind; look at ``failed``.

    Raises:
        OSError: the directory cannot be made, or opened.
        NotFound, NotDirectory: there is no such directory on the server.
        LocalProtocolError: the version that the server speaks knows no directories.
        RemoteProtocolError: the server sent a list that may not be, among others.
        TransferInterrupted, Untrusted: as for :class:`Session`; the rest was not fetched.
    """
    # Before there is anything here that is made for it.
    found = await begin(find_remote(session, path, selection))
    os.makedirs(directory, exist_ok=True)
    tree = await deferToThread(LocalTree, directory, durability=durability)
    async with Crew(session, connections, tree, watcher) as crew:
        mover = Downloads(crew, path, preserve=preserve, no_clobber=no_clobber, resume=resume)
        await crew.take(plan_all(found, selection), mover)
        await mover.finish()
    return crew.totals


async def find_local(tree: LocalTree, selection: Selection) -> AsyncIterator[Found]:
    """Find what is meant in a directory here, in a thread. Raises OSError: it cannot be read."""
    found = tree.find_all(selection)
    while batch := await deferToThread(lambda: list(islice(found, _FOUND_AT_ONCE))):
        for each in batch:
            yield each


async def find_remote(session: Session, path: str, selection: Selection) -> AsyncIterator[Found]:
    """Find what is meant in a directory on the server. Raises as :func:`~filetransfer.client.listings.list_tree`."""
    async for entry in list_tree(session, path, selection):
        yield Skipped(entry.path, "no regular file") if entry.kind == "other" else entry


async def begin(found: AsyncIterator[Found]) -> AsyncIterator[Found]:
    """Give what is found, after a look at the first of it. Raises what is wrong with it, before anything is done."""
    return _put_before(await anext(found, None), found)


async def _put_before(first: Found | None, rest: AsyncIterator[Found]) -> AsyncIterator[Found]:
    if first is not None:
        yield first
    async for each in rest:
        yield each


async def plan_all(found: AsyncIterator[Found], selection: Selection) -> AsyncIterator[Step]:
    """Give the steps for sending all that is found, whatever there is already."""
    async for each in found:
        if isinstance(each, Skipped):
            yield skip(each)
        elif each.kind == "file":
            yield Step("send", each)
        elif selection.has_all_directories:
            yield Step("make-directory", each)
