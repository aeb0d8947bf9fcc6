"""Trees of files, sent and fetched: ten thousand small ones over one connection, large ones over several.

    await put_tree(session, "notes", "2024/notes", watcher=watcher)
    await get_tree(session, "2024/notes", "notes")

What is to be done is found out step by step (``client/sync.py`` has steps of its own), and each step is begun when few
enough are under way: a tree of any size needs no more memory than a small one. One file that fails does not stop the
others. What stops them all is what the others would fail of as well: a server that cannot be reached any more, that
breaks the rules, or that does not speak a version that knows of directories.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from filetransfer.client.exchanges import Preserve, Progress, Transferred
from filetransfer.client.listings import list_tree
from filetransfer.client.local_trees import Found, LocalTree, Skipped
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.errors import (
    ConnectFailed,
    Exists,
    FileTransferError,
    LocalProtocolError,
    NotEmpty,
    PreconditionFailed,
    RemoteProtocolError,
    SourceChanged,
    TransferTimeout,
    Untrusted,
)
from filetransfer.names import check_path
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Entry

if TYPE_CHECKING:
    from filetransfer.client.session import Session

MAX_AT_ONCE = 1024
"""Twice what a session has under way at a time: it never runs dry, and ten thousand files are not all begun at once."""

LARGE_OCTETS = 1024 * 1024
"""From this size on, files are worth another connection."""

_FOUND_AT_ONCE = 512
# What it costs to ask for a file, in octets of a body: so that connections have their share of small files, too.
_REQUEST_OCTETS = 16 * 1024

# What one file fails of, the others would too.
_HOPELESS: tuple[type[FileTransferError], ...] = (
    ConnectFailed,
    LocalProtocolError,
    RemoteProtocolError,
    TransferTimeout,
    Untrusted,
)

Action = Literal["send", "make-directory", "remove", "keep", "compare", "skip"]
"""What is done with something in a tree: it is sent or fetched, made, removed, left as it is, compared, or left out."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing in a tree.

    Attributes:
        action: what was to be done.
        path: in the tree.
        transferred: the file that was sent or fetched.
        reason: why it was left out, for people.
        error: what went wrong; None when nothing did.
    """

    action: Action
    path: str
    transferred: Transferred | None = None
    reason: str = ""
    error: Exception | None = None


class Watcher:
    """Is told what becomes of a tree, in the reactor's thread; this one does not care."""

    @contextmanager
    def moving(self, path: str, size: int) -> Iterator[Progress | None]:
        """Take note that a file is being sent or fetched; gives what is told of what moves of it."""
        yield None

    def end(self, outcome: Outcome) -> None:
        """Take note of what has become of something."""


