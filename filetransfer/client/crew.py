"""Taking the steps that a tree is made of: many at a time, over one or more connections.

Steps are taken as they come, and each is begun when few enough are under way. One that fails does not stop the others;
what stops them all is what the others would fail of as well.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from filetransfer.client.exchanges import Progress, Transferred
from filetransfer.client.local_trees import LocalTree, Skipped
from filetransfer.errors import (
    ConnectFailed,
    FileTransferError,
    LocalProtocolError,
    NotEmpty,
    RemoteProtocolError,
    TransferTimeout,
    Untrusted,
)
from filetransfer.wire.messages import Entry

if TYPE_CHECKING:
    from filetransfer.client.session import Session

MAX_AT_ONCE = 1024
"""Twice what a session has under way at a time: it never runs dry, and ten thousand files are not all begun at once."""

LARGE_OCTETS = 1024 * 1024
"""From this size on, files are worth another connection."""

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
