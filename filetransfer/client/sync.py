"""Making one tree as another is, one way: from here to the server, or from there to here.

Both trees are read in the order of a listing, side by side, so that what has to be done is known without either of them
in memory:

    source   a   d  d/1       e     z            target   a   d  d/1  d/2  e/  e/x     z
             =   =  send    send    =                     =   =       remove ...       =

What is to be removed comes last, those that are inside before those that are around them; but what is where something
of another kind has to be, comes behind that. So nothing is removed before all else has been sent.

What the source has and does not give (a link, a name that is refused, a directory that cannot be read) is not taken for
gone: in the target it stays, with all that is in it. The same holds for what is not meant (``client/selection.py``).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread

from filetransfer.client.crew import Crew, Mover, Step, Totals, Watcher, skip
from filetransfer.client.exchanges import Preserve
from filetransfer.client.local_trees import Found, LocalTree, Skipped, order
from filetransfer.client.movers import Downloads, Uploads
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.client.trees import begin, find_local, find_remote
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import (
    FileTransferError,
    NotFound,
    SourceEmpty,
    TooManyDeletions,
)
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Digests, Entry

if TYPE_CHECKING:
    from filetransfer.client.session import Session

Direction = Literal["to-server", "from-server"]

_COMPARED_AT_ONCE = 256
_DIGESTS_AT_ONCE = 2
"""What a server works out at a time for one peer. Source: protocol, section 5."""


@dataclass(frozen=True, slots=True)
class Syncing:
    """How a tree is made as another.

    Attributes:
        selection: what is meant, in both.
        follows_links: whether symbolic links here stand for what they point to, when they are sent.
        preserve: ``"modified"`` keeps times; True modes as well, of files that are sent.
        by_digest: whether files of the same size are compared by their digests, rather than by their times.
        delete: whether what the source does not have is removed.
        max_delete: how many files may be removed; with more, nothing is done at all. None for any number.
        durability: of what is written here.
        resume: as for :meth:`Session.put`.
        connections: how many there may be, >= 1.
    """

    selection: Selection = EVERYTHING
    follows_links: bool = False
    preserve: Preserve = "modified"
    by_digest: bool = False
    delete: bool = False
    max_delete: int | None = None
    durability: Durability = "full"
    resume: bool = True
    connections: int = 1


async def sync(
    session: Session,
    directory: str | os.PathLike[str],
    path: str,
    direction: Direction,
    syncing: Syncing | None = None,
    watcher: Watcher | None = None,
) -> Totals:
    """Make a tree as another is.

    Args:
        session: with the server.
        directory: here.
        path: of the directory on the server; empty for the root.
        direction: which of them is made as the other is.
        syncing: how.
        watcher: told of each thing that is not the same already.

    Returns:
        How many of them there were of each kind; look at ``failed``.

    Raises:
        SourceEmpty: there is no file in the source; nothing was done.
        TooManyDeletions: there is more to be removed than may be; nothing was done.
        OSError: the directory here cannot be read, or made.
        NotFound, NotDirectory: there is no such directory on the server, of those that would be the source.
        LocalProtocolError: the version that the server speaks knows no directories.
        TransferInterrupted, RemoteProtocolError, Untrusted: as for :class:`Session`; the rest was not done.
    """
    syncing = syncing or Syncing()
    there = find_remote(session, path, syncing.selection)
    if direction == "to-server":
        tree = await deferToThread(LocalTree, directory, follows_links=syncing.follows_links)
    else:
        # Not before there is something to be written into it.
        there = await begin(refuse_empty(there))
        os.makedirs(directory, exist_ok=True)
        tree = await deferToThread(LocalTree, directory, durability=syncing.durability)
    async with Crew(session, syncing.connections, tree, watcher) as crew:
        mover: Mover
        if direction == "to-server":
            mover = Uploads(
                crew, path, preserve=syncing.preserve, no_clobber=False, resume=syncing.resume
            )
        else:
            mover = Downloads(
                crew, path, preserve=syncing.preserve, no_clobber=False, resume=syncing.resume
            )
        await crew.take(
            _plan(there, tree, Digester(session, tree, path), direction, syncing), mover
        )
        await mover.finish()
    return crew.totals


async def plan_sync(
    session: Session,
    directory: str | os.PathLike[str],
    path: str,
    direction: Direction,
    syncing: Syncing | None = None,
) -> AsyncIterator[Step]:
    """Give what :func:`sync` would do, in its order, and do nothing. Arguments and errors as there.

    Yields:
        Each step; of files that are the same already those with the action ``keep``.
    """
    syncing = syncing or Syncing()
    tree: LocalTree | None = None
    try:
        tree = await deferToThread(LocalTree, directory, follows_links=syncing.follows_links)
    except FileNotFoundError:
        if direction == "to-server":
            raise
    there = find_remote(session, path, syncing.selection)
    digester = None if tree is None else Digester(session, tree, path)
    try:
        async for step in _plan(there, tree, digester, direction, syncing):
            yield step
    finally:
        if tree is not None:
            tree.close()


def _plan(
    there: AsyncIterator[Found],
    tree: LocalTree | None,
    digester: Digester | None,
    direction: Direction,
    syncing: Syncing,
) -> AsyncIterator[Step]:
    here = _find_nothing() if tree is None else find_local(tree, syncing.selection)
    if direction == "to-server":
        source, target = here, _find_if_there(there)
    else:
        source, target = there, here
    steps = compare(
        refuse_empty(source),
        target,
        by_digest=syncing.by_digest,
        delete=syncing.delete,
        has_directories=syncing.selection.has_all_directories,
    )
    if digester is not None and syncing.by_digest:
        steps = settle(steps, digester.differ)
    if syncing.max_delete is not None:
        steps = hold_back(steps, syncing.max_delete)
    return steps


async def _find_nothing() -> AsyncIterator[Found]:
    nothing: tuple[Found, ...] = ()
    for each in nothing:
        yield each


async def _find_if_there(found: AsyncIterator[Found]) -> AsyncIterator[Found]:
    try:
        async for each in found:
            yield each
    except NotFound:
        # It will be made.
        return


async def refuse_empty(found: AsyncIterator[Found]) -> AsyncIterator[Found]:
    """Give what is found, once there is a file in it. Raises SourceEmpty: there is none."""
    held: list[Found] = []
    async for each in found:
        held.append(each)
        if isinstance(each, Entry) and each.kind == "file":
            break
    else:
        raise SourceEmpty("it holds no file: nothing was done")
    for each in held:
        yield each
    async for each in found:
        yield each


async def compare(
    source: AsyncIterator[Found],
    target: AsyncIterator[Found],
    *,
    by_digest: bool = False,
    delete: bool = False,
    has_directories: bool = True,
) -> AsyncIterator[Step]:
    """Give what makes the target as the source.

    Args:
        source: what is in it, in order.
        target: the same.
        by_digest: whether files of the same size are compared by their digests: their steps have the action
            ``compare`` then.
        delete: whether what the source does not have is removed.
        has_directories: whether directories are made for their own sake.
    """
    comparison = _Comparison(by_digest, delete, has_directories)
    one, other = await anext(source, None), await anext(target, None)
    while one is not None or other is not None:
        here = None if one is None else order(one.path)
        there = None if other is None else order(other.path)
        has_one = there is None or (here is not None and here <= there)
        has_other = here is None or (there is not None and there <= here)
        step = comparison.judge(one if has_one else None, other if has_other else None)
        if step is not None:
            yield step
        if has_one:
            one = await anext(source, None)
        if has_other:
            other = await anext(target, None)
    for step in comparison.list_rest():
        yield step


class _Comparison:
    """What is known while two trees are compared."""

    def __init__(self, by_digest: bool, delete: bool, has_directories: bool) -> None:
        self._by_digest = by_digest
        self._delete = delete
        self._has_directories = has_directories
        self._removals: list[Step] = []
        self._postponed: list[Step] = []
        # Prefixes of paths, of the last of each kind: what is sorted comes back to none of them.
        self._protected = self._barred = self._replaced = "/"

    def judge(self, one: Found | None, other: Found | None) -> Step | None:
        """Give the step for a path, of which at least one tree has something; None: nothing is to be done now."""
        if one is None:
            assert other is not None  # noqa: S101 - one of them is there
            self._miss(other)
            return None
        if one.path.startswith(self._barred):
            return None
        if isinstance(one, Skipped):
            self._protected = f"{one.path}/"
            return skip(one)
        step = self._begin(one) if other is None else self._compare_kinds(one, other)
        if step is not None and one.path.startswith(self._replaced):
            self._postponed.append(step)
            return None
        return step

    def list_rest(self) -> list[Step]:
        """Give the steps that come last."""
        return [*reversed(self._removals), *self._postponed]

    def _miss(self, other: Found) -> None:
        """Take note of what only the target has."""
        if self._delete and not other.path.startswith(self._protected):
            entry = Entry(other.path, "other") if isinstance(other, Skipped) else other
            self._removals.append(Step("remove", entry))

    def _begin(self, one: Entry) -> Step | None:
        if one.kind == "file":
            return Step("send", one)
        return Step("make-directory", one) if self._has_directories else None

    def _compare_kinds(self, one: Entry, other: Found) -> Step | None:
        kind = "other" if isinstance(other, Skipped) else other.kind
        if isinstance(other, Skipped) or one.kind != kind:
            return self._replace(one, other)
        if one.kind == "directory":
            return None
        if one.size != other.size:
            return Step("send", one)
        if self._by_digest:
            return Step("compare", one)
        return Step("keep" if one.modified == other.modified else "send", one)

    def _replace(self, one: Entry, other: Found) -> Step | None:
        """Something is where something of another kind has to be."""
        if not self._delete:
            self._barred = f"{one.path}/"
            is_directory = isinstance(other, Entry) and other.kind == "directory"
            text = f"{'a directory' if is_directory else 'something else'} is in its place in the target"
            return Step("skip", one, error=FileExistsError(errno.EEXIST, text))
        self._miss(other)
        self._replaced = f"{one.path}/"
        step = self._begin(one)
        if step is not None:
            self._postponed.append(step)
        return None


async def hold_back(steps: AsyncIterator[Step], max_delete: int) -> AsyncIterator[Step]:
    """Give steps, once it is known that there are no more removals of files than may be.

    Raises:
        TooManyDeletions: there are.
    """
    held = [step async for step in steps]
    count = sum(step.action == "remove" and step.entry.kind != "directory" for step in held)
    if count > max_delete:
        files = "1 file" if count == 1 else f"{count} files"
        raise TooManyDeletions(
            f"{files} would be deleted, more than {max_delete}; nothing was done"
        )
    for step in held:
        yield step


async def settle(
    steps: AsyncIterator[Step], differ: Callable[[Entry], Awaitable[bool]]
) -> AsyncIterator[Step]:
    """Give steps, those with the action ``compare`` as what comes of it; many are compared at a time.

    Args:
        steps: in order, in which they stay.
        differ: asked whether a file differs.
    """

    async def settle_one(step: Step) -> Step:
        try:
            is_different = await differ(step.entry)
        except (FileTransferError, OSError) as error:
            return Step("skip", step.entry, error=error)
        return Step("send" if is_different else "keep", step.entry)

    waiting: deque[Step | Deferred[Step]] = deque()
    async for step in steps:
        is_open = step.action == "compare"
        waiting.append(Deferred.fromCoroutine(settle_one(step)) if is_open else step)
        while waiting and (isinstance(waiting[0], Step) or len(waiting) > _COMPARED_AT_ONCE):
            yield await _resolve(waiting.popleft())
    while waiting:
        yield await _resolve(waiting.popleft())


async def _resolve(step: Step | Deferred[Step]) -> Step:
    return step if isinstance(step, Step) else await step


class Digester:
    """Compares files here and on the server by their digests.

    Args:
        session: with the server.
        tree: here.
        path: of the directory on the server; empty for the root.
    """

    def __init__(self, session: Session, tree: LocalTree, path: str) -> None:
        self._session = session
        self._tree = tree
        self._prefix = f"{path}/" if path else ""
        self._semaphore = DeferredSemaphore(_DIGESTS_AT_ONCE)

    async def differ(self, entry: Entry) -> bool:
        """Tell whether a file differs. Raises OSError, and as :meth:`Session.digest`."""
        here: Digests = await deferToThread(self._tree.digest, entry.path)
        there = await self._ask(self._prefix + entry.path)
        return here[DEFAULT_ALGORITHM] != there.get(DEFAULT_ALGORITHM)

    async def _ask(self, name: str) -> Digests:
        # The server remembers those of what was sent to it.
        known = (await self._session.stat(name)).digest
        if DEFAULT_ALGORITHM in known:
            return known
        await self._semaphore.acquire()
        try:
            return (await self._session.digest(name, algorithm=DEFAULT_ALGORITHM)).digest
        finally:
            self._semaphore.release()