@dataclass(slots=True)
class Totals:
    """What became of a tree.

    Attributes:
        sent: files that were sent or fetched; octets: of them.
        made: directories.
        removed: files and directories.
        unchanged: files that were the same already.
        skipped: what was left out on purpose.
        failed: what was to be done and was not.
    """

    sent: int = 0
    octets: int = 0
    made: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0

    def count(self, outcome: Outcome) -> None:
        """Add an outcome."""
        if outcome.error is not None:
            self.failed += 1
        elif outcome.transferred is not None:
            self.sent += 1
            self.octets += outcome.transferred.size
        elif outcome.action == "make-directory":
            self.made += 1
        elif outcome.action == "remove":
            self.removed += 1
        else:
            self.skipped += 1


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be done.

    Attributes:
        action: what.
        entry: with what; its path is that in the tree.
        reason: why, for people; empty where it goes without saying.
        error: what is wrong with it.
    """

    action: Action
    entry: Entry
    reason: str = ""
    error: Exception | None = None


class Mover(Protocol):
    """Moves things from one tree to another."""

    async def send(self, entry: Entry, progress: Progress | None) -> Transferred:
        """Send, or fetch, a file."""

    async def make_directory(self, entry: Entry) -> None:
        """Make a directory; what is begun after this was begun may be in it."""

    async def remove(self, entry: Entry) -> None:
        """Remove a file or an empty directory from the target."""

    async def finish(self) -> None:
        """Do what is left when all else is done."""


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


def skip(found: Skipped) -> Step:
    """Give the step for what is left out."""
    return Step("skip", Entry(found.path, "other"), found.reason, found.error)


class Crew:
    """Takes steps, many at a time, over one or more connections.

    Used as an async context manager: what is under way when it is left by an exception is given up, and the connections
    that it has made besides the session's own are closed, as is the local tree.

    Args:
        session: whose connection is used first.
        connections: how many there may be, >= 1.
        tree: here.
        watcher: told of each outcome.

    Attributes:
        totals: of all outcomes.
    """

    def __init__(
        self, session: Session, connections: int, tree: LocalTree, watcher: Watcher | None
    ) -> None:
        self.totals = Totals()
        self.tree = tree
        self._watcher = watcher or Watcher()
        self._sessions = [session]
        self._loads = [0]
        self._max_sessions = connections
        self._running: set[Deferred[None]] = set()
        self._room: Deferred[None] | None = None
        self._hopeless: BaseException | None = None
        self._blocked = "/"

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for running in list(self._running):
            running.cancel()
        self.tree.close()
        for session in self._sessions[1:]:
            await (session.close() if kind is None else session.abort())

    @property
    def first_session(self) -> Session:
        """The session that there was."""
        return self._sessions[0]

    @contextmanager
    def choose_session(self, size: int) -> Iterator[Session]:
        """Give the session that has least to do, for a file of so many octets."""
        is_large = size >= LARGE_OCTETS
        chosen = min(range(len(self._loads)), key=self._loads.__getitem__)
        if is_large and self._loads[chosen] and len(self._sessions) < self._max_sessions:
            chosen = len(self._sessions)
            self._sessions.append(self._sessions[0].begin_another())
            self._loads.append(0)
        load = size + _REQUEST_OCTETS
        self._loads[chosen] += load
        try:
            yield self._sessions[chosen]
        finally:
            self._loads[chosen] -= load

    async def take(self, steps: AsyncIterator[Step], mover: Mover) -> None:
        """Take steps, and return when the last has its outcome.

        Raises:
            Exception: what is wrong with more than one step; those behind it were not taken.
        """
        is_removing = False
        async for step in steps:
            if step.action == "keep":
                self.totals.unchanged += 1
            elif not step.entry.path.startswith(self._blocked):
                # What is removed is so when all before it is done, and before all behind it.
                has_turned = is_removing is not (step.action == "remove")
                await self._wait_until(0 if has_turned else MAX_AT_ONCE - 1)
                is_removing ^= has_turned
                self._begin(step, mover)
        await self._wait_until(0)

    def _begin(self, step: Step, mover: Mover) -> None:
        taking = Deferred.fromCoroutine(self._take_one(step, mover))
        if not taking.called:
            self._running.add(taking)
        taking.addBoth(self._ended, taking)

    def _ended(self, result: Failure | None, taking: Deferred[None]) -> None:
        self._running.discard(taking)
        if isinstance(result, Failure) and self._hopeless is None:
            self._hopeless = result.value
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    async def _wait_until(self, count: int) -> None:
        """Return when so few steps are under way. Raises what ends them all."""
        while len(self._running) > count and self._hopeless is None:
            self._room = Deferred()
            await self._room
        if self._hopeless is not None:
            raise self._hopeless

    async def _take_one(self, step: Step, mover: Mover) -> None:
        try:
            outcome = await self._try(step, mover)
        except _HOPELESS:
            raise
        except (FileTransferError, OSError) as error:
            if step.action == "remove" and _is_not_empty(error):
                # What was left out is still in it.
                return
            if step.action == "make-directory":
                self._blocked = f"{step.entry.path}/"
            outcome = Outcome(step.action, step.entry.path, error=error)
        self.tell(outcome)

    async def _try(self, step: Step, mover: Mover) -> Outcome:
        entry = step.entry
        transferred = None
        if step.action == "send":
            with self._watcher.moving(entry.path, entry.size or 0) as progress:
                transferred = await mover.send(entry, progress)
        elif step.action == "make-directory":
            await mover.make_directory(entry)
        elif step.action == "remove":
            await mover.remove(entry)
        return Outcome(step.action, entry.path, transferred, step.reason, step.error)

    def tell(self, outcome: Outcome) -> None:
        """Count an outcome, and say it to the watcher."""
        self.totals.count(outcome)
        self._watcher.end(outcome)


def _is_not_empty(error: Exception) -> bool:
    return isinstance(error, NotEmpty) or getattr(error, "errno", 0) == errno.ENOTEMPTY


class Uploads:
    """Moves things from here to the server.

    Args:
        crew: has the sessions, and the tree.
        path: of the directory on the server; empty for the root.
        preserve, no_clobber, resume: see :func:`put_tree`.
    """

    def __init__(
        self, crew: Crew, path: str, *, preserve: Preserve, no_clobber: bool, resume: bool
    ) -> None:
        self._crew = crew
        self._prefix = f"{path}/" if path else ""
        self._preserve = preserve
        self._no_clobber = no_clobber
        self._resume = resume

    async def send(self, entry: Entry, progress: Progress | None) -> Transferred:
        """See :class:`Mover`."""
        with self._crew.choose_session(entry.size or 0) as session:
            try:
                return await session.put(
                    self._crew.tree.locate(entry.path),
                    self._prefix + entry.path,
                    preserve=self._preserve,
                    parents=True,
                    if_none_match=self._no_clobber,
                    resume=self._resume,
                    progress=progress,
                )
            except FileNotFoundError as error:
                raise SourceChanged("it vanished before it was read") from error
            except PreconditionFailed as refusal:
                raise Exists("it exists") if self._no_clobber else refusal from refusal

    async def make_directory(self, entry: Entry) -> None:
        """See :class:`Mover`."""
        with self._crew.choose_session(0) as session:
            await session.make_directory(self._prefix + entry.path, parents=True)

    async def remove(self, entry: Entry) -> None:
        """See :class:`Mover`. Over one connection, on which a directory is removed after what is in it."""
        # The etag that a directory had has changed with what was in it.
        etag = entry.etag if entry.kind == "file" else None
        await self._crew.first_session.delete(self._prefix + entry.path, if_match=etag)

    async def finish(self) -> None:
        """See :class:`Mover`."""


class Downloads:
    """Moves things from the server to here.

    Args:
        crew: has the sessions, and the tree.
        path: of the directory on the server; empty for the root.
        preserve, no_clobber, resume: see :func:`get_tree`.
    """

    def __init__(
        self, crew: Crew, path: str, *, preserve: Preserve, no_clobber: bool, resume: bool
    ) -> None:
        self._crew = crew
        self._prefix = f"{path}/" if path else ""
        self._preserve = preserve
        self._no_clobber = no_clobber
        self._resume = resume
        self._made = {""}
        self._directories: list[Entry] = []

    async def send(self, entry: Entry, progress: Progress | None) -> Transferred:
        """See :class:`Mover`."""
        tree = self._crew.tree
        self._make_missing(entry.path.rpartition("/")[0])
        if self._no_clobber and tree.has(entry.path):
            raise FileExistsError(errno.EEXIST, "is here already", tree.locate(entry.path))
        with self._crew.choose_session(entry.size or 0) as session:
            return await session.get(
                self._prefix + entry.path,
                tree.find_destination(entry.path),
                preserve=self._preserve,
                resume=self._resume,
                progress=progress,
            )

    def _make_missing(self, directory: str) -> None:
        """Make a directory, and those it is in, that nobody asked for by itself."""
        inner = ""
        for name in directory.split("/") if directory not in self._made else ():
            inner = f"{inner}/{name}" if inner else name
            if inner not in self._made:
                self._crew.tree.make_directory(inner)
                self._made.add(inner)

    async def make_directory(self, entry: Entry) -> None:
        """See :class:`Mover`. At once: a file in it may come in the same turn."""
        self._crew.tree.make_directory(entry.path)
        self._made.add(entry.path)
        if self._preserve:
            self._directories.append(entry)

    async def remove(self, entry: Entry) -> None:
        """See :class:`Mover`. At once, so that what is in a directory goes before it."""
        self._crew.tree.remove(entry.path, is_directory=entry.kind == "directory")

    async def finish(self) -> None:
        """See :class:`Mover`: directories get their times when nothing is written into them any more."""
        for outcome in await deferToThread(self._finish):
            self._crew.tell(outcome)

    def _finish(self) -> list[Outcome]:
        failed = []
        for entry in reversed(self._directories):
            try:
                self._crew.tree.set_attributes(entry, has_mode=self._preserve is True)
            except OSError as error:
                failed.append(Outcome("make-directory", entry.path, error=error))
        self._crew.tree.sync()
        return failed
