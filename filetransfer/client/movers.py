"""The two directions in which what is in a tree is moved: from here to the server, and from there to here."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThread

from filetransfer.client.crew import Crew, Outcome
from filetransfer.client.destinations import PathDestination
from filetransfer.client.exchanges import Preserve, Progress, Transferred
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.put_exchange import PutExchange
from filetransfer.client.sources import PathSource
from filetransfer.errors import Exists, PreconditionFailed, SourceChanged
from filetransfer.names import check_path
from filetransfer.wire.messages import Entry, Get, Put

if TYPE_CHECKING:
    from filetransfer.client.session import Session


class _Direction:
    """What both directions have.

    Args:
        crew: has the sessions, and the tree.
        path: of the directory on the server; empty for the root.
        preserve, no_clobber, resume: see :func:`put_tree` and :func:`get_tree`.
    """

    def __init__(
        self, crew: Crew, path: str, *, preserve: Preserve, no_clobber: bool, resume: bool
    ) -> None:
        self._crew = crew
        self._prefix = f"{path}/" if path else ""
        self._preserve = preserve
        self._no_clobber = no_clobber
        self._resume = resume


class Uploads(_Direction):
    """Moves things from here to the server."""

    async def send(self, entry: Entry, progress: Progress | None) -> Transferred:
        """See :class:`Mover`."""
        with self._crew.choose_session(entry.size or 0) as session:
            return await session.put(
                self._crew.tree.locate(entry.path),
                self._prefix + entry.path,
                preserve=self._preserve,
                parents=True,
                if_none_match=self._no_clobber,
                resume=self._resume,
                progress=progress,
            )

    def make_exchange(self, entry: Entry, session: Session) -> PutExchange:
        """See :class:`Mover`."""
        path = check_path(self._prefix + entry.path)
        return PutExchange(
            PathSource(self._crew.tree.locate(entry.path)),
            Put(path, parents=True, if_none_match=self._no_clobber),
            self._preserve,
            session.conversation.is_durable,
        )

    def explain(self, error: Exception) -> Exception:
        """See :class:`Mover`."""
        if isinstance(error, FileNotFoundError):
            return SourceChanged("it vanished before it was read")
        if isinstance(error, PreconditionFailed) and self._no_clobber:
            return Exists("it exists")
        return error

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


class Downloads(_Direction):
    """Moves things from the server to here. Arguments as for what both directions have."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._made = {""}
        self._directories: list[Entry] = []

    async def send(self, entry: Entry, progress: Progress | None) -> Transferred:
        """See :class:`Mover`."""
        destination = self._find_destination(entry.path)
        with self._crew.choose_session(entry.size or 0) as session:
            return await session.get(
                self._prefix + entry.path,
                destination,
                preserve=self._preserve,
                resume=self._resume,
                progress=progress,
            )

    def make_exchange(self, entry: Entry, session: Session) -> GetExchange:
        """See :class:`Mover`."""
        return GetExchange(
            # Checked when it was listed.
            Get(self._prefix + entry.path),
            self._find_destination(entry.path),
            session.conversation.publisher,
            self._preserve,
        )

    def explain(self, error: Exception) -> Exception:
        """See :class:`Mover`."""
        return error

    def _find_destination(self, path: str) -> PathDestination:
        tree = self._crew.tree
        self._make_missing(path.rpartition("/")[0])
        if self._no_clobber and tree.has(path):
            raise FileExistsError(errno.EEXIST, "is here already", tree.locate(path))
        return tree.find_destination(path)

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
